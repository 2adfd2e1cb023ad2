package metadata

// A group that belongs to a host, or whose hosts lock it, must not be written by versions of LVM2 that know neither. So
// LVM2 replaces the status WRITE of such a group and of its logical volumes by the flag WRITE_LOCKED, which old versions
// take for read-only and newer ones for writable (lib/format_text/export.c).

// owned reports whether the group is one of those. A group that is armed is what it was before.
func (vg *VG) owned() bool {
	return vg.Owner() != "" || vg.lockType != "" && vg.lockType != "none"
}

// setWritable makes the group writable, in the way that suits its owner, or read-only.
func (e *edit) setWritable(on bool) {
	owned := e.vg.owned()
	e.setStatus("WRITE", on && !owned)
	e.setStatus("WRITE_LOCKED", on && owned)
}

// setWritable makes a volume that changed made writable, in the way that suits its group's owner, or read-only.
func (lv *LV) setWritable(on, owned bool) {
	lv.setFlag("WRITE", on && !owned)
	lv.setFlag("WRITE_LOCKED", on && owned)
}

// suitsOwner reports whether a volume is writable in the way that its group's owner asks for.
func (lv *LV) suitsOwner(owned bool) bool {
	return !lv.Writable() || lv.Has("WRITE_LOCKED") == owned
}

// changeOwner gives the group to a host, "" for any, and lets everything be writable in the way that suits that.
func (e *edit) changeOwner(id string) {
	e.setSystemID(id)
	owned := e.vg.owned()
	if e.vg.Writable() {
		e.setWritable(true)
	}
	for lv := range e.old.LVs() {
		if !lv.suitsOwner(owned) {
			c := lv.changed()
			c.setWritable(true, owned)
			e.put(c)
		}
	}
}
