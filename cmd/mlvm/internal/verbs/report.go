package verbs

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/lvm/report"
)

// reportOptions are those of all reports.
const reportOptions = "aligned all binary foreign nameprefixes noheadings nosuffix options partial readonly reportformat rows " +
	"select separator shared sort unbuffered units unquoted"

// asJSON is short for --reportformat json.
var asJSON = args.Option{Name: "json", Help: "the same as --reportformat json"}

// reports are the verbs that print tables.
func reports() []command.Verb {
	return []command.Verb{
		{
			Name: "lvs", Summary: "list logical volumes", Usage: []string{"[VG|VG/LV|@TAG …]"}, Max: -1,
			Supports: reportOptions + " segments", Own: []args.Option{asJSON},
			Details: `One line for each volume, or for each segment where a field of segments is asked for or --segments is given.
-o names the fields, -o+ adds some, -o- takes some away; -o help lists them. -S selects, -S help explains how.`,
			Examples: []string{
				"lvs", "lvs -a -o+devices vg0", "lvs -S 'lv_size>1g && lv_tags={db}' -O -lv_size", "lvs --json -o lv_name,lv_size --units b --nosuffix",
			},
			Run: func(ctx context.Context, r *command.Run) error {
				return tables(ctx, r, kindOf(r, report.LVs, report.Segments))
			},
		},
		{
			Name: "vgs", Summary: "list volume groups", Usage: []string{"[VG|@TAG …]"}, Max: -1,
			Supports: reportOptions, Own: []args.Option{asJSON},
			Examples: []string{"vgs", "vgs -o+vg_tags,vg_seqno", "vgs --json --units b"},
			Run:      func(ctx context.Context, r *command.Run) error { return tables(ctx, r, report.VGs) },
		},
		{
			Name: "pvs", Summary: "list physical volumes", Usage: []string{"[PV|@TAG …]"}, Max: -1,
			Supports: reportOptions + " segments", Own: []args.Option{asJSON},
			Details: `One line for each disk, or for each run of extents where a field of volumes is asked for or --segments is given.
With --all, disks that are no physical volumes too.`,
			Examples: []string{"pvs", "pvs --segments -o+lv_name", "pvs -o pv_name,pv_used -S 'vg_name=vg0'"},
			Run: func(ctx context.Context, r *command.Run) error {
				return tables(ctx, r, kindOf(r, report.PVs, report.PVSegments))
			},
		},
		{
			Name: "fullreport", Summary: "report everything of every group", Usage: []string{"[VG …]"}, Max: -1,
			Supports: reportOptions + " configreport", Own: []args.Option{asJSON},
			Details:  `Five reports for each group: vg, pv, lv, pvseg and seg. --configreport says which of them the -o, -O and -S behind it are for.`,
			Examples: []string{"fullreport --reportformat json", "fullreport vg0 --configreport pv -o pv_name,pv_size --configreport seg -o seg_all"},
			Run:      fullReport,
		},
	}
}

func kindOf(r *command.Run, plain, segments report.Kind) report.Kind {
	if r.Has("segments") {
		return segments
	}
	return plain
}

// defaults are the fields and the order of a report: usual ones, those with -v, those of fullreport.
var defaults = map[report.Kind][4]string{
	report.LVs: {
		"lv_name,vg_name,lv_attr,lv_size,pool_lv,origin,data_percent,metadata_percent,move_pv,mirror_log,copy_percent,convert_lv",
		"lv_name,vg_name,seg_count,lv_attr,lv_size,lv_major,lv_minor,lv_kernel_major,lv_kernel_minor,pool_lv,origin,data_percent," +
			"metadata_percent,move_pv,copy_percent,mirror_log,convert_lv,lv_uuid,lv_profile",
		"lv_all", "vg_name,lv_name",
	},
	report.VGs: {
		"vg_name,pv_count,lv_count,snap_count,vg_attr,vg_size,vg_free",
		"vg_name,vg_attr,vg_extent_size,pv_count,lv_count,snap_count,vg_size,vg_free,vg_uuid,vg_profile",
		"vg_all", "vg_name",
	},
	report.PVs: {
		"pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free", "pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free,dev_size,pv_uuid",
		"pv_all", "pv_name",
	},
	report.Segments: {
		"lv_name,vg_name,lv_attr,stripes,segtype,seg_size", "lv_name,vg_name,lv_attr,seg_start,seg_size,stripes,segtype,stripesize,chunksize",
		"seg_all,lv_uuid", "vg_name,lv_name,seg_start",
	},
	report.PVSegments: {
		"pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free,pvseg_start,pvseg_size",
		"pv_name,vg_name,pv_fmt,pv_attr,pv_size,pv_free,pvseg_start,pvseg_size,lv_name,seg_start_pe,segtype,seg_pe_ranges",
		"pvseg_all,pv_uuid,lv_uuid", "pv_name,pvseg_start",
	},
}

