package report

import (
	"morgana/lvm/metadata"
)

// Group is a volume group with what reports need beside its metadata.
type Group struct {
	VG *metadata.VG // nil for the disks that are in no group
	// Of all of the group's disks:
	Areas     int    // metadata areas
	AreasUsed int    // those that are not ignored
	AreaFree  uint64 // of the fullest one in use, sectors
	AreaSize  uint64 // of the smallest one, sectors

	disks map[string]*PV // by the keys of the metadata's physical volumes
	hard  *shapes
}

// PV is a disk.
type PV struct {
	Name         string // "[unknown]" if it is missing
	ID           metadata.UUID
	Labelled     bool // it is a physical volume
	Meta         *metadata.PV
	DevSize      uint64 // of the device, sectors; 0 if it is missing
	Size         uint64 // that the label says, sectors
	Major, Minor int    // -1 of what is no block device
	PEStart      uint64 // sectors, from the label of a disk in no group
	Areas        int
	AreasUsed    int
	AreaFree     uint64 // sectors
	AreaSize     uint64 // sectors
	ExtVersion   uint32
	BAStart      uint64 // sectors
	BASize       uint64
	InUse        bool // the label says that a group has it
	Duplicate    bool // another disk with the same identity was chosen
}

// Missing is how a disk that was not found is called.
const Missing = "[unknown]"

// SetDisks says on which disks the group's physical volumes are.
func (g *Group) SetDisks(disks []*PV) {
	g.disks = make(map[string]*PV, len(disks))
	for _, d := range disks {
		if d.Meta != nil {
			g.disks[d.Meta.Key] = d
		}
	}
}

// device is the name of the disk with a key.
func (g *Group) device(key string) string {
	if d := g.disks[key]; d != nil {
		return d.Name
	}
	if pv := g.VG.PV(key); pv != nil && !pv.Absent {
		return pv.Device
	}
	return Missing
}

// extents is a number of extents in sectors.
func (g *Group) extents(n metadata.Extent) uint64 { return uint64(n) * g.VG.ExtentSize() }
