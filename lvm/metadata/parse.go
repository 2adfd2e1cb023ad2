package metadata

import (
	"fmt"
	"slices"
	"strings"

	"morgana/lvm/text"
)

const (
	contentsKey   = "contents"
	contentsValue = "Text Format Volume Group"
	pvsKey        = "physical_volumes"
	lvsKey        = "logical_volumes"
	historyKey    = "historical_logical_volumes"
)

// Parse reads the text of a volume group, from a metadata area or a backup file. Errors wrap ErrFormat and say what is
// wrong with which volume; they also wrap text.SyntaxError where the text is not even in the grammar.
func Parse(b []byte) (*VG, error) {
	if top, stanzas, ok := text.Outline(b); ok {
		if vg, err := fromOutline(top, stanzas); err == nil {
			return vg, nil
		}
		// Whatever is wrong is told better by those who read everything.
	}
	top, err := text.Parse(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	return FromSection(top)
}

// FromSection reads a volume group out of a parsed text. It keeps the tree.
func FromSection(top *text.Section) (*VG, error) {
	vg, section, err := readGroup(top)
	if err != nil {
		return nil, err
	}
	lvs := make([]*LV, 0, len(entries(section)))
	for _, e := range entries(section) {
		if e.Section == nil {
			continue
		}
		lv, err := readLV(vg.name, e.Key, e.Section)
		if err != nil {
			return nil, err
		}
		lvs = append(lvs, lv)
	}
	return vg, vg.index(lvs)
}

// fromOutline reads a volume group whose logical volumes are not parsed yet.
func fromOutline(top *text.Section, stanzas []text.Stanza) (*VG, error) {
	vg, _, err := readGroup(top)
	if err != nil {
		return nil, err
	}
	lvs := make([]*LV, len(stanzas))
	// Many at once: each is small, and there are many.
	volumes := make([]LV, len(stanzas))
	total := 0
	for i := range stanzas {
		total += len(stanzas[i].Raw) + len("\n\n")
	}
	all := make([]byte, 0, total)
	for i, s := range stanzas {
		lv := &volumes[i]
		if quickLV(lv, s.Raw) {
			begin := len(all)
			all = append(append(append(all, '\n'), s.Raw...), '\n')
			lv.raw = all[begin:len(all):len(all)]
		} else {
			section, err := s.Parse()
			if err != nil {
				return nil, err
			}
			if lv, err = readLV(vg.name, s.Name, section); err != nil {
				return nil, err
			}
		}
		lvs[i] = lv
	}
	return vg, vg.index(lvs)
}

// readGroup reads everything but the logical volumes, whose section it returns.
func readGroup(top *text.Section) (*VG, *text.Section, error) {
	if s, ok := top.Str(contentsKey); !ok {
		return nil, nil, malformed("missing contents field")
	} else if s != contentsValue {
		return nil, nil, malformed("unrecognised contents field")
	}
	if n, ok := top.Int("version"); !ok {
		return nil, nil, malformed("missing version number")
	} else if n != 1 {
		return nil, nil, malformed("unrecognised version number %d", n)
	}
	at := slices.IndexFunc(top.Entries, func(e text.Entry) bool { return e.Section != nil })
	if at < 0 {
		return nil, nil, malformed("couldn't find volume group in file")
	}
	group := top.Entries[at]
	vg := empty(group.Key)
	vg.top = without(top, at)
	if !ValidName(vg.name) {
		return nil, nil, malformed("volume group name %q is invalid", vg.name)
	}
	r := reader{where: "volume group " + vg.name}
	lvs := vg.readHead(&r, group.Section)
	return vg, lvs, r.err
}

func malformed(format string, a ...any) error {
	return &Error{Msg: fmt.Sprintf("Can't process text format file - "+format+".", a...), Err: ErrFormat}
}

// without is a section less one entry.
func without(s *text.Section, i int) *text.Section {
	return &text.Section{Entries: slices.Delete(slices.Clone(s.Entries), i, i+1)}
}

// reader reads typed values out of sections and keeps the first error.
type reader struct {
	where string
	err   error
}

func (r *reader) fail(format string, a ...any) {
	if r.err == nil {
		r.err = &Error{Msg: r.where + ": " + fmt.Sprintf(format, a...), Err: ErrFormat}
	}
}

func (r *reader) uuid(v text.Value) UUID {
	s, ok := v.Str()
	if !ok {
		r.fail("id is not a string")
		return UUID{}
	}
	id, err := ParseUUID(s)
	if err != nil {
		r.fail("%v", err)
	}
	return id
}

// number reads an integer from 0 to limit. LVM2 reads 32-bit numbers by cutting off the rest; those are refused here.
func (r *reader) number(key string, v text.Value, limit uint64) uint64 {
	n, ok := v.Int()
	if !ok || n < 0 || uint64(n) > limit {
		r.fail("%s is not a number from 0 to %d", key, limit)
		return 0
	}
	return uint64(n)
}

func (r *reader) u32(key string, v text.Value) uint32  { return uint32(r.number(key, v, 1<<32-1)) }
func (r *reader) size(key string, v text.Value) uint64 { return r.number(key, v, 1<<62) }

func (r *reader) str(key string, v text.Value) string {
	s, ok := v.Str()
	if !ok {
		r.fail("%s is not a string", key)
	}
	return s
}

func (r *reader) strings(key string, v text.Value) []string {
	s, ok := v.Strings()
	if !ok {
		r.fail("%s has an item that is not a string", key)
	}
	return intern(s)
}

// intern shares the lists that nearly every logical volume has.
func intern(s []string) []string {
	for _, c := range commonLists {
		if slices.Equal(c, s) {
			return c
		}
	}
	return s
}

var commonLists = [][]string{
	nil, {"READ", "WRITE", "VISIBLE"}, {"READ", "WRITE"}, {"ALLOCATABLE"}, {"RESIZEABLE", "READ", "WRITE"},
}

// status reads a status list, all of whose members must be known: one that is not could mean that the volume must not
// be touched.
func (r *reader) status(v text.Value, known []string) []string {
	list := r.strings("status", v)
	for _, s := range list {
		if !slices.Contains(known, s) {
			r.fail("unknown status flag '%s'; commands that only read metadata still show it", s)
		}
	}
	return list
}

// The flags of lib/format_text/flags.c. A flag may also stand in a status, as old versions wrote it.
var (
	vgStatus = []string{"EXPORTED", "RESIZEABLE", "PVMOVE", "READ", "WRITE", "CLUSTERED", "SHARED", "PARTIAL"}
	pvStatus = []string{"ALLOCATABLE", "EXPORTED", "MISSING"}
	lvStatus = []string{
		"READ", "WRITE", "FIXED_MINOR", "VISIBLE", "PVMOVE", "LOCKED", "NOTSYNCED", "REBUILD", "WRITEMOSTLY", "CACHE_VOL",
		"RESHAPE", "RESHAPE_DATA_OFFSET", "RESHAPE_DELTA_DISKS_PLUS", "RESHAPE_DELTA_DISKS_MINUS",
		"REMOVE_AFTER_RESHAPE", "METADATA_FORMAT", "CROP_METADATA", "CACHE_USES_CACHEVOL",
	}
	segmentFlags = lvStatus[slices.Index(lvStatus, "RESHAPE"):]
	segmentTypes = []string{
		"striped", "linear", "error", "zero", "snapshot", "mirror", "free", "thin", "thin-pool", "cache", "cache-pool",
		"writecache", "integrity", "vdo", "vdo-pool", "raid0", "raid0_meta", "raid1", "raid10", "raid10_near", "raid4",
		"raid5", "raid5_la", "raid5_ra", "raid5_ls", "raid5_rs", "raid5_n", "raid6", "raid6_zr", "raid6_nr", "raid6_nc",
		"raid6_ls_6", "raid6_rs_6", "raid6_la_6", "raid6_ra_6", "raid6_n_6",
	}
)

// readHead reads everything of the group but the logical volumes, whose section it returns.
func (vg *VG) readHead(r *reader, s *text.Section) (lvs *text.Section) {
	var head []text.Entry
	var pvs *text.Section
	seen := seenKeys{}
	for _, e := range s.Entries {
		if e.Section != nil {
			switch e.Key {
			case pvsKey:
				pvs = e.Section
				seen.add(e.Key)
				continue
			case lvsKey:
				lvs = e.Section
				continue
			}
			head = append(head, e)
			continue
		}
		head = append(head, e)
		if !seen.add(e.Key) {
			continue // the first one counts
		}
		switch v := e.Value; e.Key {
		case "id":
			vg.id = r.uuid(v)
		case "seqno":
			vg.seqno = r.u32(e.Key, v)
		case "format":
			if f := r.str(e.Key, v); f != "lvm2" {
				r.fail("unrecognised format %s", f)
			}
		case "status":
			vg.status = r.status(v, vgStatus)
		case "flags":
			vg.flags = r.strings(e.Key, v)
		case "tags":
			vg.tags = r.strings(e.Key, v)
		case "system_id":
			vg.systemID = r.str(e.Key, v)
		case "lock_type":
			vg.lockType = r.str(e.Key, v)
		case "lock_args":
			vg.lockArgs = r.str(e.Key, v)
		case "profile":
			vg.profile = r.str(e.Key, v)
		case "extent_size":
			vg.extentSize = uint64(r.u32(e.Key, v))
		case "max_lv":
			vg.maxLV = r.u32(e.Key, v)
		case "max_pv":
			vg.maxPV = r.u32(e.Key, v)
		case "metadata_copies":
			vg.copies = r.u32(e.Key, v)
		case "allocation_policy":
			if a, ok := ParseAllocation(r.str(e.Key, v)); ok && a != AllocInherit {
				vg.alloc = a // one that is not known counts as normal
			}
		}
	}
	seen.require(r, "id", "seqno", "status", "extent_size", "max_lv", "max_pv", pvsKey)
	if vg.extentSize == 0 {
		r.fail("extent_size is 0")
	}
	vg.head = &text.Section{Entries: head}
	for _, e := range entries(pvs) {
		if e.Section != nil {
			vg.pvs = append(vg.pvs, readPV(r, vg.name, e.Key, e.Section))
		}
	}
	return lvs
}

// seenKeys is the set of keys of a section that were met.
type seenKeys []string

func (s *seenKeys) add(key string) bool {
	if slices.Contains(*s, key) {
		return false
	}
	*s = append(*s, key)
	return true
}

func (s seenKeys) require(r *reader, keys ...string) {
	for _, k := range keys {
		if !slices.Contains(s, k) {
			r.fail("couldn't read '%s'", k)
		}
	}
}

func readPV(outer *reader, vg, key string, s *text.Section) *PV {
	r := reader{where: fmt.Sprintf("physical volume %s of volume group %s", key, vg)}
	pv := &PV{Key: key, section: s}
	seen := make(seenKeys, 0, 16)
	for _, e := range s.Entries {
		if e.Section != nil || !seen.add(e.Key) {
			continue
		}
		switch v := e.Value; e.Key {
		case "id":
			pv.ID = r.uuid(v)
		case "device":
			pv.Device, _ = v.Str() // a hint
		case "status":
			pv.Status = r.status(v, pvStatus)
		case "flags":
			pv.Flags = r.strings(e.Key, v)
		case "tags":
			pv.Tags = r.strings(e.Key, v)
		case "dev_size":
			pv.DevSize = r.size(e.Key, v)
		case "pe_start":
			pv.PEStart = r.size(e.Key, v)
		case "pe_count":
			pv.PECount = Extent(r.u32(e.Key, v))
		case "ba_start":
			pv.BAStart = r.size(e.Key, v)
		case "ba_size":
			pv.BASize = r.size(e.Key, v)
		}
	}
	seen.require(&r, "id", "status", "pe_start", "pe_count")
	if (pv.BAStart == 0) != (pv.BASize == 0) {
		r.fail("found incomplete bootloader area specification")
	}
	pv.bytes = pv.measure()
	if outer.err == nil {
		outer.err = r.err
	}
	return pv
}

// readLV reads a logical volume.
func readLV(vg, name string, s *text.Section) (*LV, error) {
	lv := &LV{Name: name, Major: -1, Minor: -1, tree: s, stanza: &stanza{}}
	r := reader{where: "logical volume " + vg + "/" + name}
	segmentCount, host, segments := -1, false, 0
	var seen uint
	for i := range s.Entries {
		e := &s.Entries[i]
		if e.Section != nil {
			segments++
			continue
		}
		bit := lvKeyBit(e.Key)
		if bit == 0 || seen&bit != 0 {
			continue
		}
		seen |= bit
		switch v := e.Value; e.Key {
		case "id":
			lv.ID = r.uuid(v)
		case "status":
			lv.Status = r.status(v, lvStatus)
		case "flags":
			lv.Flags = r.strings(e.Key, v)
		case "tags":
			lv.Tags = r.strings(e.Key, v)
		case "creation_time":
			lv.CreationTime = int64(r.size(e.Key, v))
		case "creation_host":
			lv.CreationHost, host = r.str(e.Key, v), true
		case "lock_args":
			lv.LockArgs = r.str(e.Key, v)
		case "profile":
			lv.Profile = r.str(e.Key, v)
		case "allocation_policy":
			lv.Allocation, _ = ParseAllocation(r.str(e.Key, v))
		case "read_ahead":
			if n, ok := v.Int(); ok {
				lv.ReadAhead = ReadAhead(uint32(n)) // -1 is none
			}
		case "major":
			lv.Major = int(r.number(e.Key, v, 1<<20))
		case "minor":
			lv.Minor = int(r.number(e.Key, v, 1<<20))
		case "segment_count":
			segmentCount = int(r.u32(e.Key, v))
		}
	}
	for _, k := range [...]string{"id", "status", "segment_count"} {
		if seen&lvKeyBit(k) == 0 {
			r.fail("couldn't read '%s'", k)
		}
	}
	if host != (seen&lvKeyBit("creation_time") != 0) {
		r.fail("creation_time and creation_host go together, and one is missing")
	}
	if segments != segmentCount {
		r.fail("segment_count and actual number of segments disagree")
	}
	if r.err != nil {
		return nil, r.err
	}
	lv.place.hidden = !lv.Visible()
	lv.Segments = make([]Segment, 0, segments)
	for i := range s.Entries {
		if e := &s.Entries[i]; e.Section != nil {
			lv.Segments = append(lv.Segments, readSegment(&r, e.Key, e.Section))
		}
	}
	if r.err != nil {
		return nil, r.err
	}
	return lv, lv.join(&r)
}

func lvKeyBit(key string) uint {
	for i, k := range lvKeys {
		if k == key {
			return 1 << i
		}
	}
	return 0
}

var lvKeys = [...]string{
	"id", "status", "flags", "tags", "creation_time", "creation_host", "lock_args", "profile", "allocation_policy",
	"read_ahead", "major", "minor", "segment_count",
}

// join sorts the segments and checks that each begins where the one before ends.
func (lv *LV) join(r *reader) error {
	if !slices.IsSortedFunc(lv.Segments, compareSegments) {
		slices.SortStableFunc(lv.Segments, compareSegments)
	}
	next := uint64(0)
	for i := range lv.Segments {
		s := &lv.Segments[i]
		if uint64(s.Start) != next {
			r.fail("segments have a gap or overlap at extent %d", next)
			return r.err
		}
		next += uint64(s.Count)
	}
	if next > maxExtents {
		r.fail("has %d extents; the most are %d", next, uint32(maxExtents))
	}
	lv.Extents = Extent(next)
	return r.err
}

func compareSegments(a, b Segment) int {
	switch {
	case a.Start < b.Start:
		return -1
	case a.Start > b.Start:
		return 1
	}
	return 0
}

func readSegment(r *reader, key string, s *text.Section) Segment {
	seg := Segment{section: s, Type: "striped"}
	var start, count, stripes, hasSize bool
	var stripeCount uint32
	var areas *text.Value
	for i := range s.Entries {
		e := &s.Entries[i]
		if e.Section != nil {
			continue
		}
		switch v := e.Value; e.Key {
		case "start_extent":
			seg.Start, start = Extent(r.u32(e.Key, v)), true
		case "extent_count":
			seg.Count, count = Extent(r.u32(e.Key, v)), true
		case "type":
			seg.Type = r.str(e.Key, v)
		case "tags":
			seg.Tags = r.strings(e.Key, v)
		case "stripe_count":
			stripeCount, stripes = r.u32(e.Key, v), true
		case "mirror_count":
			stripeCount = r.u32(e.Key, v)
		case "stripe_size":
			seg.StripeSize, hasSize = uint64(r.u32(e.Key, v)), true
		case "stripes", "mirrors":
			areas = &e.Value
		}
	}
	if !start || !count {
		r.fail("couldn't read start_extent and extent_count of %s", key)
	}
	if seg.Count == 0 && r.err == nil {
		r.fail("%s has no extents", key)
	}
	if i := strings.IndexByte(seg.Type, '+'); i >= 0 {
		seg.TypeFlags = strings.Split(seg.Type[i+1:], "+")
		seg.Type = seg.Type[:i]
	}
	seg.Known = slices.Contains(segmentTypes, seg.Type)
	for _, f := range seg.TypeFlags {
		seg.Known = seg.Known && slices.Contains(segmentFlags, f)
	}
	if seg.striped() && seg.Known {
		if !stripes {
			r.fail("couldn't read 'stripe_count' for %s", key)
		} else if stripeCount == 0 {
			r.fail("zero areas not allowed for %s", key)
		} else if stripeCount > 1 && !hasSize {
			r.fail("couldn't read stripe_size for %s", key)
		} else if uint32(seg.Count)%stripeCount != 0 {
			r.fail("%s has %d extents, which %d stripes do not divide", key, seg.Count, stripeCount)
		} else if areas == nil {
			r.fail("couldn't find stripes array for %s", key)
		}
	}
	if areas != nil && r.err == nil && (seg.striped() || seg.Type == "mirror") && seg.Known {
		seg.readAreas(r, key, areas.List, int(stripeCount))
	}
	return seg
}

// readAreas reads pairs of a volume and an extent. Which names are those of physical volumes is seen when the group's
// are known.
func (s *Segment) readAreas(r *reader, key string, list []text.Value, count int) {
	if len(list) != 2*count {
		r.fail("incorrect number of areas in area array for %s", key)
		return
	}
	s.Stripes = make([]Area, count)
	for i := range s.Stripes {
		name, ok := list[2*i].Str()
		n, isInt := list[2*i+1].Int()
		if !ok || !isInt || n < 0 || n > maxExtents {
			r.fail("area %d of %s is not a volume and an extent", i, key)
			return
		}
		s.Stripes[i] = Area{PV: name, Start: Extent(n)}
	}
}

func entries(s *text.Section) []text.Entry {
	if s == nil {
		return nil
	}
	return s.Entries
}
