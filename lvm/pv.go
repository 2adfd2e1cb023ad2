package lvm

import (
	"errors"
	"fmt"

	"morgana/lvm/metadata"
	"morgana/lvm/ondisk"
)

// PhysicalVolume is a labelled disk, or the place of one that a group misses.
type PhysicalVolume struct {
	ID metadata.UUID
	// Disk is where it is. The Device of a missing one is nil, and Name what the metadata remember.
	Disk Disk
	// Label is empty for a missing one.
	Label ondisk.Label
	Areas []*MetadataArea
	// Group is the group that it belongs to, nil for an orphan.
	Group *FoundGroup

	// Duplicate is set where another disk has the same UUID and was preferred.
	Duplicate bool
	// Outdated is set where Group once had the disk, and gave it up while the disk was absent.
	Outdated bool
}

// Missing reports whether a group names the physical volume and no disk has it.
func (pv *PhysicalVolume) Missing() bool { return pv.Disk.Device == nil }

// Orphan reports whether it is on a disk and in no group.
func (pv *PhysicalVolume) Orphan() bool { return pv.Group == nil && pv.Disk.Device != nil }

// Unowned reports whether the label says that a group uses the disk but none of those that were found does: the group's
// metadata may be damaged or on disks that are absent.
func (pv *PhysicalVolume) Unowned() bool { return pv.Orphan() && pv.Label.Used() }

// In is the group's view of the physical volume, nil for orphans, duplicates and outdated disks.
func (pv *PhysicalVolume) In() *metadata.PV {
	if pv.Group == nil || pv.Group.VG == nil || pv.Duplicate || pv.Outdated {
		return nil
	}
	return pv.Group.VG.PVByID(pv.ID)
}

// DeviceSize is the size of the disk in bytes, 0 for a missing one.
func (pv *PhysicalVolume) DeviceSize() uint64 {
	if pv.Missing() {
		return 0
	}
	return uint64(pv.Disk.Device.Size())
}

// PEStart is where extents begin, in bytes; 0 for a missing one.
func (pv *PhysicalVolume) PEStart() uint64 {
	if len(pv.Label.Data) == 0 {
		return 0
	}
	return pv.Label.Data[0].Offset
}

// PEEnd is the byte behind the last that extents may have: the second metadata area, if there is one behind them, or
// the end that the label gives.
func (pv *PhysicalVolume) PEEnd() uint64 { return peEnd(pv.Label, pv.Label.DeviceSize) }

func peEnd(l ondisk.Label, size uint64) uint64 {
	end := size
	if len(l.Data) == 0 {
		return end
	}
	for _, a := range l.Metadata {
		if a.Offset > l.Data[0].Offset {
			end = min(end, a.Offset)
		}
	}
	return end
}

// New describes the physical volume to metadata requests that add it to a group.
func (pv *PhysicalVolume) New() metadata.NewPV {
	n := metadata.NewPV{
		ID: pv.ID, Device: pv.Disk.Name, DevSize: pv.Label.DeviceSize / metadata.SectorSize,
		PEStart: pv.PEStart() / metadata.SectorSize,
	}
	if end := pv.PEEnd(); end < pv.Label.DeviceSize {
		n.PEEnd = end / metadata.SectorSize
	}
	if len(pv.Label.Bootloader) > 0 {
		n.BAStart = pv.Label.Bootloader[0].Offset / metadata.SectorSize
		n.BASize = pv.Label.Bootloader[0].Size / metadata.SectorSize
	}
	return n
}

// wrap names the disk in an error.
func (pv *PhysicalVolume) wrap(op string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Object: pv.Disk.Name, Err: err}
}

// early is how much of the beginning of a disk is read at once: label, header and usually the text.
const early = 128 << 10

// readPV reads the label and the metadata areas of a disk. It returns ErrNotPhysical for a disk without a label.
func readPV(d Disk, t func([]byte) *textCopy) (*PhysicalVolume, error) {
	head, err := readFull(d.Device, 0, min(early, uint64(d.Device.Size())))
	if err != nil {
		return nil, err
	}
	l, err := ondisk.FindLabel(head)
	if errors.Is(err, ondisk.ErrLabel) {
		return nil, err
	} else if err != nil {
		return nil, ErrNotPhysical
	}
	if len(l.Data) == 0 {
		return nil, &ondisk.LabelError{Sector: l.Sector, Msg: "no data area"}
	}
	pv := &PhysicalVolume{ID: metadata.UUID(l.UUID), Disk: d, Label: l}
	for i, a := range l.Metadata {
		m := &MetadataArea{PV: pv, Number: i + 1, Area: a}
		m.read(d.Device, head, t)
		pv.Areas = append(pv.Areas, m)
	}
	return pv, nil
}

// writeLabel writes the label. The disk must be flushed by the caller.
func (pv *PhysicalVolume) writeLabel(l ondisk.Label) error {
	b, err := ondisk.AppendLabel(nil, l)
	if err == nil {
		err = writeWhole(pv.Disk.Device, l.Sector*ondisk.SectorSize, b)
	}
	if err == nil {
		pv.Label = l
	}
	return pv.wrap("write the label", err)
}

func (pv *PhysicalVolume) flush() error {
	return pv.wrap("flush", pv.Disk.Device.Flush())
}

func (pv *PhysicalVolume) String() string {
	if pv.Missing() {
		return fmt.Sprintf("missing physical volume %s (%s)", pv.ID, pv.Disk.Name)
	}
	return pv.Disk.Name
}
