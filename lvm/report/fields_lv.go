package report

import (
	"slices"
	"strings"
	"time"

	"morgana/lvm/metadata"
)

// lvField is a field about a volume. Rows of free extents have none; then lv.lv is nil.
func lvField(id, heading string, k valueKind, width int, get func(*Settings, shape) value, about string, words ...reserved) *field {
	return &field{
		id: id, heading: heading, scope: ofLV, kind: k, width: width, about: about, words: words,
		get: func(s *Settings, r *Row) value { return get(s, shape{r.Group, r.LV}) },
	}
}

// flagField is a yes-or-no field about a volume.
func flagField(id, heading string, width int, is func(shape) bool, about string, words ...string) *field {
	return lvField(id, heading, binaryKind, width, func(s *Settings, v shape) value {
		return yes(s, v.lv != nil && is(v), words[0])
	}, about, word(words...)...)
}

// nameOf shows a volume's name, in brackets if users do not see it.
func (g *Group) nameOf(lv *metadata.LV) value {
	if lv == nil {
		return text("")
	}
	if !g.shape(lv).visible() {
		return textKey("["+lv.Name+"]", lv.Name)
	}
	return text(lv.Name)
}

// other is a pair of fields: the name and the uuid of another volume that belongs to this one.
func other(id, heading, uuidID, uuidHeading string, find func(shape) *metadata.LV, about string) []*field {
	of := func(v shape) *metadata.LV {
		if v.lv == nil {
			return nil
		}
		return find(v)
	}
	return []*field{
		lvField(id, heading, textKind, 0, func(_ *Settings, v shape) value { return v.g.nameOf(of(v)) }, about),
		lvField(uuidID, uuidHeading, textKind, 38, func(_ *Settings, v shape) value {
			if lv := of(v); lv != nil {
				return text(lv.ID.String())
			}
			return text("")
		}, about+" (its uuid)"),
	}
}

// named is the volume that a key of the first segment names.
func (v shape) named(key string) *metadata.LV {
	if n := v.needs(key); n != "" {
		return v.g.VG.LV(n)
	}
	return nil
}

