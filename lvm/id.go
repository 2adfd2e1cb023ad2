package lvm

import (
	"context"
	"slices"
	"strings"

	"morgana/lvm/metadata"
)

// wasTag is on a physical volume, with its former UUID behind it, while its UUID changes. The UUID stands both in the
// label and in the metadata, and no single write changes both: so the metadata get the new one first and tell of the
// old one, by which the disk is still found. The next text is without the tag.
const wasTag = "mlvm.was/"

// SetID gives a physical volume that is in no group another UUID.
func (pv *PhysicalVolume) SetID(id metadata.UUID) error {
	if pv.Group != nil {
		return pv.wrap("change the UUID", ErrUsed)
	}
	l := pv.Label
	l.UUID = id
	if err := pv.writeLabel(l); err != nil {
		return err
	}
	pv.ID = id
	return pv.flush()
}

// ChangeID gives a member the UUID that it has in after; after and op come from metadata.VG.ChangePV.
func (g *Group) ChangeID(ctx context.Context, pv *PhysicalVolume, after *metadata.VG, op metadata.Operation) error {
	i := slices.IndexFunc(after.PVs(), func(m *metadata.PV) bool { return g.vg.PVByID(m.ID) == nil })
	if i < 0 || !g.has(pv) {
		return pv.wrap("change the UUID", ErrNotFound)
	}
	if g.log != nil {
		if err := g.log.fold(ctx); err != nil {
			return g.fail("fold the redo log", err)
		}
	}
	old, m := pv.ID, after.PVs()[i]
	pv.ID = m.ID
	tagged := after.WithPVTags(m.ID, append(slices.Clone(m.Tags), wasTag+old.String()))
	err := g.check(tagged, op, nil)
	if err == nil {
		err = g.commitText(ctx, tagged, nil)
	}
	if err != nil {
		pv.ID = old
		return err
	}
	final, err := withSeqno(after, after.Seqno()+1)
	if err == nil {
		err = g.commitText(ctx, final, nil)
	}
	if err != nil {
		g.vg = after // the next text is without the tag
		g.Warnings = append(g.Warnings, err)
	}
	return nil
}

// former is the UUID that a physical volume had before its last change, as long as that may not be complete.
func former(m *metadata.PV) (metadata.UUID, bool) {
	for _, t := range m.Tags {
		if s, ok := strings.CutPrefix(t, wasTag); ok {
			id, err := metadata.ParseUUID(s)
			return id, err == nil
		}
	}
	return metadata.UUID{}, false
}

// withoutFormer is the group without what tells of former UUIDs.
func withoutFormer(vg *metadata.VG) *metadata.VG {
	for _, m := range vg.PVs() {
		if _, ok := former(m); ok {
			vg = vg.WithPVTags(m.ID, slices.DeleteFunc(slices.Clone(m.Tags), func(t string) bool { return strings.HasPrefix(t, wasTag) }))
		}
	}
	return vg
}
