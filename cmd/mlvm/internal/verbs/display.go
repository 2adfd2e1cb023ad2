package verbs

import (
	"context"
	"slices"
	"strings"
	"time"

	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm/metadata"
	"morgana/lvm/report"
)

// tableOnly are options that pvdisplay and its like take with --columns alone.
var tableOnly = []string{"aligned", "binary", "noheadings", "options", "separator", "sort", "unbuffered"}

// displays are the verbs that print a page for each thing.
func displays() []command.Verb {
	return []command.Verb{
		{
			Name: "pvdisplay", Summary: "show physical volumes", Usage: []string{"[PV|@TAG …]"}, Max: -1,
			Supports: reportOptions + " colon columns maps short ignorelockingfailure", Own: []args.Option{asJSON},
			Details:  "--maps shows who has which extents; --columns makes it pvs.",
			Examples: []string{"pvdisplay -m a.img", "pvdisplay -C -o pv_name,pv_free"},
			Run: func(ctx context.Context, r *command.Run) error {
				return display(ctx, r, report.PVs, displayDisks, "colon", "maps", "short")
			},
		},
		{
			Name: "vgdisplay", Summary: "show volume groups", Usage: []string{"[VG|@TAG …]"}, Max: -1,
			Supports: reportOptions + " colon columns short ignorelockingfailure", Own: []args.Option{asJSON},
			Details:  "With --verbose, its logical and physical volumes too; --columns makes it vgs.",
			Examples: []string{"vgdisplay vg0", "vgdisplay -c"},
			Run: func(ctx context.Context, r *command.Run) error {
				return display(ctx, r, report.VGs, displayGroups, "colon", "short")
			},
		},
		{
			Name: "lvdisplay", Summary: "show logical volumes", Usage: []string{"[VG|VG/LV|@TAG …]"}, Max: -1,
			Supports: reportOptions + " colon columns maps ignorelockingfailure", Own: []args.Option{asJSON},
			Details:  "--maps shows where the extents are; --columns makes it lvs.",
			Examples: []string{"lvdisplay -m vg0/root", "lvdisplay -C -o lv_name,lv_size vg0"},
			Run: func(ctx context.Context, r *command.Run) error {
				return display(ctx, r, report.LVs, displayVolumes, "colon", "maps")
			},
		},
	}
}

// display runs a verb as a table with --columns, else page by page.
func display(ctx context.Context, r *command.Run, kind report.Kind, pages func(context.Context, *command.Run, report.Units) error, pageOnly ...string) error {
	if r.Has("columns") {
		if slices.ContainsFunc(pageOnly, r.Has) {
			return r.Verb.WrongUse("Incompatible options selected")
		}
		return tables(ctx, r, kind)
	}
	if slices.ContainsFunc(tableOnly, r.Has) {
		return r.Verb.WrongUse("Incompatible options selected")
	}
	if r.Has("colon") && r.Has("maps") {
		if kind == report.LVs {
			return r.Verb.WrongUse("Options -c and -m are incompatible.")
		}
		return r.Verb.WrongUse("Option -c not allowed with option -m")
	}
	if r.Has("colon") && r.Has("short") {
		return r.Verb.WrongUse("Option -c is not allowed with option -s")
	}
	s, err := settings(r)
	if err != nil {
		return err
	}
	return pages(ctx, r, s.Units)
}

func displayDisks(ctx context.Context, r *command.Run, units report.Units) error {
	all, failed, err := findDisks(ctx, r)
	if err != nil {
		return err
	}
	for _, d := range all {
		vg, pv := d.group.VG, d.disk
		if r.Has("short") {
			free := pv.Size
			if pv.Meta != nil {
				free = uint64(vg.PVFree(pv.Meta)) * vg.ExtentSize()
			}
			r.Print("Device \"%s\" has a capacity of %s", pv.Name, units.SizeLong(free))
			continue
		}
		if pv.Meta == nil {
			r.Print("\"%s\" is a new physical volume of \"%s\"", pv.Name, units.SizeLong(pv.Size))
		} else if vg.Exported() {
			r.Print("Physical volume \"%s\" of volume group \"%s\" is exported", pv.Name, vg.Name())
		}
		if r.Has("colon") {
			diskColons(r, d)
			continue
		}
		diskPage(r, units, d)
		if r.Has("maps") {
			diskMap(r, d)
		}
	}
	return failed
}

