package metadata

import (
	"cmp"
	"slices"
	"strings"

	"morgana/lvm/metadata/internal/ordered"
	"morgana/lvm/text"
)

// empty is a volume group that has nothing yet.
func empty(name string) *VG {
	return &VG{
		name: name, alloc: AllocNormal, lvBytes: &lvBytes{},
		pvIDs:  ordered.New[UUID, int](compareUUID),
		byName: ordered.New[string, *LV](compareString),
		byID:   ordered.New[UUID, *LV](compareUUID),
		order:  ordered.New[place, *LV](comparePlace),
		users:  ordered.New[use, struct{}](compareUse),
		autos:  ordered.New[auto, struct{}](compareAuto),
	}
}

// index takes the logical volumes of a text and builds every index at once, by sorting: much quicker than one by one.
func (vg *VG) index(lvs []*LV) error {
	if err := vg.indexPVs(); err != nil {
		return err
	}
	for _, lv := range lvs {
		if !ValidName(lv.Name) {
			return malformed("logical volume name %q is invalid", lv.Name)
		}
		vg.nextSeq++
		lv.place.seq = vg.nextSeq
	}
	if err := vg.indexLVs(lvs); err != nil {
		return err
	}
	return vg.indexSpaces(lvs)
}

func (vg *VG) indexPVs() error {
	keys := map[string]bool{}
	for i, pv := range vg.pvs {
		if _, ok := vg.pvIDs.Get(pv.ID); ok {
			return malformed("two physical volumes have the uuid %s", pv.ID)
		}
		if keys[pv.Key] {
			return malformed("two physical volumes are named %s", pv.Key)
		}
		keys[pv.Key] = true
		vg.usedKey(pv.Key)
		vg.pvIDs = vg.pvIDs.Set(pv.ID, i)
		if total := uint64(vg.total) + uint64(pv.PECount); total > maxExtents {
			return malformed("volume group %s has more than %d extents", vg.name, uint32(maxExtents))
		}
		vg.total += pv.PECount
	}
	vg.indexKeys()
	return nil
}

// showSnapshots makes those volumes visible that have what snapshots of visible volumes keep.
func showSnapshots(lvs []*LV, byName func(string) *LV) {
	for _, lv := range lvs {
		if len(lv.Segments) != 1 || lv.Segments[0].Type != "snapshot" {
			continue
		}
		s := lv.Segments[0].section
		store, _ := s.Str("cow_store") // of a snapshot that is merged it is merging_store
		name, _ := s.Str("origin")
		cow, origin := byName(store), byName(name)
		if cow != nil && origin != nil && origin.Visible() && !strings.Contains(name, "_vorigin") {
			cow.cow, cow.place.hidden = true, false
		}
	}
}

