package metadata

import (
	"slices"

	"morgana/lvm/text"
)

// Operation leads from one volume group to another. It is absolute: it has what a volume is like afterwards, not what
// was done to it. So applying it twice is the same as once, and replaying needs neither the request nor the allocator.
type Operation struct {
	Name   string        // of the group afterwards
	Seqno  uint32        // of the group afterwards
	Head   *text.Section // the group's own keys if one changed besides seqno, else nil
	PutPVs []PutPV
	DelPVs []UUID
	PutLVs []PutLV
	DelLVs []UUID

	// Notes are what users should be told on standard output, as LVM2 tells them, Warnings what belongs to standard
	// error. A request that is refused may have some too. They are not part of the encoding.
	Notes, Warnings []string
}

// PutPV is a physical volume as it is afterwards. One that the group does not have comes behind the others.
type PutPV struct {
	Key     string
	Was     UUID // its uuid before, if it has got a new one
	Section *text.Section
}

// PutLV is a logical volume as it is afterwards.
type PutLV struct {
	ID   UUID
	Seq  uint64 // its place in the text among the visible or hidden ones
	Name string

	lv *LV
}

// LV returns the volume. It must not be put into a group by other means than Replay.
func (p PutLV) LV() *LV { return p.lv }

// Text returns the volume's stanza.
func (p PutLV) Text() []byte { return p.lv.Text() }

// Join makes one change of several that follow each other: the seqno rises by one only. The group must be the one that
// the first operation started from.
func (vg *VG) Join(ops ...Operation) (*VG, Operation, error) {
	var all Operation
	after := vg
	for _, op := range ops {
		var err error
		if after, err = after.Replay(op); err != nil {
			return nil, Operation{}, err
		}
		all = all.then(op)
	}
	all.Seqno = vg.seqno + 1
	if all.Head != nil {
		all.Head = all.Head.With("seqno", text.Int(all.Seqno))
	}
	after, err := vg.Replay(all)
	return after, all, err
}

// then is the operation that does what two do.
func (op Operation) then(next Operation) Operation {
	r := Operation{
		Name: next.Name, Seqno: next.Seqno, Head: op.Head, Notes: append(slices.Clip(op.Notes), next.Notes...),
		Warnings: append(slices.Clip(op.Warnings), next.Warnings...),
	}
	if next.Head != nil {
		r.Head = next.Head
	}
	for _, p := range op.PutLVs {
		if !slices.Contains(next.DelLVs, p.ID) && !slices.ContainsFunc(next.PutLVs, func(q PutLV) bool { return q.ID == p.ID }) {
			r.PutLVs = append(r.PutLVs, p)
		}
	}
	r.PutLVs = append(r.PutLVs, next.PutLVs...)
	for _, id := range append(slices.Clip(op.DelLVs), next.DelLVs...) {
		if !slices.Contains(r.DelLVs, id) && !slices.ContainsFunc(next.PutLVs, func(q PutLV) bool { return q.ID == id }) {
			r.DelLVs = append(r.DelLVs, id)
		}
	}
	r.joinPVs(op, next)
	return r
}

// joinPVs follows physical volumes that get new uuids on the way.
func (op *Operation) joinPVs(first, next Operation) {
	op.DelPVs = slices.Clone(first.DelPVs)
	left := slices.Clone(next.PutPVs)
	for _, p := range first.PutPVs {
		i := slices.IndexFunc(left, func(q PutPV) bool { return q.id() == p.id() || q.Was == p.id() })
		switch {
		case i >= 0: // in the place of the first one: new volumes keep their order
			q := left[i]
			left = slices.Delete(left, i, i+1)
			if q.id() == p.id() || !p.Was.IsZero() {
				q.Was = p.Was
			}
			op.PutPVs = append(op.PutPVs, q)
		case !slices.Contains(next.DelPVs, p.id()):
			op.PutPVs = append(op.PutPVs, p)
		case !p.Was.IsZero():
			op.DelPVs = append(op.DelPVs, p.Was)
		}
	}
	op.PutPVs = append(op.PutPVs, left...)
	for _, id := range next.DelPVs {
		if !slices.Contains(op.DelPVs, id) {
			op.DelPVs = append(op.DelPVs, id)
		}
	}
	op.DelPVs = slices.DeleteFunc(op.DelPVs, func(id UUID) bool {
		return slices.ContainsFunc(op.PutPVs, func(p PutPV) bool { return p.id() == id })
	})
}

func (p PutPV) id() UUID {
	s, _ := p.Section.Str("id")
	id, _ := ParseUUID(s)
	return id
}

