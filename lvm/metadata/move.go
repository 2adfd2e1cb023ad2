package metadata

import (
	"cmp"
	"slices"
)

// MoveExtents finds new extents for what is on (part of) a physical volume. It returns what has to be copied, and the
// group as it is when that was done. Until then the new extents are free as far as the group is concerned: so a move
// that is interrupted has changed nothing.
//
// Stripes of one segment stay on different volumes, and so do images of one mirror or RAID volume, unless the policy is
// anywhere.
func (vg *VG) MoveExtents(env Env, r Move) (*VG, Operation, []Copy, error) {
	m := mover{edit: vg.edit(), env: env, r: r}
	if err := m.plan(); err != nil {
		return nil, m.op, nil, err
	}
	after, op, err := m.done()
	return after, op, m.copies, err
}

type mover struct {
	*edit
	env     Env
	r       Move
	source  pvRange
	targets []pvRange
	copies  []Copy
	// scratch is the group with the extents taken that were chosen so far.
	scratch VG
	skipped bool
}

func (m *mover) plan() error {
	vg := m.old
	if err := vg.changeable(0); err != nil {
		return err
	}
	list, err := m.selectPVs([]string{m.r.Source}, false)
	if err != nil {
		return err
	}
	m.source = list[0]
	if m.source.whole {
		m.source.runs = []extentRun{{m.source.pv, 0, vg.pvs[m.source.pv].PECount}}
	}
	if m.r.LV != "" && vg.LV(m.r.LV) == nil {
		return refuse(ErrNotFound, "Logical volume %s not found.", m.r.LV)
	}
	if m.targets, err = m.selectPVs(m.r.Targets, true); err != nil {
		return err
	}
	m.targets = slices.DeleteFunc(slices.Clone(m.targets), func(t pvRange) bool {
		return vg.spaces[t.pv].unused == 0 || t.pv == m.source.pv && m.r.Allocation != AllocAnywhere
	})
	m.scratch = *vg
	m.scratch.spaces = slices.Clone(vg.spaces)
	found := false
	for _, lv := range m.sources() {
		if lv.Has("LOCKED") || lv.Has("PVMOVE") {
			m.note("Skipping locked LV %s.", vg.full(lv))
			m.skipped = true
			continue
		}
		if !lv.plain() {
			m.note("Skipping LV %s, whose type moves by LVM2 only.", vg.full(lv))
			m.skipped = true
			continue
		}
		if len(m.targets) == 0 {
			return refuse(ErrNoSpace, "No extents available for allocation.")
		}
		moved, err := m.move(lv)
		if err != nil {
			return err
		}
		found = true
		m.put(moved)
	}
	if !found {
		if m.skipped {
			return refuse(ErrUnsupported, "All data on source PV skipped. It contains locked, hidden or non-top level LVs only.\n"+
				"No data to move for %s.", vg.name)
		}
		return refuse(ErrNoChange, "No data to move for %s.", vg.name)
	}
	return nil
}

// sources is the logical volumes with extents in the source, in the order of the text.
func (m *mover) sources() []*LV {
	vg := m.old
	seen := map[uint64]bool{}
	var lvs []*LV
	for _, run := range m.source.runs {
		from := run.start
		if start, u, ok := vg.spaces[run.pv].used.Floor(run.start); ok && start+u.count > run.start {
			from = start
		}
		for start, u := range vg.spaces[run.pv].used.From(from) {
			if start >= run.start+run.count {
				break
			}
			lv := vg.bySeq(u.seq)
			if !seen[u.seq] && (m.r.LV == "" || m.r.LV == lv.Name || vg.needs(m.r.LV, lv.Name)) {
				seen[u.seq] = true
				lvs = append(lvs, lv)
			}
		}
	}
	slices.SortFunc(lvs, func(a, b *LV) int { return comparePlace(a.place, b.place) })
	return lvs
}

// needs reports whether a logical volume needs another one, by way of others too.
func (vg *VG) needs(user, needed string) bool {
	for u := range vg.Users(needed) {
		if u.Name == user || vg.needs(user, u.Name) {
			return true
		}
	}
	return false
}

// moved is where a run of extents of one stripe goes, counted from the beginning of the stripe.
type moved struct {
	stripe, pv       int
	at, count, start Extent
}