// settings are how values are shown.
func settings(r *command.Run) (report.Settings, error) {
	s := report.Settings{Binary: r.Has("binary"), Location: location(r), Now: time.Now(), Units: report.DefaultUnits}
	if r.Has("units") || r.Has("nosuffix") {
		u, err := report.ParseUnits(r.Str("units", "r"), !r.Has("nosuffix"))
		if err != nil {
			return s, r.Verb.WrongUse("%v", err)
		}
		s.Units = u
	}
	return s, nil
}

// location is the time zone of the environment.
func location(r *command.Run) *time.Location {
	if tz := r.Getenv("TZ"); tz != "" {
		if l, err := time.LoadLocation(strings.TrimPrefix(tz, ":")); err == nil {
			return l
		}
	}
	return time.Local
}

// format is how the table is drawn.
func format(r *command.Run) report.Format {
	f := report.DefaultFormat
	f.Separator = r.Str("separator", f.Separator)
	f.Aligned = !r.Has("separator") || r.Has("aligned")
	f.Headings = !r.Has("noheadings")
	f.Prefixes, f.Unquoted, f.Rows = r.Has("nameprefixes"), r.Has("unquoted"), r.Has("rows")
	f.Unbuffered = r.Has("unbuffered") && !r.Has("sort")
	return f
}

// spec makes a report's specification of the options that are for it; which says to which report they belong.
func spec(r *command.Run, kind report.Kind, s report.Settings, full bool) (spec report.Spec, compact string, err error) {
	d := defaults[kind]
	spec = report.Spec{Kind: kind, Fields: d[0], Sort: d[3], Settings: s, Inside: full}
	switch {
	case full:
		spec.Fields = d[2]
		switch kind {
		case report.PVSegments:
			spec.Sort = "pv_uuid,pvseg_start"
		case report.Segments:
			spec.Sort = "lv_uuid,seg_start"
		}
	case r.Has("verbose"):
		spec.Fields = d[1]
	}
	for _, g := range forReport(r, kind, full) {
		switch g.Name {
		case "options":
			if g.Value.Text == "" {
				return spec, "", r.Verb.WrongUse("Invalid options string: ")
			}
			var c string
			if spec.Fields, c = report.EditFields(kind, spec.Fields, g.Value.Text); c != "" {
				compact = c
			}
		case "sort":
			spec.Sort = g.Value.Text
		case "select":
			spec.Select = g.Value.Text
		}
	}
	return spec, compact, nil
}

// forReport are the options that are for one of fullreport's reports: those behind the --configreport that names it. Of
// a single report they are all.
func forReport(r *command.Run, kind report.Kind, full bool) []args.Given {
	if !full {
		return r.Sequence()
	}
	name := map[report.Kind]string{
		report.VGs: "vg", report.PVs: "pv", report.LVs: "lv", report.PVSegments: "pvseg", report.Segments: "seg",
	}[kind]
	var list []args.Given
	current := ""
	for _, g := range r.Sequence() {
		if g.Name == "configreport" {
			current = g.Value.Text
		} else if current == name {
			list = append(list, g)
		}
	}
	return list
}

// helped answers -o help and -S help.
func helped(r *command.Run, s report.Spec) bool {
	for name := range strings.SplitSeq(s.Fields, ",") {
		if name == "help" || name == "?" {
			report.WriteFields(r.Stderr)
			return true
		}
	}
	if s.Select == "help" || s.Select == "?" {
		report.WriteSelectionHelp(r.Stderr)
		return true
	}
	return false
}

