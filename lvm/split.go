package lvm

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"morgana/lvm/metadata"
)

// Groups that split or merge have texts on different disks, and no single sector makes the change for both. So one of
// the texts carries a tag, for as long as it takes, that says under which condition it counts:
//
//	mlvm.split/ID/N   this group counts once the group ID has reached sequence number N: until then its physical
//	                  volumes are still that group's
//	mlvm.took/ID/N    the group ID, up to sequence number N, is part of this group: it does not count any more
//
// The header that makes the change is that of the group ID, or of this group. The next text of the group is without
// the tag.
const (
	splitTag = "mlvm.split/"
	tookTag  = "mlvm.took/"
)

// condition is what a tag says.
type condition struct {
	tag   string
	took  bool
	id    metadata.UUID
	seqno uint32
}

func conditions(vg *metadata.VG) (out []condition) {
	for _, t := range vg.Tags() {
		rest, took := strings.CutPrefix(t, tookTag)
		if !took {
			var split bool
			if rest, split = strings.CutPrefix(t, splitTag); !split {
				continue
			}
		}
		idText, n, _ := strings.Cut(rest, "/")
		id, err := metadata.ParseUUID(idText)
		seqno, err2 := strconv.ParseUint(n, 10, 32)
		if err == nil && err2 == nil {
			out = append(out, condition{t, took, id, uint32(seqno)})
		}
	}
	return out
}

// dropVoid takes out groups that do not count yet or any more, because a split or merge was interrupted, and the tags
// that say so.
func (inv *Inventory) dropVoid() {
	byID := func(id metadata.UUID) *FoundGroup {
		for _, g := range inv.groups {
			if g.copy.id == id.String() {
				return g
			}
		}
		return nil
	}
	void := map[*FoundGroup]bool{}
	for _, g := range inv.groups {
		if g.copy.vg == nil {
			continue
		}
		for _, c := range conditions(g.copy.vg) {
			other := byID(c.id)
			switch {
			case c.took && other != nil && other.copy.seqno <= c.seqno:
				void[other] = true
			case !c.took && other != nil && other.copy.seqno < c.seqno:
				void[g] = true
			case !c.took && other == nil:
				g.unfinished = true
				inv.problem(g.copy.name, fmt.Errorf("it was split off a volume group with UUID %s, which was not found: "+
					"whether the split was completed is not known", c.id), "add that group's disks")
			}
		}
	}
	inv.groups = slices.DeleteFunc(inv.groups, func(g *FoundGroup) bool { return void[g] })
	for g := range void {
		for _, pv := range inv.pvs {
			for _, a := range pv.Areas {
				if a.tellsOf(g) {
					a.copy = nil
				}
			}
		}
	}
	for _, g := range inv.groups {
		if g.copy.vg == nil {
			continue
		}
		if vg, err := withoutConditions(g.copy.vg); err == nil {
			g.copy.vg = vg
		}
	}
}

// withoutConditions is a group without the tags of an interrupted split or merge.
func withoutConditions(vg *metadata.VG) (*metadata.VG, error) {
	cs := conditions(vg)
	if len(cs) == 0 {
		return vg, nil
	}
	var tags []string
	for _, t := range vg.Tags() {
		if !slices.ContainsFunc(cs, func(c condition) bool { return c.tag == t }) {
			tags = append(tags, t)
		}
	}
	return vg.WithTags(tags), nil
}

func tagged(vg *metadata.VG, prefix string, id metadata.UUID, seqno uint32) *metadata.VG {
	t := fmt.Sprintf("%s%s/%d", prefix, id, seqno)
	return vg.WithTags(append(slices.Clone(vg.Tags()), t))
}

// Split makes two groups of one: stay is what this group will be, other the new group, both as metadata.VG.Split
// returns them. The new group is open for changes.
//
// To move physical volumes to a group that exists already, split them off to a group of their own and merge that.
func (g *Group) Split(ctx context.Context, stay, other *metadata.VG) (*Group, error) {
	var remain, move []*PhysicalVolume
	for _, pv := range g.members {
		if other.PVByID(pv.ID) != nil {
			move = append(move, pv)
		} else {
			remain = append(remain, pv)
		}
	}
	if !g.Writable() || len(move) == 0 {
		return nil, g.fail("split", ErrNotFound)
	}
	g.settleLog()
	for what, pvs := range map[string][]*PhysicalVolume{g.vg.Name(): remain, other.Name(): move} {
		if !slices.ContainsFunc(pvs, func(pv *PhysicalVolume) bool {
			return slices.ContainsFunc(pv.Areas, func(a *MetadataArea) bool { return g.usable(a) && !a.Ignored() })
		}) {
			return nil, refuse(ErrNoArea, "Splitting %s would leave volume group %s without a metadata area in use", g.vg.Name(), what)
		}
	}
	n := &Group{mode: ReadWrite, stamp: g.stamp, bad: g.bad, members: move}
	if err := n.commitText(ctx, tagged(other, splitTag, stay.ID(), stay.Seqno()), nil); err != nil {
		return nil, err
	}
	g.members = remain
	if err := g.commitText(ctx, stay, nil); err != nil {
		g.members = append(remain, move...)
		return nil, err
	}
	final, err := withSeqno(other, other.Seqno()+1)
	if err != nil {
		return nil, n.fail("split", err)
	}
	if err := n.commitText(ctx, final, nil); err != nil {
		// The next text of the new group says the same.
		n.vg = other
		n.Warnings = append(n.Warnings, err)
	}
	for _, pv := range move {
		pv.Group = &FoundGroup{Name: other.Name(), ID: other.ID(), VG: n.vg, Members: move}
	}
	return n, nil
}

// Merge takes another group in: after is this group as metadata.VG.Merge returns it. The other group is no more, and
// closed.
func (g *Group) Merge(ctx context.Context, other *Group, after *metadata.VG) error {
	if !g.Writable() || !other.Writable() {
		return g.fail("merge", ErrReadOnly)
	}
	// What their redo logs have is in after. A log that is there twice would be none.
	g.settleLog()
	other.settleLog()
	g.members = append(slices.Clone(g.members), other.members...)
	for a := range other.bad {
		g.bad[a] = true
	}
	// The first header must be one of this group: only that makes the change.
	if err := g.commitText(ctx, tagged(after, tookTag, other.vg.ID(), other.vg.Seqno()), nil); err != nil {
		g.members = slices.DeleteFunc(g.members, other.has)
		return err
	}
	other.closed = true
	final, err := withSeqno(after, after.Seqno()+1)
	if err != nil {
		return g.fail("merge", err)
	}
	if err := g.commitText(ctx, final, nil); err != nil {
		g.vg = after
		g.Warnings = append(g.Warnings, err)
	}
	return nil
}