// Replay applies an operation to the group it was made for, or to one that it was applied to already. Errors wrap
// ErrFormat or ErrInUse: the operation does not belong to this group.
func (vg *VG) Replay(op Operation) (*VG, error) {
	e := vg.edit()
	e.vg.name, e.vg.seqno = op.Name, op.Seqno
	if op.Head != nil {
		if err := e.replayHead(op.Head); err != nil {
			return nil, err
		}
	}
	if e.vg.extentSize != vg.extentSize {
		return e.replayAll(op)
	}
	for _, id := range op.DelLVs {
		if lv := vg.LVByID(id); lv != nil {
			e.remove(lv)
		}
	}
	for _, p := range op.PutLVs {
		lv := *p.lv
		lv.kept = 0
		lv.place.seq = p.Seq
		if was := vg.LVByID(p.ID); was != nil {
			// It keeps its place: a group that was read anew numbers its volumes differently.
			lv.place.seq = 0
			lv.cow = was.cow
			lv.place.hidden = !lv.Visible()
		}
		e.put(&lv)
	}
	e.replayed = op.PutPVs
	for _, id := range op.DelPVs {
		e.removePV(id)
	}
	after, _, err := e.finish(e.vg.head.With("seqno", text.Int(op.Seqno)))
	return after, err
}

// replayPV changes or adds a physical volume.
func (e *edit) replayPV(p PutPV) error {
	r := reader{}
	pv := readPV(&r, e.vg.name, p.Key, p.Section)
	if r.err != nil {
		return r.err
	}
	i, ok := e.vg.pvIDs.Get(pv.ID)
	if !ok && !p.Was.IsZero() {
		i, ok = e.vg.pvIDs.Get(p.Was)
	}
	switch {
	case ok:
		pv.Absent = e.vg.pvs[i].Absent
	case e.vg.pvIndex(pv.Key) >= 0:
		return malformed("physical volume %s of an operation is another one in volume group %s", pv.Key, e.vg.name)
	default:
		i = len(e.vg.pvs)
	}
	return e.putPV(i, pv)
}

// replayAll is for an operation after which extents have another size: every volume comes with it or goes.
func (e *edit) replayAll(op Operation) (*VG, error) {
	old := e.old
	pvs := make([]*PV, len(old.pvs))
	for _, p := range op.PutPVs {
		r := reader{}
		pv := readPV(&r, op.Name, p.Key, p.Section)
		if r.err != nil {
			return nil, r.err
		}
		i, ok := old.pvIDs.Get(pv.ID)
		if !ok && !p.Was.IsZero() {
			i, ok = old.pvIDs.Get(p.Was)
		}
		if !ok {
			pvs = append(pvs, pv)
			continue
		}
		pv.Absent = old.pvs[i].Absent
		pvs[i] = pv
	}
	kept := pvs[:0]
	for i, pv := range pvs {
		if pv != nil {
			kept = append(kept, pv)
		} else if !slices.Contains(op.DelPVs, old.pvs[i].ID) {
			return nil, malformed("the extent size changes but not physical volume %s", old.pvs[i].Key)
		}
	}
	var lvs []*LV
	for _, p := range op.PutLVs {
		lv := *p.lv
		lv.place.seq = p.Seq
		if was := old.LVByID(p.ID); was != nil {
			lv.place.seq, lv.cow = was.place.seq, was.cow
			lv.place.hidden = !lv.Visible()
		}
		e.vg.nextSeq = max(e.vg.nextSeq, lv.place.seq)
		lvs = append(lvs, &lv)
	}
	for lv := range old.LVs() {
		if !slices.Contains(op.DelLVs, lv.ID) && !slices.ContainsFunc(op.PutLVs, func(p PutLV) bool { return p.ID == lv.ID }) {
			return nil, malformed("the extent size changes but not logical volume %s", lv.Name)
		}
	}
	e.vg.seqno = op.Seqno - 1
	after, _, err := e.rebuild(kept, lvs)
	return after, err
}

// replayHead reads the group's own keys, as far as they have changed.
func (e *edit) replayHead(head *text.Section) error {
	fresh := empty(e.vg.name)
	r := reader{where: "volume group " + e.vg.name}
	fresh.readHead(&r, head.WithSection(pvsKey, nil))
	if r.err != nil {
		return r.err
	}
	if fresh.extentSize != e.vg.extentSize {
		// Extents have other sizes now: every volume comes with the operation.
		e.vg.extentSize = fresh.extentSize
	}
	v := &e.vg
	v.id, v.maxLV, v.maxPV, v.copies = fresh.id, fresh.maxLV, fresh.maxPV, fresh.copies
	v.status, v.flags, v.tags = fresh.status, fresh.flags, fresh.tags
	v.systemID, v.lockType, v.lockArgs, v.profile = fresh.systemID, fresh.lockType, fresh.lockArgs, fresh.profile
	v.alloc, v.head = fresh.alloc, fresh.head
	return nil
}