func volumeFields() []*field {
	fs := []*field{
		lvField("lv_uuid", "LV UUID", textKind, 38, func(_ *Settings, v shape) value {
			if v.lv == nil {
				return text("")
			}
			return text(v.lv.ID.String())
		}, "The volume's identity"),
		lvField("lv_name", "LV", textKind, 4, func(_ *Settings, v shape) value { return v.g.nameOf(v.lv) },
			"Name, in brackets if it is a part of another volume"),
		lvField("lv_full_name", "LV", textKind, 4, func(_ *Settings, v shape) value {
			switch {
			case v.lv != nil:
				return text(v.g.VG.Name() + "/" + v.lv.Name)
			case v.g.VG != nil:
				return text(v.g.VG.Name() + "/")
			}
			return text("/")
		}, "Name with the group's, VG/LV"),
		lvField("lv_path", "Path", textKind, 0, func(_ *Settings, v shape) value {
			switch {
			case v.lv == nil && v.g.VG != nil: // of free extents, as lvm2 shows it
				return text("/dev/" + v.g.VG.Name() + "/")
			case v.lv == nil || !v.visible() || v.thinPool() || v.cachePool() || v.vdoPool():
				return text("")
			}
			return text("/dev/" + v.g.VG.Name() + "/" + v.lv.Name)
		}, "Path of the volume's device, once it is active"),
		lvField("lv_dm_path", "DMPath", textKind, 0, func(_ *Settings, v shape) value {
			if v.g.VG == nil {
				return text("")
			}
			double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
			name := ""
			if v.lv != nil {
				name = v.lv.Name
			}
			return text("/dev/mapper/" + double(v.g.VG.Name()) + "-" + double(name))
		}, "Path of the volume's device-mapper node"),
		lvField("lv_parent", "Parent", textKind, 0, func(_ *Settings, v shape) value { return v.g.nameOf(v.parent()) },
			"The volume that this one is a part of"),
		lvField("lv_layout", "Layout", listKind, 10, func(_ *Settings, v shape) value {
			layout, _ := v.layoutAndRole()
			return list(layout, ",")
		}, "How the volume is built"),
		lvField("lv_role", "Role", listKind, 10, func(_ *Settings, v shape) value {
			_, role := v.layoutAndRole()
			return list(role, ",")
		}, "What the volume is for"),
		flagField("lv_initial_image_sync", "InitImgSync", 10, func(v shape) bool {
			return (v.mirror() || v.raid()) && !v.has("NOTSYNCED")
		}, "Whether images were synchronized when it was made", "initial image sync", "sync"),
		flagField("lv_image_synced", "ImgSynced", 10, never, "Whether an image is in step, which the kernel knows", "image synced", "synced"),
		flagField("lv_merging", "Merging", 10, func(v shape) bool {
			return v.mergingOrigin() || v.merging() != nil || v.mergingThin()
		}, "Whether a snapshot is being merged", "merging"),
		flagField("lv_converting", "Converting", 0, func(v shape) bool { return v.has("CONVERTING") }, "Whether the volume is being converted", "converting"),
		lvField("lv_allocation_policy", "AllocPol", textKind, 10, func(_ *Settings, v shape) value {
			if v.lv == nil {
				return text("unknown")
			}
			return text(v.lv.Allocation.String())
		}, "How extents are chosen"),
		flagField("lv_allocation_locked", "AllocLock", 10, shape.locked, "Whether extents must stay where they are", "allocation locked", "locked"),
		flagField("lv_fixed_minor", "FixMin", 10, func(v shape) bool { return v.has("FIXED_MINOR") }, "Whether the device number is fixed", "fixed minor", "fixed"),
		flagField("lv_skip_activation", "SkipAct", 15, func(v shape) bool { return v.has("ACTIVATION_SKIP") }, "Whether activation passes it over", "skip activation", "skip"),
		lvField("lv_autoactivation", "AutoAct", binaryKind, 0, func(s *Settings, v shape) value {
			return yes(s, !v.has("NOAUTOACTIVATE"), "enabled")
		}, "Whether it is activated automatically", word("enabled")...),
		lvField("lv_when_full", "WhenFull", textKind, 15, func(_ *Settings, v shape) value {
			switch {
			case v.lv == nil || !v.thinPool():
				return text("")
			case v.has("ERROR_WHEN_FULL"):
				return text("error")
			}
			return text("queue")
		}, "What a full thin pool does",
			reserved{words: []string{"error", "error when full", "error if no space"}, key: "error"},
			reserved{words: []string{"queue", "queue when full", "queue if no space"}, key: "queue"},
			reserved{words: []string{"", "undefined"}}),
		constant("lv_active", "Active", ofLV, textKind, 0, text("unknown"), "Whether it is active, which the kernel knows"),
	}
	for _, f := range [][3]string{
		{"lv_active_locally", "ActLocal", "locally"},
		{"lv_active_remotely", "ActRemote", "remotely"},
		{"lv_active_exclusively", "ActExcl", "exclusively"},
	} {
		fs = append(fs, lvField(f[0], f[1], binaryKind, 10, func(s *Settings, _ shape) value { return unknown(s) },
			"Whether it is active here so, which the kernel knows", word("active "+f[2], "active", f[2])...))
	}
	fs = append(fs,
		lvField("lv_major", "Maj", numberKind, 0, func(_ *Settings, v shape) value {
			if v.lv == nil {
				return signed(-1)
			}
			return signed(int64(v.lv.Major))
		}, "Fixed major number, -1 if there is none"),
		lvField("lv_minor", "Min", numberKind, 0, func(_ *Settings, v shape) value {
			if v.lv == nil {
				return signed(-1)
			}
			return signed(int64(v.lv.Minor))
		}, "Fixed minor number, -1 if there is none"),
		lvField("lv_read_ahead", "Rahead", sizeKind, 0, func(s *Settings, v shape) value {
			switch {
			case v.lv == nil:
				return size(s, 0)
			case v.lv.ReadAhead == metadata.ReadAheadAuto:
				return value{text: "auto", size: maxSize}
			case v.lv.ReadAhead == metadata.ReadAheadNone:
				return size(s, 0)
			}
			return size(s, uint64(v.lv.ReadAhead))
		}, "How far the kernel reads ahead", reserved{words: []string{"auto"}}),
		lvField("lv_size", "LSize", sizeKind, 0, func(s *Settings, v shape) value {
			if v.lv == nil {
				return size(s, 0)
			}
			return size(s, v.g.VG.Size(v.lv))
		}, "Size"),
		lvField("lv_metadata_size", "MSize", sizeKind, 0, func(s *Settings, v shape) value {
			if v.lv == nil || !v.thinPool() && !v.cachePool() {
				return none()
			}
			if m := v.named("metadata"); m != nil {
				return size(s, v.g.VG.Size(m))
			}
			return none()
		}, "Size of a pool's metadata volume"),
		lvField("seg_count", "#Seg", numberKind, 0, func(_ *Settings, v shape) value {
			if v.lv == nil {
				return number(0)
			}
			return number(uint64(len(v.lv.Segments)))
		}, "Number of segments"),
	)
	fs = append(fs, other("origin", "Origin", "origin_uuid", "Origin UUID", shape.originLV, "The volume that this is a snapshot or cache of")...)
	fs = append(fs,
		lvField("origin_size", "OSize", sizeKind, 0, func(s *Settings, v shape) value {
			if v.lv == nil {
				return value{}
			}
			if c := v.cow(); c != nil {
				return size(s, v.g.VG.Size(c))
			}
			if v.origin() {
				return size(s, v.g.VG.Size(v.lv))
			}
			return value{}
		}, "Size of a snapshot's origin"),
		lvField("lv_ancestors", "Ancestors", listKind, 0, func(_ *Settings, v shape) value { return list(v.ancestors(), ",") },
			"What it is a snapshot of, and what that is one of"),
		lvField("lv_full_ancestors", "FAncestors", listKind, 0, func(_ *Settings, v shape) value { return list(v.ancestors(), ",") },
			"The same with removed volumes"),
		lvField("lv_descendants", "Descendants", listKind, 0, func(_ *Settings, v shape) value { return list(v.descendants(), ",") },
			"Its snapshots, and theirs"),
		lvField("lv_full_descendants", "FDescendants", listKind, 0, func(_ *Settings, v shape) value { return list(v.descendants(), ",") },
			"The same with removed volumes"),
		constant("raid_mismatch_count", "Mismatches", ofLV, numberKind, 0, none(), "Mismatches of a RAID, which the kernel knows"),
		constant("raid_sync_action", "SyncAction", ofLV, textKind, 0, text(""), "What a RAID does, which the kernel knows"),
		raidNumber("raid_write_behind", "WBehind", "writebehind", "Writes that may be outstanding"),
		raidNumber("raid_min_recovery_rate", "MinSync", "min_recovery_rate", "Least speed of recovery, KiB/s and disk"),
		raidNumber("raid_max_recovery_rate", "MaxSync", "max_recovery_rate", "Greatest speed of recovery, KiB/s and disk"),
		lvField("raidintegritymode", "IntegMode", textKind, 0, func(_ *Settings, v shape) value {
			if v.lv == nil || !v.integrity() {
				return text("")
			}
			switch v.needs("mode") {
			case "B":
				return text("bitmap")
			case "J":
				return text("journal")
			}
			return text("")
		}, "How integrity is kept"),
		lvField("raidintegrityblocksize", "IntegBlkSize", numberKind, 0, func(_ *Settings, v shape) value {
			if v.lv != nil && v.integrity() {
				return signed(integer(v.first(), "block_size"))
			}
			return signed(-1)
		}, "Block size of integrity"),
		constant("integritymismatches", "IntegMismatches", ofLV, numberKind, 0, none(), "Mismatches of integrity, which the kernel knows"),
	)
	fs = append(fs,
		lvField("move_pv", "Move", textKind, 0, func(_ *Settings, v shape) value {
			if pv := v.movePV(); pv != nil {
				return text(v.g.device(pv.Key))
			}
			return text("")
		}, "The disk that a pvmove empties"),
		lvField("move_pv_uuid", "Move UUID", textKind, 38, func(_ *Settings, v shape) value {
			if pv := v.movePV(); pv != nil {
				return text(pv.ID.String())
			}
			return text("")
		}, "The disk that a pvmove empties (its uuid)"),
	)
	fs = append(fs, other("convert_lv", "Convert", "convert_lv_uuid", "Convert UUID", func(v shape) *metadata.LV {
		if images := v.images(); v.mirror() && len(images) > 0 && strings.Contains(images[0], "_mimagetmp_") {
			return v.g.VG.LV(images[0])
		}
		return nil
	}, "The temporary volume of a conversion")...)
	fs = append(fs, other("mirror_log", "Log", "mirror_log_uuid", "Log UUID", func(v shape) *metadata.LV { return v.named("mirror_log") }, "The log of a mirror")...)
	fs = append(fs, other("data_lv", "Data", "data_lv_uuid", "Data UUID", func(v shape) *metadata.LV {
		switch {
		case v.thinPool():
			return v.named("pool")
		case v.cachePool(), v.vdoPool():
			return v.named("data")
		}
		return nil
	}, "The data of a pool")...)
	fs = append(fs, other("metadata_lv", "Meta", "metadata_lv_uuid", "Meta UUID", func(v shape) *metadata.LV {
		if v.thinPool() || v.cachePool() {
			return v.named("metadata")
		}
		return nil
	}, "The metadata of a pool")...)
	fs = append(fs, other("pool_lv", "Pool", "pool_lv_uuid", "Pool UUID", func(v shape) *metadata.LV {
		switch {
		case v.thin():
			return v.named("thin_pool")
		case v.cache():
			return v.named("cache_pool")
		case v.vdo():
			return v.named("vdo_pool")
		case v.writecache():
			return v.named("writecache")
		}
		return nil
	}, "The pool that it takes its space from")...)
	return append(fs,
		lvField("lv_tags", "LV Tags", listKind, 0, func(_ *Settings, v shape) value {
			if v.lv == nil {
				return value{}
			}
			return sortedList(v.lv.Tags)
		}, "Tags"),
		lvField("lv_profile", "LProfile", textKind, 0, func(_ *Settings, v shape) value {
			if v.lv == nil {
				return text("")
			}
			return text(v.lv.Profile)
		}, "Configuration profile"),
		lvField("lv_lockargs", "LLockArgs", textKind, 0, func(_ *Settings, v shape) value {
			if v.lv == nil {
				return text("")
			}
			return text(v.lv.LockArgs)
		}, "Arguments of the lock manager"),
		lvField("lv_time", "CTime", timeKind, 26, func(s *Settings, v shape) value {
			if v.lv == nil || v.lv.CreationTime == 0 {
				return value{}
			}
			t := time.Unix(v.lv.CreationTime, 0).In(s.Location)
			return value{text: t.Format("2006-01-02 15:04:05 -0700"), num: uint64(v.lv.CreationTime)}
		}, "When it was made"),
		constant("lv_time_removed", "RTime", ofLV, timeKind, 26, value{}, "When it was removed"),
		lvField("lv_host", "Host", textKind, 10, func(_ *Settings, v shape) value {
			if v.lv == nil {
				return text("")
			}
			return text(v.lv.CreationHost)
		}, "Where it was made"),
		lvField("lv_modules", "Modules", listKind, 0, func(_ *Settings, v shape) value { return sortedList(v.modules()) },
			"Modules of the kernel that it needs"),
		flagField("lv_historical", "Historical", 0, never, "Whether it is a removed one", "historical"),
		lvField("writecache_block_size", "WCacheBlkSize", numberKind, 0, func(_ *Settings, v shape) value {
			if n := integer(v.first(), "writecache_block_size"); v.writecache() && n != 0 {
				return signed(n)
			}
			return signed(-1)
		}, "Block size of a write cache"),
	)
}

