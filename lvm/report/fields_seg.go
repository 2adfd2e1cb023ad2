package report

import (
	"fmt"
	"strconv"
	"strings"

	"morgana/lvm/metadata"
)

// part is a segment with the volume that it is of.
type part struct {
	shape
	seg *metadata.Segment // nil for free extents
	run *Run
}

// segmentFields are those about segments of volumes.
func segmentFields() []*field {
	one := func(id, heading string, k valueKind, width int, get func(*Settings, part) value, about string, words ...reserved) *field {
		return &field{
			id: id, heading: heading, scope: ofSegment, kind: k, width: width, about: about, words: words,
			get: func(s *Settings, r *Row) value {
				return get(s, part{shape: shape{r.Group, r.LV}, seg: r.Segment, run: r.Run})
			},
		}
	}
	list := []*field{
		one("segtype", "Type", textKind, 0, func(_ *Settings, p part) value { return text(p.typeName()) }, "Type"),
		one("stripes", "#Str", numberKind, 0, func(_ *Settings, p part) value { return number(uint64(p.areas())) }, "Number of stripes or images"),
		one("data_stripes", "#DStr", numberKind, 0, func(_ *Settings, p part) value { return number(uint64(p.dataStripes())) }, "Number of stripes that hold data"),
		one("reshape_len", "RSize", sizeKind, 0, func(s *Settings, p part) value {
			if n, ok := p.reshape(); ok {
				return size(s, p.g.extents(n))
			}
			return none()
		}, "Room that a RAID keeps for reshaping"),
		one("reshape_len_le", "RSize", numberKind, 0, func(_ *Settings, p part) value {
			if n, ok := p.reshape(); ok {
				return number(uint64(n))
			}
			return none()
		}, "The same in extents"),
		one("data_copies", "#Cpy", numberKind, 0, func(_ *Settings, p part) value {
			if n := p.copies(); n > 0 {
				return number(uint64(n))
			}
			return none()
		}, "Number of copies of the data"),
		constant("data_offset", "DOff", ofSegment, numberKind, 0, none(), "Where a RAID's data begins, which the kernel knows"),
		constant("new_data_offset", "NOff", ofSegment, numberKind, 0, none(), "The same after reshaping"),
		one("parity_chunks", "#Par", numberKind, 0, func(_ *Settings, p part) value {
			if n, ok := p.parityChunks(); ok {
				return number(n)
			}
			return none()
		}, "Number of parity or spare stripes"),
		one("stripe_size", "Stripe", sizeKind, 0, func(s *Settings, p part) value { return size(s, p.stripeSize()) }, "Bytes on a disk before the next one's turn"),
		one("region_size", "Region", sizeKind, 0, func(s *Settings, p part) value {
			if p.seg == nil {
				return size(s, 0)
			}
			return size(s, uint64(integer(p.seg, "region_size")))
		}, "What is synchronized at once"),
		one("chunk_size", "Chunk", sizeKind, 0, func(s *Settings, p part) value { return size(s, p.chunk()) }, "Unit of a snapshot, pool or cache"),
		one("thin_count", "#Thins", numberKind, 0, func(_ *Settings, p part) value {
			if p.seg == nil || p.seg.Type != "thin-pool" {
				return none()
			}
			n := uint64(0)
			for range p.g.VG.Users(p.lv.Name) {
				n++
			}
			return number(n)
		}, "Number of thin volumes of a pool"),
		one("discards", "Discards", textKind, 0, func(_ *Settings, p part) value {
			if s := p.thinPoolSegment(); s != nil {
				if d := names(s, "discards"); d != "" {
					return text(d)
				}
				return text("ignore")
			}
			return text("")
		}, "What a thin pool does with discards"),
		one("cache_metadata_format", "CMFmt", numberKind, 0, func(_ *Settings, p part) value {
			if s := p.cacheSettings(); s != nil {
				if n := integer(s, "metadata_format"); n == 1 || n == 2 {
					return number(uint64(n))
				}
			}
			return none()
		}, "Format of a cache's metadata"),
		one("cache_mode", "CacheMode", textKind, 0, func(_ *Settings, p part) value {
			if s := p.cacheSettings(); s != nil {
				return text(names(s, "cache_mode"))
			}
			return text("")
		}, "How writes are cached"),
		one("zero", "Zero", binaryKind, 0, func(s *Settings, p part) value {
			if pool := p.thinPoolSegment(); pool != nil {
				return yes(s, integer(pool, "zero_new_blocks") == 1, "zero")
			}
			return unknown(s)
		}, "Whether a thin pool zeroes new blocks", word("zero")...),
		one("transaction_id", "TransId", numberKind, 0, func(_ *Settings, p part) value {
			if p.seg != nil && (p.seg.Type == "thin" || p.seg.Type == "thin-pool") {
				return number(uint64(integer(p.seg, "transaction_id")))
			}
			return none()
		}, "Transaction of a thin pool or volume"),
		one("thin_id", "ThId", numberKind, 0, func(_ *Settings, p part) value {
			if p.seg != nil && p.seg.Type == "thin" {
				return number(uint64(integer(p.seg, "device_id")))
			}
			return none()
		}, "Number of a thin volume in its pool"),
		one("seg_start", "Start", sizeKind, 0, func(s *Settings, p part) value {
			if p.seg == nil {
				return size(s, 0)
			}
			return size(s, p.g.extents(p.seg.Start))
		}, "Where it begins in the volume"),
		one("seg_start_pe", "Start", numberKind, 0, func(_ *Settings, p part) value {
			if p.seg == nil {
				return number(0)
			}
			return number(uint64(p.seg.Start))
		}, "The same in extents"),
		one("seg_size", "SSize", sizeKind, 0, func(s *Settings, p part) value {
			switch {
			case p.seg != nil:
				return size(s, p.g.extents(p.seg.Count))
			case p.run != nil && p.g.VG != nil:
				return size(s, p.g.extents(p.run.Count))
			}
			return size(s, 0)
		}, "Size"),
		one("seg_size_pe", "SSize", numberKind, 0, func(_ *Settings, p part) value {
			switch {
			case p.seg != nil:
				return number(uint64(p.seg.Count))
			case p.run != nil:
				return number(uint64(p.run.Count))
			}
			return number(0)
		}, "The same in extents"),
		one("seg_tags", "Seg Tags", listKind, 0, func(_ *Settings, p part) value {
			if p.seg == nil {
				return value{}
			}
			return sortedList(p.seg.Tags)
		}, "Tags"),
		one("seg_pe_ranges", "PE Ranges", listKind, 0, func(_ *Settings, p part) value { return list(p.ranges(p.data(), true, false), " ") }, "Extents of disks, as commands take them"),
		one("seg_le_ranges", "LE Ranges", listKind, 0, func(_ *Settings, p part) value { return list(p.ranges(p.data(), true, true), ",") }, "Extents of disks and volumes, as commands take them"),
		one("seg_metadata_le_ranges", "Metadata LE Ranges", listKind, 0, func(_ *Settings, p part) value { return list(p.ranges(p.meta(), true, true), ",") }, "The same of a RAID's metadata"),
		one("devices", "Devices", listKind, 0, func(_ *Settings, p part) value { return list(p.ranges(p.data(), false, false), ",") }, "Disks and volumes, each with its first extent"),
		one("metadata_devices", "Metadata Devs", listKind, 0, func(_ *Settings, p part) value { return list(p.ranges(p.meta(), false, false), ",") }, "The same of a RAID's metadata"),
		constant("seg_monitor", "Monitor", ofSegment, textKind, 0, text(""), "Whether dmeventd watches it, which it knows"),
		one("cache_policy", "CachePolicy", textKind, 0, func(_ *Settings, p part) value {
			if s := p.cacheSettings(); s != nil {
				return text(names(s, "policy"))
			}
			return text("")
		}, "Policy of a cache", reserved{words: []string{"", "undefined"}}),
		one("cache_settings", "CacheSettings", listKind, 0, func(_ *Settings, p part) value {
			var items []string
			if s := p.cacheSettings(); s != nil {
				if sub := s.Section().Sub("policy_settings"); sub != nil {
					for _, e := range sub.Entries {
						items = append(items, e.Key+"="+e.Value.Raw)
					}
				}
			}
			return list(items, ",")
		}, "Settings of a cache"),
	}
	return append(list, vdoFields(one)...)
}