// reportError says why a report cannot be made.
func reportError(r *command.Run, err error) error {
	var e *report.Error
	if !errors.As(err, &e) {
		return err
	}
	if e.Help {
		if e.About == "fields" {
			report.WriteFields(r.Stderr)
		} else {
			report.WriteSelectionHelp(r.Stderr)
		}
		r.Warn(" ")
	}
	return r.Fail(e)
}

// tables runs pvs, vgs or lvs.
func tables(ctx context.Context, r *command.Run, kind report.Kind) error {
	set, err := settings(r)
	if err != nil {
		return err
	}
	sp, compact, err := spec(r, kind, set, false)
	if err != nil {
		return err
	}
	if helped(r, sp) {
		return nil
	}
	rep, err := report.New(sp)
	if err == nil && compact != "" {
		err = rep.Compact(compact)
	}
	if err != nil {
		return reportError(r, err)
	}
	disks := kind == report.PVs || kind == report.PVSegments
	failed := collect(ctx, r, disks, rep)
	if failed != nil && !errors.Is(failed, command.ErrFailed) {
		return failed
	}
	if err := write(r, rep); err != nil {
		return err
	}
	return failed
}

// write prints a report.
func write(r *command.Run, rep *report.Report) error {
	switch {
	case jsonFormat(r) != "":
		j := report.JSON{Standard: jsonFormat(r) == "json_std"}
		j.Append(rep)
		return j.Write(r.Stdout)
	case rep.Len() == 0:
		return nil
	}
	return rep.Write(r.Stdout, format(r))
}

func jsonFormat(r *command.Run) string {
	if f := r.Str("reportformat", "basic"); f != "basic" {
		return f
	}
	if r.Has("json") {
		return "json"
	}
	return ""
}

// collect fills a report with what the operands name: disks, or groups and volumes.
func collect(ctx context.Context, r *command.Run, disks bool, rep *report.Report) error {
	if disks {
		return collectDisks(ctx, r, rep)
	}
	if err := onlyGroups(r); err != nil {
		return err
	}
	names := operandGroups(r.Operands)
	inv, err := r.Scan(ctx, command.Need{Groups: names})
	if err != nil {
		return err
	}
	var failed error
	for _, w := range wanted(r, inv, &failed) {
		g, pvs := command.View(inv, w.found, w.vg)
		addGroup(r, rep, g, pvs, w)
	}
	return failed
}

// onlyGroups refuses volumes where a verb is about groups.
func onlyGroups(r *command.Run) error {
	if !strings.HasPrefix(r.Verb.Name, "vg") {
		return nil
	}
	for _, o := range r.Operands {
		if name := args.StripDev(o); !strings.HasPrefix(o, "@") && strings.Contains(name, "/") {
			return r.Verb.WrongUse("Invalid volume group name %s.", name)
		}
	}
	return nil
}

// operandGroups are the names of the groups that operands are about; nil if only a look at all tells.
func operandGroups(operands []string) []string {
	var names []string
	for _, o := range operands {
		if strings.HasPrefix(o, "@") {
			return nil
		}
		vg, _ := args.SplitLV(o)
		names = append(names, vg)
	}
	return names
}

// want is a group of which a report or another verb is about, and which of its volumes; lvs is nil for all.
type want struct {
	found *lvm.FoundGroup
	vg    *metadata.VG
	lvs   []string
	tags  []string // volumes that have one of these
}

// has reports whether a volume is wanted.
func (w want) has(lv *metadata.LV) bool {
	if w.lvs == nil && w.tags == nil {
		return true
	}
	return slices.Contains(w.lvs, lv.Name) ||
		slices.ContainsFunc(w.tags, func(t string) bool { return slices.Contains(lv.Tags, t) })
}

