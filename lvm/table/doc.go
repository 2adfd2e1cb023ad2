// Package table is how a logical volume lies on its physical volumes, in the words of Linux's device-mapper: a list of
// targets, each a run of sectors that one rule maps. It is pure.
//
//	targets, err := table.Of(vg, vg.LV("root"))
//	for _, t := range targets {
//		b = t.Append(b, func(pv *metadata.PV) string { return "254:0" }) // 0 253952 linear 254:0 2048
//	}
//
// An lvm.LV reads and writes by it, and `mlvm dmtable` shows it as `dmsetup table` would.
//
// Linear, striped, zero and error segments have a table. What needs more than a map, such as a snapshot or a thin
// volume, has none here: Of says so with an error that matches metadata.ErrUnsupported.
//
// Sources: Documentation/admin-guide/device-mapper/{linear,striped,zero}.rst of Linux; lib/activate/dev_manager.c and
// libdm/libdm-string.c (dm_build_dm_name) of LVM2.
package table
