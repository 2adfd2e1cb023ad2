package report

import (
	"strings"

	"morgana/lvm/metadata"
)

func policyChar(a metadata.Allocation) byte {
	return "icltna"[a]
}

// attributes are the ten letters of lvs(8).
func (v shape) attributes() string {
	b := []byte("----------")
	image, meta := v.raidPart()
	mirrorImage, log := v.mirrorPart()
	or := func(is bool, yes, no byte) byte {
		if is {
			return yes
		}
		return no
	}
	switch {
	case v.pvmove():
		b[0] = 'p'
	case v.has("CONVERTING"):
		b[0] = 'c'
	case v.origin() || v.externalOrigin():
		b[0] = or(v.mergingOrigin(), 'O', 'o')
	case v.thinMeta() || v.cacheMeta() || v.spare() || meta || v.integrityMeta():
		b[0] = 'e'
	case v.cache() || v.cachePool() || v.cacheData() || v.cacheVol() || v.writecache():
		b[0] = 'C'
	case v.integrity():
		b[0] = 'g'
	case v.raid():
		b[0] = or(v.has("NOTSYNCED"), 'R', 'r')
	case v.mirror():
		b[0] = or(v.has("NOTSYNCED"), 'M', 'm')
	case v.thin():
		b[0] = or(v.mergingOrigin(), 'O', or(v.mergingThin(), 'S', 'V'))
	case v.vdoPool():
		b[0] = 'd'
	case v.vdoData():
		b[0] = 'D'
	case v.virtual():
		b[0] = 'v'
	case v.thinPool():
		b[0] = 't'
	case v.thinData():
		b[0] = 'T'
	case mirrorImage, image:
		b[0] = 'I'
	case log:
		b[0] = 'l'
	case v.cow() != nil:
		b[0] = or(v.merging() != nil, 'S', 's')
	case v.cacheOrigin() || v.writecacheOrigin():
		b[0] = 'o'
	}
	switch {
	case v.pvmove():
	case v.lv.Writable():
		b[1] = 'w'
	case v.has("READ"):
		b[1] = 'r'
	}
	b[2] = policyChar(v.lv.Allocation)
	if v.locked() {
		b[2] &^= 0x20
	}
	b[3] = or(v.has("FIXED_MINOR"), 'm', '-')
	b[4], b[5] = 'X', 'X' // only the kernel knows
	raid := v.raid() || image || meta
	switch {
	case v.thinPool() || v.thin():
		b[6] = 't'
	case v.cachePool() || v.cacheVol() || v.cache() || v.cacheOrigin() || v.writecache() || v.writecacheOrigin():
		b[6] = 'C'
	case raid:
		b[6] = 'r'
	case v.mirror() || mirrorImage || log || v.pvmove():
		b[6] = 'm'
	case v.cow() != nil || v.origin():
		b[6] = 's'
	case v.unknownSegments():
		b[6] = 'u'
	case v.virtual():
		b[6] = 'v'
	}
	pool := v.first()
	if v.thin() {
		pool = v.g.shape(v.g.VG.LV(v.needs("thin_pool"))).first()
	}
	if (v.thin() || v.thinPool()) && pool != nil && integer(pool, "zero_new_blocks") == 1 {
		b[7] = 'z'
	}
	switch {
	case v.partial():
		b[8] = 'p'
	case raid:
		b[8] = 'X'
	}
	b[9] = or(v.has("ACTIVATION_SKIP"), 'k', '-')
	return string(b)
}

// integer is a number of a segment, 0 if there is none.
func integer(s *metadata.Segment, key string) int64 {
	n, _ := integerOf(s, key)
	return n
}

func integerOf(s *metadata.Segment, key string) (int64, bool) {
	if s == nil {
		return 0, false
	}
	v, ok := s.Lookup(key)
	if !ok {
		return 0, false
	}
	return v.Int()
}

func vgAttributes(vg *metadata.VG) string {
	if vg == nil {
		return "r-----"
	}
	b := []byte("r-----")
	set := func(i int, is bool, c byte) {
		if is {
			b[i] = c
		}
	}
	set(0, vg.Writable(), 'w')
	set(1, vg.Resizeable(), 'z')
	set(2, vg.Exported(), 'x')
	set(3, vg.Partial(), 'p')
	b[4] = policyChar(vg.Allocation())
	set(5, vg.LockType() == "sanlock" || vg.LockType() == "dlm", 's')
	set(5, vg.Has("CLUSTERED"), 'c')
	return string(b)
}

func (d *PV) attributes(vg *metadata.VG) string {
	b := []byte("---")
	switch {
	case d.Duplicate:
		b[0] = 'd'
	case d.Meta != nil && d.Meta.Allocatable():
		b[0] = 'a'
	case d.InUse:
		b[0] = 'u'
	}
	if vg != nil && vg.Exported() {
		b[1] = 'x'
	}
	if d.Meta != nil && d.Meta.Missing() {
		b[2] = 'm'
	}
	return string(b)
}

