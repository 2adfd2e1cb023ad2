package metadata

// quick finds what is found in nearly every case without looking at all the free areas: for each stripe one area that
// is large enough. It gives what the passes of the contiguous policy would give, which comes first whatever the policy
// asked for; or it gives nothing, and then they have to be made.
func (a *allocation) quick(where []pvRange) bool {
	if len(a.env.ClingTags)+len(a.beside) > 0 || a.env.slow {
		return false
	}
	want := Extent((a.need - a.have) / uint64(a.areas))
	if a.prev != nil && len(a.prev.Stripes) == a.areas {
		return a.quickFollow(where, want)
	}
	runs := make([]extentRun, 0, a.areas)
	for _, w := range where {
		if pv := a.vg.pvs[w.pv]; !pv.Allocatable() || pv.Missing() {
			continue
		}
		if !w.whole {
			return false
		}
		if start, ok := a.vg.spaces[w.pv].fit(want); ok {
			if runs = append(runs, extentRun{w.pv, start, want}); len(runs) == a.areas {
				break
			}
		}
	}
	return a.quickDone(runs)
}

func (a *allocation) quickDone(runs []extentRun) bool {
	if len(runs) < a.areas {
		return false
	}
	for s, r := range runs {
		a.got[s] = append(a.got[s], r)
	}
	a.have = a.need
	return true
}

// quickFollow is for a volume that grows where it ends.
func (a *allocation) quickFollow(where []pvRange, want Extent) bool {
	runs := make([]extentRun, 0, a.areas)
	for s, of := range a.prev.Stripes {
		i := a.vg.pvIndex(of.PV)
		if i < 0 || !a.vg.pvs[i].Allocatable() || a.vg.pvs[i].Missing() {
			return false
		}
		ok := false
		for _, w := range where {
			ok = ok || w.pv == i && w.whole
		}
		for _, r := range runs {
			ok = ok && r.pv != i // one area of each volume in a pass
		}
		if !ok {
			return false
		}
		start := of.Start + a.prev.AreaLen()
		if n, free := a.vg.spaces[i].free.Get(start); !free || n < want {
			return false
		}
		runs = append(runs, extentRun{i, a.prev.Stripes[s].Start + a.prev.AreaLen(), want})
	}
	return a.quickDone(runs)
}

// fit is the area that a pass would end up with for want extents, if one is large enough. A pass goes from the largest
// area to smaller ones and takes each instead of the one before. But an area of which something would be left moves
// down the list to where that rest belongs, and the pass goes on behind it: areas in between are passed over.
func (s *space) fit(want Extent) (Extent, bool) {
	at, _, ok := s.bySize.Min()
	if !ok || at.count < want {
		return 0, false
	}
	for {
		next := freeRun{at.count, at.start + 1}
		if rest := at.count - want; rest > 0 {
			next = freeRun{rest - 1, 0}
		}
		r, _, ok := s.bySize.Ceil(next)
		if !ok || r.count < want || r.count == 0 {
			return at.start, true
		}
		at = r
	}
}
