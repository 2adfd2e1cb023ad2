package metadata

import (
	"slices"
)

// How extents are chosen. This follows lib/metadata/lv_manip.c of LVM2 (_allocate and what it calls) step by step, so
// that the same request gets the same extents.
//
// The policies are tried in turn, from contiguous to the one that was asked for. With each, areas of free extents are
// looked for, at most one for each physical volume:
//
//   - contiguous takes what follows the last segment; where there is none, the smallest area of each volume that is
//     large enough, or else its largest;
//   - cling takes areas on the volumes that the last segment is on, cling_by_tags also on those that share a tag with
//     one of them;
//   - normal takes the largest area of each volume, and goes on with volumes that it has used already;
//   - anywhere takes several areas of one volume even for stripes that should lie apart.
//
// Of the areas that were found the largest are used, one for each stripe, until there are enough extents.

// allocation is one request for extents.
type allocation struct {
	env   Env
	vg    *VG
	lv    string // for messages
	areas int    // stripes
	need  uint64 // extents of the volume afterwards
	have  uint64 // extents of the volume so far
	prev  *Segment
	first *Segment
	most  Allocation // the policy that was asked for
	split bool       // more than one segment is allowed
	// approx accepts less than was asked for.
	approx bool
	// beside is where parts of what is allocated must not be, because something else is there; none for anything.
	beside []beside

	taboo []string // keys of physical volumes that the current pass must not use

	maps  []*pvMap
	got   [][]extentRun // for each stripe
	slots []slot        // what the current pass has found
	fixed int           // slots that belong to a certain stripe; they come first

	policy Allocation // the policy that is being tried
	match  bool       // prev has as many stripes
	cont   bool       // must follow prev
	cling  bool       // must be on prev's volumes
	tags   bool       // or on ones with the same tags
	again  bool       // must be on volumes that this request has used already
	fill   bool       // slots belong to stripes
	parts  bool       // at most one area for each tag
}

// beside keeps a part of what is allocated away from physical volumes.
type beside struct {
	end uint64   // behind the part's last extent
	pvs []string // their keys
}

// slot is an area that was found for a stripe, and how much of it is wanted.
type slot struct {
	area *area
	used Extent
}

// extentRun is a run of extents of a physical volume.
type extentRun struct {
	pv           int
	start, count Extent
}

// allocate chooses extents and returns the segments for them, which follow the volume's own.
func (a *allocation) allocate(where []pvRange, stripeSize uint64) ([]Segment, error) {
	if (a.need-a.have)%uint64(a.areas) != 0 {
		return nil, refuse(ErrInvalid, "Number of extents requested (%d) needs to be divisible by %d.", a.need-a.have, a.areas)
	}
	if a.most == AllocContiguous {
		a.split = false
	}
	if a.most == AllocCling {
		a.most = AllocClingByTags
	}
	a.got = make([][]extentRun, a.areas)
	if !a.quick(where) {
		a.buildMaps(where)
		if err := a.tryPolicies(); err != nil {
			return nil, err
		}
	}
	return a.segments(stripeSize), nil
}

func (a *allocation) segments(stripeSize uint64) []Segment {
	start := Extent(0)
	if a.prev != nil {
		start = a.prev.Start + a.prev.Count
	}
	if a.areas == 1 {
		stripeSize = 0
	}
	var segs []Segment
	for i := range a.got[0] {
		s := Segment{
			Start: start, Count: a.got[0][i].count * Extent(a.areas), Type: "striped", Known: true, StripeSize: stripeSize,
			Stripes: make([]Area, a.areas),
		}
		for j := range s.Stripes {
			r := a.got[j][i]
			s.Stripes[j] = Area{PV: a.vg.pvs[r.pv].Key, Start: r.start}
		}
		segs = append(segs, s)
		start += s.Count
	}
	return segs
}

func (a *allocation) tryPolicies() error {
	for p := AllocContiguous; p <= a.most; p++ {
		if p == AllocClingByTags && len(a.env.ClingTags) == 0 {
			continue
		}
		before := a.have
		if want, free := a.need-a.have, a.free(); !a.approx && want > free {
			return refuse(ErrNoSpace, "Insufficient free space: %d extents needed, but only %d available", want, free)
		}
		a.setPolicy(p)
		if err := a.tryPolicy(); err != nil {
			return err
		}
		if a.have == a.need || !a.split && a.have != before {
			break
		}
	}
	if a.have == a.need {
		return nil
	}
	if a.approx && a.have > 0 {
		a.need = a.have
		return nil
	}
	return a.short()
}

// short says that there is not enough.
func (a *allocation) short() error {
	contiguous := ""
	if !a.split {
		contiguous = "contiguous "
	}
	if a.approx {
		return refuse(ErrNoSpace, "Insufficient suitable %sallocatable extents found for logical volume %s.", contiguous, a.lv)
	}
	return refuse(ErrNoSpace, "Insufficient suitable %sallocatable extents for logical volume %s: %d more required",
		contiguous, a.lv, a.need-a.have)
}

// free is how many extents may still be taken.
func (a *allocation) free() (n uint64) {
	for _, m := range a.maps {
		n += uint64(m.count)
	}
	return n
}

