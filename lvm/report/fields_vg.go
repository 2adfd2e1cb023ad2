package report

import "morgana/lvm/metadata"

// groupFields are those about groups. Disks that are in none have a group without metadata.
func groupFields() []*field {
	one := func(id, heading string, k valueKind, width int, empty value, get func(*Settings, *metadata.VG, *Group) value, about string, words ...reserved) *field {
		return &field{
			id: id, heading: heading, scope: ofVG, kind: k, width: width, about: about, words: words,
			get: func(s *Settings, r *Row) value {
				if r.Group.VG == nil {
					return empty
				}
				return get(s, r.Group.VG, r.Group)
			},
		}
	}
	str := func(id, heading string, width int, empty string, get func(*metadata.VG) string, about string, words ...reserved) *field {
		return one(id, heading, textKind, width, text(empty), func(_ *Settings, vg *metadata.VG, _ *Group) value { return text(get(vg)) }, about, words...)
	}
	flag := func(id, heading string, width int, is func(*metadata.VG) bool, about, w string) *field {
		return one(id, heading, binaryKind, width, value{}, func(s *Settings, vg *metadata.VG, _ *Group) value { return yes(s, is(vg), w) }, about, word(w)...)
	}
	count := func(id, heading string, get func(*metadata.VG, *Group) uint64, about string) *field {
		return one(id, heading, numberKind, 0, number(0), func(_ *Settings, vg *metadata.VG, g *Group) value { return number(get(vg, g)) }, about)
	}
	sectors := func(id, heading string, width int, get func(*metadata.VG, *Group) uint64, about string) *field {
		return &field{
			id: id, heading: heading, scope: ofVG, kind: sizeKind, width: width, about: about,
			get: func(s *Settings, r *Row) value {
				if r.Group.VG == nil {
					return size(s, 0)
				}
				return size(s, get(r.Group.VG, r.Group))
			},
		}
	}
	return []*field{
		str("vg_fmt", "Fmt", 0, "lvm2", func(*metadata.VG) string { return "lvm2" }, "Format of the metadata"),
		str("vg_uuid", "VG UUID", 38, "", func(vg *metadata.VG) string { return vg.ID().String() }, "The group's identity"),
		{
			id: "vg_name", heading: "VG", scope: ofVG, kind: textKind, about: "Name",
			get: func(_ *Settings, r *Row) value {
				switch {
				case r.Group.VG != nil:
					return text(r.Group.VG.Name())
				case r.PV != nil && r.PV.InUse: // by a group that was not found
					return text("[unknown]")
				}
				return text("")
			},
		},
		str("vg_attr", "Attr", 5, "r-----", vgAttributes, "Six letters, see vgs(8)"),
		str("vg_permissions", "VPerms", 10, "read-only", func(vg *metadata.VG) string {
			if vg.Writable() {
				return "writeable"
			}
			return "read-only"
		}, "Whether it may be changed",
			reserved{words: []string{"writeable", "rw", "read-write"}, key: "writeable"},
			reserved{words: []string{"read-only", "r", "ro"}, key: "read-only"}),
		flag("vg_extendable", "Extendable", 0, (*metadata.VG).Resizeable, "Whether disks may be added", "extendable"),
		flag("vg_exported", "Exported", 10, (*metadata.VG).Exported, "Whether it is exported", "exported"),
		{
			id: "vg_autoactivation", heading: "AutoAct", scope: ofVG, kind: binaryKind, about: "Whether its volumes are activated automatically",
			words: word("enabled"),
			get: func(s *Settings, r *Row) value {
				return yes(s, r.Group.VG == nil || !r.Group.VG.Has("NOAUTOACTIVATE"), "enabled")
			},
		},
		flag("vg_partial", "Partial", 10, (*metadata.VG).Partial, "Whether disks are missing", "partial"),
		str("vg_allocation_policy", "AllocPol", 10, "unknown", func(vg *metadata.VG) string { return vg.Allocation().String() }, "How extents are chosen"),
		flag("vg_clustered", "Clustered", 10, func(vg *metadata.VG) bool { return vg.Has("CLUSTERED") }, "Whether it is of a cluster of old", "clustered"),
		flag("vg_shared", "Shared", 7, func(vg *metadata.VG) bool { return vg.LockType() == "sanlock" || vg.LockType() == "dlm" }, "Whether hosts share it", "shared"),
		sectors("vg_size", "VSize", 0, func(vg *metadata.VG, g *Group) uint64 { return g.extents(vg.Extents()) }, "Size of all extents"),
		sectors("vg_free", "VFree", 0, func(vg *metadata.VG, g *Group) uint64 { return g.extents(vg.FreeExtents()) }, "Size of the free extents"),
		str("vg_sysid", "SYS ID", 0, "", (*metadata.VG).SystemID, "The host that owns it"),
		str("vg_systemid", "System ID", 0, "", (*metadata.VG).SystemID, "The host that owns it"),
		str("vg_lock_type", "LockType", 0, "", func(vg *metadata.VG) string {
			if vg.LockType() == "none" {
				return ""
			}
			return vg.LockType()
		}, "Its lock manager"),
		str("vg_lock_args", "VLockArgs", 0, "", (*metadata.VG).LockArgs, "Arguments of the lock manager"),
		sectors("vg_extent_size", "Ext", 0, func(vg *metadata.VG, _ *Group) uint64 { return vg.ExtentSize() }, "Size of an extent"),
		count("vg_extent_count", "#Ext", func(vg *metadata.VG, _ *Group) uint64 { return uint64(vg.Extents()) }, "Number of extents"),
		count("vg_free_count", "Free", func(vg *metadata.VG, _ *Group) uint64 { return uint64(vg.FreeExtents()) }, "Number of free extents"),
		count("max_lv", "MaxLV", func(vg *metadata.VG, _ *Group) uint64 { return uint64(vg.MaxLV()) }, "Most volumes that it may have, 0 for no limit"),
		count("max_pv", "MaxPV", func(vg *metadata.VG, _ *Group) uint64 { return uint64(vg.MaxPV()) }, "Most disks that it may have, 0 for no limit"),
		count("pv_count", "#PV", func(vg *metadata.VG, _ *Group) uint64 { return uint64(len(vg.PVs())) }, "Number of disks"),
		count("vg_missing_pv_count", "#PV Missing", func(vg *metadata.VG, _ *Group) uint64 {
			n := uint64(0)
			for _, pv := range vg.PVs() {
				if pv.Missing() {
					n++
				}
			}
			return n
		}, "Number of disks that are missing"),
		count("lv_count", "#LV", func(_ *metadata.VG, g *Group) uint64 { n, _ := g.Count(); return uint64(n) }, "Number of volumes that users see"),
		count("snap_count", "#SN", func(_ *metadata.VG, g *Group) uint64 { _, n := g.Count(); return uint64(n) }, "Number of thick snapshots"),
		count("vg_seqno", "Seq", func(vg *metadata.VG, _ *Group) uint64 { return uint64(vg.Seqno()) }, "How often the metadata has changed"),
		one("vg_tags", "VG Tags", listKind, 0, value{}, func(_ *Settings, vg *metadata.VG, _ *Group) value { return sortedList(vg.Tags()) }, "Tags"),
		str("vg_profile", "VProfile", 0, "", (*metadata.VG).Profile, "Configuration profile"),
		count("vg_mda_count", "#VMda", func(_ *metadata.VG, g *Group) uint64 { return uint64(g.Areas) }, "Number of metadata areas"),
		count("vg_mda_used_count", "#VMdaUse", func(_ *metadata.VG, g *Group) uint64 { return uint64(g.AreasUsed) }, "Number of metadata areas that are not ignored"),
		sectors("vg_mda_free", "VMdaFree", 9, func(_ *metadata.VG, g *Group) uint64 { return g.AreaFree }, "Room that is left in the fullest metadata area"),
		sectors("vg_mda_size", "VMdaSize", 9, func(_ *metadata.VG, g *Group) uint64 { return g.AreaSize }, "Size of the smallest metadata area"),
		one("vg_mda_copies", "#VMdaCps", numberKind, 0, value{text: "unmanaged", num: undefined}, func(_ *Settings, vg *metadata.VG, _ *Group) value {
			switch n := vg.MetadataCopies(); n {
			case 0:
				return value{text: "unmanaged", num: undefined}
			default:
				return number(uint64(n))
			}
		}, "Wanted number of metadata areas in use", reserved{words: []string{"unmanaged"}, num: undefined}),
	}
}
