package spec

import (
	"fmt"

	"morgana/lvm/image/tree"
	"morgana/lvm/metadata"
)

// A Spec describes a disk.
type Spec struct {
	Disk       Disk
	Partitions []Partition
	Groups     []Group
}

// A Disk is the image as a whole.
type Disk struct {
	Size   int64 // bytes
	Sector int
	Seed   string
	Time   int64 // seconds since 1970
}

// A Partition is a part of the disk.
type Partition struct {
	Line int
	Name string
	Type string // a word of the language or a GUID
	Size int64  // bytes; 0 for the rest
	FS   *FS    // nil for none
}

// A Group is a volume group.
type Group struct {
	Line    int
	Name    string
	On      []string // partitions, or "disk"
	Extent  int64    // bytes
	Tags    []string
	Volumes []Volume
}

// A Volume is a logical volume.
type Volume struct {
	Line       int
	Name       string
	Size       metadata.Amount
	Stripes    int
	StripeSize int64 // bytes; 0 for LVM2's
	Tags       []string
	ReadOnly   bool
	FS         *FS
}

// An FS is a file system and its content.
type FS struct {
	Format    string // "ext4" or "fat"
	Label     string
	UUID      string // "" for one from the seed
	From      string // directory, "" for an empty file system
	Owner     *Owner
	KeepTimes bool
	Inodes    uint32
	NoJournal bool
	Reserved  int // percent; -1 for none, 0 if not given
	Edits     []Edit
}

// An Owner is a user and a group by number.
type Owner struct{ UID, GID uint32 }

// An Edit changes the content of a file system.
type Edit struct {
	Line   int
	Verb   string // dir, file, symlink, link, node, set, remove
	Path   string // absolute
	Mode   *uint16
	Owner  *Owner
	Time   *int64
	Xattrs []tree.Xattr

	From, Text, Target, To string
	Type                   tree.Type // node
	Major, Minor           uint32
}

// Error is what is wrong with a description.
type Error struct {
	Line int // 0 for the whole
	Msg  string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Msg
	}
	return fmt.Sprintf("line %d: %s", e.Line, e.Msg)
}