// wanted are the groups that the operands name: VG, VG/LV or @TAG. What they name in vain is said, and failed set.
func wanted(r *command.Run, inv *lvm.Inventory, failed *error) []want {
	all := map[*lvm.FoundGroup]*want{}
	var list []*want
	get := func(f *lvm.FoundGroup) *want {
		if w := all[f]; w != nil {
			return w
		}
		vg := r.Current(inv, f)
		if vg == nil || vg.Exported() && !showsExported(r.Verb.Name) {
			return nil
		}
		w := &want{found: f, vg: vg, lvs: []string{}}
		all[f] = w
		list = append(list, w)
		return w
	}
	if len(r.Operands) == 0 {
		for _, f := range sortedGroups(inv) {
			if w := get(f); w != nil {
				w.lvs = nil
			}
		}
	}
	for _, o := range r.Operands {
		if tag, ok := strings.CutPrefix(o, "@"); ok {
			for _, f := range sortedGroups(inv) {
				w := get(f)
				if w == nil {
					continue
				}
				if slices.Contains(w.vg.Tags(), tag) {
					w.lvs = nil
				} else if w.lvs != nil {
					w.tags = append(w.tags, tag)
				}
			}
			continue
		}
		vgName, lvName := args.SplitLV(o)
		f, err := r.Found(inv, vgName)
		if err != nil {
			*failed = err
			continue
		}
		w := get(f)
		switch {
		case w == nil && f.VG != nil && f.VG.Exported():
			*failed = r.Failed("Volume group %s is exported", f.Name)
		case w == nil:
			if f.VG != nil {
				r.WarnForeign(f.Name, f.VG.SystemID())
			}
			*failed = command.ErrFailed
		case lvName == "":
			w.lvs, w.tags = nil, nil
		case w.vg.LV(lvName) == nil:
			*failed = r.Failed("Failed to find logical volume \"%s/%s\"", vgName, lvName)
		case w.lvs != nil:
			w.lvs = append(w.lvs, lvName)
		}
	}
	return onlyUseful(list)
}

// showsExported reports whether a verb is also about groups that nobody may use until vgimport. As in lvm2, those about
// volumes are not.
func showsExported(verb string) bool { return !strings.HasPrefix(verb, "lv") && verb != "vgck" }

// onlyUseful leaves out groups of which nothing is wanted.
func onlyUseful(list []*want) []want {
	var kept []want
	for _, w := range list {
		if w.lvs == nil || len(w.lvs) > 0 || slices.ContainsFunc(w.tags, func(t string) bool {
			for lv := range w.vg.LVs() {
				if slices.Contains(lv.Tags, t) {
					return true
				}
			}
			return false
		}) {
			kept = append(kept, *w)
		}
	}
	return kept
}

func sortedGroups(inv *lvm.Inventory) []*lvm.FoundGroup {
	return slices.SortedStableFunc(slices.Values(inv.Groups()), func(a, b *lvm.FoundGroup) int { return strings.Compare(a.Name, b.Name) })
}

// addGroup adds what a report wants of a group.
func addGroup(r *command.Run, rep *report.Report, g *report.Group, pvs []*report.PV, w want) {
	switch rep.Kind() {
	case report.VGs:
		rep.Add(&report.Row{Group: g})
	case report.PVs, report.PVSegments:
		for _, d := range pvs {
			addDisk(rep, g, d)
		}
	case report.LVs, report.Segments:
		for lv := range g.VG.LVs() {
			named := slices.Contains(w.lvs, lv.Name)
			if g.Internal(lv) || !w.has(lv) || !named && !r.Has("all") && !g.Visible(lv) {
				continue
			}
			addVolume(rep, g, lv)
		}
	}
}

func addVolume(rep *report.Report, g *report.Group, lv *metadata.LV) {
	if rep.Kind() == report.LVs || len(lv.Segments) == 0 {
		rep.Add(&report.Row{Group: g, LV: lv})
		return
	}
	for i := range lv.Segments {
		rep.Add(&report.Row{Group: g, LV: lv, Segment: &lv.Segments[i]})
	}
}

func addDisk(rep *report.Report, g *report.Group, d *report.PV) {
	switch {
	case rep.Kind() == report.PVs:
		rep.Add(&report.Row{Group: g, PV: d})
	case d.Meta == nil || d.Meta.PECount == 0:
		rep.Add(&report.Row{Group: g, PV: d, Run: &report.Run{}})
	default:
		for run := range g.VG.PVRuns(d.Meta) {
			rep.Add(&report.Row{Group: g, PV: d, LV: run.LV, Segment: run.Segment, Run: &report.Run{Start: run.Start, Count: run.Count}})
		}
	}
}

