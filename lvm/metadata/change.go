package metadata

import (
	"slices"
	"strconv"

	"morgana/lvm/text"
)

// The flags in the order in which LVM2 writes them.
var (
	vgFlagOrder = []string{
		"EXPORTED", "RESIZEABLE", "PVMOVE", "READ", "WRITE", "WRITE_LOCKED", "NOAUTOACTIVATE", "CLUSTERED", "SHARED",
	}
	pvFlagOrder = []string{"ALLOCATABLE", "EXPORTED", "MISSING"}
	lvFlagOrder = []string{
		"READ", "WRITE", "WRITE_LOCKED", "FIXED_MINOR", "VISIBLE", "PVMOVE", "LOCKED", "NOTSYNCED", "REBUILD", "WRITEMOSTLY",
		"ACTIVATION_SKIP", "NOAUTOACTIVATE", "ERROR_WHEN_FULL", "CACHE_VOL",
	}
)

// withFlag adds a flag to a list or takes it away. Flags that are not known here keep their places.
func withFlag(list []string, flag string, on bool, order []string) []string {
	i := slices.Index(list, flag)
	switch {
	case on == (i >= 0):
		return list
	case !on:
		return intern(slices.Delete(slices.Clone(list), i, i+1))
	}
	at := slices.IndexFunc(list, func(s string) bool { return slices.Index(order, s) > slices.Index(order, flag) })
	if at < 0 {
		at = len(list)
	}
	return intern(slices.Insert(slices.Clone(list), at, flag))
}

// withTags adds tags behind the others and takes tags away.
func withTags(tags, add, del []string) ([]string, error) {
	out := slices.Clone(tags)
	for _, t := range add {
		if !ValidTag(t) {
			return nil, refuse(ErrInvalid, "Tag %s is not valid: it may have letters, digits and _+.-/=!:&#.", t)
		}
		if !slices.Contains(out, t) {
			out = append(out, t)
		}
	}
	return slices.DeleteFunc(out, func(t string) bool { return slices.Contains(del, t) }), nil
}

// ChangeLV changes properties of a logical volume that do not move its data.
func (vg *VG) ChangeLV(r ChangeLV) (*VG, Operation, error) {
	e := vg.edit()
	if err := vg.changeable(missingOK); err != nil {
		return nil, e.op, err
	}
	old, err := vg.find(r.Name)
	if err != nil {
		return nil, e.op, err
	}
	if old.Has("LOCKED") || old.Has("PVMOVE") {
		return nil, e.op, refuse(ErrInUse, "Can't change locked logical volume %s.", vg.full(old))
	}
	lv := old.changed()
	if err := lv.change(vg, r); err != nil {
		return nil, e.op, err
	}
	lv.place.hidden = !lv.Visible()
	e.put(lv)
	return e.done()
}

func (lv *LV) change(vg *VG, r ChangeLV) error {
	name := vg.full(lv)
	if r.ReadOnly != nil {
		switch {
		case *r.ReadOnly && !lv.Writable():
			return refuse(ErrNoChange, "Logical volume \"%s\" is already read only.", name)
		case !*r.ReadOnly && lv.Writable():
			return refuse(ErrNoChange, "Logical volume %s is already writable.", name)
		}
		lv.setWritable(!*r.ReadOnly, vg.owned())
	}
	if r.Allocation != nil {
		a := r.Allocation.stored()
		if a == lv.Allocation {
			return refuse(ErrNoChange, "Allocation policy of logical volume %s is already %s.", name, lv.Allocation)
		}
		lv.Allocation = a
		v := text.Value{}
		if lv.Allocation != AllocInherit {
			v = text.String(lv.Allocation.String())
		}
		lv.set("allocation_policy", v)
	}
	if r.ReadAhead != nil {
		if *r.ReadAhead == lv.ReadAhead {
			return refuse(ErrNoChange, "Read ahead is already %s for %s.", lv.ReadAhead, name)
		}
		lv.ReadAhead = *r.ReadAhead
		lv.set("read_ahead", readAheadValue(lv.ReadAhead))
	}
	if r.Persistent != nil {
		if !*r.Persistent && !lv.Has("FIXED_MINOR") {
			return refuse(ErrNoChange, "Minor number is already not persistent for %s.", name)
		}
		lv.Minor, lv.Major = -1, -1
		minor, major := text.Value{}, text.Value{}
		if *r.Persistent {
			lv.Minor, lv.Major = r.Minor, r.Major
			minor, major = text.Int(r.Minor), text.Int(r.Major)
		}
		lv.setFlag("FIXED_MINOR", *r.Persistent)
		lv.set("minor", minor)
		lv.set("major", major)
	}
	if r.AutoActivate != nil {
		lv.setFlag("NOAUTOACTIVATE", !*r.AutoActivate)
	}
	if r.ActivationSkip != nil {
		lv.setFlag("ACTIVATION_SKIP", *r.ActivationSkip)
	}
	if len(r.AddTags)+len(r.DelTags) > 0 {
		tags, err := withTags(lv.Tags, r.AddTags, r.DelTags)
		if err != nil {
			return err
		}
		lv.Tags = tags
		lv.set("tags", listOrNone(tags))
	}
	return nil
}

func (r ReadAhead) String() string {
	switch r {
	case ReadAheadAuto:
		return "auto"
	case ReadAheadNone:
		return "none"
	}
	return strconv.FormatUint(uint64(r), 10)
}

// setFlag sets a status or a flag of a volume that changed made, in the list where LVM2 has it.
func (lv *LV) setFlag(flag string, on bool) {
	switch flag {
	case "WRITE_LOCKED", "ACTIVATION_SKIP", "NOAUTOACTIVATE", "ERROR_WHEN_FULL", "CACHE_VOL":
		lv.Flags = withFlag(lv.Flags, flag, on, lvFlagOrder)
		lv.set("flags", text.StringList(lv.Flags...))
	default:
		lv.Status = withFlag(lv.Status, flag, on, lvFlagOrder)
		lv.set("status", text.StringList(lv.Status...))
	}
}
