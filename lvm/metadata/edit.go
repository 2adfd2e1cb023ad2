package metadata

import (
	"fmt"
	"slices"

	"morgana/lvm/text"
)

// edit collects what a request changes. The group that it started from is not touched.
type edit struct {
	old  *VG
	vg   VG // the group to be
	op   Operation
	lvs  []*LV  // created or changed
	gone []*LV  // removed; of old
	left []UUID // physical volumes that leave, after logical volumes have left them
	// replayed is physical volumes of an operation: they may have become smaller after logical volumes have left, or
	// larger before others came.
	replayed []PutPV
	pvs      bool // pvs and spaces are copies already
}

func (vg *VG) edit() *edit { return &edit{old: vg, vg: *vg} }

// note tells the user something.
func (e *edit) note(format string, a ...any) {
	e.op.Notes = append(e.op.Notes, fmt.Sprintf(format, a...))
}

// warn tells the user something that may be wrong.
func (e *edit) warn(format string, a ...any) {
	e.op.Warnings = append(e.op.Warnings, fmt.Sprintf(format, a...))
}

// put creates a logical volume or changes the one with the same uuid.
func (e *edit) put(lv *LV) { e.lvs = append(e.lvs, lv) }

// remove removes a logical volume.
func (e *edit) remove(lv *LV) { e.gone = append(e.gone, lv) }

// set changes a key of the group; a value of no kind removes it.
func (e *edit) set(key string, v text.Value) {
	if v.Kind == 0 {
		e.vg.head = e.vg.head.Without(key)
	} else {
		e.vg.head = e.vg.head.WithBefore(key, v, after(vgKeys, key)...)
	}
	e.op.Head = e.vg.head
}

// The keys in the order in which LVM2 writes them.
var (
	vgKeys = []string{
		"id", "seqno", "format", "status", "flags", "tags", "system_id", "lock_type", "lock_args", "pr", "extent_size",
		"max_lv", "max_pv", "allocation_policy", "profile", "metadata_copies",
	}
	pvKeys = []string{
		"id", "device", "device_id_type", "device_id", "status", "flags", "tags", "dev_size", "pe_start", "pe_count",
		"ba_start", "ba_size",
	}
	lvOrder = []string{
		"id", "status", "flags", "tags", "creation_time", "creation_host", "lock_args", "allocation_policy", "profile",
		"read_ahead", "major", "minor", "segment_count",
	}
)

// after is the keys behind one, before which it goes where it is new.
func after(keys []string, key string) []string {
	return keys[slices.Index(keys, key)+1:]
}

func withKey(s *text.Section, keys []string, key string, v text.Value) *text.Section {
	if v.Kind == 0 {
		return s.Without(key)
	}
	return s.WithBefore(key, v, after(keys, key)...)
}

func listOrNone(s []string) text.Value {
	if len(s) == 0 {
		return text.Value{}
	}
	return text.StringList(s...)
}

// own makes the lists of physical volumes ones that may be written.
func (e *edit) own() {
	if !e.pvs {
		e.pvs = true
		e.vg.pvs, e.vg.spaces = slices.Clone(e.vg.pvs), slices.Clone(e.vg.spaces)
	}
}