// collectDisks fills a report of disks.
func collectDisks(ctx context.Context, r *command.Run, rep *report.Report) error {
	var named []string
	for _, o := range r.Operands {
		if !strings.HasPrefix(o, "@") {
			named = append(named, o)
		}
	}
	inv, err := r.Scan(ctx, command.Need{Disks: named})
	if err != nil {
		return err
	}
	failed := checkDisks(r, inv, named)
	add := func(g *report.Group, pvs []*report.PV) {
		for _, d := range pvs {
			if diskWanted(r, d) {
				addDisk(rep, g, d)
			}
		}
	}
	for _, f := range sortedGroups(inv) {
		if vg := r.Current(inv, f); vg != nil {
			add(command.View(inv, f, vg))
		}
	}
	orphans, pvs := command.View(inv, nil, nil)
	add(orphans, pvs)
	if r.Has("all") || len(named) > 0 {
		add(orphans, command.Spare(inv))
	}
	if r.Has("all") {
		for _, d := range inv.Unlabelled() {
			add(orphans, []*report.PV{command.Plain(d)})
		}
	}
	return failed
}

// checkDisks says which of the disks that a command names are none or no physical volumes.
func checkDisks(r *command.Run, inv *lvm.Inventory, named []string) error {
	var failed error
	for _, o := range named {
		d, ok := r.Disk(o)
		switch {
		case !ok:
			failed = r.NoDisk(o)
		case inv.PV(d.Name) == nil && !r.Has("all"):
			failed = r.Failed("Failed to find physical volume \"%s\".", o)
		}
	}
	return failed
}

// diskWanted reports whether operands name a disk, or its tag; none name all.
func diskWanted(r *command.Run, d *report.PV) bool {
	if len(r.Operands) == 0 {
		return true
	}
	for _, o := range r.Operands {
		if tag, ok := strings.CutPrefix(o, "@"); ok {
			if d.Meta != nil && slices.Contains(d.Meta.Tags, tag) {
				return true
			}
			continue
		}
		if disk, ok := r.Disk(o); ok && disk.Name == d.Name {
			return true
		}
	}
	return false
}

// fullReport prints five reports of each group.
func fullReport(ctx context.Context, r *command.Run) error {
	set, err := settings(r)
	if err != nil {
		return err
	}
	inv, err := r.Scan(ctx, command.Need{Groups: operandGroups(r.Operands)})
	if err != nil {
		return err
	}
	j := report.JSON{Standard: jsonFormat(r) == "json_std"}
	print := func(g *report.Group, pvs []*report.PV, kinds ...report.Kind) error {
		var list []*report.Report
		for _, k := range kinds {
			sp, compact, err := spec(r, k, set, true)
			if err != nil {
				return err
			}
			rep, err := report.New(sp)
			if err == nil && compact != "" {
				err = rep.Compact(compact)
			}
			if err != nil {
				return reportError(r, err)
			}
			addGroup(r, rep, g, pvs, want{})
			list = append(list, rep)
		}
		if jsonFormat(r) != "" {
			j.Append(list...)
			return nil
		}
		for _, rep := range list {
			if rep.Len() == 0 {
				continue
			}
			if err := rep.Write(r.Stdout, format(r)); err != nil {
				return err
			}
		}
		return nil
	}
	var failed error
	for _, w := range wanted(r, inv, &failed) {
		g, pvs := command.View(inv, w.found, w.vg)
		if err := print(g, pvs, report.VGs, report.PVs, report.LVs, report.PVSegments, report.Segments); err != nil {
			return err
		}
	}
	if orphans, pvs := command.View(inv, nil, nil); len(pvs) > 0 && len(r.Operands) == 0 {
		if err := print(orphans, pvs, report.PVs, report.PVSegments); err != nil {
			return err
		}
	}
	if jsonFormat(r) != "" {
		if err := j.Write(r.Stdout); err != nil {
			return err
		}
	}
	return failed
}