// diskNumbers are what pages of a disk are made of.
func diskNumbers(d diskIn) (name string, extentSize uint64, total, free metadata.Extent, allocatable bool, size uint64) {
	size = d.disk.Size
	if m := d.disk.Meta; m != nil {
		vg := d.group.VG
		name, extentSize, total, free, allocatable = vg.Name(), vg.ExtentSize(), m.PECount, vg.PVFree(m), m.Allocatable()
		if m.DevSize > 0 {
			size = m.DevSize
		}
	}
	return name, extentSize, total, free, allocatable, size
}

func diskColons(r *command.Run, d diskIn) {
	name, extentSize, total, free, allocatable, size := diskNumbers(d)
	const statusAllocatable, statusExported = 8, 2
	status, alloc := 0, 0
	if allocatable {
		status, alloc = statusAllocatable, statusAllocatable
	}
	if d.group.VG != nil && d.group.VG.Exported() {
		status |= statusExported
	}
	r.Print("%s:%s:%d:-1:%d:%d:-1:%d:%d:%d:%d:%s", d.disk.Name, name, size, status, alloc, extentSize/2, total, free, total-free, d.disk.ID)
}

func diskPage(r *command.Run, units report.Units, d diskIn) {
	name, extentSize, total, free, allocatable, size := diskNumbers(d)
	fresh, exported := "NEW ", ""
	start := d.disk.PEStart
	if d.disk.Meta != nil {
		fresh, start = "", d.disk.Meta.PEStart
		if d.group.VG.Exported() {
			exported = " (exported)"
		}
	}
	r.Print("--- %sPhysical volume ---", fresh)
	r.Print("PV Name               %s", d.disk.Name)
	r.Print("VG Name               %s%s", name, exported)
	data := uint64(total) * extentSize
	whole, unusable := data+start, data+start-min(size, data+start)
	if size > data+start || d.disk.Meta == nil {
		whole, unusable = size, size-data
	}
	if data > 0 {
		r.Print("PV Size               %s / not usable %s", units.SizeLong(whole), units.SizeLong(unusable))
	} else {
		r.Print("PV Size               %s", units.SizeLong(whole))
	}
	switch {
	case total == 0 || !allocatable:
		r.Print("Allocatable           NO")
	case free == 0:
		r.Print("Allocatable           yes (but full)")
	default:
		r.Print("Allocatable           yes ")
	}
	r.Print("PE Size               %s", units.SizeLong(extentSize))
	r.Print("Total PE              %d", total)
	r.Print("Free PE               %d", free)
	r.Print("Allocated PE          %d", total-free)
	r.Print("PV UUID               %s", d.disk.ID)
	r.Print(" ")
}

func diskMap(r *command.Run, d diskIn) {
	if d.disk.Meta != nil {
		r.Print("--- Physical Segments ---")
		for run := range d.group.VG.PVRuns(d.disk.Meta) {
			r.Print("Physical extent %d to %d:", run.Start, run.Start+run.Count-1)
			if run.LV == nil {
				r.Print("  FREE")
				continue
			}
			r.Print("  Logical volume\t/dev/%s/%s", d.group.VG.Name(), run.LV.Name)
			r.Print("  Logical extents\t%d to %d", run.Segment.Start, run.Segment.Start+run.Segment.Count-1)
		}
	}
	r.Print(" ")
}