// vdoFields are the parameters of a VDO pool.
func vdoFields(one func(string, string, valueKind, int, func(*Settings, part) value, string, ...reserved) *field) []*field {
	pool := func(p part) *metadata.Segment {
		if p.seg == nil {
			return nil
		}
		switch p.seg.Type {
		case "vdo-pool":
			return p.seg
		case "vdo":
			return p.g.shape(p.g.VG.LV(names(p.seg, "vdo_pool"))).first()
		}
		return nil
	}
	flag := func(id, heading, key string) *field {
		return one(id, heading, binaryKind, 0, func(s *Settings, p part) value {
			if seg := pool(p); seg != nil {
				return yes(s, integer(seg, key) != 0, "enabled")
			}
			return none()
		}, "Of a VDO pool", word("enabled")...)
	}
	count := func(id, heading, key string, scale int64) *field {
		return one(id, heading, numberKind, 0, func(_ *Settings, p part) value {
			if seg := pool(p); seg != nil {
				return number(uint64(integer(seg, key) * scale))
			}
			return none()
		}, "Of a VDO pool")
	}
	sectors := func(id, heading, key string, scale int64) *field {
		return one(id, heading, sizeKind, 0, func(s *Settings, p part) value {
			if seg := pool(p); seg != nil {
				return size(s, uint64(integer(seg, key)*scale))
			}
			return none()
		}, "Of a VDO pool")
	}
	return []*field{
		flag("vdo_compression", "VDOCompression", "use_compression"),
		flag("vdo_deduplication", "VDODeduplication", "use_deduplication"),
		flag("vdo_use_metadata_hints", "VDOMetadataHints", "use_metadata_hints"),
		count("vdo_minimum_io_size", "VDOMinimumIOSize", "minimum_io_size", 1),
		sectors("vdo_block_map_cache_size", "VDOBlockMapCacheSize", "block_map_cache_size_mb", 2048),
		count("vdo_block_map_era_length", "VDOBlockMapEraLength", "block_map_era_length", 1),
		flag("vdo_use_sparse_index", "VDOSparseIndex", "use_sparse_index"),
		sectors("vdo_index_memory_size", "VDOIndexMemorySize", "index_memory_size_mb", 2048),
		sectors("vdo_slab_size", "VDOSlabSize", "slab_size_mb", 2048),
		count("vdo_ack_threads", "VDOAckThreads", "ack_threads", 1),
		count("vdo_bio_threads", "VDOBioThreads", "bio_threads", 1),
		count("vdo_bio_rotation", "VDOBioRotation", "bio_rotation", 1),
		count("vdo_cpu_threads", "VDOCPUThreads", "cpu_threads", 1),
		count("vdo_hash_zone_threads", "VDOHashZoneThreads", "hash_zone_threads", 1),
		count("vdo_logical_threads", "VDOLogicalThreads", "logical_threads", 1),
		count("vdo_physical_threads", "VDOPhysicalThreads", "physical_threads", 1),
		count("vdo_max_discard", "VDOMaxDiscard", "max_discard", 1),
		one("vdo_write_policy", "VDOWritePolicy", textKind, 0, func(_ *Settings, p part) value {
			seg := pool(p)
			if seg == nil {
				return text("")
			}
			if v, ok := seg.Lookup("write_policy"); ok {
				return text(strings.Trim(v.Raw, `"`))
			}
			return text("auto")
		}, "Of a VDO pool", reserved{words: []string{"", "undefined"}}),
		sectors("vdo_header_size", "VDOHeaderSize", "header_size", 1),
	}
}

