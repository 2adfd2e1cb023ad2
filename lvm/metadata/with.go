package metadata

import "slices"

// WithTags returns the group with other tags. It is no change with a seqno of its own, but part of the change that the
// caller commits.
func (vg *VG) WithTags(tags []string) *VG {
	e := vg.edit()
	e.vg.tags = slices.Clone(tags)
	e.set("tags", listOrNone(tags))
	after, _, err := e.finish(e.vg.head)
	if err != nil {
		panic(err) // nothing that a logical volume needs has changed
	}
	return after
}

// WithPVTags returns the group with other tags of a physical volume. Like WithTags it is part of another change.
func (vg *VG) WithPVTags(id UUID, tags []string) *VG {
	return vg.withPV(id, func(pv *PV) {
		pv.Tags = slices.Clone(tags)
		pv.set("tags", listOrNone(tags))
	})
}

// WithMissing returns the group with a physical volume marked as missing, or not. Like WithTags it is part of another
// change.
func (vg *VG) WithMissing(id UUID, missing bool) *VG {
	return vg.withPV(id, func(pv *PV) { pv.setFlag("MISSING", missing) })
}

func (vg *VG) withPV(id UUID, change func(*PV)) *VG {
	i, ok := vg.pvIDs.Get(id)
	if !ok {
		return vg
	}
	e := vg.edit()
	pv := vg.pvs[i].changed()
	change(pv)
	if err := e.putPV(i, pv); err != nil {
		panic(err) // its size has not changed
	}
	after, _, err := e.finish(e.vg.head)
	if err != nil {
		panic(err) // nothing that a logical volume needs has changed
	}
	return after
}
