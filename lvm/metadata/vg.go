package metadata

import (
	"iter"
	"slices"

	"morgana/lvm/text"
)

// Name returns the group's name.
func (vg *VG) Name() string { return vg.name }

// ID returns the group's uuid.
func (vg *VG) ID() UUID { return vg.id }

// Seqno returns how often the group was changed.
func (vg *VG) Seqno() uint32 { return vg.seqno }

// ExtentSize returns the size of an extent in sectors.
func (vg *VG) ExtentSize() uint64 { return vg.extentSize }

// Status returns the status list as in the text: "RESIZEABLE", "READ", "WRITE", … It must not be changed.
func (vg *VG) Status() []string { return vg.status }

// Flags returns the list of flags as in the text. It must not be changed.
func (vg *VG) Flags() []string { return vg.flags }

// Tags returns the group's tags. They must not be changed.
func (vg *VG) Tags() []string { return vg.tags }

// Has reports whether the group has a status or flag.
func (vg *VG) Has(flag string) bool {
	return slices.Contains(vg.status, flag) || slices.Contains(vg.flags, flag)
}

// SystemID returns the host that the group belongs to, "" for any.
func (vg *VG) SystemID() string { return vg.systemID }

// LockType returns how hosts that share the group lock it: "" or "none", "sanlock", "dlm", "idm".
func (vg *VG) LockType() string { return vg.lockType }

// LockArgs returns what the lock type needs to know.
func (vg *VG) LockArgs() string { return vg.lockArgs }

// Profile returns the name of the group's configuration profile.
func (vg *VG) Profile() string { return vg.profile }

// MaxLV returns the most logical volumes, 0 for any number.
func (vg *VG) MaxLV() uint32 { return vg.maxLV }

// MaxPV returns the most physical volumes, 0 for any number.
func (vg *VG) MaxPV() uint32 { return vg.maxPV }

// MetadataCopies returns in how many metadata areas the text should be, 0 for all.
func (vg *VG) MetadataCopies() uint32 { return vg.copies }

// Allocation returns the group's allocation policy.
func (vg *VG) Allocation() Allocation { return vg.alloc }

// Exported reports whether the group was exported.
func (vg *VG) Exported() bool { return vg.Has("EXPORTED") }

// Resizeable reports whether physical volumes may be added and removed.
func (vg *VG) Resizeable() bool { return vg.Has("RESIZEABLE") }

// Writable reports whether the group may be changed.
func (vg *VG) Writable() bool { return vg.Has("WRITE") || vg.Has("WRITE_LOCKED") }

// Partial reports whether a physical volume is missing.
func (vg *VG) Partial() bool { return slices.ContainsFunc(vg.pvs, (*PV).Missing) }

// Unknown reports whether a logical volume has a segment of unknown type.
func (vg *VG) Unknown() bool { return vg.unknown > 0 }

// PVs returns the physical volumes in the order of the text. The slice must not be changed.
func (vg *VG) PVs() []*PV { return vg.pvs }

// PV returns the physical volume that segments name by key, nil if there is none.
func (vg *VG) PV(key string) *PV {
	if i := vg.pvIndex(key); i >= 0 {
		return vg.pvs[i]
	}
	return nil
}

// PVByID returns a physical volume by its uuid, nil if there is none.
func (vg *VG) PVByID(id UUID) *PV {
	if i, ok := vg.pvIDs.Get(id); ok {
		return vg.pvs[i]
	}
	return nil
}

// PVByDevice returns a physical volume by the name of its disk, nil if there is none.
func (vg *VG) PVByDevice(device string) *PV {
	if i := vg.deviceIndex(device); i >= 0 {
		return vg.pvs[i]
	}
	return nil
}

func (vg *VG) deviceIndex(device string) int {
	return slices.IndexFunc(vg.pvs, func(pv *PV) bool { return pv.Device == device && !pv.Absent })
}

// LV returns a logical volume by its name, nil if there is none.
func (vg *VG) LV(name string) *LV {
	lv, _ := vg.byName.Get(name)
	return lv
}

// LVByID returns a logical volume by its uuid, nil if there is none.
func (vg *VG) LVByID(id UUID) *LV {
	lv, _ := vg.byID.Get(id)
	return lv
}

// LVs yields the logical volumes in the order of the text: visible ones first.
func (vg *VG) LVs() iter.Seq[*LV] { return vg.order.Values() }

// NumLVs returns the number of logical volumes, hidden ones included.
func (vg *VG) NumLVs() int { return vg.order.Len() }

// NumVisible returns the number of logical volumes that users see.
func (vg *VG) NumVisible() int { return vg.visible }

// Extents returns the number of extents of all physical volumes.
func (vg *VG) Extents() Extent { return vg.total }

// FreeExtents returns the number of extents that no logical volume has, wherever they are.
func (vg *VG) FreeExtents() Extent { return vg.free }