func displayGroups(ctx context.Context, r *command.Run, units report.Units) error {
	if err := onlyGroups(r); err != nil {
		return err
	}
	inv, err := r.Scan(ctx, command.Need{Groups: operandGroups(r.Operands)})
	if err != nil {
		return err
	}
	var failed error
	for _, w := range wanted(r, inv, &failed) {
		g, disks := command.View(inv, w.found, w.vg)
		switch {
		case r.Has("colon"):
			groupColons(r, g)
		case r.Has("short"):
			vg := g.VG
			r.Print("\"%s\" %-9s [%-9s used / %s free]", vg.Name(), units.SizeLong(uint64(vg.Extents())*vg.ExtentSize()),
				units.SizeLong(uint64(vg.Extents()-vg.FreeExtents())*vg.ExtentSize()), units.SizeLong(uint64(vg.FreeExtents())*vg.ExtentSize()))
		default:
			groupPage(r, units, g)
		}
		if !r.Has("verbose") || r.Has("colon") || r.Has("short") {
			continue
		}
		for lv := range g.VG.LVs() {
			if !g.Internal(lv) {
				volumePage(r, units, g, lv)
			}
		}
		r.Print("--- Physical volumes ---")
		for _, d := range disks {
			diskShort(r, g, d)
		}
	}
	return failed
}

func diskShort(r *command.Run, g *report.Group, d *report.PV) {
	not := ""
	if !d.Meta.Allocatable() {
		not = "NOT "
	}
	r.Print("PV Name               %s     ", d.Name)
	r.Print("PV UUID               %s", d.ID)
	r.Print("PV Status             %sallocatable", not)
	r.Print("Total PE / Free PE    %d / %d", d.Meta.PECount, g.VG.PVFree(d.Meta))
	r.Print(" ")
}

func activeDisks(vg *metadata.VG) int {
	n := 0
	for _, pv := range vg.PVs() {
		if !pv.Missing() {
			n++
		}
	}
	return n
}

func groupColons(r *command.Run, g *report.Group) {
	vg := g.VG
	const statusExported, statusResizeable, statusRead, statusWrite = 2, 4, 0x100, 0x200
	access, status := "r", statusRead
	if vg.Writable() {
		access, status = "r/w", statusRead|statusWrite
	}
	if vg.Resizeable() {
		status |= statusResizeable
	}
	if vg.Exported() {
		status |= statusExported
	}
	visible, _ := g.Count()
	r.Print("%s:%s:%d:-1:%d:%d:0:-1:%d:%d:%d:%d:%d:%d:%d:%d:%s", vg.Name(), access, status, vg.MaxLV(), visible, vg.MaxPV(), len(vg.PVs()),
		activeDisks(vg), uint64(vg.Extents())*(vg.ExtentSize()/2), vg.ExtentSize()/2, vg.Extents(), vg.Extents()-vg.FreeExtents(),
		vg.FreeExtents(), vg.ID())
}

func groupPage(r *command.Run, units report.Units, g *report.Group) {
	vg := g.VG
	access, status := "read", "resizable"
	if vg.Writable() {
		access = "read/write"
	}
	if !vg.Resizeable() {
		status = "NOT " + status
	}
	if vg.Exported() {
		status = "exported/" + status
	}
	visible, _ := g.Count()
	extents := func(n metadata.Extent) string { return units.SizeLong(uint64(n) * vg.ExtentSize()) }
	r.Print("--- Volume group ---")
	r.Print("VG Name               %s", vg.Name())
	r.Print("System ID             %s", vg.SystemID())
	r.Print("Format                lvm2")
	r.Print("Metadata Areas        %d", g.Areas)
	r.Print("Metadata Sequence No  %d", vg.Seqno())
	r.Print("VG Access             %s", access)
	r.Print("VG Status             %s", status)
	r.Print("MAX LV                %d", vg.MaxLV())
	r.Print("Cur LV                %d", visible)
	r.Print("Open LV               0")
	r.Print("Max PV                %d", vg.MaxPV())
	r.Print("Cur PV                %d", len(vg.PVs()))
	r.Print("Act PV                %d", activeDisks(vg))
	r.Print("VG Size               %s", extents(vg.Extents()))
	r.Print("PE Size               %s", units.SizeLong(vg.ExtentSize()))
	r.Print("Total PE              %d", vg.Extents())
	r.Print("Alloc PE / Size       %d / %s", vg.Extents()-vg.FreeExtents(), extents(vg.Extents()-vg.FreeExtents()))
	r.Print("Free  PE / Size       %d / %s", vg.FreeExtents(), extents(vg.FreeExtents()))
	r.Print("VG UUID               %s", vg.ID())
	r.Print(" ")
}

