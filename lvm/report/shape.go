package report

import (
	"slices"
	"strings"

	"morgana/lvm/metadata"
)

// shapes remembers what is found out about volumes by looking at others.
type shapes struct {
	partial map[string]bool
}

// shape answers what kind of volume one is. lvm2 keeps that in flags that it sets while it reads a group; here it
// follows from the volume's first segment and from those who need it.
type shape struct {
	g  *Group
	lv *metadata.LV
}

func (g *Group) shape(lv *metadata.LV) shape { return shape{g, lv} }

// first is the first segment.
func (v shape) first() *metadata.Segment {
	if v.lv == nil || len(v.lv.Segments) == 0 {
		return nil
	}
	return &v.lv.Segments[0]
}

func (v shape) kind() string {
	if s := v.first(); s != nil {
		return s.Type
	}
	return ""
}

// names is the volume that a key of a segment names.
func names(s *metadata.Segment, key string) string {
	if s == nil {
		return ""
	}
	if val, ok := s.Lookup(key); ok {
		if str, ok := val.Str(); ok {
			return str
		}
	}
	return ""
}

func (v shape) needs(key string) string { return names(v.first(), key) }

// user returns the first volume of a type whose segment names this one with one of the keys.
func (v shape) user(kind string, keys ...string) *metadata.LV {
	if v.lv == nil {
		return nil
	}
	for u := range v.g.VG.Users(v.lv.Name) {
		for i := range u.Segments {
			s := &u.Segments[i]
			if s.Type != kind {
				continue
			}
			for _, k := range keys {
				if names(s, k) == v.lv.Name {
					return u
				}
			}
		}
	}
	return nil
}

// isRaid tells RAID from other types.
func isRaid(kind string) bool { return strings.HasPrefix(kind, "raid") }

// raidPart reports whether the volume is an image or the metadata of a RAID.
func (v shape) raidPart() (image, meta bool) {
	for u := range v.g.VG.Users(v.lv.Name) {
		for i := range u.Segments {
			s := &u.Segments[i]
			if !isRaid(s.Type) {
				continue
			}
			pairs := strings0(s, "raids")
			for n, name := range pairs {
				if name == v.lv.Name {
					meta, image = meta || n%2 == 0, image || n%2 == 1
				}
			}
			image = image || slices.Contains(strings0(s, "raid0_lvs"), v.lv.Name)
		}
	}
	return image, meta
}

// strings0 are the strings of a list, without its numbers.
func strings0(s *metadata.Segment, key string) []string {
	v, ok := s.Lookup(key)
	if !ok {
		return nil
	}
	var list []string
	for _, item := range v.List {
		if str, ok := item.Str(); ok {
			list = append(list, str)
		}
	}
	return list
}

// mirrorPart reports whether the volume is an image or the log of a mirror.
func (v shape) mirrorPart() (image, log bool) {
	for u := range v.g.VG.Users(v.lv.Name) {
		for i := range u.Segments {
			s := &u.Segments[i]
			if s.Type == "mirror" {
				image = image || slices.Contains(strings0(s, "mirrors"), v.lv.Name)
				log = log || names(s, "mirror_log") == v.lv.Name
			}
		}
	}
	return image, log
}

func (v shape) has(flag string) bool   { return v.lv != nil && v.lv.Has(flag) }
func (v shape) pvmove() bool           { return v.has("PVMOVE") }
func (v shape) locked() bool           { return v.has("LOCKED") }
func (v shape) raid() bool             { return isRaid(v.kind()) && !v.pvmove() }
func (v shape) mirror() bool           { return v.kind() == "mirror" && !v.pvmove() }
func (v shape) thin() bool             { return v.kind() == "thin" }
func (v shape) thinPool() bool         { return v.kind() == "thin-pool" }
func (v shape) thinData() bool         { return v.user("thin-pool", "pool") != nil }
func (v shape) thinMeta() bool         { return v.user("thin-pool", "metadata") != nil }
func (v shape) cache() bool            { return v.kind() == "cache" }
func (v shape) cachePool() bool        { return v.kind() == "cache-pool" }
func (v shape) cacheData() bool        { return v.user("cache-pool", "data") != nil }
func (v shape) cacheMeta() bool        { return v.user("cache-pool", "metadata") != nil }
func (v shape) cacheOrigin() bool      { return v.user("cache", "origin") != nil }
func (v shape) cacheVol() bool         { return v.has("CACHE_VOL") }
func (v shape) writecache() bool       { return v.kind() == "writecache" }
func (v shape) writecacheOrigin() bool { return v.user("writecache", "origin") != nil }
func (v shape) writecacheVol() bool    { return v.user("writecache", "writecache") != nil }
func (v shape) vdo() bool              { return v.kind() == "vdo" }
func (v shape) vdoPool() bool          { return v.kind() == "vdo-pool" }
func (v shape) vdoData() bool          { return v.user("vdo-pool", "data") != nil }
func (v shape) integrity() bool        { return v.kind() == "integrity" }
func (v shape) integrityOrigin() bool  { return v.user("integrity", "origin") != nil }
func (v shape) integrityMeta() bool    { return v.user("integrity", "meta_dev") != nil }
func (v shape) externalOrigin() bool   { return v.user("thin", "external_origin") != nil }
func (v shape) spare() bool            { return v.lv != nil && strings.HasSuffix(v.lv.Name, "_pmspare") }

func (v shape) sanlock() bool {
	return v.lv != nil && v.lv.Name == "lvmlock" && v.g.VG.LockType() == "sanlock"
}