func never(shape) bool { return false }

func raidNumber(id, heading, key, about string) *field {
	return lvField(id, heading, numberKind, 0, func(_ *Settings, v shape) value {
		if v.lv != nil && v.raid() {
			if n := integer(v.first(), key); n != 0 {
				return signed(n)
			}
		}
		return none()
	}, about)
}

// parent is the volume that a hidden one is a part of.
func (v shape) parent() *metadata.LV {
	if v.lv == nil || v.visible() {
		return nil
	}
	image, meta := v.raidPart()
	mirrorImage, log := v.mirrorPart()
	if !image && !meta && !mirrorImage && !log && !v.cacheData() && !v.cacheMeta() && !v.thinData() && !v.thinMeta() {
		return nil
	}
	var parent *metadata.LV
	for u := range v.g.VG.Users(v.lv.Name) {
		if parent != nil {
			return nil
		}
		parent = u
	}
	return parent
}

func (v shape) originLV() *metadata.LV {
	if o := v.snapshotOrigin(); o != nil {
		return o
	}
	switch {
	case v.cache(), v.writecache(), v.integrity():
		return v.named("origin")
	case v.thin():
		if o := v.named("origin"); o != nil {
			return o
		}
		return v.named("external_origin")
	}
	return nil
}

// ancestor is what the volume is a snapshot of.
func (v shape) ancestor() *metadata.LV {
	if o := v.snapshotOrigin(); o != nil {
		return o
	}
	if v.thin() {
		return v.originLV()
	}
	return nil
}