func (vg *VG) indexLVs(lvs []*LV) error {
	names, ids, places := slices.Clone(lvs), slices.Clone(lvs), slices.Clone(lvs)
	slices.SortFunc(names, func(a, b *LV) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(ids, func(a, b *LV) int { return compareUUID(a.ID, b.ID) })
	showSnapshots(lvs, func(name string) *LV {
		if i, ok := slices.BinarySearchFunc(names, name, func(lv *LV, n string) int { return cmp.Compare(lv.Name, n) }); ok {
			return names[i]
		}
		return nil
	})
	slices.SortFunc(places, func(a, b *LV) int { return comparePlace(a.place, b.place) })
	for i := 1; i < len(lvs); i++ {
		if names[i].Name == names[i-1].Name {
			return malformed("two logical volumes of %s are named %s", vg.name, names[i].Name)
		}
		if ids[i].ID == ids[i-1].ID {
			return malformed("logical volumes %s and %s have the same uuid %s", ids[i-1].Name, ids[i].Name, ids[i].ID)
		}
	}
	vg.byName = sorted(compareString, names, func(lv *LV) string { return lv.Name })
	vg.byID = sorted(compareUUID, ids, func(lv *LV) UUID { return lv.ID })
	vg.order = sorted(comparePlace, places, func(lv *LV) place { return lv.place })
	var uses []use
	var autos []auto
	for _, lv := range lvs {
		if err := vg.resolve(lv); err != nil {
			return err
		}
		lv.tidy()
		if !lv.place.hidden {
			vg.visible++
		}
		if !lv.Known() {
			vg.unknown++
		}
		uses = lv.appendUses(uses)
		if n, ok := autoNumber(lv.Name); ok {
			autos = append(autos, auto{n, lv.Name})
		}
	}
	slices.SortFunc(uses, compareUse)
	uses = slices.Compact(uses)
	slices.SortFunc(autos, compareAuto)
	vg.users = ordered.FromSorted(compareUse, uses, make([]struct{}, len(uses)))
	vg.autos = ordered.FromSorted(compareAuto, autos, make([]struct{}, len(autos)))
	return nil
}

func sorted[K any](compare func(a, b K) int, lvs []*LV, key func(*LV) K) ordered.Map[K, *LV] {
	keys := make([]K, len(lvs))
	for i, lv := range lvs {
		keys[i] = key(lv)
	}
	return ordered.FromSorted(compare, keys, lvs)
}

// indexSpaces finds out who has which extent, and that nobody has one twice.
func (vg *VG) indexSpaces(lvs []*LV) error {
	type run struct {
		start Extent
		usedRun
	}
	runs := make([][]run, len(vg.pvs))
	for _, lv := range lvs {
		for i := range lv.Segments {
			s := &lv.Segments[i]
			for a, area := range s.Stripes {
				if area.PV != "" {
					pv := vg.pvIndex(area.PV)
					runs[pv] = append(runs[pv], run{area.Start, usedRun{s.AreaLen(), s.Start, lv.place.seq, int32(a)}})
				}
			}
		}
	}
	vg.spaces = make([]*space, len(vg.pvs))
	vg.free = 0
	for i, pv := range vg.pvs {
		slices.SortFunc(runs[i], func(a, b run) int { return cmp.Compare(a.start, b.start) })
		starts, used := make([]Extent, len(runs[i])), make([]usedRun, len(runs[i]))
		next := uint64(0)
		for j, r := range runs[i] {
			if uint64(r.start) < next {
				return malformed("extent %d of physical volume %s is allocated twice, by %s too",
					r.start, pv.Key, vg.bySeq(r.seq).Name)
			}
			if next = uint64(r.start) + uint64(r.count); next > uint64(pv.PECount) {
				return malformed("logical volume %s has extent %d of physical volume %s, which has only %d",
					vg.bySeq(r.seq).Name, next-1, pv.Key, pv.PECount)
			}
			starts[j], used[j] = r.start, r.usedRun
		}
		vg.spaces[i] = newSpace(pv.PECount, starts, used)
		vg.free += vg.spaces[i].unused
	}
	return nil
}

// bySeq is the logical volume at a place, visible or hidden, nil if there is none.
func (vg *VG) bySeq(seq uint64) *LV {
	lv, ok := vg.order.Get(place{false, seq})
	if !ok {
		lv, _ = vg.order.Get(place{true, seq})
	}
	return lv
}

// pvIndex is the index of the physical volume that a section names, or -1.
func (vg *VG) pvIndex(key string) int {
	if vg.pvKeys != nil {
		if i, ok := vg.pvKeys[key]; ok {
			return i
		}
		return -1
	}
	for i, pv := range vg.pvs {
		if pv.Key == key {
			return i
		}
	}
	return -1
}

// indexKeys makes pvIndex right and quick after the list of physical volumes has changed.
func (vg *VG) indexKeys() {
	vg.pvKeys = nil
	if len(vg.pvs) <= 8 {
		return
	}
	vg.pvKeys = make(map[string]int, len(vg.pvs))
	for i, pv := range vg.pvs {
		vg.pvKeys[pv.Key] = i
	}
}

// resolve finds out for each area whether it lies on a physical or on a logical volume, and which logical volumes a
// segment needs. It is called before anyone else sees the volume.
func (vg *VG) resolve(lv *LV) error {
	for i := range lv.Segments {
		s := &lv.Segments[i]
		for a := range s.Stripes {
			area := &s.Stripes[a]
			if area.PV == "" || vg.pvIndex(area.PV) >= 0 {
				continue
			}
			if _, ok := vg.byName.Get(area.PV); !ok {
				return malformed("couldn't find volume '%s' for a segment of %s/%s", area.PV, vg.name, lv.Name)
			}
			*area = Area{LV: area.PV, Start: area.Start}
		}
		if !s.plain() {
			s.Needs = s.Needs[:0:0]
			s.needs(vg, s.section, lv.Name)
		}
	}
	return nil
}

// tidy joins segments that continue each other, as LVM2 does with everything that it reads. Those of a volume that is
// being moved must stay as they are, and so do those with keys that are not known here.
func (lv *LV) tidy() {
	if lv.Has("LOCKED") || lv.Has("PVMOVE") {
		return
	}
	for i := 1; i < len(lv.Segments); i++ {
		if next := &lv.Segments[i]; lv.Segments[i-1].continues(next) && next.common() {
			lv.tree, lv.raw = lv.Section(), nil
			lv.Segments = mergeSegments(lv.Segments)
			lv.setSegments()
			return
		}
	}
}

// common reports whether a plain segment has no keys but those that are known.
func (s *Segment) common() bool {
	for _, e := range entries(s.section) {
		if e.Section != nil || !slices.Contains(plainKeys, e.Key) {
			return false
		}
	}
	return true
}

// plain reports whether a segment needs no other logical volume. Those are the ones that requests make and change.
func (s *Segment) plain() bool {
	if !s.Known || len(s.TypeFlags) > 0 || !s.striped() && !s.virtual() {
		return false
	}
	for _, a := range s.Stripes {
		if a.LV != "" {
			return false
		}
	}
	return true
}

// needs collects what names a logical volume anywhere in a segment: origin, cow_store, pool, metadata, raids, …
// Looking at the values rather than at a list of keys, it does not miss what a newer LVM2 may add.
func (s *Segment) needs(vg *VG, in *text.Section, self string) {
	for i := range in.Entries {
		e := &in.Entries[i]
		if e.Section != nil {
			s.needs(vg, e.Section, self)
			continue
		}
		if e.Key == "type" || e.Key == "tags" {
			continue
		}
		names, ok := e.Value.Strings()
		if !ok { // pairs of a name and an extent
			names = nil
			for _, v := range e.Value.List {
				if n, ok := v.Str(); ok {
					names = append(names, n)
				}
			}
		}
		for _, n := range names {
			if _, ok := vg.byName.Get(n); ok && n != self && !slices.Contains(s.Needs, n) {
				s.Needs = append(s.Needs, n)
			}
		}
	}
}

func (lv *LV) appendUses(uses []use) []use {
	for i := range lv.Segments {
		for _, n := range lv.Segments[i].Needs {
			uses = append(uses, use{n, lv.Name})
		}
	}
	return uses
}

// Known reports whether all segments are of types that LVM2 2.03 has.
func (lv *LV) Known() bool {
	for i := range lv.Segments {
		if !lv.Segments[i].Known {
			return false
		}
	}
	return true
}

// autoNumber is the number that scanf would read out of a name with "lvol%d".
func autoNumber(name string) (int64, bool) {
	const prefix = "lvol"
	if len(name) <= len(prefix) || name[:len(prefix)] != prefix {
		return 0, false
	}
	rest := name[len(prefix):]
	neg := rest[0] == '-'
	if neg || rest[0] == '+' {
		rest = rest[1:]
	}
	n, digits := int64(0), 0
	for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' && n < 1<<31 {
		n = n*10 + int64(rest[digits]-'0')
		digits++
	}
	if neg {
		n = -n
	}
	return n, digits > 0
}