// runFields are those about runs of extents of a disk.
func runFields() []*field {
	run := func(r *Row) Run {
		if r.Run == nil {
			return Run{}
		}
		return *r.Run
	}
	return []*field{
		{
			id: "pvseg_start", heading: "Start", scope: ofPVSegment, kind: numberKind, about: "First extent of the run",
			get: func(_ *Settings, r *Row) value { return number(uint64(run(r).Start)) },
		},
		{
			id: "pvseg_size", heading: "SSize", scope: ofPVSegment, kind: numberKind, about: "Number of extents of the run",
			get: func(_ *Settings, r *Row) value { return number(uint64(run(r).Count)) },
		},
	}
}

func (p part) typeName() string {
	switch {
	case p.seg == nil:
		return "free"
	case (p.seg.Type == "striped" || p.seg.Type == "linear") && len(p.seg.Stripes) == 1:
		return "linear"
	case !p.seg.Known && len(p.seg.TypeFlags) > 0:
		return p.seg.Type + "+" + strings.Join(p.seg.TypeFlags, "+")
	}
	return p.seg.Type
}

// piece is where a stripe or an image is.
type piece struct {
	pv, lv string
	start  metadata.Extent
	count  metadata.Extent
}

// data are the segment's pieces.
func (p part) data() []piece {
	if p.seg == nil {
		return nil
	}
	if len(p.seg.Stripes) > 0 {
		var list []piece
		for _, a := range p.seg.Stripes {
			list = append(list, piece{pv: a.PV, lv: a.LV, start: a.Start, count: p.seg.AreaLen()})
		}
		return list
	}
	volumes := func(length metadata.Extent, names ...string) []piece {
		var list []piece
		for _, n := range names {
			if n != "" {
				list = append(list, piece{lv: n, count: length})
			}
		}
		return list
	}
	switch k := p.seg.Type; {
	case k == "raid0" || k == "raid0_meta" || isRaid(k):
		images := strings0(p.seg, "raid0_lvs")
		for i, n := range strings0(p.seg, "raids") {
			if i%2 == 1 {
				images = append(images, n)
			}
		}
		return volumes(p.imageLen(len(images)), images...)
	case k == "thin-pool":
		return volumes(p.seg.Count, names(p.seg, "pool"))
	case k == "cache-pool", k == "vdo-pool":
		return volumes(p.seg.Count, names(p.seg, "data"))
	case k == "cache", k == "writecache", k == "integrity":
		return volumes(p.seg.Count, names(p.seg, "origin"))
	case k == "vdo":
		return volumes(p.seg.Count, names(p.seg, "vdo_pool"))
	}
	return nil
}

