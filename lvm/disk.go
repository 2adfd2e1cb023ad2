package lvm

import (
	"errors"
	"fmt"

	"morgana/block"
)

// Disk is a device and the name that its user knows it by.
type Disk struct {
	Name   string
	Device block.Device
}

// Problem is what a scan found wrong with a disk. Other disks are not concerned.
type Problem struct {
	Disk   string
	Err    error
	Remedy string // what to do about it, may be empty
}

func (p Problem) Error() string {
	if p.Remedy == "" {
		return fmt.Sprintf("%s: %v", p.Disk, p.Err)
	}
	return fmt.Sprintf("%s: %v; %s", p.Disk, p.Err, p.Remedy)
}

// Unwrap returns Err.
func (p Problem) Unwrap() error { return p.Err }

// Error says which operation failed on which disk or group.
type Error struct {
	Op     string // "open", "commit", "write the label", …
	Object string // a disk's or a group's name
	Err    error
}

func (e *Error) Error() string { return fmt.Sprintf("%s: cannot %s: %v", e.Object, e.Op, e.Err) }

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// What a caller can act on.
var (
	ErrNotFound    = errors.New("not found")
	ErrAmbiguous   = errors.New("more than one volume group has this name")
	ErrUnreadable  = errors.New("the metadata cannot be read")
	ErrForeign     = errors.New("the volume group belongs to another system")
	ErrExported    = errors.New("the volume group is exported")
	ErrShared      = errors.New("the volume group is shared between hosts")
	ErrReadOnly    = errors.New("the volume group is read-only")
	ErrUnknown     = errors.New("the volume group has unknown segments")
	ErrMissing     = errors.New("physical volumes are missing")
	ErrOutdated    = errors.New("outdated")
	ErrUnowned     = errors.New("in use by a group that was not found")
	ErrDuplicate   = errors.New("two disks have the same physical volume")
	ErrContested   = errors.New("two volume groups claim the same physical volume")
	ErrMismatch    = errors.New("copies of the metadata differ in spite of the same sequence number")
	ErrChanged     = errors.New("somebody else has changed the metadata")
	ErrNoArea      = errors.New("no metadata area to write to")
	ErrTooSmall    = errors.New("the device is too small")
	ErrPhysical    = errors.New("the disk is a physical volume already")
	ErrNotPhysical = errors.New("the disk is not a physical volume")
	ErrUsed        = errors.New("the physical volume is in use by a volume group")
	ErrNoRoom      = errors.New("no room")
	ErrUnsupported = errors.New("not supported")
)

// readFull reads n bytes at off.
func readFull(d block.Device, off, n uint64) ([]byte, error) {
	if size := uint64(d.Size()); n > size || off > size-n {
		return nil, fmt.Errorf("%d bytes at byte %d: %w", n, off, block.ErrOutOfRange)
	}
	b := make([]byte, n)
	_, err := d.ReadAt(b, int64(off))
	return b, err
}

// writeWhole writes b at off as whole sectors of the disk. What else is in the first and the last sector stays as it
// is: the disk stores each of them whole or not at all.
func writeWhole(d block.Device, off uint64, b []byte) error {
	sector := uint64(d.SectorSize())
	before, behind := off%sector, (sector-(off+uint64(len(b)))%sector)%sector
	if before == 0 && behind == 0 {
		_, err := d.WriteAt(b, int64(off))
		return err
	}
	off -= before
	whole := make([]byte, before+uint64(len(b))+behind)
	for _, edge := range []uint64{0, uint64(len(whole)) - sector} {
		if _, err := d.ReadAt(whole[edge:edge+sector], int64(off+edge)); err != nil {
			return err
		}
	}
	copy(whole[before:], b)
	_, err := d.WriteAt(whole, int64(off))
	return err
}