func (v shape) virtual() bool {
	return slices.Contains([]string{"zero", "error", "thin", "vdo", "free"}, v.kind())
}
func (v shape) cow() *metadata.LV     { return v.user("snapshot", "cow_store", "merging_store") }
func (v shape) merging() *metadata.LV { return v.user("snapshot", "merging_store") }
func (v shape) origin() bool          { return v.snapshots() > 0 }
func (v shape) mergingThin() bool     { return v.thin() && v.needs("merge") != "" }
func (v shape) unknownSegments() bool {
	return v.lv != nil && slices.ContainsFunc(v.lv.Segments, func(s metadata.Segment) bool { return !s.Known })
}

// snapshots is how many thick snapshots the volume is the origin of.
func (v shape) snapshots() int {
	if v.lv == nil {
		return 0
	}
	n := 0
	for u := range v.g.VG.Users(v.lv.Name) {
		if s := v.g.shape(u); s.kind() == "snapshot" && s.needs("origin") == v.lv.Name {
			n++
		}
	}
	return n
}

// thinSnapshots is how many thin volumes have this one as their origin.
func (v shape) thinSnapshots() int {
	n := 0
	for u := range v.g.VG.Users(v.lv.Name) {
		if s := v.g.shape(u); s.thin() && s.needs("origin") == v.lv.Name {
			n++
		}
	}
	return n
}

// mergingOrigin reports whether a snapshot is being merged into the volume.
func (v shape) mergingOrigin() bool {
	for u := range v.g.VG.Users(v.lv.Name) {
		s := v.g.shape(u)
		if s.kind() == "snapshot" && s.needs("origin") == v.lv.Name && s.needs("merging_store") != "" ||
			s.thin() && s.needs("merge") == v.lv.Name {
			return true
		}
	}
	return false
}

// snapshotOrigin is the origin of a volume that is a thick snapshot's store.
func (v shape) snapshotOrigin() *metadata.LV {
	if s := v.cow(); s != nil {
		return v.g.VG.LV(v.g.shape(s).needs("origin"))
	}
	return nil
}

// internal is for the volumes that tie a snapshot to its origin, which no report shows.
func (v shape) internal() bool { return v.kind() == "snapshot" }

// visible reports whether users see the volume. A snapshot is seen where its origin is.
func (v shape) visible() bool {
	if v.internal() {
		return false
	}
	if o := v.snapshotOrigin(); o != nil {
		so := v.g.shape(o)
		return so.virtual() || so.visible()
	}
	return v.lv.Visible()
}

// partial reports whether a part of the volume is on a missing disk.
func (v shape) partial() bool { return v.partialDeep(0) }

func (v shape) partialDeep(depth int) bool {
	if v.lv == nil || depth > 64 || !v.g.VG.Partial() {
		return false
	}
	if v.g.hard == nil {
		v.g.hard = &shapes{partial: map[string]bool{}}
	}
	if is, ok := v.g.hard.partial[v.lv.Name]; ok {
		return is
	}
	is := false
	for i := range v.lv.Segments {
		s := &v.lv.Segments[i]
		for _, a := range s.Stripes {
			if pv := v.g.VG.PV(a.PV); pv != nil && pv.Missing() {
				is = true
			}
		}
		for _, n := range s.Needs {
			if lv := v.g.VG.LV(n); lv != nil && n != v.lv.Name && v.g.shape(lv).partialDeep(depth+1) {
				is = true
			}
		}
	}
	v.g.hard.partial[v.lv.Name] = is
	return is
}

// Visible reports whether users see a volume of the group.
func (g *Group) Visible(lv *metadata.LV) bool { return g.shape(lv).visible() }

// Internal reports whether a volume is one that not even a list of hidden ones shows.
func (g *Group) Internal(lv *metadata.LV) bool { return g.shape(lv).internal() }

// Count returns the numbers of volumes that users see and of thick snapshots.
func (g *Group) Count() (visible, snapshots int) {
	if g.VG == nil {
		return 0, 0
	}
	if g.hard == nil {
		g.hard = &shapes{partial: map[string]bool{}}
	}
	plain := true
	for lv := range g.VG.LVs() {
		for i := range lv.Segments {
			plain = plain && lv.Segments[i].Type != "snapshot"
		}
	}
	if plain {
		return g.VG.NumVisible(), 0
	}
	for lv := range g.VG.LVs() {
		v := g.shape(lv)
		if v.visible() {
			visible++
		}
		if v.cow() != nil && !v.thin() {
			snapshots++
		}
	}
	return visible, snapshots
}

// SnapshotOf returns the origin of a volume that is a thick snapshot, and the snapshot's chunk size in sectors.
func (g *Group) SnapshotOf(lv *metadata.LV) (origin *metadata.LV, chunk uint64) {
	v := g.shape(lv)
	if s := v.cow(); s != nil {
		return v.snapshotOrigin(), uint64(integer(g.shape(s).first(), "chunk_size"))
	}
	return nil, 0
}

// Snapshots are the names of a volume's thick snapshots.
func (g *Group) Snapshots(lv *metadata.LV) []string {
	var list []string
	for u := range g.VG.Users(lv.Name) {
		if s := g.shape(u); s.kind() == "snapshot" && s.needs("origin") == lv.Name {
			list = append(list, s.needs("cow_store")+s.needs("merging_store"))
		}
	}
	return list
}

// Images is how many images a mirror or RAID1 has, 0 of others.
func (g *Group) Images(lv *metadata.LV) int {
	v := g.shape(lv)
	switch v.kind() {
	case "mirror":
		return len(v.images())
	case "raid1":
		return len(strings0(v.first(), "raids")) / 2
	}
	return 0
}

// Named is the volume that a key of a volume's first segment names.
func (g *Group) Named(lv *metadata.LV, key string) string { return g.shape(lv).needs(key) }

// DeviceName is the name of the disk with a key of the metadata.
func (g *Group) DeviceName(key string) string { return g.device(key) }