// meta are the pieces that hold a RAID's own data, or a pool's.
func (p part) meta() []piece {
	if p.seg == nil {
		return nil
	}
	var list []piece
	if isRaid(p.seg.Type) {
		for i, n := range strings0(p.seg, "raids") {
			if i%2 == 0 {
				list = append(list, piece{lv: n, count: 1})
			}
		}
	}
	return list
}

// imageLen is how many extents each of n images has.
func (p part) imageLen(n int) metadata.Extent {
	data := n - p.parity()
	switch k := p.seg.Type; {
	case k == "raid1":
		return p.seg.Count
	case strings.HasPrefix(k, "raid10"):
		return p.seg.Count / metadata.Extent(max(n/max(p.copies(), 1), 1))
	}
	return p.seg.Count / metadata.Extent(max(data, 1))
}

// ranges prints pieces with their extents or with the first one only; mark puts hidden volumes into brackets.
func (p part) ranges(pieces []piece, whole, mark bool) []string {
	var list []string
	for _, a := range pieces {
		name := ""
		if a.pv != "" {
			name = p.g.device(a.pv)
		} else if lv := p.g.VG.LV(a.lv); lv != nil {
			if name = lv.Name; mark {
				name = p.g.nameOf(lv).text
			}
		}
		if whole {
			last := a.start
			if a.count > 0 {
				last += a.count - 1
			}
			list = append(list, fmt.Sprintf("%s:%d-%d", name, a.start, last))
		} else {
			list = append(list, name+"("+strconv.FormatUint(uint64(a.start), 10)+")")
		}
	}
	return list
}