func (v shape) ancestors() []string {
	var list []string
	for o := v; o.lv != nil && len(list) < 1000; {
		a := o.ancestor()
		if a == nil {
			break
		}
		list = append(list, a.Name)
		o = v.g.shape(a)
	}
	return list
}

func (v shape) descendants() []string { return v.descend(nil, 0) }

func (v shape) descend(list []string, depth int) []string {
	if v.lv == nil || depth > 100 {
		return list
	}
	for u := range v.g.VG.Users(v.lv.Name) {
		s := v.g.shape(u)
		var child *metadata.LV
		switch {
		case s.kind() == "snapshot" && s.needs("origin") == v.lv.Name:
			child = s.named("cow_store")
			if child == nil {
				child = s.named("merging_store")
			}
		case s.thin() && (s.needs("origin") == v.lv.Name || s.needs("external_origin") == v.lv.Name):
			child = u
		}
		if child != nil && !slices.Contains(list, child.Name) {
			list = append(list, child.Name)
			list = v.g.shape(child).descend(list, depth+1)
		}
	}
	return list
}

// images are the images of a mirror.
func (v shape) images() []string {
	if s := v.first(); s != nil {
		return strings0(s, "mirrors")
	}
	return nil
}

// movePV is the disk that a pvmove empties: where the first image is.
func (v shape) movePV() *metadata.PV {
	if v.lv == nil || !v.pvmove() {
		return nil
	}
	for i := range v.lv.Segments {
		if s := &v.lv.Segments[i]; len(s.Stripes) > 0 && s.Stripes[0].PV != "" {
			return v.g.VG.PV(s.Stripes[0].PV)
		}
	}
	return nil
}

