package metadata

import (
	"math/bits"
	"slices"
	"strconv"
	"strings"

	"morgana/lvm/text"
)

const (
	defaultExtentSize = 8192 // sectors: 4 MiB
	oddExtentUnit     = 256  // sectors: extents that are no power of two are multiples of 128 KiB
)

// CheckExtentSize says why extents cannot have a size, in sectors; nil if they can.
func CheckExtentSize(n uint64) error {
	switch {
	case n == 0:
		return refuse(ErrInvalid, "Physical extent size may not be zero")
	case n >= 1<<32:
		return refuse(ErrInvalid, "Physical extent size must be smaller than %s.", FormatSize(1<<32-1))
	case bits.OnesCount64(n) != 1 && n%oddExtentUnit != 0:
		return refuse(ErrInvalid, "Physical Extent size must be a multiple of %s when not a power of 2.", FormatSize(oddExtentUnit))
	}
	return nil
}

// NewVG makes a volume group of new physical volumes. Its seqno is 1.
func NewVG(env Env, r CreateVG) (*VG, Operation, error) {
	if !ValidName(r.Name) {
		return nil, Operation{}, refuse(ErrInvalid, "New volume group name \"%s\" is invalid.", r.Name)
	}
	if r.ExtentSize == 0 {
		r.ExtentSize = defaultExtentSize
	}
	if err := CheckExtentSize(r.ExtentSize); err != nil {
		return nil, Operation{}, err
	}
	tags, err := withTags(nil, r.Tags, nil)
	if err != nil {
		return nil, Operation{}, err
	}
	id, err := NewUUID(env.Rand)
	if err != nil {
		return nil, Operation{}, err
	}
	vg := empty(r.Name)
	vg.id, vg.extentSize, vg.maxLV, vg.maxPV, vg.copies = id, r.ExtentSize, r.MaxLV, r.MaxPV, r.MetadataCopies
	vg.status = commonLists[4]
	if r.NoAutoActivate {
		vg.flags = []string{"NOAUTOACTIVATE"}
	}
	vg.tags, vg.systemID = tags, r.SystemID
	if r.Allocation != AllocInherit {
		vg.alloc = r.Allocation.stored()
	}
	vg.head = vg.newHead()
	e := vg.edit()
	e.op.Head = vg.head
	e.setWritable(true)
	for _, pv := range r.PVs {
		if err := e.addPV(pv); err != nil {
			return nil, e.op, err
		}
	}
	if len(r.PVs) == 0 {
		return nil, e.op, refuse(ErrInvalid, "Volume Groups must always contain at least one PV.")
	}
	return e.done()
}

// newHead is the tree of a group that has none yet.
func (vg *VG) newHead() *text.Section {
	str := func(key, s string) text.Entry { return text.Entry{Key: key, Value: text.String(s)} }
	list := func(key string, s []string) text.Entry { return text.Entry{Key: key, Value: text.StringList(s...)} }
	es := []text.Entry{
		str("id", vg.id.String()), num("seqno", vg.seqno), str("format", "lvm2"), list("status", vg.status), list("flags", vg.flags),
	}
	if len(vg.tags) > 0 {
		es = append(es, list("tags", vg.tags))
	}
	if vg.systemID != "" {
		es = append(es, str("system_id", vg.systemID))
	}
	es = append(es, num("extent_size", vg.extentSize), num("max_lv", vg.maxLV), num("max_pv", vg.maxPV))
	if vg.alloc != AllocNormal {
		es = append(es, str("allocation_policy", vg.alloc.String()))
	}
	return &text.Section{Entries: append(es, num("metadata_copies", vg.copies))}
}

// AddPVs adds physical volumes to the group.
func (vg *VG) AddPVs(pvs []NewPV) (*VG, Operation, error) {
	e := vg.edit()
	if err := vg.changeable(missingOK); err != nil {
		return nil, e.op, err
	}
	if err := vg.mustResize(); err != nil {
		return nil, e.op, err
	}
	for _, pv := range pvs {
		if err := e.addPV(pv); err != nil {
			return nil, e.op, err
		}
	}
	return e.done()
}

