package metadata

import (
	"slices"

	"morgana/lvm/text"
)

// Split moves physical volumes, and the logical volumes on them, to another group: a new one, or the group r.Into. It
// returns both groups, what stays first. A logical volume must be on one side as a whole, together with those that it
// needs and those that need it.
func (vg *VG) Split(env Env, r Split) (stay *VG, op Operation, other *VG, otherOp Operation, err error) {
	fail := func(err error) (*VG, Operation, *VG, Operation, error) {
		return nil, Operation{}, nil, Operation{}, err
	}
	if err := vg.changeable(0); err != nil {
		return fail(err)
	}
	if err := vg.mustResize(); err != nil {
		return fail(err)
	}
	goes, order, err := vg.splitPVs(r)
	if err != nil {
		return fail(err)
	}
	lvs, err := vg.splitLVs(goes)
	if err != nil {
		return fail(err)
	}
	from := vg.edit()
	for _, lv := range lvs {
		from.remove(lv)
	}
	for _, i := range order {
		from.removePV(vg.pvs[i].ID)
	}
	into, err := vg.splitTarget(env, r)
	if err != nil {
		return fail(err)
	}
	var pvs []*PV
	for _, i := range order {
		pvs = append(pvs, vg.pvs[i])
	}
	if err := into.adopt(env, vg, pvs, lvs); err != nil {
		return fail(err)
	}
	if stay, op, err = from.done(); err != nil {
		return fail(err)
	}
	if other, otherOp, err = into.done(); err != nil {
		return fail(err)
	}
	return stay, op, other, otherOp, nil
}

// splitPVs is which physical volumes go, and in which order.
func (vg *VG) splitPVs(r Split) (goes map[string]bool, order []int, err error) {
	goes = map[string]bool{}
	add := func(i int) {
		if key := vg.pvs[i].Key; !goes[key] {
			goes[key] = true
			order = append(order, i)
		}
	}
	for _, d := range r.PVs {
		i := vg.deviceIndex(d)
		if i < 0 {
			return nil, nil, refuse(ErrNotFound, "Physical volume %s not in volume group %s", d, vg.name)
		}
		add(i)
	}
	if r.LV != "" {
		lv := vg.LV(r.LV)
		if lv == nil {
			return nil, nil, refuse(ErrNotFound, "Logical volume %s not in volume group %s", r.LV, vg.name)
		}
		for _, key := range vg.pvsOf(lv, map[string]bool{}) {
			add(vg.pvIndex(key))
		}
	}
	switch {
	case len(order) == 0:
		return nil, nil, refuse(ErrInvalid, "No physical volumes to split off; name some, or a logical volume with --name.")
	case len(order) == len(vg.pvs):
		return nil, nil, refuse(ErrInvalid, "Cannot split: every physical volume of %s would go; use vgrename.", vg.name)
	}
	return goes, order, nil
}

// pvsOf is the keys of the physical volumes that a logical volume is on, by way of others too.
func (vg *VG) pvsOf(lv *LV, seen map[string]bool) (keys []string) {
	if seen[lv.Name] {
		return nil
	}
	seen[lv.Name] = true
	for i := range lv.Segments {
		s := &lv.Segments[i]
		for _, a := range s.Stripes {
			if a.PV != "" && !slices.Contains(keys, a.PV) {
				keys = append(keys, a.PV)
			}
		}
		for _, n := range s.Needs {
			if needed := vg.LV(n); needed != nil {
				for _, k := range vg.pvsOf(needed, seen) {
					if !slices.Contains(keys, k) {
						keys = append(keys, k)
					}
				}
			}
		}
	}
	return keys
}

// PVsOf returns the physical volumes that a logical volume is on, by way of others too.
func (vg *VG) PVsOf(lv *LV) (pvs []*PV) {
	for _, k := range vg.pvsOf(lv, map[string]bool{}) {
		pvs = append(pvs, vg.PV(k))
	}
	return pvs
}

// splitLVs is the logical volumes that go with physical volumes, in the order of the text.
func (vg *VG) splitLVs(goes map[string]bool) ([]*LV, error) {
	// Volumes that need each other are one family; its first member stands for it.
	family := map[string]string{}
	var head func(string) string
	head = func(n string) string {
		if p, ok := family[n]; ok && p != n {
			family[n] = head(p)
			return family[n]
		}
		return n
	}
	for u := range vg.users.All() {
		family[head(u.user)] = head(u.needed)
	}
	type side struct{ leaves, stays bool }
	sides := map[string]side{}
	for lv := range vg.LVs() {
		h := head(lv.Name)
		s := sides[h]
		for i := range lv.Segments {
			for _, a := range lv.Segments[i].Stripes {
				if a.PV != "" {
					s.leaves, s.stays = s.leaves || goes[a.PV], s.stays || !goes[a.PV]
				}
			}
		}
		if s.leaves && s.stays {
			if h == lv.Name && len(lv.Segments[0].Needs) == 0 {
				return nil, refuse(ErrInUse, "Can't split Logical Volume %s between two Volume Groups", lv.Name)
			}
			return nil, refuse(ErrInUse, "Can't split LV %s between two Volume Groups", lv.Name)
		}
		sides[h] = s
	}
	var lvs []*LV
	for lv := range vg.LVs() {
		if sides[head(lv.Name)].leaves {
			lvs = append(lvs, lv)
		}
	}
	return lvs, nil
}

