package metadata

// What a request does not mind.
type lenience uint8

const (
	missingOK lenience = 1 << iota // physical volumes that are not there
	exportedOK
	unknownOK
	readOnlyOK
)

// Changeable says why the group cannot be changed at all, nil if it can.
func (vg *VG) Changeable() error { return vg.changeable(0) }

func (vg *VG) changeable(l lenience) error {
	switch {
	case l&exportedOK == 0 && vg.Exported():
		return refuse(ErrExported, "Volume group %s is exported", vg.name)
	case l&readOnlyOK == 0 && !vg.Writable():
		return refuse(ErrReadOnly, "Volume group %s is read-only", vg.name)
	case l&missingOK == 0 && vg.Partial():
		return refuse(ErrMissing, "Cannot change VG %s while PVs are missing.\n"+
			"See vgreduce --removemissing and vgextend --restoremissing.", vg.name)
	case l&unknownOK == 0 && vg.unknown > 0:
		return refuse(ErrUnknownSegment, "Cannot change VG %s with unknown segments in it!", vg.name)
	}
	return nil
}

// find is the logical volume of a request.
func (vg *VG) find(name string) (*LV, error) {
	if lv := vg.LV(name); lv != nil {
		return lv, nil
	}
	return nil, refuse(ErrNotFound, "Failed to find logical volume \"%s/%s\"", vg.name, name)
}

// full is how messages name a logical volume.
func (vg *VG) full(lv *LV) string { return vg.name + "/" + lv.Name }

// plain reports whether a volume consists of linear, striped, error and zero segments only.
func (lv *LV) plain() bool {
	for i := range lv.Segments {
		if !lv.Segments[i].plain() {
			return false
		}
	}
	return len(lv.Segments) > 0
}

// ours says why a volume cannot be treated as one of its own: other volumes need it, or it needs others.
func (vg *VG) ours(lv *LV, what string) error {
	switch {
	case lv.Has("LOCKED") || lv.Has("PVMOVE"):
		return refuse(ErrInUse, "Can't %s locked logical volume %s.", what, vg.full(lv))
	case lv.IsRedoLog():
		return refuse(ErrInUse, "Can't %s logical volume %s, which has the group's redo log; see vgchange --redolog n.", what, vg.full(lv))
	case vg.used(lv.Name):
		user := ""
		for u := range vg.Users(lv.Name) {
			user = u.Name
			break
		}
		return refuse(ErrInUse, "Can't %s logical volume %s, which logical volume %s uses.", what, vg.full(lv), user)
	case !lv.plain():
		return refuse(ErrUnsupported, "Can't %s logical volume %s: segment type %s is not supported; use LVM2.",
			what, vg.full(lv), lv.Segments[0].Type)
	}
	return nil
}
