package report

// kernelFields are what only a running kernel knows of a volume; here they are as lvm2 shows them without one.
func kernelFields() []*field {
	const about = "Which the kernel knows"
	var list []*field
	flag := func(id, heading string, width int, words ...string) {
		list = append(list, lvField(id, heading, binaryKind, width, func(s *Settings, _ shape) value { return unknown(s) },
			about+": "+words[0], word(words...)...))
	}
	blank := func(id, heading string, k valueKind, width int) {
		v := none()
		switch k {
		case textKind:
			v = text("")
		case listKind:
			v = value{}
		}
		list = append(list, constant(id, heading, ofLV, k, width, v, about))
	}
	minus := signed(-1)
	list = append(list,
		constant("lv_kernel_major", "KMaj", ofLV, numberKind, 0, minus, about+", -1 if it is not active"),
		constant("lv_kernel_minor", "KMin", ofLV, numberKind, 0, minus, about+", -1 if it is not active"),
		constant("lv_kernel_read_ahead", "KRahead", ofLV, sizeKind, 0, value{text: "-1", size: maxSize}, about),
		lvField("lv_permissions", "LPerms", textKind, 8, func(_ *Settings, v shape) value {
			switch {
			case v.lv == nil:
				return text("unknown")
			case v.pvmove():
				return text("")
			case v.lv.Writable() || !v.has("READ"):
				return text("unknown")
			}
			return text("read-only")
		}, "Whether it may be written",
			reserved{words: []string{"writeable", "rw", "read-write"}, key: "writeable"},
			reserved{words: []string{"read-only", "r", "ro"}, key: "read-only"},
			reserved{words: []string{"read-only-override", "ro-override", "r-override", "R"}, key: "read-only-override"}),
	)
	flag("lv_suspended", "Suspended", 10, "suspended")
	flag("lv_live_table", "LiveTable", 20, "live table present", "live table", "live")
	flag("lv_inactive_table", "InactiveTable", 20, "inactive table present", "inactive table", "inactive")
	flag("lv_device_open", "DevOpen", 10, "open")
	blank("data_percent", "Data%", percentKind, 6)
	blank("snap_percent", "Snap%", percentKind, 6)
	blank("metadata_percent", "Meta%", percentKind, 6)
	blank("copy_percent", "Cpy%Sync", percentKind, 0)
	blank("sync_percent", "Cpy%Sync", percentKind, 0)
	blank("cache_total_blocks", "CacheTotalBlocks", numberKind, 0)
	blank("cache_used_blocks", "CacheUsedBlocks", numberKind, 16)
	blank("cache_dirty_blocks", "CacheDirtyBlocks", numberKind, 0)
	blank("cache_read_hits", "CacheReadHits", numberKind, 16)
	blank("cache_read_misses", "CacheReadMisses", numberKind, 16)
	blank("cache_write_hits", "CacheWriteHits", numberKind, 16)
	blank("cache_write_misses", "CacheWriteMisses", numberKind, 0)
	blank("kernel_cache_settings", "KCacheSettings", listKind, 18)
	blank("kernel_cache_policy", "KCachePolicy", textKind, 18)
	blank("kernel_metadata_format", "KMFmt", numberKind, 0)
	list = append(list, lvField("lv_health_status", "Health", textKind, 15, func(_ *Settings, v shape) value {
		if v.lv == nil {
			return text("")
		}
		if v.partial() {
			return text("partial")
		}
		if image, meta := v.raidPart(); v.raid() || image || meta {
			return text("unknown")
		}
		return text("")
	}, "What is wrong with it, as far as it can be told", reserved{words: []string{"", "undefined"}}))
	blank("kernel_discards", "KDiscards", textKind, 0)
	flag("lv_check_needed", "CheckNeeded", 15, "check needed", "needed")
	flag("lv_merge_failed", "MergeFailed", 15, "merge failed", "failed")
	flag("lv_snapshot_invalid", "SnapInvalid", 15, "snapshot invalid", "invalid")
	blank("vdo_operating_mode", "VDOOperatingMode", textKind, 0)
	blank("vdo_compression_state", "VDOCompressionState", textKind, 0)
	blank("vdo_index_state", "VDOIndexState", textKind, 0)
	blank("vdo_used_size", "VDOUsedSize", sizeKind, 0)
	blank("vdo_saving_percent", "VDOSaving%", percentKind, 0)
	blank("writecache_total_blocks", "WCacheTotalBlocks", numberKind, 0)
	blank("writecache_free_blocks", "WCacheFreeBlocks", numberKind, 0)
	blank("writecache_writeback_blocks", "WCacheWritebackBlocks", numberKind, 0)
	blank("writecache_error", "WCacheErrors", numberKind, 0)
	return append(list, lvField("lv_attr", "Attr", textKind, 0, func(_ *Settings, v shape) value {
		if v.lv == nil {
			return text("")
		}
		return text(v.attributes())
	}, "Ten letters, see lvs(8)"))
}