// PVFree returns the number of free extents of a physical volume.
func (vg *VG) PVFree(pv *PV) Extent {
	if i := vg.pvIndex(pv.Key); i >= 0 {
		return vg.spaces[i].unused
	}
	return 0
}

// PVUsed returns the number of extents of a physical volume that logical volumes have.
func (vg *VG) PVUsed(pv *PV) Extent { return pv.PECount - vg.PVFree(pv) }

// PVRuns yields who has which extents of a physical volume, in order and without gaps.
func (vg *VG) PVRuns(pv *PV) iter.Seq[PVRun] {
	return func(yield func(PVRun) bool) {
		i := vg.pvIndex(pv.Key)
		if i < 0 {
			return
		}
		for start, u := range vg.spaces[i].runs() {
			if !yield(vg.run(start, u)) {
				return
			}
		}
	}
}

// PVRunAt returns the run that an extent of a physical volume belongs to.
func (vg *VG) PVRunAt(pv *PV, pe Extent) (PVRun, bool) {
	i := vg.pvIndex(pv.Key)
	if i < 0 || pe >= pv.PECount {
		return PVRun{}, false
	}
	if start, u, ok := vg.spaces[i].used.Floor(pe); ok && pe-start < u.count {
		return vg.run(start, u), true
	}
	start, count, ok := vg.spaces[i].free.Floor(pe)
	return PVRun{Start: start, Count: count}, ok
}

func (vg *VG) run(start Extent, u usedRun) PVRun {
	r := PVRun{Start: start, Count: u.count, Stripe: int(u.area)}
	if u.seq != 0 {
		r.LV = vg.bySeq(u.seq)
		r.Segment = r.LV.SegmentAt(u.le)
	}
	return r
}

// SegmentAt returns the segment that has an extent of the volume, nil beyond its end.
func (lv *LV) SegmentAt(le Extent) *Segment {
	i, found := slices.BinarySearchFunc(lv.Segments, le, func(s Segment, le Extent) int {
		switch {
		case s.Start > le:
			return 1
		case le-s.Start >= s.Count:
			return -1
		}
		return 0
	})
	if !found {
		return nil
	}
	return &lv.Segments[i]
}

// Users yields the logical volumes that need this one: a snapshot its origin, a mirror its images.
func (vg *VG) Users(name string) iter.Seq[*LV] {
	return func(yield func(*LV) bool) {
		for u := range vg.users.From(use{needed: name}) {
			if u.needed != name || !yield(vg.LV(u.user)) {
				return
			}
		}
	}
}

func (vg *VG) used(name string) bool {
	for range vg.Users(name) {
		return true
	}
	return false
}

// Size returns the size of a logical volume in sectors.
func (vg *VG) Size(lv *LV) uint64 { return uint64(lv.Extents) * vg.extentSize }

// Head returns the group's section without its physical and logical volumes.
func (vg *VG) Head() *text.Section { return vg.head }

// Top returns what stands beside the group in the text that it was read from, nil for a new group.
func (vg *VG) Top() *text.Section { return vg.top }

// Section returns the tree of the logical volume's text.
func (lv *LV) Section() *text.Section {
	if lv.tree == nil {
		return sectionOf(lv.raw)
	}
	return lv.tree
}

// Section returns the tree of the physical volume's text.
func (pv *PV) Section() *text.Section { return pv.section }

// Lookup returns the value of a key of the segment's text and whether there is one.
func (s *Segment) Lookup(key string) (text.Value, bool) {
	if s.section == nil && !slices.Contains(plainKeys, key) {
		return text.Value{}, false // plain, and no tree made for the answer
	}
	return s.Section().Lookup(key)
}

// plainKeys are the keys that plainSegment prints.
var plainKeys = []string{"start_extent", "extent_count", "type", "tags", "stripe_count", "stripe_size", "stripes"}

// Section returns the tree of the segment's text.
func (s *Segment) Section() *text.Section {
	if s.section == nil {
		return plainSegment(s)
	}
	return s.section
}

// WithDevices returns the group with each physical volume at the disk that it was found on now. Those that the map does
// not have are absent, and marked as missing. One that was missing, is back and has nothing on it is taken as it is.
// None of this is a change: the text has it with the next one.
func (vg *VG) WithDevices(devices map[UUID]string) *VG {
	c := *vg
	c.pvs = slices.Clone(vg.pvs)
	for i, pv := range c.pvs {
		name, ok := devices[pv.ID]
		p := pv.changed()
		if p.Absent = !ok; ok {
			p.setDevice(name)
		}
		if ok && p.marked() && vg.spaces[i].unused == p.PECount {
			p.setFlag("MISSING", false)
		} else if !ok && !p.marked() {
			p.setFlag("MISSING", true)
		}
		p.bytes = p.measure()
		c.pvs[i] = p
	}
	return &c
}

func (pv *PV) setDevice(name string) {
	if pv.Device != name {
		pv.Device = name
		pv.set("device", text.String(name))
	}
}