func (vg *VG) mustResize() error {
	if !vg.Resizeable() {
		return refuse(ErrReadOnly, "Volume group %s is not resizeable.", vg.name)
	}
	return nil
}

// peCount is how many extents fit between the first and the end.
func peCount(devSize, start, end, extentSize uint64) uint64 {
	if end == 0 || end > devSize {
		end = devSize
	}
	if end <= start {
		return 0
	}
	return (end - start) / extentSize
}

func (e *edit) addPV(n NewPV) error {
	vg := &e.vg
	if _, ok := vg.pvIDs.Get(n.ID); ok || n.Device != "" && vg.deviceIndex(n.Device) >= 0 {
		return refuse(ErrExists, "Physical volume '%s (%s)' already in the VG.", n.Device, n.ID)
	}
	if vg.maxPV > 0 && uint32(len(vg.pvs)) >= vg.maxPV {
		return refuse(ErrLimit, "No space for '%s' - volume group '%s' holds max %d physical volume(s).",
			n.Device, vg.name, vg.maxPV)
	}
	count := peCount(n.DevSize, n.PEStart, n.PEEnd, vg.extentSize)
	if count > maxExtents {
		return refuse(ErrLimit, "PV %s too large for extent size %s.", n.Device, FormatSize(vg.extentSize))
	}
	pv := &PV{
		Key: vg.freeKey(), ID: n.ID, Device: n.Device, Status: commonLists[3], DevSize: n.DevSize, PEStart: n.PEStart,
		PECount: Extent(count), BAStart: n.BAStart, BASize: n.BASize,
	}
	es := []text.Entry{
		{Key: "id", Value: text.String(pv.ID.String())},
		{Key: "device", Value: text.String(pv.Device)},
		{Key: "status", Value: text.StringList(pv.Status...)},
		{Key: "flags", Value: text.StringList()},
		num("dev_size", pv.DevSize), num("pe_start", pv.PEStart), num("pe_count", pv.PECount),
	}
	if pv.BASize > 0 {
		es = append(es, num("ba_start", pv.BAStart), num("ba_size", pv.BASize))
	}
	pv.section = &text.Section{Entries: es}
	return e.putPV(len(vg.pvs), pv)
}

// freeKey is the next of pv0, pv1, … LVM2 numbers them anew whenever it writes.
func (vg *VG) freeKey() string {
	for {
		key := "pv" + strconv.Itoa(vg.nextKey)
		vg.nextKey++
		if vg.LV(key) == nil {
			return key
		}
	}
}

// usedKey makes sure that freeKey does not give a key again.
func (vg *VG) usedKey(key string) {
	if s, ok := strings.CutPrefix(key, "pv"); ok {
		if n, err := strconv.Atoi(s); err == nil && n < 1<<30 {
			vg.nextKey = max(vg.nextKey, n+1)
		}
	}
}

// ReducePVs takes physical volumes that nothing uses out of the group.
func (vg *VG) ReducePVs(devices []string) (*VG, Operation, error) {
	e := vg.edit()
	if err := vg.reducible(); err != nil {
		return nil, e.op, err
	}
	left := len(vg.pvs)
	for _, d := range devices {
		i := vg.deviceIndex(d)
		if i < 0 {
			return nil, e.op, refuse(ErrNotFound, "Failed to find physical volume \"%s\".", d)
		}
		if vg.spaces[i].unused != vg.pvs[i].PECount {
			return nil, e.op, refuse(ErrInUse, "Physical volume \"%s\" still in use", d)
		}
		if left--; left == 0 {
			return nil, e.op, refuse(ErrInvalid, "Can't remove final physical volume \"%s\" from volume group \"%s\"", d, vg.name)
		}
		e.removePV(vg.pvs[i].ID)
	}
	return e.done()
}