// putPV changes a physical volume, or adds one if i is their number.
func (e *edit) putPV(i int, pv *PV) error {
	e.own()
	pv.bytes = pv.measure()
	e.vg.usedKey(pv.Key)
	if i == len(e.vg.pvs) {
		if uint64(e.vg.total)+uint64(pv.PECount) > maxExtents {
			return refuse(ErrLimit, "Unable to add %s to %s: new extent count (%d) exceeds limit (%d).",
				pv.Device, e.vg.name, uint64(e.vg.total)+uint64(pv.PECount), uint32(maxExtents))
		}
		e.vg.pvs = append(e.vg.pvs, pv)
		e.vg.spaces = append(e.vg.spaces, newSpace(pv.PECount, nil, nil))
		e.vg.total += pv.PECount
		e.vg.free += pv.PECount
	} else if old := e.vg.pvs[i]; old.PECount != pv.PECount {
		s, ok := e.vg.spaces[i].grown(old.PECount, pv.PECount)
		if !ok {
			return refuse(ErrInUse, "%s: cannot resize to %d extents as later ones are allocated.", pv.Device, pv.PECount)
		}
		e.vg.spaces[i] = s
		e.vg.total += pv.PECount - old.PECount
		e.vg.free += pv.PECount - old.PECount
	}
	put := PutPV{Key: pv.Key, Section: pv.section}
	if was := e.vg.pvs[i].ID; was != pv.ID {
		e.vg.pvIDs = e.vg.pvIDs.Delete(was)
		put.Was = was
	}
	e.vg.pvIDs = e.vg.pvIDs.Set(pv.ID, i)
	if renamed := e.vg.pvs[i].Key != pv.Key; renamed || i == len(e.vg.pvs)-1 {
		e.vg.pvs[i] = pv
		e.vg.indexKeys()
	}
	e.vg.pvs[i] = pv
	e.op.PutPVs = append(e.op.PutPVs, put)
	return nil
}

// removePV removes a physical volume that nobody uses any more when all changes are made.
func (e *edit) removePV(id UUID) { e.left = append(e.left, id) }

func (e *edit) leave(id UUID) error {
	i, ok := e.vg.pvIDs.Get(id)
	if !ok {
		return nil
	}
	pv := e.vg.pvs[i]
	if e.vg.spaces[i].unused != pv.PECount {
		return refuse(ErrInUse, "Physical volume \"%s\" still in use", pv.Device)
	}
	e.own()
	e.vg.total -= pv.PECount
	e.vg.free -= pv.PECount
	e.vg.pvs = slices.Delete(e.vg.pvs, i, i+1)
	e.vg.spaces = slices.Delete(e.vg.spaces, i, i+1)
	e.vg.pvIDs = e.vg.pvIDs.Delete(id)
	for j := i; j < len(e.vg.pvs); j++ {
		e.vg.pvIDs = e.vg.pvIDs.Set(e.vg.pvs[j].ID, j)
	}
	e.vg.indexKeys()
	e.op.DelPVs = append(e.op.DelPVs, id)
	return nil
}

// done gives the new group and the operation. Extents of volumes that change or go are free before those of others are
// taken, so that volumes may swap them.
func (e *edit) done() (*VG, Operation, error) {
	vg := &e.vg
	vg.seqno++
	return e.finish(vg.head.With("seqno", text.Int(vg.seqno)))
}

func (e *edit) finish(head *text.Section) (*VG, Operation, error) {
	vg := &e.vg
	vg.head = head
	if e.op.Head != nil {
		e.op.Head = head
	}
	e.op.Name, e.op.Seqno = vg.name, vg.seqno
	bytes := e.old.lvBytes.n.Load()
	if len(e.lvs)+len(e.gone) > 0 {
		vg.lvBytes = &lvBytes{}
	}
	for _, lv := range e.gone {
		e.drop(lv, nil)
		e.op.DelLVs = append(e.op.DelLVs, lv.ID)
		bytes -= int64(len(lv.Text()))
	}
	for _, lv := range e.lvs {
		if old, ok := vg.byID.Get(lv.ID); ok {
			e.drop(old, lv)
			if bytes > 0 {
				bytes -= int64(len(old.Text()))
			}
			if lv.place.seq == 0 {
				lv.place.seq = old.place.seq
			}
		}
		if lv.place.seq == 0 || vg.bySeq(lv.place.seq) != nil {
			vg.nextSeq++
			lv.place.seq = vg.nextSeq
		}
		vg.nextSeq = max(vg.nextSeq, lv.place.seq)
	}
	for _, p := range e.replayed {
		if err := e.replayPV(p); err != nil {
			return nil, Operation{}, err
		}
	}
	for _, lv := range e.lvs {
		if vg.bySeq(lv.place.seq) != nil { // of another one of this change
			vg.nextSeq++
			lv.place.seq = vg.nextSeq
		}
		vg.order = vg.order.Set(lv.place, lv)
		if other, taken := vg.byName.Get(lv.Name); taken {
			return nil, Operation{}, refuse(ErrExists, "Logical Volume \"%s\" already exists in volume group \"%s\"",
				other.Name, vg.name)
		}
		vg.byName = vg.byName.Set(lv.Name, lv)
	}
	for _, lv := range e.lvs {
		if err := e.add(lv); err != nil {
			return nil, Operation{}, err
		}
		e.op.PutLVs = append(e.op.PutLVs, PutLV{ID: lv.ID, Seq: lv.place.seq, Name: lv.Name, lv: lv})
		if bytes > 0 {
			bytes += int64(len(lv.Text()))
		}
	}
	for _, id := range e.left {
		if err := e.leave(id); err != nil {
			return nil, Operation{}, err
		}
	}
	if bytes > 0 && vg.lvBytes != e.old.lvBytes {
		vg.lvBytes.n.Store(bytes)
	}
	return vg, e.op, nil
}

