package metadata

// Relocate lets the logical volumes have extents where a plan of MoveExtents has copied them to. It takes all or some
// of the plan, in runs that may be parts of the plan's.
func (vg *VG) Relocate(copies ...Copy) (*VG, Operation, error) {
	m := mover{edit: vg.edit()}
	if err := vg.changeable(0); err != nil {
		return nil, m.op, err
	}
	var order []UUID
	byLV := map[UUID][]Copy{}
	for _, c := range copies {
		from, to := vg.PVByID(c.FromPV), vg.PVByID(c.ToPV)
		if from == nil || to == nil {
			return nil, m.op, refuse(ErrNotFound, "Volume group %s does not have the physical volumes to move between.", vg.name)
		}
		for c.Count > 0 {
			r, ok := vg.PVRunAt(from, c.FromStart)
			if !ok {
				return nil, m.op, refuse(ErrInvalid, "Physical volume %s has no extent %d.", from.Device, c.FromStart)
			}
			part := c
			part.Count = min(c.Count, r.Start+r.Count-c.FromStart)
			if r.LV != nil {
				if byLV[r.LV.ID] == nil {
					order = append(order, r.LV.ID)
				}
				byLV[r.LV.ID] = append(byLV[r.LV.ID], part)
			}
			c.FromStart, c.ToStart, c.Count = c.FromStart+part.Count, c.ToStart+part.Count, c.Count-part.Count
		}
	}
	if len(order) == 0 {
		return nil, m.op, refuse(ErrNoChange, "No data to move for %s.", vg.name)
	}
	for _, id := range order {
		lv := vg.LVByID(id)
		c := lv.changed()
		c.Segments = nil
		for i := range lv.Segments {
			s := &lv.Segments[i]
			c.Segments = append(c.Segments, m.rebuild(s, vg.relocated(s, byLV[id]))...)
		}
		c.Segments = mergeSegments(c.Segments)
		c.setSegments()
		m.put(c)
	}
	return m.done()
}

// relocated is where the stripes of a segment go.
func (vg *VG) relocated(s *Segment, copies []Copy) (moves []moved) {
	for a, area := range s.Stripes {
		pv := vg.PV(area.PV)
		if area.PV == "" || pv == nil {
			continue
		}
		for _, c := range copies {
			lo, hi := max(area.Start, c.FromStart), min(area.Start+s.AreaLen(), c.FromStart+c.Count)
			if c.FromPV != pv.ID || lo >= hi {
				continue
			}
			i, _ := vg.pvIDs.Get(c.ToPV)
			moves = append(moves, moved{stripe: a, pv: i, at: lo - area.Start, count: hi - lo, start: c.ToStart + lo - c.FromStart})
		}
	}
	return moves
}