func displayVolumes(ctx context.Context, r *command.Run, units report.Units) error {
	inv, err := r.Scan(ctx, command.Need{Groups: operandGroups(r.Operands)})
	if err != nil {
		return err
	}
	var failed error
	for _, w := range wanted(r, inv, &failed) {
		g, _ := command.View(inv, w.found, w.vg)
		for lv := range g.VG.LVs() {
			if g.Internal(lv) || !w.has(lv) || !r.Has("all") && !g.Visible(lv) {
				continue
			}
			if r.Has("colon") {
				volumeColons(r, g, lv)
				continue
			}
			volumePage(r, units, g, lv)
			if r.Has("maps") {
				volumeMap(r, units, g, lv)
			}
		}
	}
	return failed
}

func volumeColons(r *command.Run, g *report.Group, lv *metadata.LV) {
	access := 1
	if lv.Writable() {
		access = 3
	}
	alloc := 0
	if lv.Allocation == metadata.AllocContiguous {
		alloc = 2
	}
	ahead := int64(lv.ReadAhead)
	switch lv.ReadAhead {
	case metadata.ReadAheadAuto:
		ahead = -1
	case metadata.ReadAheadNone:
		ahead = 0
	}
	r.Print("/dev/%s/%s:%s:%d:0:-1:0:%d:%d:-1:%d:%d:-1:-1", g.VG.Name(), lv.Name, g.VG.Name(), access, g.VG.Size(lv), lv.Extents, alloc, ahead)
}

func volumePage(r *command.Run, units report.Units, g *report.Group, lv *metadata.LV) {
	access := "read only"
	if lv.Writable() {
		access = "read/write"
	}
	kind := ""
	if len(lv.Segments) > 0 {
		kind = lv.Segments[0].Type
	}
	r.Print("--- Logical volume ---")
	if g.Visible(lv) {
		if kind != "thin-pool" {
			r.Print("LV Path                /dev/%s/%s", g.VG.Name(), lv.Name)
		}
		r.Print("LV Name                %s", lv.Name)
	} else {
		r.Print("Internal LV Name       %s", lv.Name)
	}
	r.Print("VG Name                %s", g.VG.Name())
	r.Print("LV UUID                %s", lv.ID)
	r.Print("LV Write Access        %s", access)
	created := ""
	if lv.CreationTime != 0 {
		created = time.Unix(lv.CreationTime, 0).In(location(r)).Format("2006-01-02 15:04:05 -0700")
	}
	r.Print("LV Creation host, time %s, %s", lv.CreationHost, created)
	shown, chunk := lv, uint64(0)
	if origin, c := g.SnapshotOf(lv); origin != nil {
		r.Print("LV snapshot status     INACTIVE destination for %s", origin.Name)
		shown, chunk = origin, c
	} else if snapshots := g.Snapshots(lv); len(snapshots) > 0 {
		r.Print("LV snapshot status     source of")
		for _, s := range snapshots {
			r.Print("                       %s [INACTIVE]", s)
		}
	}
	volumeParts(r, g, lv, kind)
	r.Print("LV Size                %s", units.SizeLong(g.VG.Size(shown)))
	r.Print("Current LE             %d", shown.Extents)
	if shown != lv {
		r.Print("COW-table size         %s", units.SizeLong(g.VG.Size(lv)))
		r.Print("COW-table LE           %d", lv.Extents)
		r.Print("Snapshot chunk size    %s", units.SizeLong(chunk))
	}
	if n := g.Images(lv); n > 0 {
		r.Print("Mirrored volumes       %d", n)
	}
	r.Print("Segments               %d", len(lv.Segments))
	r.Print("Allocation             %s", lv.Allocation)
	switch lv.ReadAhead {
	case metadata.ReadAheadAuto:
		r.Print("Read ahead sectors     auto")
	case metadata.ReadAheadNone:
		r.Print("Read ahead sectors     0")
	default:
		r.Print("Read ahead sectors     %d", lv.ReadAhead)
	}
	if lv.Has("FIXED_MINOR") {
		if lv.Major >= 0 {
			r.Print("Persistent major       %d", lv.Major)
		}
		r.Print("Persistent minor       %d", lv.Minor)
	}
	r.Print(" ")
}

