package verbs

import (
	"context"
	"errors"
	"slices"
	"strings"

	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// groups are the verbs that make groups, give them disks and take disks away.
func groups() []command.Verb {
	return []command.Verb{
		{
			Name: "vgcreate", Summary: "create a volume group", Usage: []string{"VG_new PV ..."}, Min: 2, Max: -1,
			Supports: layoutOptions + " addtag alloc autobackup maxlogicalvolumes maxphysicalvolumes metadatatype physicalextentsize " +
				"reportformat setautoactivation systemid vgmetadatacopies zero",
			Details:  "Disks that are no physical volumes yet become ones, as with pvcreate.",
			Examples: []string{"vgcreate vg0 a.img b.img", "vgcreate -s 1m --addtag backup --alloc cling vg0 a.img"},
			Run:      vgcreate,
		},
		{
			Name: "vgremove", Summary: "remove volume groups", Usage: []string{"VG|Tag|Select ..."}, Min: 1, Max: -1,
			Supports: "force select reportformat", Details: "Asks before logical volumes go with it, unless -f or -y is given.",
			Examples: []string{"vgremove vg0", "vgremove -S 'lv_count=0'"},
			Run:      vgremove,
		},
		{
			Name: "vgextend", Summary: "add disks to a volume group", Usage: []string{"VG PV ..."}, Min: 2, Max: -1,
			Supports: layoutOptions + " autobackup metadatatype restoremissing reportformat zero",
			Details:  "--restoremissing takes disks back that were missing.",
			Examples: []string{"vgextend vg0 c.img"},
			Run:      vgextend,
		},
		{
			Name: "vgreduce", Summary: "take disks out of a volume group", Usage: []string{"VG PV ...", "--all VG", "--removemissing VG"}, Min: 1, Max: -1,
			Supports: "all autobackup force mirrorsonly removemissing reportformat",
			Details: `The disks must be free of logical volumes; pvmove empties them. --removemissing gives up disks that are not there;
with -f, the logical volumes that were on them too.`,
			Examples: []string{"vgreduce vg0 c.img", "vgreduce --removemissing vg0"},
			Run:      vgreduce,
		},
	}
}

// groupName is a group's name on a command line.
func groupName(s string) string { return args.StripDev(s) }

// newGroupName checks the name of a group that is to be.
func newGroupName(r *command.Run, name string) error {
	if args.ValidName(name) {
		return nil
	}
	switch {
	case name == "":
		r.Warn("Name is zero length.")
	case name[0] == '-':
		r.Warn("Name cannot start with hyphen.")
	case len(name) > 127:
		r.Warn("Name length exceeds maximum limit of 128.")
	case name == "." || name == "..":
		r.Warn("Name starts with . or .. and has no following character(s).")
	default:
		r.Warn("Name contains invalid character, valid set includes: [a-zA-Z0-9.-_+].")
	}
	return r.Verb.WrongUse("New volume group name \"%s\" is invalid.", name)
}

// policy is the allocation policy of a command line.
func policy(r *command.Run, def metadata.Allocation) metadata.Allocation {
	if r.Has("alloc") {
		a, _ := metadata.ParseAllocation(r.Str("alloc", ""))
		return a
	}
	return def
}

// copies is the number of metadata areas that a group wants in use; unmanaged is 0.
func copies(r *command.Run) uint32 {
	v, ok := r.Get("vgmetadatacopies")
	if !ok || strings.EqualFold(v.Text, "unmanaged") || allAreas(r) {
		return 0
	}
	return uint32(v.N)
}

// allAreas reports whether all areas are to be used, and nobody to choose among them from then on.
func allAreas(r *command.Run) bool { return strings.EqualFold(r.Str("vgmetadatacopies", ""), "all") }

func vgcreate(ctx context.Context, r *command.Run) error {
	name := groupName(r.Operands[0])
	if err := newGroupName(r, name); err != nil {
		return err
	}
	switch {
	case r.Has("physicalextentsize") && r.Uint("physicalextentsize", 0) == 0:
		return r.Verb.WrongUse("Physical extent size may not be zero")
	case policy(r, metadata.AllocNormal) == metadata.AllocInherit:
		return r.Verb.WrongUse("Volume Group allocation policy cannot inherit from anything")
	}
	o, err := layout(r)
	if err != nil {
		return err
	}
	inv, err := r.Scan(ctx, command.Need{Write: true, Global: true, Groups: []string{name}, Disks: r.Operands[1:]})
	if err != nil {
		return err
	}
	if _, err := inv.Group(name); !errors.Is(err, lvm.ErrNotFound) {
		return r.Failed("A volume group called %s already exists.", name)
	}
	pvs, err := takeDisks(ctx, r, inv, name, r.Operands[1:], o)
	if err != nil {
		return err
	}
	req := metadata.CreateVG{
		Name: name, ExtentSize: r.Uint("physicalextentsize", 0), MaxLV: uint32(r.Uint("maxlogicalvolumes", 0)),
		MaxPV: uint32(r.Uint("maxphysicalvolumes", 0)), Allocation: policy(r, metadata.AllocNormal), Tags: r.All("addtag"),
		SystemID: systemID(r), MetadataCopies: copies(r), NoAutoActivate: !r.Yes("setautoactivation", true),
	}
	for _, pv := range pvs {
		req.PVs = append(req.PVs, pv.New())
	}
	vg, op, err := metadata.NewVG(r.Env(), req)
	r.Say(op)
	if err != nil {
		return err
	}
	if !r.Test() {
		g, err := lvm.CreateGroup(ctx, vg, pvs, r.Stamp)
		if err != nil {
			return err
		}
		r.Hold(g)
		r.Backup(vg)
	}
	with := ""
	if id := vg.SystemID(); id != "" {
		with = " with system ID " + id
	}
	r.Print("Volume group \"%s\" successfully created%s", name, with)
	return nil
}

// systemID is the owner of a new group.
func systemID(r *command.Run) string {
	if r.Has("systemid") {
		return r.Str("systemid", "")
	}
	if ids := r.SystemIDs(); len(ids) > 0 {
		return ids[0]
	}
	return ""
}

// takeDisks makes the disks of a command line physical volumes of no group, ready to join one.
func takeDisks(ctx context.Context, r *command.Run, inv *lvm.Inventory, group string, names []string, o lvm.PVOptions) ([]*lvm.PhysicalVolume, error) {
	var disks []lvm.Disk
	var failed error
	for _, name := range names {
		d, ok := r.Disk(name)
		if !ok {
			failed = r.Failed("No device found for %s.", name)
			continue
		}
		if pv := inv.PV(d.Name); pv != nil && pv.Group != nil {
			r.Warn("Physical volume '%s' is already in volume group '%s'", d.Name, pv.Group.Name)
			r.Warn("Unable to add physical volume '%s' to volume group '%s'", d.Name, pv.Group.Name)
			return nil, r.Failed("%s: physical volume not initialized.", d.Name)
		}
		if slices.ContainsFunc(disks, func(x lvm.Disk) bool { return x.Name == d.Name }) {
			r.Warn("Physical volume '%s' is already in volume group '%s'", d.Name, group)
			return nil, r.Failed("PV %s cannot be added to VG %s.", d.Name, group)
		}
		disks = append(disks, d)
	}
	if failed != nil {
		return nil, failed
	}
	for _, d := range disks {
		if pv := inv.PV(d.Name); pv == nil || pv.Unowned() {
			if err := mayInitialize(r, inv, d); err != nil {
				return nil, err
			}
		}
	}
	var pvs []*lvm.PhysicalVolume
	for _, d := range disks {
		pv := inv.PV(d.Name)
		if pv == nil || pv.Unowned() {
			var err error
			if pv, err = initialize(ctx, r, d, o); err != nil {
				return nil, err
			}
		}
		pvs = append(pvs, pv)
	}
	return pvs, nil
}

func vgremove(ctx context.Context, r *command.Run) error {
	if err := onlyGroups(r); err != nil {
		return err
	}
	return eachGroup(ctx, r, command.Need{Write: true, Global: true}, func(inv *lvm.Inventory, w want) error {
		g, err := r.Open(inv, w.found.ID.String(), lvm.AllowMissing)
		if err != nil {
			return err
		}
		vg := g.VG()
		name := vg.Name()
		if len(w.found.Duplicates) == 0 && vg.Partial() && r.Force() == 0 {
			return r.Failed("WARNING: %d physical volumes are currently missing from the system.", missing(vg))
		}
		if n := vg.NumVisible(); n > 0 && r.Force() == 0 &&
			!r.Ask("Do you really want to remove volume group \"%s\" containing %d logical volumes? [y/n]: ", name, n) {
			return r.Failed("Volume group \"%s\" not removed", name)
		}
		for lv := range vg.LVs() {
			if lv.Has("LOCKED") && r.Force() < 2 {
				return r.Failed("Can't remove locked logical volume %s/%s.", name, lv.Name)
			}
		}
		for lv := range vg.LVs() {
			if lv.Visible() {
				r.Print("Logical volume \"%s\" successfully removed.", lv.Name)
			}
		}
		if !r.Test() {
			if err := r.Archive(vg); err != nil {
				return err
			}
			if err := g.Remove(ctx); err != nil {
				return err
			}
			if err := r.Store().Remove(name); err != nil {
				r.Warn("WARNING: %v", err)
			}
		}
		r.Print("Volume group \"%s\" successfully removed", name)
		return nil
	})
}

func missing(vg *metadata.VG) int { return len(vg.PVs()) - activeDisks(vg) }

// eachGroup does something with each group that the operands name, or that --select selects.
func eachGroup(ctx context.Context, r *command.Run, n command.Need, do func(*lvm.Inventory, want) error) error {
	n.Groups = operandGroups(r.Operands)
	inv, err := r.Scan(ctx, n)
	if err != nil {
		return err
	}
	sel, err := selector(r)
	if err != nil {
		return err
	}
	var failed error
	for _, w := range wanted(r, inv, &failed) {
		if sel != nil && !sel.group(inv, w) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := do(inv, w); err != nil {
			var usage *args.UsageError
			if errors.As(err, &usage) {
				return err
			}
			failed = r.Fail(err)
		}
	}
	return failed
}

func vgextend(ctx context.Context, r *command.Run) error {
	name := groupName(r.Operands[0])
	o, err := layout(r)
	if err != nil {
		return err
	}
	inv, err := r.Scan(ctx, command.Need{Write: true, Global: true, Groups: []string{name}, Disks: r.Operands[1:]})
	if err != nil {
		return err
	}
	if r.Has("restoremissing") {
		return restoreMissing(ctx, r, inv, name)
	}
	pvs, err := takeDisks(ctx, r, inv, name, r.Operands[1:], o)
	if err != nil {
		return err
	}
	if _, err := r.Found(inv, name); err != nil {
		return err
	}
	g, err := r.Open(inv, name, lvm.AllowMissing)
	if err != nil {
		return err
	}
	var add []metadata.NewPV
	for _, pv := range pvs {
		add = append(add, pv.New())
	}
	after, op, err := g.VG().AddPVs(add)
	r.Say(op)
	if err != nil {
		return err
	}
	if err := r.Commit(ctx, g, after, op, pvs...); err != nil {
		return err
	}
	r.Print("Volume group \"%s\" successfully extended", name)
	return nil
}

func restoreMissing(ctx context.Context, r *command.Run, inv *lvm.Inventory, name string) error {
	if _, err := r.Found(inv, name); err != nil {
		return err
	}
	g, err := r.Open(inv, name, lvm.AllowMissing)
	if err != nil {
		return err
	}
	after, op, err := g.VG().RestoreMissing(r.Where(r.Operands[1:]))
	r.Say(op)
	if err != nil {
		if errors.Is(err, metadata.ErrNoChange) {
			r.Warn("%v", err)
			return r.Failed("No PV has been restored.")
		}
		return err
	}
	if err := r.Commit(ctx, g, after, op); err != nil {
		return err
	}
	r.Print("Volume group \"%s\" successfully extended", name)
	return nil
}

func vgreduce(ctx context.Context, r *command.Run) error {
	name, devices := groupName(r.Operands[0]), r.Operands[1:]
	switch {
	case r.Has("removemissing") && len(devices) > 0:
		return &args.UsageError{Lines: []string{"  Command does not accept argument: " + devices[0] + "."}}
	case r.Has("all") && len(devices) > 0:
		return r.Verb.WrongUse("Option --all and physical volume paths are exclusive")
	case !r.Has("removemissing") && !r.Has("all") && len(devices) == 0:
		return r.Verb.NoMatch()
	}
	if r.Has("mirrorsonly") {
		return r.Verb.WrongUse("Option --mirrorsonly of vgreduce is not supported by mlvm.")
	}
	inv, err := r.Scan(ctx, command.Need{Write: true, Global: true, Groups: []string{name}, Disks: devices})
	if err != nil {
		return err
	}
	if _, err := r.Found(inv, name); err != nil {
		return err
	}
	if r.Has("removemissing") {
		return removeMissing(ctx, r, inv, name)
	}
	g, err := r.Open(inv, name, 0)
	if err != nil {
		return err
	}
	var list []string
	var failed error
	if r.Has("all") {
		for _, pv := range g.VG().PVs() {
			list = append(list, pv.Device)
		}
	}
	var strangers []string
	for _, d := range devices {
		disk, ok := r.Disk(d)
		switch {
		case !ok:
			failed = r.NoDisk(d)
		case g.VG().PVByDevice(disk.Name) == nil:
			strangers = append(strangers, d)
		default:
			list = append(list, disk.Name)
		}
	}
	for _, d := range list {
		after, op, err := g.VG().ReducePVs([]string{d})
		r.Say(op)
		if err == nil {
			err = r.Commit(ctx, g, after, op)
		}
		if err != nil {
			failed = r.Fail(err)
			continue
		}
		r.Print("Removed \"%s\" from volume group \"%s\"", d, name)
	}
	for _, d := range strangers {
		failed = r.Failed("Failed to find physical volume \"%s\".", d)
	}
	return failed
}

func removeMissing(ctx context.Context, r *command.Run, inv *lvm.Inventory, name string) error {
	g, err := r.Open(inv, name, lvm.AllowMissing)
	if err != nil {
		return err
	}
	after, op, err := g.VG().RemoveMissing(r.Force() > 0)
	r.Say(op)
	switch {
	case errors.Is(err, metadata.ErrNoChange):
		r.Print("%v", err)
		return nil
	case err != nil:
		return err
	}
	gone := removed(g.VG(), after)
	if err := r.Commit(ctx, g, after, op); err != nil {
		return err
	}
	for _, lv := range gone {
		r.Print("Logical volume \"%s\" successfully removed.", lv)
	}
	r.Print("Wrote out consistent volume group %s.", name)
	return nil
}

// removed are the names of the volumes that one state of a group has and another has not.
func removed(before, after *metadata.VG) []string {
	var names []string
	for lv := range before.LVs() {
		if after.LV(lv.Name) == nil {
			names = append(names, lv.Name)
		}
	}
	return names
}
