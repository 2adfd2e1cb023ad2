package metadata

import (
	"slices"

	"morgana/lvm/text"
)

// Change changes properties of the group.
func (vg *VG) Change(env Env, r ChangeVG) (*VG, Operation, error) {
	e := vg.edit()
	l := missingOK
	if r.Writable != nil {
		l |= readOnlyOK
	}
	if err := vg.changeable(l); err != nil {
		return nil, e.op, err
	}
	steps := []func() error{
		func() error { return e.changeLimits(r) },
		func() error { return e.changeFlags(r) },
		func() error { return e.changeTags(r) },
		func() error { return e.changeID(env, r) },
		func() error { return e.changePolicy(r) },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return nil, e.op, err
		}
	}
	if r.ExtentSize != nil && *r.ExtentSize != vg.extentSize {
		return e.changeExtentSize(*r.ExtentSize)
	}
	return e.done()
}

func (e *edit) changeLimits(r ChangeVG) error {
	vg := &e.vg
	if r.MaxLV != nil {
		if !vg.Resizeable() {
			return refuse(ErrReadOnly, "Volume group \"%s\" must be resizeable to change MaxLogicalVolume", vg.name)
		}
		if n := *r.MaxLV; n > 0 && int(n) < vg.visible {
			return refuse(ErrLimit, "MaxLogicalVolume is less than the current number %d of LVs for %s", vg.visible, vg.name)
		}
		vg.maxLV = *r.MaxLV
		e.set("max_lv", text.Int(vg.maxLV))
	}
	if r.MaxPV != nil {
		if !vg.Resizeable() {
			return refuse(ErrReadOnly, "Volume group \"%s\" must be resizeable to change MaxPhysicalVolumes", vg.name)
		}
		if n := *r.MaxPV; n > 0 && int(n) < len(vg.pvs) {
			return refuse(ErrLimit, "MaxPhysicalVolumes is less than the current number %d of PVs for \"%s\"", len(vg.pvs), vg.name)
		}
		vg.maxPV = *r.MaxPV
		e.set("max_pv", text.Int(vg.maxPV))
	}
	return nil
}

func (e *edit) changeFlags(r ChangeVG) error {
	vg := &e.vg
	if r.Resizeable != nil {
		switch {
		case *r.Resizeable && vg.Resizeable():
			return refuse(ErrNoChange, "Volume group \"%s\" is already resizeable", vg.name)
		case !*r.Resizeable && !vg.Resizeable():
			return refuse(ErrNoChange, "Volume group \"%s\" is already not resizeable", vg.name)
		}
		e.setStatus("RESIZEABLE", *r.Resizeable)
	}
	if r.AutoActivate != nil {
		if *r.AutoActivate != vg.Has("NOAUTOACTIVATE") {
			return refuse(ErrNoChange, "Volume group autoactivation is already %s.", map[bool]string{true: "yes", false: "no"}[*r.AutoActivate])
		}
		e.setStatus("NOAUTOACTIVATE", !*r.AutoActivate)
	}
	if r.Writable != nil {
		e.setWritable(*r.Writable)
	}
	return nil
}

func (e *edit) changeTags(r ChangeVG) error {
	if len(r.AddTags)+len(r.DelTags) == 0 {
		return nil
	}
	// LVM2 takes tags away before it adds any.
	tags, err := withTags(e.vg.tags, nil, r.DelTags)
	if err == nil {
		tags, err = withTags(tags, r.AddTags, nil)
	}
	if err != nil {
		return err
	}
	e.vg.tags = tags
	e.set("tags", listOrNone(tags))
	return nil
}

func (e *edit) changeID(env Env, r ChangeVG) error {
	if r.NewID {
		id, err := NewUUID(env.Rand)
		if err != nil {
			return err
		}
		e.vg.id = id
		e.set("id", text.String(id.String()))
	}
	if r.SystemID != nil {
		if *r.SystemID == e.vg.systemID && e.vg.systemID != "" {
			return refuse(ErrNoChange, "Volume Group system ID is already \"%s\".", e.vg.systemID)
		}
		e.changeOwner(*r.SystemID)
	}
	if r.Profile != nil {
		e.vg.profile = *r.Profile
		v := text.Value{}
		if *r.Profile != "" {
			v = text.String(*r.Profile)
		}
		e.set("profile", v)
	}
	return nil
}

func (e *edit) changePolicy(r ChangeVG) error {
	vg := &e.vg
	if r.Allocation != nil {
		a := r.Allocation.stored()
		switch a {
		case AllocInherit:
			return refuse(ErrInvalid, "Volume Group allocation policy cannot inherit from anything")
		case vg.alloc:
			return refuse(ErrNoChange, "Volume group allocation policy is already %s", vg.alloc)
		}
		vg.alloc = a
		v := text.Value{}
		if vg.alloc != AllocNormal {
			v = text.String(vg.alloc.String())
		}
		e.set("allocation_policy", v)
	}
	if r.MetadataCopies != nil {
		vg.copies = *r.MetadataCopies
		e.set("metadata_copies", text.Int(vg.copies))
	}
	return nil
}