func (a *allocation) maximiseCling() bool { return !a.env.NoMaximiseCling }

func (a *allocation) setPolicy(p Allocation) {
	a.policy = p
	a.match, a.cont, a.cling, a.again, a.fill = false, false, false, false, false
	if a.prev != nil && len(a.prev.Stripes) == a.areas {
		a.match = true
		a.cont = p == AllocContiguous
		a.cling = p == AllocCling || p == AllocClingByTags
		a.fill = a.cont || a.cling
	} else if p == AllocCling || p == AllocClingByTags {
		a.again, a.fill = true, true
	}
	a.tags = p == AllocClingByTags
	a.parts = p == AllocContiguous && len(a.env.ClingTags) > 0
	if a.maximiseCling() && p == AllocNormal && a.have != a.need {
		a.again = true
	}
}

// tryPolicy makes passes until everything is found or nothing more is.
func (a *allocation) tryPolicy() error {
	for {
		before := a.have
		if err := a.pass(a.part()); err != nil {
			return err
		}
		if a.have == before {
			switch {
			case a.maximiseCling() && a.cling && a.fill:
				a.fill = false
			case a.policy == AllocNormal && a.again:
				a.again = false
			default:
				return nil
			}
		} else if a.maximiseCling() && a.policy == AllocNormal {
			a.again = true // rather on the volumes that were used just now
		}
		if a.policy == AllocContiguous || a.have == a.need || !a.split || a.approx && a.free() == 0 {
			return nil
		}
	}
}

// part is how many extents the next pass wants, and sets which volumes it must not use.
func (a *allocation) part() uint64 {
	a.taboo = nil
	for _, b := range a.beside {
		if a.have < b.end {
			a.taboo = b.pvs
			return min(a.need, b.end) - a.have
		}
	}
	return a.need - a.have
}

// forbidden reports whether a pass must not use a volume.
func (a *allocation) forbidden(m *pvMap) bool {
	if a.policy == AllocAnywhere {
		return false
	}
	pv := a.vg.pvs[m.index]
	for _, key := range a.taboo {
		if pv.Key == key || a.tagInCommon(a.vg.PV(key).Tags, pv.Tags) {
			return true
		}
	}
	return false
}

// pass looks for one area for each stripe and takes them if it finds all.
func (a *allocation) pass(want uint64) error {
	clear(a.slots)
	a.fixed = 0
	for _, m := range a.maps {
		m.reset()
	}
	switch {
	case !a.fill:
	case a.cont, a.cling:
		a.fixed = len(a.prev.Stripes)
	case a.again:
		a.fixed = a.areas
	}
	found, preferred := 0, 0 // areas for any stripe; areas for a certain one
	for {
		last := found
		a.scan(want, &found, &preferred)
		if a.policy != AllocAnywhere || last == found || found >= a.areas {
			break
		}
	}
	if preferred < a.fixed && !a.again && found == 0 || found+preferred < a.areas {
		return nil
	}
	if found > 1 {
		slices.SortStableFunc(a.slots[a.fixed:a.fixed+found], func(x, y slot) int {
			switch {
			case x.used > y.used:
				return -1
			case x.used < y.used:
				return 1
			}
			return 0
		})
	}
	if preferred > 0 && preferred != a.fixed { // fill the gaps with the largest of the others
		for s := range a.areas {
			if a.slots[s].area == nil {
				a.slot(a.fixed)
				a.slots[s] = a.slots[a.fixed]
				a.slots[a.fixed] = slot{}
				a.fixed++
			}
		}
	}
	if found+a.fixed < a.areas {
		return nil
	}
	if a.parts && a.fixed == 0 {
		if found = a.oneForEachTag(found); found < a.areas {
			return nil
		}
	}
	return a.take(want)
}

// scan looks at every volume once.
func (a *allocation) scan(want uint64, found, preferred *int) {
	for _, m := range a.maps {
		if a.forbidden(m) {
			continue
		}
		one := false // an area of this volume was found
	areas:
		for ar := m.first(); ar != nil; ar = m.next(ar) {
			switch a.check(ar, want, one) {
			case tryNextArea:
				continue
			case tryNextVolume:
				break areas
			case usePreferred:
				*preferred++
				break areas
			case useArea:
				if !one || a.policy == AllocAnywhere {
					*found++
					one = true
				}
				i := *found + a.fixed - 1
				a.reserve(i, ar, a.required(ar, i, want))
			}
		}
		if a.policy == AllocAnywhere && *found+a.fixed >= a.areas || *preferred == a.fixed && a.fixed == a.areas {
			return
		}
	}
}

// verdict is what to do with an area.
type verdict uint8

const (
	tryNextArea verdict = iota
	tryNextVolume
	useArea      // for some stripe, if nothing better comes
	usePreferred // for the stripe that it was reserved for
)