// splitTarget is the group that is split off, without volumes yet.
func (vg *VG) splitTarget(env Env, r Split) (*edit, error) {
	if r.Into != nil {
		if r.MaxLV != nil || r.MaxPV != nil || r.Allocation != nil || r.MetadataCopies != nil {
			return nil, refuse(ErrInvalid, "Volume group \"%s\" exists, but new VG option specified", r.Into.name)
		}
		if err := r.Into.changeable(0); err != nil {
			return nil, err
		}
		return r.Into.edit(), nil
	}
	switch {
	case r.Name == vg.name:
		return nil, refuse(ErrInvalid, "Duplicate volume group name \"%s\"", r.Name)
	case !ValidName(r.Name):
		return nil, refuse(ErrInvalid, "Invalid vg name %s.", r.Name)
	}
	id, err := NewUUID(env.Rand)
	if err != nil {
		return nil, err
	}
	n := empty(r.Name)
	n.id, n.extentSize, n.status, n.systemID = id, vg.extentSize, commonLists[4], vg.systemID
	n.maxLV, n.maxPV, n.alloc, n.copies = vg.maxLV, vg.maxPV, vg.alloc, vg.copies
	n.lockType, n.lockArgs = vg.lockType, vg.lockArgs
	if r.MaxLV != nil {
		n.maxLV = *r.MaxLV
	}
	if r.MaxPV != nil {
		n.maxPV = *r.MaxPV
	}
	if r.Allocation != nil && *r.Allocation != AllocInherit {
		n.alloc = r.Allocation.stored()
	}
	if r.MetadataCopies != nil {
		n.copies = *r.MetadataCopies
	}
	n.head = n.newHead()
	e := n.edit()
	e.op.Head = n.head
	e.setWritable(true)
	return e, nil
}

// Merge takes over everything of another group, which is no more afterwards.
func (vg *VG) Merge(env Env, other *VG) (*VG, Operation, error) {
	e := vg.edit()
	if vg.name == other.name {
		return nil, e.op, refuse(ErrInvalid, "Duplicate volume group name \"%s\"", other.name)
	}
	for _, g := range []*VG{vg, other} {
		if err := g.changeable(0); err != nil {
			return nil, e.op, err
		}
		if err := g.mustResize(); err != nil {
			return nil, e.op, err
		}
	}
	if err := e.adopt(env, other, other.pvs, slices.Collect(other.LVs())); err != nil {
		return nil, e.op, err
	}
	return e.done()
}

// adopt takes volumes over from another group.
func (e *edit) adopt(env Env, other *VG, pvs []*PV, lvs []*LV) error {
	vg := &e.vg
	if vg.extentSize != other.extentSize {
		return refuse(ErrInvalid, "Extent sizes differ: %d (%s) and %d (%s)", vg.extentSize, vg.name, other.extentSize, other.name)
	}
	if vg.maxPV > 0 && int(vg.maxPV) < len(vg.pvs)+len(pvs) {
		return refuse(ErrLimit, "Maximum number of physical volumes (%d) exceeded  for \"%s\" and \"%s\"", vg.maxPV, vg.name, other.name)
	}
	visible := vg.visible
	for _, lv := range lvs {
		if lv.Visible() {
			visible++
		}
		if vg.LV(lv.Name) != nil {
			return refuse(ErrExists, "Duplicate logical volume name \"%s\" in \"%s\" and \"%s\"", lv.Name, vg.name, other.name)
		}
		if err := checkNames(vg.name, lv.Name); err != nil {
			return err
		}
	}
	if vg.maxLV > 0 && int(vg.maxLV) < visible {
		return refuse(ErrLimit, "Maximum number of logical volumes (%d) exceeded  for \"%s\" and \"%s\"", vg.maxLV, vg.name, other.name)
	}
	keys := map[string]string{}
	for _, p := range pvs {
		if vg.PVByID(p.ID) != nil {
			return refuse(ErrExists, "Physical volume '%s (%s)' already in the VG.", p.Device, p.ID)
		}
		pv := p.changed()
		pv.Key = vg.freeKey()
		keys[p.Key] = pv.Key
		if err := e.putPV(len(vg.pvs), pv); err != nil {
			return err
		}
	}
	for _, old := range lvs {
		lv := old.changed()
		lv.place.seq = 0
		if vg.LVByID(lv.ID) != nil {
			id, err := NewUUID(env.Rand)
			if err != nil {
				return err
			}
			lv.ID = id
			lv.set("id", text.String(id.String()))
		}
		lv.rename(keys)
		if owned := vg.owned(); !lv.suitsOwner(owned) {
			lv.setWritable(true, owned)
		}
		e.put(lv)
	}
	return nil
}

// rename gives the physical volumes in a volume's segments the keys that they have in another group.
func (lv *LV) rename(keys map[string]string) {
	lv.Segments = slices.Clone(lv.Segments)
	for i := range lv.Segments {
		s := &lv.Segments[i]
		s.Stripes = slices.Clone(s.Stripes)
		for j, a := range s.Stripes {
			if a.PV != "" {
				s.Stripes[j].PV = keys[a.PV]
			}
		}
		for _, key := range []string{"stripes", "mirrors"} {
			v, ok := s.Section().Lookup(key)
			if !ok {
				continue
			}
			list := slices.Clone(v.List)
			for j := range list {
				if n, ok := list[j].Str(); ok && keys[n] != "" {
					list[j] = text.String(keys[n])
				}
			}
			s.section = s.Section().With(key, text.List(list...))
		}
	}
	lv.setSegments()
}