// changeExtentSize gives every extent another size. All that is counted in extents must come out even.
func (e *edit) changeExtentSize(size uint64) (*VG, Operation, error) {
	old := e.old
	if !old.Resizeable() {
		return nil, e.op, refuse(ErrReadOnly, "Volume group \"%s\" must be resizeable to change PE size", old.name)
	}
	if err := CheckExtentSize(size); err != nil {
		return nil, e.op, err
	}
	if size > old.extentSize && uint64(old.total)*old.extentSize%size != 0 {
		return nil, e.op, refuse(ErrInvalid, "New extent size is not a perfect fit")
	}
	scale := func(n Extent, what, which string) (Extent, error) {
		sectors := uint64(n) * old.extentSize
		if sectors%size != 0 {
			return 0, refuse(ErrInvalid, "New size %d for %s%s not an exact number of new extents.", sectors, what, which)
		}
		if sectors/size > maxExtents {
			return 0, refuse(ErrLimit, "New extent count %d for %s%s exceeds 32 bits.", sectors/size, what, which)
		}
		return Extent(sectors / size), nil
	}
	e.vg.extentSize = size
	e.set("extent_size", text.Int(size))
	if _, err := scale(old.total, old.name, ""); err != nil {
		return nil, e.op, err
	}
	if _, err := scale(old.free, old.name, " free space"); err != nil {
		return nil, e.op, err
	}
	var err error
	var pvs []*PV
	for i, p := range old.pvs {
		pv := p.changed()
		if pv.PECount, err = scale(p.PECount, p.Device, ""); err != nil {
			return nil, e.op, err
		}
		if _, err := scale(old.PVUsed(p), p.Device, " allocated space"); err != nil {
			return nil, e.op, err
		}
		for start, n := range old.spaces[i].free.All() {
			if _, err := scale(start, p.Device, " PV segment start"); err != nil {
				return nil, e.op, err
			}
			if _, err := scale(n, p.Device, " PV segment length"); err != nil {
				return nil, e.op, err
			}
		}
		pv.set("pe_count", text.Int(pv.PECount))
		pvs = append(pvs, pv)
	}
	var lvs []*LV
	for l := range old.LVs() {
		if !l.plain() {
			return nil, e.op, refuse(ErrUnsupported, "Can't change the extent size of a group with segments of type %s; use LVM2.",
				l.Segments[0].Type)
		}
		if _, err := scale(l.Extents, l.Name, ""); err != nil {
			return nil, e.op, err
		}
		lv := l.changed()
		lv.Segments = slices.Clone(l.Segments)
		for i := range lv.Segments {
			if err := lv.Segments[i].scale(func(n Extent, what string) (Extent, error) { return scale(n, l.Name, what) }); err != nil {
				return nil, e.op, err
			}
		}
		lv.setSegments()
		lvs = append(lvs, lv)
	}
	return e.rebuild(pvs, lvs)
}

func (s *Segment) scale(scale func(n Extent, what string) (Extent, error)) (err error) {
	count := s.Count
	if s.Start, err = scale(s.Start, " segment start"); err != nil {
		return err
	}
	if s.Count, err = scale(count, " segment length"); err != nil {
		return err
	}
	s.Stripes = slices.Clone(s.Stripes)
	for i := range s.Stripes {
		if s.Stripes[i].Start, err = scale(s.Stripes[i].Start, " pvseg start"); err != nil {
			return err
		}
	}
	if n := Extent(len(s.Stripes)); n > 1 && s.Count%n != 0 {
		if _, err = scale(count/n, " area length"); err != nil {
			return err
		}
	}
	s.renew()
	return nil
}

// renew makes the section of a plain segment fit it. What else the section has stays.
func (s *Segment) renew() {
	if s.section == nil {
		return
	}
	for _, e := range plainSegment(s).Entries {
		if e.Key != "type" { // "linear" stays what it is
			s.section = s.section.With(e.Key, e.Value)
		}
	}
}

