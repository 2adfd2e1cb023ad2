package lvm

import (
	"context"
	"errors"
	"fmt"

	"morgana/lvm/metadata"
	"morgana/lvm/ondisk"
)

// A physical volume's size and UUID stand both in its label and in its group's metadata. No single write changes both:
// of a new size the smaller one is what counts until both are there; a new UUID goes into the label first, and a power
// cut before the metadata have it leaves the group with a missing disk until the command is repeated.

// ResizePV gives a member another size, in bytes: after and op come from metadata.VG.ResizePV.
func (g *Group) ResizePV(ctx context.Context, pv *PhysicalVolume, size uint64, after *metadata.VG, op metadata.Operation) error {
	if err := pv.resizable(size); err != nil {
		return err
	}
	grow := size > pv.Label.DeviceSize
	if grow {
		if err := pv.relabel(func(l *ondisk.Label) { l.DeviceSize = size }); err != nil {
			return err
		}
	}
	if err := g.Commit(ctx, after, op); err != nil {
		return err
	}
	if !grow {
		return pv.relabel(func(l *ondisk.Label) { l.DeviceSize = size })
	}
	return nil
}

// Resize gives a physical volume that is in no group another size, in bytes.
func (pv *PhysicalVolume) Resize(size uint64) error {
	if pv.Group != nil {
		return pv.wrap("resize", ErrUsed)
	}
	if err := pv.resizable(size); err != nil {
		return err
	}
	return pv.relabel(func(l *ondisk.Label) { l.DeviceSize = size })
}

// resizable refuses a size with which a metadata area would be in the way.
func (pv *PhysicalVolume) resizable(size uint64) error {
	if size < MinPVSize {
		return pv.wrap("resize", fmt.Errorf("%w: %d bytes", ErrTooSmall, size))
	}
	for _, a := range pv.Areas {
		if a.Area.Offset > pv.PEStart() && size != pv.Label.DeviceSize {
			return pv.wrap("resize", fmt.Errorf("%w: it has a metadata area at its end", ErrUnsupported))
		}
	}
	return nil
}

// SetID gives a physical volume that is in no group another UUID.
func (pv *PhysicalVolume) SetID(id metadata.UUID) error {
	if pv.Group != nil {
		return pv.wrap("change the UUID", ErrUsed)
	}
	return pv.relabel(func(l *ondisk.Label) { l.UUID = id })
}

// ChangeID gives a member the UUID that it has in after; after and op come from metadata.VG.ChangePV.
func (g *Group) ChangeID(ctx context.Context, pv *PhysicalVolume, after *metadata.VG, op metadata.Operation) error {
	old := pv.ID
	id := old
	for _, m := range after.PVs() {
		if g.vg.PVByID(m.ID) == nil {
			id = m.ID
		}
	}
	if id == old || g.Member(old) != pv {
		return pv.wrap("change the UUID", ErrNotFound)
	}
	set := func(id metadata.UUID) error { return pv.relabel(func(l *ondisk.Label) { l.UUID = id }) }
	if err := set(id); err != nil {
		return err
	}
	if err := g.Commit(ctx, after, op); err != nil {
		if errors.Is(err, ErrUncertain) {
			return err
		}
		return errors.Join(err, set(old))
	}
	return nil
}

// relabel writes a changed label, and waits until it is on the disk.
func (pv *PhysicalVolume) relabel(change func(*ondisk.Label)) error {
	l := pv.Label
	change(&l)
	if err := pv.writeLabel(l); err != nil {
		return err
	}
	pv.ID = metadata.UUID(l.UUID)
	return pv.flush()
}