// volumeParts names the volumes that belong to a pool or a volume of one.
func volumeParts(r *command.Run, g *report.Group, lv *metadata.LV, kind string) {
	part := func(words, key string) {
		if name := g.Named(lv, key); name != "" {
			r.Print("%-22s %s", words, name)
		}
	}
	switch kind {
	case "thin":
		part("LV Pool name", "thin_pool")
		part("LV Thin origin name", "origin")
		part("LV External origin name", "external_origin")
		part("LV merging to", "merge")
	case "thin-pool":
		part("LV Pool metadata", "metadata")
		part("LV Pool data", "pool")
	case "cache-pool":
		part("LV Pool metadata", "metadata")
		part("LV Pool data", "data")
	case "vdo-pool":
		part("LV VDO Pool data", "data")
	case "vdo":
		part("LV VDO Pool name", "vdo_pool")
	}
}

func volumeMap(r *command.Run, units report.Units, g *report.Group, lv *metadata.LV) {
	r.Print("--- Segments ---")
	for i := range lv.Segments {
		s := &lv.Segments[i]
		word := "Logical"
		if s.Type == "zero" || s.Type == "error" || s.Type == "thin" {
			word = "Virtual"
		}
		r.Print("%s extents %d to %d:", word, s.Start, s.Start+s.Count-1)
		kind := s.Type
		if kind == "striped" && len(s.Stripes) == 1 {
			kind = "linear"
		}
		r.Print("  Type\t\t%s", kind)
		if s.Type != "striped" && s.Type != "linear" {
			continue
		}
		if len(s.Stripes) == 1 {
			areaMap(r, g, s, 0, "  ")
		} else {
			r.Print("  Stripes\t\t%d", len(s.Stripes))
			r.Print("  Stripe size\t\t%s", units.SizeLong(s.StripeSize))
			for n := range s.Stripes {
				r.Print("  Stripe %d:", n)
				areaMap(r, g, s, n, "    ")
			}
		}
		r.Print(" ")
	}
	r.Print(" ")
}

func areaMap(r *command.Run, g *report.Group, s *metadata.Segment, n int, indent string) {
	a := s.Stripes[n]
	if a.PV != "" {
		r.Print("%sPhysical volume\t%s", indent, g.DeviceName(a.PV))
		r.Print("%sPhysical extents\t%d to %d", indent, a.Start, a.Start+s.AreaLen()-1)
		return
	}
	r.Print("%sLogical volume\t%s", indent, a.LV)
	r.Print("%sLogical extents\t%d to %d", indent, a.Start, a.Start+s.AreaLen()-1)
}

// diskIn is a disk and the group that it is in.
type diskIn struct {
	group *report.Group
	disk  *report.PV
}

// findDisks returns the disks that the operands name, or all: those of groups first.
func findDisks(ctx context.Context, r *command.Run) (all []diskIn, failed, err error) {
	var named []string
	for _, o := range r.Operands {
		if !strings.HasPrefix(o, "@") {
			named = append(named, o)
		}
	}
	inv, err := r.Scan(ctx, command.Need{Disks: named})
	if err != nil {
		return nil, nil, err
	}
	failed = checkDisks(r, inv, named)
	add := func(g *report.Group, disks []*report.PV) {
		for _, d := range disks {
			if diskWanted(r, d) {
				all = append(all, diskIn{g, d})
			}
		}
	}
	for _, f := range sortedGroups(inv) {
		if vg := r.Current(inv, f); vg != nil {
			add(command.View(inv, f, vg))
		}
	}
	add(command.View(inv, nil, nil))
	return all, failed, nil
}