func (p part) areas() int {
	if p.seg == nil {
		return 0
	}
	if n := len(p.data()); n > 0 {
		return n
	}
	return 0
}

// parity is how many stripes of a RAID hold none of the data.
func (p part) parity() int {
	if p.seg == nil {
		return 0
	}
	switch k := p.seg.Type; {
	case strings.HasPrefix(k, "raid4"), strings.HasPrefix(k, "raid5"):
		return 1
	case strings.HasPrefix(k, "raid6"):
		return 2
	}
	return 0
}

func (p part) dataStripes() int {
	n := p.areas() - p.parity()
	if p.seg != nil && strings.HasPrefix(p.seg.Type, "raid10") {
		n /= max(p.copies(), 1)
	}
	return n
}

// copies is how many copies there are of each piece of data, 0 where the notion makes no sense.
func (p part) copies() int {
	if p.seg == nil {
		return 0
	}
	switch k := p.seg.Type; {
	case k == "raid1":
		return p.areas()
	case strings.HasPrefix(k, "raid10"):
		if n, ok := integerOf(p.seg, "data_copies"); ok {
			return int(n)
		}
		return 2
	case isRaid(k) && p.parity() > 0:
		return p.parity() + 1
	}
	return 1
}

func (p part) parityChunks() (uint64, bool) {
	if p.seg == nil {
		return 1<<32 - 1, true // lvm2's 0 - 1
	}
	n := p.parity()
	if n == 0 {
		n = p.copies() - 1
	}
	if n == 0 {
		return 0, false
	}
	return uint64(uint32(n)), true
}

func (p part) stripeSize() uint64 {
	if p.seg == nil {
		return 0
	}
	if p.seg.StripeSize != 0 {
		return p.seg.StripeSize
	}
	return uint64(integer(p.seg, "stripe_size"))
}

func (p part) chunk() uint64 {
	if p.seg == nil {
		return 0
	}
	if s := p.cow(); s != nil {
		return uint64(integer(p.g.shape(s).first(), "chunk_size"))
	}
	switch p.seg.Type {
	case "thin-pool", "cache-pool":
		return uint64(integer(p.seg, "chunk_size"))
	case "cache":
		if n := integer(p.seg, "chunk_size"); n != 0 {
			return uint64(n)
		}
		return uint64(integer(p.g.shape(p.g.VG.LV(names(p.seg, "cache_pool"))).first(), "chunk_size"))
	}
	return 0
}

// thinPoolSegment is that of the pool, of a pool or of a thin volume.
func (p part) thinPoolSegment() *metadata.Segment {
	if p.seg == nil {
		return nil
	}
	switch p.seg.Type {
	case "thin-pool":
		return p.seg
	case "thin":
		return p.g.shape(p.g.VG.LV(names(p.seg, "thin_pool"))).first()
	}
	return nil
}

// cacheSettings is the segment that holds them: the cache's pool, or the cache itself without a pool.
func (p part) cacheSettings() *metadata.Segment {
	if p.seg == nil {
		return nil
	}
	switch p.seg.Type {
	case "cache-pool":
		return p.seg
	case "cache":
		pool := p.g.VG.LV(names(p.seg, "cache_pool"))
		if pool == nil || p.g.shape(pool).cacheVol() {
			return p.seg
		}
		return p.g.shape(pool).first()
	}
	return nil
}

// reshape is the room that a RAID keeps for reshaping, in extents of all its images.
func (p part) reshape() (metadata.Extent, bool) {
	if p.seg == nil {
		return 0, false
	}
	reshapable := func(k string) bool { return isRaid(k) && k != "raid1" && !strings.HasPrefix(k, "raid0") }
	of := reshapable(p.seg.Type)
	if image, _ := p.raidPart(); image && p.seg.Start == 0 {
		for u := range p.g.VG.Users(p.lv.Name) {
			of = of || reshapable(p.g.shape(u).kind())
		}
	}
	if !of {
		return 0, false
	}
	return metadata.Extent(integer(p.seg, "reshape_count")) * metadata.Extent(max(p.areas(), 1)), true
}
