package metadata

import (
	"cmp"
	"iter"
	"slices"

	"morgana/lvm/metadata/internal/ordered"
)

// space is which extents of a physical volume are free and who has the others. It never changes.
type space struct {
	free   ordered.Map[Extent, Extent]    // length of each free run by its first extent; runs never touch
	bySize ordered.Map[freeRun, struct{}] // the same, largest first
	used   ordered.Map[Extent, usedRun]   // by first extent
	unused Extent                         // free extents in all
}

// freeRun is a run of free extents.
type freeRun struct{ count, start Extent }

// compareRun puts the largest run first, and of equals the one that begins first.
func compareRun(a, b freeRun) int {
	if c := cmp.Compare(b.count, a.count); c != 0 {
		return c
	}
	return cmp.Compare(a.start, b.start)
}

// usedRun is a run of extents of a physical volume that one stripe of a segment has.
type usedRun struct {
	count Extent
	le    Extent // first extent of the segment
	seq   uint64 // of the logical volume's place, which it keeps; 0 for nobody
	area  int32  // which stripe
}

// PVRun is a run of extents of a physical volume.
type PVRun struct {
	Start, Count Extent
	LV           *LV      // nil if the run is free
	Segment      *Segment // of LV
	Stripe       int      // of Segment
}

func newSpace(count Extent, used []Extent, runs []usedRun) *space {
	s := &space{used: ordered.FromSorted(cmp.Compare[Extent], used, runs)}
	var starts, counts []Extent
	var sizes []freeRun
	next := Extent(0)
	gap := func(to Extent) {
		if to > next {
			starts, counts = append(starts, next), append(counts, to-next)
			sizes = append(sizes, freeRun{to - next, next})
			s.unused += to - next
		}
	}
	for i, start := range used {
		gap(start)
		next = start + runs[i].count
	}
	gap(count)
	slices.SortFunc(sizes, compareRun)
	s.free = ordered.FromSorted(cmp.Compare[Extent], starts, counts)
	s.bySize = ordered.FromSorted(compareRun, sizes, make([]struct{}, len(sizes)))
	return s
}

// taken returns the space after a stripe got a run, or false if not all of the run was free.
func (s space) taken(start Extent, r usedRun) (*space, bool) {
	at, count, ok := s.free.Floor(start)
	end := uint64(start) + uint64(r.count)
	if !ok || end > uint64(at)+uint64(count) {
		return nil, false
	}
	s.removeFree(at, count)
	s.addFree(at, start-at)
	s.addFree(start+r.count, at+count-start-r.count)
	s.used = s.used.Set(start, r)
	s.unused -= r.count
	return &s, true
}

// released returns the space after a run became free.
func (s space) released(start, count Extent) *space {
	s.used = s.used.Delete(start)
	s.unused += count
	if at, n, ok := s.free.Floor(start); ok && at+n == start {
		s.removeFree(at, n)
		start, count = at, count+n
	}
	if n, ok := s.free.Get(start + count); ok {
		s.removeFree(start+count, n)
		count += n
	}
	s.addFree(start, count)
	return &s
}

// grown returns the space with another number of extents; those that go must be free.
func (s space) grown(from, to Extent) (*space, bool) {
	if to > from {
		s.used = s.used.Set(from, usedRun{count: to - from})
		return s.released(from, to-from), true
	}
	if to == from {
		return &s, true
	}
	at, count, ok := s.free.Floor(to)
	if !ok || at+count != from {
		return nil, false
	}
	s.removeFree(at, count)
	s.addFree(at, to-at)
	s.unused -= from - to
	return &s, true
}

func (s *space) addFree(start, count Extent) {
	if count > 0 {
		s.free = s.free.Set(start, count)
		s.bySize = s.bySize.Set(freeRun{count, start}, struct{}{})
	}
}

func (s *space) removeFree(start, count Extent) {
	s.free = s.free.Delete(start)
	s.bySize = s.bySize.Delete(freeRun{count, start})
}

// runs yields the runs of a physical volume in order, free ones with a zero usedRun but for the count.
func (s *space) runs() iter.Seq2[Extent, usedRun] {
	return func(yield func(Extent, usedRun) bool) {
		next, stop := iter.Pull2(s.free.All())
		defer stop()
		fs, fn, ok := next()
		for us, u := range s.used.All() {
			for ok && fs < us {
				if !yield(fs, usedRun{count: fn}) {
					return
				}
				fs, fn, ok = next()
			}
			if !yield(us, u) {
				return
			}
		}
		for ; ok; fs, fn, ok = next() {
			if !yield(fs, usedRun{count: fn}) {
				return
			}
		}
	}
}