// drop takes a volume out of every index, and its extents back. Those that it will still have as lv stay.
func (e *edit) drop(old, lv *LV) {
	vg := &e.vg
	vg.byName = vg.byName.Delete(old.Name)
	vg.byID = vg.byID.Delete(old.ID)
	vg.order = vg.order.Delete(old.place)
	if !old.place.hidden {
		vg.visible--
	}
	if !old.Known() {
		vg.unknown--
	}
	for _, u := range old.appendUses(nil) {
		vg.users = vg.users.Delete(u)
	}
	if n, ok := autoNumber(old.Name); ok {
		vg.autos = vg.autos.Delete(auto{n, old.Name})
	}
	keep := 0
	if lv != nil {
		keep = sameSegments(old.Segments, lv.Segments)
		lv.kept = keep
	}
	for i := keep; i < len(old.Segments); i++ {
		s := &old.Segments[i]
		for _, a := range s.Stripes {
			if p := vg.pvIndex(a.PV); a.PV != "" && p >= 0 {
				e.own()
				vg.spaces[p] = vg.spaces[p].released(a.Start, s.AreaLen())
				vg.free += s.AreaLen()
			}
		}
	}
}

// sameSegments is how many segments two volumes have in common from the start.
func sameSegments(a, b []Segment) int {
	n := 0
	for n < len(a) && n < len(b) && a[n].Start == b[n].Start && a[n].Count == b[n].Count &&
		slices.Equal(a[n].Stripes, b[n].Stripes) {
		n++
	}
	return n
}

// add puts a volume into every index but byName and order, and takes its extents.
func (e *edit) add(lv *LV) error {
	vg := &e.vg
	if err := vg.resolve(lv); err != nil {
		return err
	}
	vg.byID = vg.byID.Set(lv.ID, lv)
	if !lv.place.hidden {
		vg.visible++
	}
	if !lv.Known() {
		vg.unknown++
	}
	for _, u := range lv.appendUses(nil) {
		vg.users = vg.users.Set(u, struct{}{})
	}
	if n, ok := autoNumber(lv.Name); ok {
		vg.autos = vg.autos.Set(auto{n, lv.Name}, struct{}{})
	}
	for i := lv.kept; i < len(lv.Segments); i++ {
		s := &lv.Segments[i]
		for j, a := range s.Stripes {
			if a.PV == "" {
				continue
			}
			p := vg.pvIndex(a.PV)
			if p < 0 {
				return malformed("logical volume %s is on physical volume %s, which %s does not have", lv.Name, a.PV, vg.name)
			}
			e.own()
			s2, ok := vg.spaces[p].taken(a.Start, usedRun{s.AreaLen(), s.Start, lv.place.seq, int32(j)})
			if !ok {
				return refuse(ErrInUse, "extents %d-%d of physical volume %s are not all free for logical volume %s",
					a.Start, a.Start+s.AreaLen()-1, vg.pvs[p].Key, lv.Name)
			}
			vg.spaces[p] = s2
			vg.free -= s.AreaLen()
		}
	}
	return nil
}
