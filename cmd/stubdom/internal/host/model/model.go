package model

import (
	"context"
	"time"
)

// Source looks at a host. Its methods may be called concurrently.
type Source interface {
	// Look takes a snapshot. What could not be learnt is missing in it, and said in Problems; an error means that there
	// is none.
	Look(ctx context.Context) (*Snapshot, error)
	// Node reads a node of xenstore and its children, which have no children of their own in the answer.
	Node(ctx context.Context, path string) (*Node, error)
	// Find finds nodes whose path or value contains a text: at most limit. More says that there are more.
	Find(ctx context.Context, text string, limit int) (found []Node, more bool, err error)
	// Tail reads the end of a domain's console.
	Tail(ctx context.Context, domain int) (Tail, error)
}

// Snapshot is a host at an instant.
type Snapshot struct {
	At       time.Time `json:"at"`
	Host     string    `json:"host"` // what it is
	Domains  []Domain  `json:"domains"`
	Rings    []Ring    `json:"rings"`
	Groups   []Group   `json:"groups"`
	Store    Store     `json:"store"`
	Problems []string  `json:"problems,omitempty"`
}

// Role is what a domain is for.
type Role string

// The roles.
const (
	Dom0     Role = "dom0"
	Xenstore Role = "xenstore"
	Storage  Role = "storage"
	Consoles Role = "consoles"
	Guest    Role = "guest"
)

// State is what Xen says of a domain.
type State string

// The states.
const (
	Running  State = "running"
	Blocked  State = "blocked" // it waits for an event
	Paused   State = "paused"
	Shutdown State = "shut down"
	Crashed  State = "crashed"
	Dying    State = "dying"
)

// Domain is a domain.
type Domain struct {
	ID         int     `json:"id"`
	Name       string  `json:"name"`
	Role       Role    `json:"role"`
	State      State   `json:"state"`
	MemoryKiB  uint64  `json:"memoryKiB"`
	CPU        float64 `json:"cpu"`                  // seconds, of all its processors
	CPUShare   float64 `json:"cpuShare"`             // of one processor, since the last snapshot
	Generation int     `json:"generation,omitempty"` // how often its program was started, if it tells
	Console    Console `json:"console"`
}

// Console is what is known of a domain's console.
type Console struct {
	Served  bool    `json:"served"`
	Bytes   uint64  `json:"bytes"`
	Lines   uint64  `json:"lines"`
	PerSec  float64 `json:"perSec"`  // bytes
	LineSec float64 `json:"lineSec"` // lines
}

// Kind is what goes over a ring.
type Kind string

// The kinds.
const (
	BlockRing   Kind = "block"
	StoreRing   Kind = "xenstore"
	ConsoleRing Kind = "console"
)

// Ring is what a frontend and a backend share: one connection, of one or more rings.
type Ring struct {
	Kind   Kind   `json:"kind"`
	Front  int    `json:"front"` // the domain that asks
	Back   int    `json:"back"`  // the domain that serves
	Device string `json:"device,omitempty"`
	Target string `json:"target,omitempty"`
	Bytes  uint64 `json:"size,omitempty"` // of the disk

	Total   Traffic `json:"total"`
	PerSec  Rates   `json:"perSec"`
	Latency float64 `json:"latency,omitempty"` // half of the requests since the last snapshot were answered in this time, in seconds

	// Buckets are of requests' times; a page has no use for them.
	Buckets []Bucket `json:"buckets,omitempty"`
}

// Traffic is what has gone over a ring.
type Traffic struct {
	Requests uint64 `json:"requests"`
	Read     uint64 `json:"read"`    // bytes to the frontend
	Written  uint64 `json:"written"` // bytes from the frontend
	Failed   uint64 `json:"failed"`
	Events   uint64 `json:"events"` // notifications, or watch events
}

// Rates is traffic a second.
type Rates struct {
	Requests float64 `json:"requests"`
	Read     float64 `json:"read"`
	Written  float64 `json:"written"`
}

// Group is a volume group.
type Group struct {
	Name    string   `json:"name"`
	Owner   int      `json:"owner"`  // the domain that serves it
	Extent  uint64   `json:"extent"` // bytes
	Disks   []PV     `json:"disks"`
	Volumes []Volume `json:"volumes"`
}

// PV is a physical volume: a disk of a group.
type PV struct {
	Name    string `json:"name"`
	Extents uint64 `json:"extents"`
	Runs    []Run  `json:"runs"` // in the order of the disk, free ones too
}

// Run is a run of extents that belong to one volume, or to none.
type Run struct {
	Start  uint64 `json:"start"`
	Count  uint64 `json:"count"`
	Volume string `json:"volume,omitempty"`
}

// Volume is a logical volume.
type Volume struct {
	Name    string `json:"name"`
	Extents uint64 `json:"extents"`
	User    int    `json:"user"` // the domain whose disk it is, -1 for none
}

// Store is xenstore.
type Store struct {
	Served      bool              `json:"served"` // it tells its counters
	Requests    uint64            `json:"requests"`
	Errors      uint64            `json:"errors"`
	Events      uint64            `json:"events"`
	Commits     uint64            `json:"commits"`
	Conflicts   uint64            `json:"conflicts"`
	Nodes       uint64            `json:"nodes"`
	Watches     uint64            `json:"watches"`
	Connections uint64            `json:"connections"`
	Ops         map[string]uint64 `json:"ops,omitempty"`
	PerSec      float64           `json:"perSec"` // requests
	Counters    map[string]uint64 `json:"-"`      // all that it told
}

// Node is a node of xenstore.
type Node struct {
	Path     string `json:"path"`
	Name     string `json:"name"`
	Value    string `json:"value"`
	Perms    string `json:"perms,omitempty"`
	Children int    `json:"children"` // how many it has
	Kids     []Node `json:"kids,omitempty"`
	More     bool   `json:"more,omitempty"` // there are more children than Kids
}

// Tail is the end of a console.
type Tail struct {
	Domain int      `json:"domain"`
	Next   uint64   `json:"next"` // how many bytes the domain has written
	Lines  []string `json:"lines"`
}

// Bounds of what is kept of a host, whatever its guests do.
const (
	NameMax  = 64   // characters of a name
	ValueMax = 2048 // characters of a value
	LineMax  = 300  // characters of a line of a console
	LinesMax = 200  // lines of a console's tail
	KidsMax  = 500  // children of a node that are listed
	RunsMax  = 4096 // runs of a disk
)

// Domain finds a domain by its number, nil if there is none.
func (s *Snapshot) Domain(id int) *Domain {
	for i := range s.Domains {
		if s.Domains[i].ID == id {
			return &s.Domains[i]
		}
	}
	return nil
}
