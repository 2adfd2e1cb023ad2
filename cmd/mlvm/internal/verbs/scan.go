package verbs

import (
	"context"

	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm/report"
)

// scans are the verbs that say in a line each what there is.
func scans() []command.Verb {
	return []command.Verb{
		{
			Name: "pvscan", Summary: "list all physical volumes", Usage: []string{""},
			Supports: "exported novolumegroup readonly reportformat short uuid ignorelockingfailure",
			Examples: []string{"pvscan", "pvscan -u", "pvscan -n"},
			Run:      pvscan,
		},
		{
			Name: "vgscan", Summary: "list all volume groups", Usage: []string{""},
			Supports: "readonly reportformat ignorelockingfailure",
			Examples: []string{"vgscan"},
			Run:      vgscan,
		},
		{
			Name: "lvscan", Summary: "list all logical volumes", Usage: []string{""},
			Supports: "all blockdevice readonly reportformat ignorelockingfailure",
			Examples: []string{"lvscan", "lvscan -a"},
			Run:      lvscan,
		},
	}
}

// orphanGroup is how lvm2 calls what is in no group, which decides the width of a column.
const orphanGroup = "#orphans_lvm2"

func pvscan(ctx context.Context, r *command.Run) error {
	if r.Has("novolumegroup") && r.Has("exported") {
		return r.Verb.WrongUse("Options -e and -n are incompatible")
	}
	switch {
	case r.Has("exported"):
		r.Warn("WARNING: only considering physical volumes of exported volume group(s)")
	case r.Has("novolumegroup"):
		r.Warn("WARNING: only considering physical volumes in no volume group")
	}
	all, failed, err := findDisks(ctx, r)
	if err != nil {
		return err
	}
	diskWidth, groupWidth := 0, len(orphanGroup)
	for _, d := range all {
		diskWidth = max(diskWidth, len(d.disk.Name))
		if d.group.VG != nil {
			groupWidth = max(groupWidth, len(d.group.VG.Name()))
		}
	}
	var found, fresh int
	var total, unused uint64
	size := report.DefaultUnits.SizeLong
	for _, d := range all {
		vg := d.group.VG
		if r.Has("exported") && (vg == nil || !vg.Exported()) || r.Has("novolumegroup") && vg != nil {
			continue
		}
		found++
		name, width := d.disk.Name, diskWidth+2
		if r.Has("uuid") {
			name, width = pad(name, diskWidth)+" with UUID "+d.disk.ID.String(), width+50
		}
		whole := d.disk.Size
		var free uint64
		if m := d.disk.Meta; m != nil {
			whole, free = uint64(m.PECount)*vg.ExtentSize(), uint64(vg.PVFree(m))*vg.ExtentSize()
		} else {
			fresh++
			unused += whole
		}
		total += whole
		switch {
		case r.Has("short"):
			r.Print("%s", d.disk.Name)
		case vg == nil:
			r.Print("PV %-*s    %-*s lvm2 [%s]", width, name, groupWidth+2, " ", size(whole))
		case vg.Exported():
			r.Print("PV %-*s  is in exported VG %s [%s / %s free]", width, name, vg.Name(), size(whole), size(free))
		default:
			r.Print("PV %-*s VG %-*s lvm2 [%s / %s free]", width, name, groupWidth+2, vg.Name(), size(whole), size(free))
		}
	}
	if found == 0 {
		r.Print("No matching physical volumes found")
	} else {
		r.Print("Total: %d [%s] / in use: %d [%s] / in no VG: %d [%s]", found, size(total), found-fresh, size(total-unused), fresh, size(unused))
	}
	return failed
}

func pad(s string, width int) string {
	for len(s) < width {
		s += " "
	}
	return s
}

func vgscan(ctx context.Context, r *command.Run) error {
	inv, err := r.Scan(ctx, command.Need{})
	if err != nil {
		return err
	}
	var failed error
	for _, w := range wanted(r, inv, &failed) {
		exported := ""
		if w.vg.Exported() {
			exported = "exported "
		}
		r.Print("Found %svolume group \"%s\" using metadata type lvm2", exported, w.vg.Name())
	}
	return failed
}

func lvscan(ctx context.Context, r *command.Run) error {
	inv, err := r.Scan(ctx, command.Need{})
	if err != nil {
		return err
	}
	var failed error
	for _, w := range wanted(r, inv, &failed) {
		g, _ := command.View(inv, w.found, w.vg)
		for lv := range w.vg.LVs() {
			if g.Internal(lv) || !r.Has("all") && !g.Visible(lv) {
				continue
			}
			kind := "        "
			if origin, _ := g.SnapshotOf(lv); origin != nil {
				kind = "Snapshot"
			} else if len(g.Snapshots(lv)) > 0 {
				kind = "Original"
			}
			r.Print("inactive %s '/dev/%s/%s' [%s] %s", kind, w.vg.Name(), lv.Name, report.Size(w.vg.Size(lv)), lv.Allocation)
		}
	}
	return failed
}