// rebuild gives the group whose every volume has changed.
func (e *edit) rebuild(pvs []*PV, lvs []*LV) (*VG, Operation, error) {
	vg := empty(e.vg.name)
	old := e.vg
	old.pvIDs, old.byName, old.byID, old.order, old.users, old.autos = vg.pvIDs, vg.byName, vg.byID, vg.order, vg.users, vg.autos
	old.pvs, old.spaces, old.total, old.free, old.visible, old.unknown, old.lvBytes = pvs, nil, 0, 0, 0, 0, &lvBytes{}
	*vg = old
	vg.seqno++
	vg.head = vg.head.With("seqno", text.Int(vg.seqno))
	for _, pv := range pvs {
		pv.bytes = pv.measure()
	}
	if err := vg.indexPVs(); err != nil {
		return nil, e.op, err
	}
	if err := vg.indexLVs(lvs); err != nil {
		return nil, e.op, err
	}
	if err := vg.indexSpaces(lvs); err != nil {
		return nil, e.op, err
	}
	e.op.Name, e.op.Seqno, e.op.Head = vg.name, vg.seqno, vg.head
	for _, pv := range pvs {
		e.op.PutPVs = append(e.op.PutPVs, PutPV{Key: pv.Key, Section: pv.section})
	}
	for _, lv := range lvs {
		e.op.PutLVs = append(e.op.PutLVs, PutLV{ID: lv.ID, Seq: lv.place.seq, Name: lv.Name, lv: lv})
	}
	return vg, e.op, nil
}

// ChangePV changes properties of a physical volume.
func (vg *VG) ChangePV(env Env, r ChangePV) (*VG, Operation, error) {
	e := vg.edit()
	if err := vg.changeable(0); err != nil {
		return nil, e.op, err
	}
	i := vg.deviceIndex(r.Device)
	if i < 0 {
		return nil, e.op, refuse(ErrNotFound, "Physical Volume \"%s\" not found in Volume Group \"%s\".", r.Device, vg.name)
	}
	pv := vg.pvs[i].changed()
	done := false
	if r.Allocatable != nil {
		switch {
		case *r.Allocatable && pv.Allocatable():
			e.warn("Physical volume \"%s\" is already allocatable.", r.Device)
		case !*r.Allocatable && !pv.Allocatable():
			e.warn("Physical volume \"%s\" is already unallocatable.", r.Device)
		default:
			pv.setFlag("ALLOCATABLE", *r.Allocatable)
			done = true
		}
	}
	if len(r.AddTags)+len(r.DelTags) > 0 {
		tags, err := withTags(pv.Tags, r.AddTags, r.DelTags)
		if err != nil {
			return nil, e.op, err
		}
		pv.Tags = tags
		pv.set("tags", listOrNone(tags))
		done = true
	}
	if r.NewID {
		id, err := NewUUID(env.Rand)
		if err != nil {
			return nil, e.op, err
		}
		pv.ID = id
		pv.set("id", text.String(id.String()))
		done = true
	}
	if r.PEStart != nil {
		pv.PEStart = *r.PEStart
		pv.set("pe_start", text.Int(pv.PEStart))
		done = true
	}
	if !done {
		return nil, e.op, refuse(ErrNoChange, "Physical volume %s not changed", r.Device)
	}
	if err := e.putPV(i, pv); err != nil {
		return nil, e.op, err
	}
	return e.done()
}

// ResizePV makes a physical volume as large as its disk is now, or as the user wants it to be.
func (vg *VG) ResizePV(r ResizePV) (*VG, Operation, error) {
	e := vg.edit()
	if err := vg.changeable(0); err != nil {
		return nil, e.op, err
	}
	i := vg.deviceIndex(r.Device)
	if i < 0 {
		return nil, e.op, refuse(ErrNotFound, "Physical Volume \"%s\" not found in Volume Group \"%s\".", r.Device, vg.name)
	}
	pv := vg.pvs[i].changed()
	if r.DevSize <= pv.PEStart {
		return nil, e.op, refuse(ErrInvalid, "Size must exceed physical extent start of %d sectors on PV %s.", pv.PEStart, r.Device)
	}
	count := peCount(r.DevSize, pv.PEStart, r.PEEnd, vg.extentSize)
	switch {
	case count == 0:
		return nil, e.op, refuse(ErrInvalid, "Size must leave space for at least one physical extent of %d sectors on PV %s.",
			vg.extentSize, r.Device)
	case count > maxExtents:
		return nil, e.op, refuse(ErrLimit, "PV %s too large for extent size %s.", r.Device, FormatSize(vg.extentSize))
	}
	if used := vg.PVUsed(pv); count < uint64(used) {
		return nil, e.op, refuse(ErrInUse, "%s: cannot resize to %d extents as %d are allocated.", r.Device, count, used)
	}
	if last, u, ok := vg.spaces[i].used.Max(); ok && uint64(last)+uint64(u.count) > count {
		return nil, e.op, refuse(ErrInUse, "%s: cannot resize to %d extents as later ones are allocated.", r.Device, count)
	}
	pv.PECount, pv.DevSize = Extent(count), r.DevSize
	pv.section = withKey(pv.section, pvKeys, "dev_size", text.Int(pv.DevSize))
	pv.set("pe_count", text.Int(pv.PECount))
	if err := e.putPV(i, pv); err != nil {
		return nil, e.op, err
	}
	return e.done()
}