func (a *allocation) check(ar *area, want uint64, one bool) verdict {
	if ar.unreserved == 0 {
		return tryNextArea
	}
	if a.cont || a.cling || a.again {
		maximise := a.maximiseCling() && a.match
		ok := (a.cont || maximise) && a.follows(ar)
		if !ok && a.cont {
			return tryNextArea
		}
		ok = ok || (a.cling || maximise) && a.clings(ar, a.samePV) || a.again && a.clingsToGot(ar, a.samePV)
		if !ok && a.tags && len(a.env.ClingTags) > 0 {
			if a.match {
				ok = a.clings(ar, a.sameTag)
			} else {
				ok = a.clingsToGot(ar, a.sameTag)
			}
		}
		if !ok {
			return tryNextVolume
		}
	} else if uint64(ar.unreserved)*uint64(a.areas) < want && (!a.split || one && a.policy != AllocAnywhere) {
		return tryNextVolume
	}
	if a.fill {
		return usePreferred
	}
	return useArea
}

// forStripe reports whether an area suits one of a segment's stripes, and reserves it for that one where slots belong
// to stripes.
func (a *allocation) forStripe(ar *area, seg *Segment, suits func(Area) bool) bool {
	for s, of := range seg.Stripes {
		if a.fill && a.slotAt(s).area != nil || !suits(of) || a.fill && s >= a.fixed {
			continue
		}
		if a.fill {
			a.reserve(s, ar, ar.count)
		}
		return true
	}
	return false
}

// follows reports whether an area begins where a stripe of the last segment ends.
func (a *allocation) follows(ar *area) bool {
	length := a.prev.AreaLen()
	return a.forStripe(ar, a.prev, func(of Area) bool {
		return of.PV == a.vg.pvs[ar.pv.index].Key && of.Start+length == ar.start
	})
}

// clings reports whether an area is on a volume that goes together with one of a segment: the last one, or with
// maximise_cling the first one, which LVM2 takes for all.
func (a *allocation) clings(ar *area, together func(i, j int) bool) bool {
	seg := a.prev
	if a.maximiseCling() {
		seg = a.first
	}
	return a.forStripe(ar, seg, func(of Area) bool {
		i := a.vg.pvIndex(of.PV)
		return i >= 0 && together(i, ar.pv.index)
	})
}

// clingsToGot is the same for what this request has got already.
func (a *allocation) clingsToGot(ar *area, together func(i, j int) bool) bool {
	for s := range a.areas {
		if a.fill && a.slotAt(s).area != nil {
			continue
		}
		for _, r := range a.got[s] {
			if together(ar.pv.index, r.pv) {
				if a.fill {
					a.reserve(s, ar, ar.count)
				}
				return true
			}
		}
	}
	return false
}

func (a *allocation) samePV(i, j int) bool { return i == j }

// sameTag reports whether two volumes share a tag of the list, or any tag if "@*" is in it.
func (a *allocation) sameTag(i, j int) bool {
	return a.tagInCommon(a.vg.pvs[i].Tags, a.vg.pvs[j].Tags)
}

func (a *allocation) tagInCommon(x, y []string) bool {
	for _, t := range a.env.ClingTags {
		if len(t) < 2 || t[0] != '@' {
			continue
		}
		for _, tag := range x {
			if (t == "@*" || tag == t[1:]) && slices.Contains(y, tag) {
				return true
			}
		}
	}
	return false
}

// required is how much of an area is wanted. That much is no longer free for this pass.
func (a *allocation) required(ar *area, slot int, want uint64) Extent {
	n := Extent(want / uint64(a.areas))
	if a.policy == AllocAnywhere && slot >= a.areas {
		n = 0
	}
	if n >= ar.unreserved {
		n = ar.unreserved
		ar.unreserved = 0
		return n
	}
	ar.unreserved -= n
	ar.pv.reinsert(ar)
	return n
}

func (a *allocation) slot(i int) *slot {
	for i >= len(a.slots) {
		a.slots = append(a.slots, slot{})
	}
	return &a.slots[i]
}

func (a *allocation) slotAt(i int) slot {
	if i < len(a.slots) {
		return a.slots[i]
	}
	return slot{}
}

func (a *allocation) reserve(i int, ar *area, used Extent) { *a.slot(i) = slot{ar, used} }

// oneForEachTag drops areas whose volume shares a tag with the volume of one before, and returns how many are left.
func (a *allocation) oneForEachTag(found int) int {
	var tags []string
	kept := a.slots[:0]
	for _, s := range a.slots {
		if s.area == nil {
			break
		}
		mine := a.vg.pvs[s.area.pv.index].Tags
		if a.tagInCommon(mine, tags) {
			found--
			continue
		}
		tags = append(tags, mine...)
		kept = append(kept, s)
	}
	clear(a.slots[len(kept):])
	return found
}

// take takes as much of the areas as the smallest of them allows.
func (a *allocation) take(want uint64) error {
	n := Extent(want / uint64(a.areas))
	for s := range a.areas {
		n = min(n, a.slotAt(s).used)
	}
	for s := range a.areas {
		ar := a.slotAt(s).area
		if ar == nil {
			return a.short()
		}
		if n == 0 {
			continue
		}
		a.got[s] = append(a.got[s], extentRun{ar.pv.index, ar.start, n})
		ar.pv.consume(ar, n)
	}
	a.have += uint64(n) * uint64(a.areas)
	return nil
}
