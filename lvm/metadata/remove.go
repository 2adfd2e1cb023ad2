package metadata

import "morgana/lvm/text"

// RemoveLV removes a logical volume. What stood on it stays on the disks until somebody else gets the extents.
func (vg *VG) RemoveLV(name string) (*VG, Operation, error) {
	e := vg.edit()
	if err := vg.changeable(missingOK); err != nil {
		return nil, e.op, err
	}
	lv, err := vg.find(name)
	if err != nil {
		return nil, e.op, err
	}
	if err := vg.ours(lv, "remove"); err != nil {
		return nil, e.op, err
	}
	e.remove(lv)
	return e.done()
}

// RenameLV gives a logical volume another name.
func (vg *VG) RenameLV(from, to string) (*VG, Operation, error) {
	e := vg.edit()
	if err := vg.changeable(0); err != nil {
		return nil, e.op, err
	}
	if limit := maxNameLen + 1 - len(vg.name) - 3; len(to) > limit {
		return nil, e.op, refuse(ErrInvalid, "New logical volume name \"%s\" may not exceed %d characters.", to, limit)
	}
	if to == "" {
		return nil, e.op, refuse(ErrInvalid, "New logical volume name may not be blank")
	}
	if err := CheckLVName(to); err != nil {
		if ValidName(to) {
			return nil, e.op, err
		}
		return nil, e.op, refuse(ErrInvalid, "New logical volume name \"%s\" is invalid", to)
	}
	if from == to {
		return nil, e.op, refuse(ErrInvalid, "Old and new logical volume names must differ")
	}
	old := vg.LV(from)
	if old == nil {
		return nil, e.op, refuse(ErrNotFound, "Existing logical volume \"%s\" not found in volume group \"%s\"", from, vg.name)
	}
	if !old.Visible() {
		return nil, e.op, refuse(ErrUnsupported, "Cannot rename internal LV \"%s\".", from)
	}
	if err := vg.checkFree(to); err != nil {
		return nil, e.op, err
	}
	if err := vg.ours(old, "rename"); err != nil {
		return nil, e.op, err
	}
	lv := old.changed()
	lv.Name = to
	e.put(lv)
	return e.done()
}

// changed is a copy of the volume for a change.
func (lv *LV) changed() *LV {
	c := *lv
	c.kept = 0
	c.tree, c.raw = lv.Section(), nil
	c.stanza = &stanza{}
	return &c
}

// set changes a key of a volume that changed made.
func (lv *LV) set(key string, v text.Value) {
	lv.tree = withKey(lv.tree, lvOrder, key, v)
}
