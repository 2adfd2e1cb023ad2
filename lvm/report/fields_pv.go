package report

import "strconv"

// diskFields are those about disks.
func diskFields() []*field {
	one := func(sc scope, id, heading string, k valueKind, width int, get func(*Settings, *PV, *Group) value, about string, words ...reserved) *field {
		return &field{
			id: id, heading: heading, scope: sc, kind: k, width: width, about: about, words: words,
			get: func(s *Settings, r *Row) value { return get(s, r.PV, r.Group) },
		}
	}
	flag := func(id, heading string, width int, is func(*PV, *Group) bool, about string, words ...string) *field {
		return one(ofPV, id, heading, binaryKind, width, func(s *Settings, d *PV, g *Group) value { return yes(s, is(d, g), words[0]) },
			about, word(words...)...)
	}
	sectors := func(sc scope, id, heading string, width int, get func(*PV, *Group) uint64, about string) *field {
		return one(sc, id, heading, sizeKind, width, func(s *Settings, d *PV, g *Group) value { return size(s, get(d, g)) }, about)
	}
	count := func(id, heading string, width int, get func(*PV, *Group) uint64, about string) *field {
		return one(ofPV, id, heading, numberKind, width, func(_ *Settings, d *PV, g *Group) value { return number(get(d, g)) }, about)
	}
	return []*field{
		one(ofLabel, "pv_fmt", "Fmt", textKind, 0, func(_ *Settings, d *PV, _ *Group) value {
			if !d.Labelled && d.Meta == nil {
				return text("")
			}
			return text("lvm2")
		}, "Format of the metadata"),
		one(ofLabel, "pv_uuid", "PV UUID", textKind, 38, func(_ *Settings, d *PV, _ *Group) value {
			if !d.Labelled && d.Meta == nil {
				return text("")
			}
			return text(d.ID.String())
		}, "The disk's identity"),
		sectors(ofLabel, "dev_size", "DevSize", 0, func(d *PV, _ *Group) uint64 { return d.DevSize }, "Size of the device"),
		one(ofLabel, "pv_name", "PV", textKind, 10, func(_ *Settings, d *PV, _ *Group) value { return text(d.Name) }, "Name of the device"),
		one(ofLabel, "pv_major", "Maj", textKind, 0, func(_ *Settings, d *PV, _ *Group) value { return text(strconv.Itoa(d.Major)) }, "Major number of the device"),
		one(ofLabel, "pv_minor", "Min", textKind, 0, func(_ *Settings, d *PV, _ *Group) value { return text(strconv.Itoa(d.Minor)) }, "Minor number of the device"),
		sectors(ofLabel, "pv_mda_free", "PMdaFree", 9, func(d *PV, _ *Group) uint64 { return d.AreaFree }, "Room that is left in the metadata area"),
		sectors(ofLabel, "pv_mda_size", "PMdaSize", 9, func(d *PV, _ *Group) uint64 { return d.AreaSize }, "Size of the smallest metadata area"),
		one(ofLabel, "pv_ext_vsn", "PExtVsn", numberKind, 0, func(_ *Settings, d *PV, _ *Group) value {
			if !d.Labelled {
				return none()
			}
			return number(uint64(d.ExtVersion))
		}, "Version of the label's extension"),
		sectors(ofPV, "pe_start", "1st PE", 7, func(d *PV, _ *Group) uint64 {
			if d.Meta != nil {
				return d.Meta.PEStart
			}
			return d.PEStart
		}, "Where the first extent begins"),
		sectors(ofPV, "pv_size", "PSize", 0, func(d *PV, g *Group) uint64 {
			switch {
			case d.Meta != nil:
				return g.extents(d.Meta.PECount)
			case !d.Labelled:
				return 0
			}
			return d.Size
		}, "Size of all extents"),
		sectors(ofPV, "pv_free", "PFree", 0, func(d *PV, g *Group) uint64 {
			switch {
			case d.Meta != nil:
				return g.extents(g.VG.PVFree(d.Meta))
			case d.InUse || !d.Labelled:
				return 0
			}
			return d.Size
		}, "Size of the free extents"),
		sectors(ofPV, "pv_used", "Used", 0, func(d *PV, g *Group) uint64 {
			if d.Meta == nil {
				return 0
			}
			return g.extents(g.VG.PVUsed(d.Meta))
		}, "Size of the extents that volumes have"),
		one(ofPV, "pv_attr", "Attr", textKind, 0, func(_ *Settings, d *PV, g *Group) value { return text(d.attributes(g.VG)) }, "Three letters, see pvs(8)"),
		flag("pv_allocatable", "Allocatable", 0, func(d *PV, _ *Group) bool { return d.Meta != nil && d.Meta.Allocatable() }, "Whether new extents may come from it", "allocatable"),
		flag("pv_exported", "Exported", 10, func(_ *PV, g *Group) bool { return g.VG != nil && g.VG.Exported() }, "Whether its group is exported", "exported"),
		flag("pv_missing", "Missing", 10, func(d *PV, _ *Group) bool { return d.Meta != nil && d.Meta.Missing() }, "Whether it was not found", "missing"),
		count("pv_pe_count", "PE", 3, func(d *PV, _ *Group) uint64 {
			if d.Meta == nil {
				return 0
			}
			return uint64(d.Meta.PECount)
		}, "Number of extents"),
		count("pv_pe_alloc_count", "Alloc", 0, func(d *PV, g *Group) uint64 {
			if d.Meta == nil {
				return 0
			}
			return uint64(g.VG.PVUsed(d.Meta))
		}, "Number of extents that volumes have"),
		one(ofPV, "pv_tags", "PV Tags", listKind, 0, func(_ *Settings, d *PV, _ *Group) value {
			if d.Meta == nil {
				return value{}
			}
			return sortedList(d.Meta.Tags)
		}, "Tags"),
		count("pv_mda_count", "#PMda", 0, func(d *PV, _ *Group) uint64 { return uint64(d.Areas) }, "Number of metadata areas"),
		count("pv_mda_used_count", "#PMdaUse", 0, func(d *PV, _ *Group) uint64 { return uint64(d.AreasUsed) }, "Number of metadata areas that are not ignored"),
		sectors(ofPV, "pv_ba_start", "BA Start", 0, func(d *PV, _ *Group) uint64 { return d.BAStart }, "Where the bootloader area begins"),
		sectors(ofPV, "pv_ba_size", "BA Size", 0, func(d *PV, _ *Group) uint64 { return d.BASize }, "Size of the bootloader area"),
		flag("pv_in_use", "PInUse", 0, func(d *PV, _ *Group) bool { return d.InUse }, "Whether a group has it", "used", "in use"),
		flag("pv_duplicate", "Duplicate", 0, func(d *PV, _ *Group) bool { return d.Duplicate }, "Whether another disk has the same identity and was chosen", "duplicate"),
		one(ofPV, "pv_device_id", "DeviceID", textKind, 0, func(_ *Settings, d *PV, _ *Group) value { return text(d.string("device_id")) }, "Identity of the device in lvm2's devices file"),
		one(ofPV, "pv_device_id_type", "DeviceIDType", textKind, 0, func(_ *Settings, d *PV, _ *Group) value { return text(d.string("device_id_type")) }, "What sort of identity that is"),
	}
}

// string is a word of the physical volume's text.
func (d *PV) string(key string) string {
	if d.Meta == nil {
		return ""
	}
	v, ok := d.Meta.Section().Lookup(key)
	if !ok {
		return ""
	}
	s, _ := v.Str()
	return s
}
