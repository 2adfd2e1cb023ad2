package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"morgana/lvm/metadata"
	"morgana/lvm/ondisk"
)

// UpdateMetadata brings every copy of the metadata in line with the one that counts, as vgck --updatemetadata does:
// headers and texts that are damaged are written anew, and disks that the group gave up while they were absent become
// orphans. The sequence number rises.
func (g *Group) UpdateMetadata(ctx context.Context) error {
	if !g.Writable() {
		return g.fail("update the metadata", errors.New("it was opened for reading only"))
	}
	if g.log != nil {
		if err := g.log.fold(ctx); err != nil {
			return g.fail("fold the redo log", err)
		}
	}
	after, err := withSeqno(g.vg, g.vg.Seqno()+1)
	if err != nil {
		return g.fail("update the metadata", err)
	}
	if err := g.mend(); err != nil {
		return err
	}
	if err := g.commitText(ctx, after, nil); err != nil {
		return err
	}
	if g.found == nil {
		return nil
	}
	for _, pv := range g.found.Outdated {
		if err := pv.release(); err != nil {
			return err
		}
	}
	g.found.Outdated = nil
	return nil
}

// mend makes members' damaged areas ones that can be written.
func (g *Group) mend() error {
	var touched []*PhysicalVolume
	for _, pv := range g.members {
		for _, a := range pv.Areas {
			if a.Good() && !g.bad[a] {
				continue
			}
			if a.HeaderErr != nil {
				h := ondisk.NewHeader(a.Area, false)
				if err := a.writeHeader(h); err != nil {
					return err
				}
				a.Header = h
				touched = append(touched, pv)
			}
			a.HeaderErr, a.TextErr, a.copy = nil, nil, nil
			delete(g.bad, a)
		}
	}
	return flushAll(touched)
}

// release makes a disk that no group has an orphan.
func (pv *PhysicalVolume) release() error {
	if err := pv.writeLabel(pv.Label.WithUsed(false)); err != nil {
		return err
	}
	if err := pv.flush(); err != nil {
		return err
	}
	if err := pv.emptyAreas(); err != nil {
		return err
	}
	pv.Group, pv.Outdated = nil, false
	return pv.flush()
}

// Restore writes metadata that a backup file holds, as vgcfgrestore does. The physical volumes are found by their
// UUIDs. Where the group exists, its sequence number goes on from the higher of the two, so that no older copy wins.
func (inv *Inventory) Restore(ctx context.Context, vg *metadata.VG, o OpenOptions) (*Group, error) {
	fail := func(err error) (*Group, error) {
		return nil, &Error{Op: "restore", Object: vg.Name(), Err: err}
	}
	seqno := vg.Seqno()
	g := &Group{mode: ReadWrite, stamp: o.Stamp, bad: map[*MetadataArea]bool{}}
	for _, f := range inv.groups {
		switch {
		case f.ID == vg.ID():
			if f.Log != nil && f.Log.Armed {
				return fail(fmt.Errorf("%w while its redo log has changes; use mlvm sync or mlvm log discard before", ErrUnsupported))
			}
			g.found, g.written = f, f.VG
			seqno = max(seqno, f.Seqno)
		case f.Name == vg.Name():
			return fail(fmt.Errorf("%w: volume group %s with UUID %s", ErrAmbiguous, f.Name, f.ID))
		}
	}
	devices := map[metadata.UUID]string{}
	var join []*PhysicalVolume
	for _, m := range vg.PVs() {
		pv := inv.PVByID(m.ID)
		switch {
		case pv == nil || pv.Missing():
			if o.Allow&AllowMissing == 0 {
				return fail(fmt.Errorf("%w: couldn't find device with uuid %s", ErrMissing, m.ID))
			}
			continue
		case pv.Group != nil && pv.Group != g.found && !slices.Contains(pv.Group.Contested, pv):
			return fail(fmt.Errorf("%s: %w: %s", pv.Disk.Name, ErrUsed, pv.Group.Name))
		}
		devices[m.ID] = pv.Disk.Name
		join = append(join, pv)
	}
	after := vg.WithDevices(devices).WithLogState(vg.LogPosition(), false, seqno+1) // a backup may be of an armed group
	g.members = join
	if err := g.mend(); err != nil {
		return nil, err
	}
	if err := g.commitText(ctx, after, nil); err != nil {
		return nil, err
	}
	return g, nil
}

// SetIgnored says of all metadata areas of a physical volume whether the group uses them (pvchange --metadataignore).
// The last area in use cannot be ignored.
func (g *Group) SetIgnored(ctx context.Context, pv *PhysicalVolume, ignored bool) error {
	if !g.Writable() || !slices.Contains(g.members, pv) {
		return pv.wrap("change its metadata areas", ErrNotFound)
	}
	if g.log != nil {
		if err := g.log.fold(ctx); err != nil {
			return g.fail("fold the redo log", err)
		}
	}
	set := map[*MetadataArea]bool{}
	for _, a := range pv.Areas {
		if g.usable(a) && a.Ignored() != ignored {
			set[a] = ignored
		}
	}
	if len(set) == 0 {
		return nil
	}
	after, err := withSeqno(g.vg, g.vg.Seqno()+1)
	if err != nil {
		return g.fail("commit", err)
	}
	g.force = set
	defer func() { g.force = nil }()
	return g.commitText(ctx, after, nil)
}

// SetIgnored says of an orphan's metadata areas whether a group that takes it in is to use them.
func (pv *PhysicalVolume) SetIgnored(ctx context.Context, ignored bool) error {
	if pv.Group != nil {
		return pv.wrap("change its metadata areas", ErrUsed)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	for _, a := range pv.Areas {
		if a.HeaderErr != nil || a.Ignored() == ignored {
			continue
		}
		h := ondisk.NewHeader(a.Area, ignored)
		if err := a.writeHeader(h); err != nil {
			return err
		}
		a.Header = h
	}
	return pv.flush()
}
