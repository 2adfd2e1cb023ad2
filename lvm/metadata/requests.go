package metadata

// CreateLV asks for a new logical volume.
type CreateLV struct {
	Name string // "" for lvol0, lvol1, …
	Size Amount
	Type string // "" or "linear", "striped", "zero", "error"

	Stripes    int      // 0 for 1
	StripeSize uint64   // sectors; 0 for 64 KiB
	PVs        []string // where: "/dev/sda", "/dev/sda:0-99:200-", "@tag"; none for anywhere

	Allocation     Allocation
	ReadOnly       bool
	Hidden         bool // not for users: part of something, such as the redo log
	Tags           []string
	ReadAhead      ReadAhead
	Minor          *int // nil for one that the kernel chooses
	Major          *int // nil for device-mapper's
	NoAutoActivate bool
	ActivationSkip bool
	// Reserved allows names that only LVM2 itself may choose.
	Reserved bool
}

// ResizeMode says what a resize may be.
type ResizeMode uint8

// The modes of lvresize, lvextend and lvreduce.
const (
	ResizeAny ResizeMode = iota
	Extend
	Reduce
)

// ResizeLV asks for another size of a logical volume.
type ResizeLV struct {
	Name string
	Mode ResizeMode
	Size Amount // where it is zero and PVs are given, all that is free there

	Type       string // of the new extents, "" for that of the last ones
	Stripes    int    // 0 for as before
	StripeSize uint64 // sectors; 0 for as before
	PVs        []string
	Allocation Allocation // AllocInherit for the volume's own
}

// ChangeLV asks for other properties of a logical volume. Nil and empty fields ask for nothing.
type ChangeLV struct {
	Name           string
	AddTags        []string
	DelTags        []string
	ReadOnly       *bool
	Allocation     *Allocation
	ReadAhead      *ReadAhead
	Persistent     *bool // a fixed minor number, Minor and Major
	Minor, Major   int
	AutoActivate   *bool
	ActivationSkip *bool
}

// NewPV is a physical volume for a group: what its label says, and its size.
type NewPV struct {
	ID      UUID
	Device  string
	DevSize uint64 // sectors
	PEStart uint64 // sectors
	PEEnd   uint64 // sector behind the last that extents may have; 0 for the end of the device
	BAStart uint64
	BASize  uint64
}

// CreateVG asks for a new volume group.
type CreateVG struct {
	Name           string
	ExtentSize     uint64 // sectors; 0 for 4 MiB
	MaxLV, MaxPV   uint32
	Allocation     Allocation // AllocInherit for normal
	Tags           []string
	SystemID       string
	MetadataCopies uint32
	NoAutoActivate bool
	PVs            []NewPV
}

// ChangeVG asks for other properties of the group. Nil and empty fields ask for nothing.
type ChangeVG struct {
	MaxLV, MaxPV   *uint32
	Resizeable     *bool
	AutoActivate   *bool
	AddTags        []string
	DelTags        []string
	ExtentSize     *uint64 // sectors
	NewID          bool
	Allocation     *Allocation
	MetadataCopies *uint32
	SystemID       *string
	Profile        *string
	Writable       *bool // the WRITE status, which LVM2 does not change itself; the redo log's barrier does
}

// ChangePV asks for other properties of a physical volume. Nil and empty fields ask for nothing.
type ChangePV struct {
	Device      string
	Allocatable *bool
	AddTags     []string
	DelTags     []string
	NewID       bool
	PEStart     *uint64 // where extents begin; the caller has moved what was there
}

// ResizePV asks for the size of a physical volume whose disk has changed.
type ResizePV struct {
	Device  string
	DevSize uint64 // sectors
	PEEnd   uint64 // as in NewPV
}

// Split asks for a new group of some of this group's physical volumes and what is on them.
type Split struct {
	Name           string   // of the new group
	Into           *VG      // or a group that exists
	PVs            []string // device names
	LV             string   // or: those that this logical volume is on
	MaxLV, MaxPV   *uint32
	Allocation     *Allocation
	MetadataCopies *uint32
}

// Move asks to move extents between physical volumes.
type Move struct {
	Source     string   // "/dev/sda", "/dev/sda:0-99"
	LV         string   // only those of this volume; "" for all
	Targets    []string // none for any other physical volume
	Allocation Allocation
}

// Copy is a run of extents to be copied.
type Copy struct {
	FromPV, ToPV       UUID
	FromStart, ToStart Extent
	Count              Extent
}