func (m *mover) move(lv *LV) (*LV, error) {
	c := lv.changed()
	c.Segments = nil
	for i := range lv.Segments {
		s := &lv.Segments[i]
		var moves []moved
		for a := range s.Stripes {
			more, err := m.moveStripe(lv, s, a)
			if err != nil {
				return nil, err
			}
			moves = append(moves, more...)
		}
		c.Segments = append(c.Segments, m.rebuild(s, moves)...)
	}
	c.Segments = mergeSegments(c.Segments)
	c.setSegments()
	return c, nil
}

// moveStripe finds new extents for the parts of a stripe that are in the source.
func (m *mover) moveStripe(lv *LV, s *Segment, stripe int) ([]moved, error) {
	vg := m.old
	area := s.Stripes[stripe]
	if area.PV != vg.pvs[m.source.pv].Key {
		return nil, nil
	}
	var moves []moved
	for _, run := range m.source.runs {
		lo, hi := max(area.Start, run.start), min(area.Start+s.AreaLen(), run.start+run.count)
		if lo >= hi {
			continue
		}
		a := allocation{
			env: m.env, vg: &m.scratch, lv: lv.Name, areas: 1, need: uint64(hi - lo), split: true, most: vg.policy(m.r.Allocation),
		}
		if _, err := a.allocate(m.allowed(lv, s, stripe), 0); err != nil {
			return nil, err
		}
		at := lo
		for _, got := range a.got[0] {
			space, ok := m.scratch.spaces[got.pv].taken(got.start, usedRun{got.count, s.Start, lv.place.seq, int32(stripe)})
			if !ok {
				return nil, refuse(ErrNoSpace, "No extents available for allocation.")
			}
			m.scratch.spaces[got.pv] = space
			m.scratch.free -= got.count
			moves = append(moves, moved{stripe, got.pv, at - area.Start, got.count, got.start})
			m.copies = append(m.copies, Copy{
				FromPV: vg.pvs[m.source.pv].ID, FromStart: at, ToPV: vg.pvs[got.pv].ID, ToStart: got.start, Count: got.count,
			})
			at += got.count
		}
	}
	return moves, nil
}

// allowed is the targets less the volumes that the stripe must not share.
func (m *mover) allowed(lv *LV, s *Segment, stripe int) []pvRange {
	if m.r.Allocation == AllocAnywhere {
		return m.targets
	}
	vg := m.old
	var taboo []string
	for a, area := range s.Stripes {
		if a != stripe {
			taboo = append(taboo, area.PV)
		}
	}
	for user := range vg.Users(lv.Name) {
		for i := range user.Segments {
			if t := user.Segments[i].Type; t != "mirror" && (len(t) < 4 || t[:4] != "raid") {
				continue
			}
			for _, n := range user.Segments[i].Needs {
				if sibling := vg.LV(n); sibling != lv {
					taboo = append(taboo, vg.pvsOf(sibling, map[string]bool{})...)
				}
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(m.targets), func(t pvRange) bool {
		return slices.Contains(taboo, vg.pvs[t.pv].Key)
	})
}

// rebuild cuts a segment wherever one of its stripes goes on elsewhere.
func (m *mover) rebuild(s *Segment, moves []moved) []Segment {
	if len(moves) == 0 {
		return []Segment{*s}
	}
	cuts := []Extent{0, s.AreaLen()}
	for _, mv := range moves {
		cuts = append(cuts, mv.at, mv.at+mv.count)
	}
	slices.SortFunc(cuts, cmp.Compare[Extent])
	cuts = slices.Compact(cuts)
	width := Extent(1)
	if s.striped() {
		width = Extent(len(s.Stripes))
	}
	var segs []Segment
	for i := 1; i < len(cuts); i++ {
		from, to := cuts[i-1], cuts[i]
		part := *s
		part.Start, part.Count = s.Start+from*width, (to-from)*width
		part.Stripes = slices.Clone(s.Stripes)
		for a := range part.Stripes {
			part.Stripes[a].Start += from
		}
		for _, mv := range moves {
			if mv.at <= from && from < mv.at+mv.count {
				part.Stripes[mv.stripe] = Area{PV: m.old.pvs[mv.pv].Key, Start: mv.start + from - mv.at}
			}
		}
		part.renew()
		segs = append(segs, part)
	}
	return segs
}