// modules are the kernel's modules that the volume's segments need beside the plain ones.
func (v shape) modules() []string {
	var list []string
	add := func(words ...string) {
		for _, w := range words {
			if !slices.Contains(list, w) {
				list = append(list, w)
			}
		}
	}
	v.addModules(add, 0)
	return list
}

func (v shape) addModules(add func(...string), depth int) {
	if v.lv == nil || depth > 64 {
		return
	}
	for i := range v.lv.Segments {
		s := &v.lv.Segments[i]
		switch {
		case isRaid(s.Type):
			add("raid")
		case s.Type == "mirror":
			add("mirror")
		case s.Type == "thin" || s.Type == "thin-pool":
			add("thin-pool")
			if s.Type == "thin" {
				add("thin")
			}
		case s.Type == "cache" || s.Type == "cache-pool":
			add("cache")
		case s.Type == "writecache" || s.Type == "integrity":
			add(s.Type)
		case s.Type == "vdo" || s.Type == "vdo-pool":
			add("kvdo")
		case s.Type == "zero" || s.Type == "error":
			add(s.Type)
		}
		for _, n := range append(strings0(s, "mirrors"), append(strings0(s, "raids"), strings0(s, "raid0_lvs")...)...) {
			if lv := v.g.VG.LV(n); lv != nil && n != v.lv.Name {
				v.g.shape(lv).addModules(add, depth+1)
			}
		}
	}
	if v.origin() || v.cow() != nil {
		add("snapshot")
	}
}
