package lvm

import (
	"context"
	"errors"
	"slices"

	"morgana/lvm/metadata"
	"morgana/lvm/ondisk"
)

// CreateGroup writes a new group on physical volumes that are orphans. The group is there once the first of them has
// it; before, all of them are still orphans.
func CreateGroup(ctx context.Context, vg *metadata.VG, pvs []*PhysicalVolume, stamp func() metadata.Stamp) (*Group, error) {
	g := &Group{mode: ReadWrite, stamp: stamp, bad: map[*MetadataArea]bool{}}
	for _, pv := range pvs {
		for _, a := range pv.Areas {
			if !a.Good() {
				return nil, pv.wrap("create a volume group", errors.Join(a.HeaderErr, a.TextErr))
			}
		}
	}
	if err := g.Commit(ctx, vg, metadata.Operation{}, pvs...); err != nil {
		return nil, err
	}
	for _, pv := range pvs {
		pv.Group = &FoundGroup{Name: vg.Name(), ID: vg.ID(), Seqno: vg.Seqno(), VG: vg, Members: pvs}
	}
	return g, nil
}

// Remove ends the group; its physical volumes become orphans. Whether its logical volumes may go is the caller's to
// ask. The group is there until the last of its newest copies is gone.
func (g *Group) Remove(ctx context.Context) error {
	if !g.Writable() {
		return g.fail("remove", errors.New("it was opened for reading only"))
	}
	if g.log != nil {
		if err := g.log.fold(ctx); err != nil {
			return g.fail("fold the redo log", err)
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	// No disk may be left marked by a group that is no more.
	for _, pv := range g.members {
		if pv.Label.Used() {
			if err := pv.writeLabel(pv.Label.WithUsed(false)); err != nil {
				return err
			}
		}
	}
	if err := flushAll(g.members); err != nil {
		return err
	}
	// All areas but one are hidden; that one makes the change; then all are made those of orphans.
	var last *MetadataArea
	for _, pv := range g.members {
		for _, a := range pv.Areas {
			switch {
			case last == nil && a.copy != nil && a.Seqno() == g.vg.Seqno():
				last = a
			case a.HeaderErr == nil && !a.Ignored() && !a.Header.Slots[0].Empty():
				if err := a.hide(a.Header.Slots[0]); err != nil {
					return err
				}
			}
		}
	}
	if err := flushAll(g.members); err != nil {
		return err
	}
	if last != nil {
		if err := last.empty(); err != nil {
			return err
		}
		if err := last.PV.flush(); err != nil {
			return err
		}
	}
	for _, pv := range g.members {
		if err := pv.emptyAreas(); err != nil {
			return err
		}
	}
	if err := flushAll(g.members); err != nil {
		return err
	}
	for _, pv := range g.members {
		pv.Group = nil
	}
	g.closed = true
	return nil
}

// empty makes an area that of an orphan. Whether it is ignored stays as it is.
func (a *MetadataArea) empty() error {
	h := ondisk.NewHeader(a.Area, a.Ignored())
	if err := a.writeHeader(h); err != nil {
		return err
	}
	a.Header, a.HeaderErr, a.TextErr, a.copy = h, nil, nil, nil
	return nil
}

// withSeqno is the group with another sequence number and nothing else changed.
func withSeqno(vg *metadata.VG, seqno uint32) (*metadata.VG, error) {
	return vg.Replay(metadata.Operation{Name: vg.Name(), Seqno: seqno})
}

// has reports whether a physical volume is a member.
func (g *Group) has(pv *PhysicalVolume) bool { return slices.Contains(g.members, pv) }
