package metadata

import (
	"cmp"
	"slices"
)

// pvMap is the areas of free extents of one physical volume that a request may use, in the order in which they are
// considered: the largest first. The list is made as far as it is looked at.
type pvMap struct {
	index  int
	count  Extent // of all areas
	list   area   // head of the ring
	source func() (freeRun, bool)
}

// area is a run of free extents. unreserved is what a pass does not want of it yet.
type area struct {
	pv                *pvMap
	start             Extent
	count, unreserved Extent
	before, behind    *area
}

// pvRange is the extents of a physical volume that a request may use.
type pvRange struct {
	pv    int
	whole bool
	runs  []extentRun // not overlapping, in the order they were given
}

func (a *allocation) buildMaps(where []pvRange) {
	for _, w := range where {
		pv := a.vg.pvs[w.pv]
		if !pv.Allocatable() || pv.Missing() {
			continue
		}
		m := &pvMap{index: w.pv}
		m.list.before, m.list.behind = &m.list, &m.list
		s := a.vg.spaces[w.pv]
		if w.whole {
			m.count = s.unused
			m.source = s.largestFirst()
		} else {
			var runs []freeRun
			for _, r := range w.runs {
				for free := range s.freeWithin(r.start, r.count) {
					m.count += free.count
					runs = append(runs, free)
				}
			}
			// Of equals the one that was named first comes first.
			slices.SortStableFunc(runs, func(a, b freeRun) int { return cmp.Compare(b.count, a.count) })
			m.source = func() (freeRun, bool) {
				if len(runs) == 0 {
					return freeRun{}, false
				}
				r := runs[0]
				runs = runs[1:]
				return r, true
			}
		}
		a.maps = append(a.maps, m)
	}
}

// largestFirst returns a function that gives one free run after the other.
func (s *space) largestFirst() func() (freeRun, bool) {
	next := freeRun{count: maxExtents}
	return func() (freeRun, bool) {
		r, _, ok := s.bySize.Ceil(next)
		if ok {
			next = freeRun{r.count, r.start + 1}
		}
		return r, ok
	}
}

// freeWithin yields what is free of a range, in order.
func (s *space) freeWithin(start, count Extent) func(func(freeRun) bool) {
	return func(yield func(freeRun) bool) {
		end := start + count
		from := start
		if at, n, ok := s.free.Floor(start); ok && at+n > start {
			from = at
		}
		for at, n := range s.free.From(from) {
			if at >= end {
				return
			}
			lo, hi := max(at, start), min(at+n, end)
			if hi > lo && !yield(freeRun{hi - lo, lo}) {
				return
			}
		}
	}
}

func (m *pvMap) first() *area { return m.next(&m.list) }

// next returns the area behind one, nil at the end.
func (m *pvMap) next(ar *area) *area {
	if ar.behind == &m.list && m.source != nil {
		if r, ok := m.source(); ok {
			link(&area{pv: m, start: r.start, count: r.count, unreserved: r.count}, &m.list)
		} else {
			m.source = nil
		}
	}
	if ar.behind == &m.list {
		return nil
	}
	return ar.behind
}

// link puts an area before another one.
func link(ar, behind *area) {
	ar.before, ar.behind = behind.before, behind
	ar.before.behind, behind.before = ar, ar
}

func unlink(ar *area) {
	ar.before.behind, ar.behind.before = ar.behind, ar.before
}

// insert puts an area before the first one that is smaller than size.
func (m *pvMap) insert(ar *area, size Extent) {
	at := m.first()
	for at != nil && size <= at.count {
		at = m.next(at)
	}
	if at == nil {
		at = &m.list
	}
	link(ar, at)
}

// reinsert moves an area to where its unreserved part belongs.
func (m *pvMap) reinsert(ar *area) {
	unlink(ar)
	m.insert(ar, ar.unreserved)
}

// reset forgets what a pass has reserved.
func (m *pvMap) reset() {
	for ar := m.list.behind; ar != &m.list; ar = ar.behind {
		if ar.unreserved != ar.count {
			ar.unreserved = ar.count
			m.reinsert(ar)
		}
	}
}

// consume takes extents from the front of an area.
func (m *pvMap) consume(ar *area, n Extent) {
	unlink(ar)
	m.count -= n
	if n < ar.count {
		ar.start += n
		ar.count -= n
		ar.unreserved = ar.count
		m.insert(ar, ar.count)
	}
}
