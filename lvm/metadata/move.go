package metadata

import (
	"slices"
	"strings"
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
	pieces  []piece
	copies  []Copy
	skipped bool
}

// piece is what a stripe of a segment has in the source.
type piece struct {
	lv        *LV
	segment   int
	stripe    int
	at, count Extent // counted from the beginning of the stripe
	got       []extentRun
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
	if m.r.LV != "" && vg.LV(m.r.LV) == nil {
		return refuse(ErrNotFound, "Logical volume %s not found.", m.r.LV)
	}
	if m.targets, err = m.selectPVs(m.r.Targets, true); err != nil {
		return err
	}
	m.targets = slices.DeleteFunc(slices.Clone(m.targets), func(t pvRange) bool {
		return vg.spaces[t.pv].unused == 0 || t.pv == m.source.pv && m.r.Allocation != AllocAnywhere
	})
	if len(m.targets) == 0 {
		return refuse(ErrNoSpace, "No extents available for allocation.")
	}
	lvs := m.sources()
	lvs = slices.DeleteFunc(lvs, func(lv *LV) bool {
		switch {
		case lv.Has("LOCKED") || lv.Has("PVMOVE"):
			m.note("Skipping locked LV %s.", vg.full(lv))
		case !lv.plain():
			m.note("Skipping LV %s, whose type moves by LVM2 only.", vg.full(lv))
		default:
			return false
		}
		m.skipped = true
		return true
	})
	if len(lvs) == 0 {
		if m.skipped {
			return refuse(ErrUnsupported, "All data on source PV skipped. It contains locked, hidden or non-top level LVs only.\n"+
				"No data to move for %s.", vg.name)
		}
		return refuse(ErrNoChange, "No data to move for %s.", vg.name)
	}
	for _, lv := range lvs {
		m.cutUp(lv)
	}
	if err := m.allocate(); err != nil {
		return err
	}
	for _, lv := range lvs {
		m.put(m.moved(lv))
	}
	return nil
}

// sources is the logical volumes with extents in the source, in the order of the text.
func (m *mover) sources() []*LV {
	vg := m.old
	seen := map[uint64]bool{}
	var lvs []*LV
	for _, run := range m.runs() {
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

// cutUp collects the pieces of a volume that are in the source.
func (m *mover) cutUp(lv *LV) {
	for i := range lv.Segments {
		s := &lv.Segments[i]
		for a, area := range s.Stripes {
			if area.PV != m.old.pvs[m.source.pv].Key {
				continue
			}
			for _, run := range m.runs() {
				lo, hi := max(area.Start, run.start), min(area.Start+s.AreaLen(), run.start+run.count)
				if lo < hi {
					m.pieces = append(m.pieces, piece{lv: lv, segment: i, stripe: a, at: lo - area.Start, count: hi - lo})
				}
			}
		}
	}
}

// runs is the source's ranges.
func (m *mover) runs() []extentRun {
	if m.source.whole {
		return []extentRun{{m.source.pv, 0, m.old.pvs[m.source.pv].PECount}}
	}
	return m.source.runs
}

// allocate finds new extents for all pieces in one request.
func (m *mover) allocate() error {
	vg := m.old
	a := allocation{env: m.env, vg: vg, areas: 1, split: true, most: vg.policy(m.r.Allocation)}
	for i := range m.pieces {
		p := &m.pieces[i]
		a.need += uint64(p.count)
		a.beside = append(a.beside, beside{a.need, m.taboo(p)})
	}
	if _, err := a.allocate(m.targets, 0); err != nil {
		return err
	}
	got := a.got[0] // each run is of one piece
	for i := range m.pieces {
		p := &m.pieces[i]
		s := &p.lv.Segments[p.segment]
		for from := s.Stripes[p.stripe].Start + p.at; from < s.Stripes[p.stripe].Start+p.at+p.count; {
			r := got[0]
			got = got[1:]
			p.got = append(p.got, r)
			m.copies = append(m.copies, Copy{
				FromPV: vg.pvs[m.source.pv].ID, FromStart: from, ToPV: vg.pvs[r.pv].ID, ToStart: r.start, Count: r.count,
			})
			from += r.count
		}
	}
	return nil
}

// taboo is the physical volumes that a piece must not go to: those of the other stripes, and of other images of the
// same mirror or RAID volume.
func (m *mover) taboo(p *piece) (keys []string) {
	vg := m.old
	for a, area := range p.lv.Segments[p.segment].Stripes {
		if a != p.stripe {
			keys = append(keys, area.PV)
		}
	}
	for user := range vg.Users(p.lv.Name) {
		for i := range user.Segments {
			if t := user.Segments[i].Type; t != "mirror" && !strings.HasPrefix(t, "raid") {
				continue
			}
			for _, n := range user.Segments[i].Needs {
				if sibling := vg.LV(n); sibling != p.lv {
					keys = append(keys, vg.pvsOf(sibling, map[string]bool{})...)
				}
			}
		}
	}
	return keys
}

// moved is a volume as it is when its pieces are where they go.
func (m *mover) moved(lv *LV) *LV {
	c := lv.changed()
	c.Segments = nil
	for i := range lv.Segments {
		var moves []moved
		for _, p := range m.pieces {
			if p.lv != lv || p.segment != i {
				continue
			}
			at := p.at
			for _, r := range p.got {
				moves = append(moves, moved{p.stripe, r.pv, at, r.count, r.start})
				at += r.count
			}
		}
		c.Segments = append(c.Segments, m.rebuild(&lv.Segments[i], moves)...)
	}
	c.Segments = mergeSegments(c.Segments)
	c.setSegments()
	return c
}

// moved is where a run of extents of one stripe goes, counted from the beginning of the stripe.
type moved struct {
	stripe, pv       int
	at, count, start Extent
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
	slices.Sort(cuts)
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