func (vg *VG) reducible() error {
	if err := vg.changeable(0); err != nil {
		return err
	}
	return vg.mustResize()
}

// ReduceEmptyPVs takes every physical volume that nothing uses out of the group, but for the last one. It warns of those
// that stay.
func (vg *VG) ReduceEmptyPVs() (*VG, Operation, error) {
	e := vg.edit()
	if err := vg.reducible(); err != nil {
		return nil, e.op, err
	}
	left := len(vg.pvs)
	for i, pv := range vg.pvs {
		switch {
		case vg.spaces[i].unused != pv.PECount:
			e.warn("Physical volume \"%s\" still in use", pv.Device)
		case left == 1:
			e.warn("Can't remove final physical volume \"%s\" from volume group \"%s\"", pv.Device, vg.name)
		default:
			left--
			e.removePV(pv.ID)
		}
	}
	if left == len(vg.pvs) {
		msg := strings.Join(e.op.Warnings, "\n")
		e.op.Warnings = nil
		return nil, e.op, refuse(ErrInUse, "%s", msg)
	}
	return e.done()
}

// RemoveMissing takes missing physical volumes out of the group. With force, the logical volumes that were on them go
// too.
func (vg *VG) RemoveMissing(force bool) (*VG, Operation, error) {
	e := vg.edit()
	if err := vg.changeable(missingOK); err != nil {
		return nil, e.op, err
	}
	if !vg.Partial() {
		return nil, e.op, refuse(ErrNoChange, "Volume group \"%s\" is already consistent.", vg.name)
	}
	partial := vg.partialLVs()
	if len(partial) > 0 && !force {
		for _, lv := range partial {
			e.warn("WARNING: Partial LV %s needs to be repaired or removed.", lv.Name)
		}
		return nil, e.op, refuse(ErrMissing, "There are still partial LVs in VG %s.\n"+
			"To remove them unconditionally use: vgreduce --removemissing --force.", vg.name)
	}
	for _, lv := range partial {
		if err := vg.ours(lv, "remove"); err != nil {
			return nil, e.op, err
		}
		e.warn("WARNING: Removing partial LV %s.", vg.full(lv))
		e.remove(lv)
	}
	left := len(vg.pvs)
	for _, pv := range vg.pvs {
		if pv.Missing() {
			if left--; left == 0 {
				return nil, e.op, refuse(ErrInvalid, "Volume Groups must always contain at least one PV.")
			}
			e.removePV(pv.ID)
		}
	}
	return e.done()
}

// partialLVs is the logical volumes that have extents on missing physical volumes, in the order of the text.
func (vg *VG) partialLVs() []*LV {
	seqs := map[uint64]bool{}
	for i, pv := range vg.pvs {
		if pv.Missing() {
			for _, u := range vg.spaces[i].used.All() {
				seqs[u.seq] = true
			}
		}
	}
	var lvs []*LV
	if len(seqs) > 0 {
		for lv := range vg.LVs() {
			if seqs[lv.place.seq] {
				lvs = append(lvs, lv)
			}
		}
	}
	return lvs
}

// PartialLV reports whether a logical volume has extents on a missing physical volume.
func (vg *VG) PartialLV(lv *LV) bool {
	for i := range lv.Segments {
		for _, a := range lv.Segments[i].Stripes {
			if pv := vg.PV(a.PV); pv != nil && pv.Missing() {
				return true
			}
		}
		for _, n := range lv.Segments[i].Needs {
			if needed := vg.LV(n); needed != nil && needed != lv && vg.PartialLV(needed) {
				return true
			}
		}
	}
	return false
}

