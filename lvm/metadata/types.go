package metadata

import (
	"slices"

	"morgana/lvm/metadata/internal/ordered"
	"morgana/lvm/text"
)

// VG is a volume group. It never changes; a nil *VG is none.
type VG struct {
	name       string
	id         UUID
	seqno      uint32
	extentSize uint64 // sectors
	maxLV      uint32
	maxPV      uint32
	copies     uint32
	status     []string
	flags      []string
	tags       []string
	systemID   string
	lockType   string
	lockArgs   string
	profile    string
	alloc      Allocation

	head *text.Section // the group's section without its physical and logical volumes
	top  *text.Section // what stands beside the group: contents, version, description, …

	pvs    []*PV    // in the order of the text
	spaces []*space // of pvs, index by index
	pvIDs  ordered.Map[UUID, int]
	pvKeys map[string]int // never written after it was made; nil for few volumes

	byName ordered.Map[string, *LV]
	byID   ordered.Map[UUID, *LV]
	order  ordered.Map[place, *LV]
	users  ordered.Map[use, struct{}] // which volume needs which other one
	autos  ordered.Map[auto, struct{}]

	total, free Extent
	visible     int
	unknown     int // logical volumes with segments of unknown type

	nextSeq uint64 // of place
	nextKey int    // of physical volumes; a key is not used again, so that operations can be joined
	lvBytes *lvBytes
}

// PV is a physical volume of a group. It never changes.
type PV struct {
	Key     string // its section in the text; segments name it so
	ID      UUID
	Device  string // where it was last seen: a hint
	Status  []string
	Flags   []string
	Tags    []string
	DevSize uint64 // sectors; 0 where the text does not say
	PEStart uint64 // sectors
	PECount Extent
	BAStart uint64 // bootloader area, sectors
	BASize  uint64

	// Absent says that its disk was not found. It is not part of the text, unlike the MISSING flag.
	Absent bool

	section *text.Section
	bytes   int // of its stanza in the text
}

// LV is a logical volume. It never changes.
type LV struct {
	Name         string
	ID           UUID
	Status       []string
	Flags        []string
	Tags         []string
	CreationTime int64 // seconds since 1970; 0 if not known
	CreationHost string
	Allocation   Allocation
	ReadAhead    ReadAhead
	Major, Minor int // -1 unless they are fixed
	LockArgs     string
	Profile      string
	Segments     []Segment // in order, without gaps
	Extents      Extent

	// What Section returns: tree, or what raw has in LVM2's own layout. A changed volume has a tree.
	tree   *text.Section
	raw    []byte
	place  place
	cow    bool // has what a snapshot of a visible volume keeps
	stanza *stanza
	kept   int // segments whose extents it has already, while an edit is finished
}

// Segment maps a run of a logical volume's extents.
type Segment struct {
	Start, Count Extent
	Type         string   // "striped", "error", "raid1", …: what is before the first '+' in the text
	TypeFlags    []string // what is behind it
	Tags         []string
	Stripes      []Area   // where the data is, for types "striped", "linear" and "mirror"
	StripeSize   uint64   // sectors, 0 for a linear segment
	Needs        []string // the logical volumes that its section names
	Known        bool     // type and flags are ones that LVM2 2.03 has

	section *text.Section
}

// Area is where a stripe begins: an extent of a physical volume or of another logical volume.
type Area struct {
	PV    string // key of a physical volume, "" if it is a logical volume
	LV    string // name of a logical volume
	Start Extent
}

// AreaLen is how many extents of each area the segment covers.
func (s *Segment) AreaLen() Extent {
	if s.striped() && len(s.Stripes) > 1 {
		return s.Count / Extent(len(s.Stripes))
	}
	return s.Count
}

func (s *Segment) striped() bool { return s.Type == "striped" || s.Type == "linear" }

// virtual is for segments without extents of their own.
func (s *Segment) virtual() bool { return s.Type == "error" || s.Type == "zero" }

// Visible reports whether users see the volume: others are parts of one that they see. The volume with what a snapshot
// keeps of its origin is visible though it has not the status.
func (lv *LV) Visible() bool { return lv.cow || slices.Contains(lv.Status, "VISIBLE") }

// Writable reports whether the volume may be written.
func (lv *LV) Writable() bool {
	return slices.Contains(lv.Status, "WRITE") || slices.Contains(lv.Flags, "WRITE_LOCKED")
}

// Has reports whether the volume has a status or flag: "PVMOVE", "LOCKED", "ACTIVATION_SKIP", …
func (lv *LV) Has(flag string) bool {
	return slices.Contains(lv.Status, flag) || slices.Contains(lv.Flags, flag)
}

// Allocatable reports whether new extents may come from the physical volume.
func (pv *PV) Allocatable() bool { return slices.Contains(pv.Status, "ALLOCATABLE") }

// Missing reports whether the physical volume's disk is not there, or was not when the group was last written.
func (pv *PV) Missing() bool { return pv.Absent || pv.marked() }

// marked reports whether the text says that the disk was not there when the group was written.
func (pv *PV) marked() bool {
	return slices.Contains(pv.Status, "MISSING") || slices.Contains(pv.Flags, "MISSING")
}

// place is where a logical volume stands in the text: visible ones first, then in the order they came.
type place struct {
	hidden bool
	seq    uint64
}

func comparePlace(a, b place) int {
	switch {
	case a.hidden != b.hidden:
		if a.hidden {
			return 1
		}
		return -1
	case a.seq < b.seq:
		return -1
	case a.seq > b.seq:
		return 1
	}
	return 0
}

// use says that a logical volume needs another one.
type use struct{ needed, user string }

func compareUse(a, b use) int {
	if c := compareString(a.needed, b.needed); c != 0 {
		return c
	}
	return compareString(a.user, b.user)
}

// auto is a logical volume whose name begins like an automatic one: lvol7.
type auto struct {
	n    int64
	name string
}

func compareAuto(a, b auto) int {
	switch {
	case a.n < b.n:
		return -1
	case a.n > b.n:
		return 1
	}
	return compareString(a.name, b.name)
}

func compareString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