// layoutAndRole say how a volume is built and what it is for.
func (v shape) layoutAndRole() (layout, role []string) {
	if v.lv == nil {
		return []string{"unknown"}, []string{"public"}
	}
	public := true
	private := func(words ...string) {
		role = append(role, words...)
		public = false
	}
	addRole := func(words ...string) {
		for _, w := range words {
			if !contains(role, w) {
				role = append(role, w)
			}
		}
	}
	image, meta := v.raidPart()
	mirrorImage, log := v.mirrorPart()
	kind := v.kind()
	switch {
	case mirrorImage:
		private("mirror", "image")
	case log:
		private("mirror", "log")
	case v.pvmove():
		private("pvmove")
		layout = append(layout, "mirror")
	case v.mirror():
		layout = append(layout, "mirror")
	}
	switch {
	case image:
		private("raid", "image")
	case meta:
		private("raid", "metadata")
	case v.raid():
		layout = append(layout, "raid")
		level := kind
		if i := strings.IndexByte(kind, '_'); i > 0 {
			level = kind[:i]
		}
		if kind != "raid0_meta" {
			layout = append(layout, level)
		}
		switch kind {
		case "raid5":
			layout = append(layout, "raid5_ls")
		case "raid6":
			layout = append(layout, "raid6_zr")
		case "raid5_la", "raid5_ra", "raid5_ls", "raid5_rs", "raid6_zr", "raid6_nr", "raid6_nc":
			layout = append(layout, kind)
		}
	}
	switch {
	case v.thinMeta():
		private("thin", "pool", "metadata")
	case v.thinData():
		private("thin", "pool", "data")
	case v.thin():
		layout = append(layout, "thin", "sparse")
		if n := v.thinSnapshots(); n > 0 {
			addRole("origin", "thinorigin")
			if n > 1 {
				addRole("multithinorigin")
			}
		}
		if v.needs("origin") != "" {
			addRole("snapshot", "thinsnapshot")
		}
	case v.thinPool():
		layout = append(layout, "thin", "pool")
		public = false
	}
	if v.externalOrigin() {
		addRole("origin", "extthinorigin")
	}
	switch {
	case v.cacheMeta():
		private("cache", "pool", "metadata")
	case v.cacheData():
		private("cache", "pool", "data")
		if v.cache() {
			layout = append(layout, "cache")
		}
	case v.cacheOrigin():
		private("cache", "origin", "cacheorigin")
	case v.writecacheOrigin():
		private("writecache", "origin", "writecacheorigin")
	case v.cache():
		layout = append(layout, "cache")
	case v.writecache():
		layout = append(layout, "writecache")
	case v.writecacheVol():
		layout, public = append(layout, "writecache", "cachevol"), false
	case v.cacheVol():
		layout, public = append(layout, "cache", "cachevol"), false
	case v.cachePool():
		layout, public = append(layout, "cache", "pool"), false
	}
	switch {
	case v.integrityMeta():
		private("integrity", "metadata")
	case v.integrityOrigin():
		private("integrity", "origin", "integrityorigin")
	case v.integrity():
		layout = append(layout, "integrity")
	}
	switch {
	case v.vdoPool():
		layout, public = append(layout, "vdo", "pool"), false
	case v.vdoData():
		private("vdo", "pool", "data")
	case v.vdo():
		layout = append(layout, "vdo", "sparse")
	}
	if v.spare() {
		private("pool", "spare")
	}
	switch n := v.snapshots(); {
	case n > 0:
		addRole("origin", "thickorigin")
		if v.virtual() && !v.thin() {
			layout, public = append(layout, "virtual"), false
		}
		if n > 1 {
			addRole("multithickorigin")
		}
	case v.cow() != nil:
		addRole("snapshot", "thicksnapshot")
	}
	if v.sanlock() {
		private("lockd", "sanlock")
	}
	if len(layout) == 0 {
		layout = v.plainLayout()
	}
	word := "private"
	if public {
		word = "public"
	}
	return layout, append([]string{word}, role...)
}

// plainLayout is linear, striped, both or neither.
func (v shape) plainLayout() []string {
	linear, striped := false, false
	for i := range v.lv.Segments {
		s := &v.lv.Segments[i]
		if s.Type == "striped" || s.Type == "linear" {
			linear, striped = linear || len(s.Stripes) == 1, striped || len(s.Stripes) > 1
		}
	}
	var layout []string
	if linear {
		layout = append(layout, "linear")
	}
	if striped {
		layout = append(layout, "striped")
	}
	if len(layout) == 0 {
		layout = []string{"unknown"}
	}
	return layout
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