// RestoreMissing takes back physical volumes whose disks have come back.
func (vg *VG) RestoreMissing(devices []string) (*VG, Operation, error) {
	e := vg.edit()
	if err := vg.changeable(missingOK); err != nil {
		return nil, e.op, err
	}
	for _, d := range devices {
		i := vg.deviceIndex(d)
		if i < 0 {
			return nil, e.op, refuse(ErrNotFound, "WARNING: PV %s not found in VG %s\nNo PV has been restored.", d, vg.name)
		}
		pv := vg.pvs[i].changed()
		if !pv.Missing() {
			return nil, e.op, refuse(ErrNoChange, "WARNING: PV %s was not missing in VG %s\nNo PV has been restored.", d, vg.name)
		}
		pv.setFlag("MISSING", false)
		if err := e.putPV(i, pv); err != nil {
			return nil, e.op, err
		}
	}
	return e.done()
}

// Rename gives the group another name.
func (vg *VG) Rename(to string) (*VG, Operation, error) {
	e := vg.edit()
	switch {
	case !ValidName(to):
		return nil, e.op, refuse(ErrInvalid, "New volume group name \"%s\" is invalid", to)
	case to == vg.name:
		return nil, e.op, refuse(ErrInvalid, "Old and new volume group names must differ")
	}
	if err := vg.changeable(exportedOK); err != nil {
		return nil, e.op, err
	}
	for lv := range vg.LVs() {
		if err := checkNames(to, lv.Name); err != nil {
			return nil, e.op, err
		}
	}
	e.vg.name = to
	return e.done()
}

// Export makes the group one that no host uses until it is imported.
func (vg *VG) Export() (*VG, Operation, error) { return vg.export(true, "") }

// Import takes back an exported group for the host with a system id, "" for any.
func (vg *VG) Import(systemID string) (*VG, Operation, error) {
	if !vg.Exported() {
		return nil, Operation{}, refuse(ErrNoChange, "Volume group \"%s\" is not exported", vg.name)
	}
	return vg.export(false, systemID)
}

func (vg *VG) export(on bool, systemID string) (*VG, Operation, error) {
	e := vg.edit()
	l := lenience(0)
	if !on {
		l = exportedOK
	}
	if err := vg.changeable(l); err != nil {
		return nil, e.op, err
	}
	e.setStatus("EXPORTED", on)
	if vg.lockType == "" || vg.lockType == "none" {
		e.changeOwner(systemID)
	}
	for i, old := range vg.pvs {
		pv := old.changed()
		pv.setFlag("EXPORTED", on)
		if err := e.putPV(i, pv); err != nil {
			return nil, e.op, err
		}
	}
	return e.done()
}

func (e *edit) setSystemID(id string) {
	e.vg.systemID = id
	v := text.Value{}
	if id != "" {
		v = text.String(id)
	}
	e.set("system_id", v)
}

// setStatus sets a status or a flag of the group.
func (e *edit) setStatus(flag string, on bool) {
	vg := &e.vg
	if flag == "NOAUTOACTIVATE" || flag == "WRITE_LOCKED" {
		vg.flags = withFlag(vg.flags, flag, on, vgFlagOrder)
		e.set("flags", text.StringList(vg.flags...))
		return
	}
	vg.status = withFlag(vg.status, flag, on, vgFlagOrder)
	e.set("status", text.StringList(vg.status...))
}

// changed is a copy of a physical volume for a change.
func (pv *PV) changed() *PV {
	c := *pv
	return &c
}

func (pv *PV) set(key string, v text.Value) { pv.section = withKey(pv.section, pvKeys, key, v) }

// setFlag sets a status of a physical volume that changed made. MISSING may stand in either list.
func (pv *PV) setFlag(flag string, on bool) {
	if flag == "MISSING" && (on || slices.Contains(pv.Flags, flag)) {
		pv.Flags = withFlag(pv.Flags, flag, on, pvFlagOrder)
		pv.set("flags", text.StringList(pv.Flags...))
	}
	if flag != "MISSING" || !on {
		pv.Status = withFlag(pv.Status, flag, on, pvFlagOrder)
		pv.set("status", text.StringList(pv.Status...))
	}
}
