package blkif

import "morgana/xen"

// Nodes reads a node of a peer's directory by its name below it ("sectors", "queue-0/ring-ref1"). ok is false if the
// node does not exist.
type Nodes func(name string) (value string, ok bool)

// Features are what a backend offers before the frontend connects (state 2).
type Features struct {
	MaxRingOrder int    // max-ring-page-order (and max-ring-pages)
	MaxQueues    int    // multi-queue-max-queues; 0 and 1 mean one
	MaxIndirect  int    // feature-max-indirect-segments; 0: no indirect requests
	Persistent   bool   // feature-persistent
	Flush        bool   // feature-flush-cache
	Barrier      bool   // feature-barrier
	Discard      bool   // feature-discard
	Secure       bool   // discard-secure
	Granularity  uint64 // discard-granularity in bytes; 0: the sector size
	Alignment    uint64 // discard-alignment in bytes
}

// Map is the nodes by which a backend offers f.
func (f *Features) Map() map[string]string { panic("unimplemented") }

// ParseFeatures reads a backend's offer as a frontend. What is missing is not offered; what is out of range is an
// error.
func ParseFeatures(n Nodes) (Features, error) { panic("unimplemented") }

// Bits of Disk.Info (VDISK_*).
const (
	InfoCDROM     = 1
	InfoRemovable = 2
	InfoReadOnly  = 4
)

// Disk is what a backend tells of a disk when it connects (state 4), and again when it grew.
type Disk struct {
	Sectors            uint64 // of 512 bytes, whatever SectorSize
	SectorSize         int    // 512 or 4096
	PhysicalSectorSize int    // at least SectorSize; 0: the same
	Info               uint32 // Info bits
}

// Map is the nodes by which a backend tells of d.
func (d *Disk) Map() map[string]string { panic("unimplemented") }

// ParseDisk reads what a backend tells of a disk.
func ParseDisk(n Nodes) (Disk, error) { panic("unimplemented") }

// Queue is a ring and its event channel.
type Queue struct {
	Refs []xen.GrantRef // 1<<order pages
	Port xen.Port       // of the frontend
}

// Connection is what a frontend asks for and gives when it connects (state 3).
type Connection struct {
	ABI        ABI
	Persistent bool // feature-persistent
	Queues     []Queue
}

// Map is the nodes by which a frontend connects.
func (c *Connection) Map() map[string]string { panic("unimplemented") }

// ParseConnection reads a frontend's nodes as a backend that offered f. Anything beyond the offer is an error.
func ParseConnection(n Nodes, f *Features) (Connection, error) { panic("unimplemented") }
