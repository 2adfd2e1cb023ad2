package verbs

import (
	"context"
	"errors"
	"strconv"
	"strings"

	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// groupChanges are the verbs that change what a group is.
func groupChanges() []command.Verb {
	return []command.Verb{
		{
			Name: "vgchange", Summary: "change volume groups", Usage: []string{"OPTION ... [VG|Tag|Select ...]"}, Max: -1,
			Supports: "activate addtag alloc autobackup deltag logicalvolume maxphysicalvolumes physicalextentsize reportformat resizeable " +
				"select setautoactivation systemid uuid vgmetadatacopies",
			Details:  "Without a group, all are changed. -an is accepted, because nothing is active; -ay is not, because mlvm activates nothing.",
			Examples: []string{"vgchange --addtag backup vg0", "vgchange -s 1m vg0", "vgchange --systemid host2 vg0"},
			Run:      vgchange,
		},
		{
			Name: "vgrename", Summary: "rename a volume group", Usage: []string{"VG VG_new", "UUID VG_new"}, Min: 2, Max: 2,
			Supports: "autobackup force reportformat", Examples: []string{"vgrename vg0 data"},
			Run: vgrename,
		},
		{
			Name: "vgexport", Summary: "give volume groups away to another machine", Usage: []string{"VG|Tag|Select ...", "--all"}, Max: -1,
			Supports: "all reportformat select", Details: "An exported group is left alone until vgimport.",
			Examples: []string{"vgexport vg0"},
			Run:      vgexport,
		},
		{
			Name: "vgimport", Summary: "take over exported volume groups", Usage: []string{"VG|Tag|Select ...", "--all"}, Max: -1,
			Supports: "all force reportformat select", Examples: []string{"vgimport vg0"},
			Run: vgimport,
		},
	}
}

func vgchange(ctx context.Context, r *command.Run) error {
	if err := onlyGroups(r); err != nil {
		return err
	}
	req, asked := changeOf(r)
	if a, ok := r.Get("activate"); ok {
		if !inactive(a.Text) {
			return r.Verb.WrongUse("Option --activate %s of vgchange is not supported by mlvm: it activates nothing.", a.Text)
		}
		if !asked {
			return eachGroup(ctx, r, command.Need{}, func(_ *lvm.Inventory, w want) error {
				r.Print("0 logical volume(s) in volume group \"%s\" now active", w.vg.Name())
				return nil
			})
		}
	}
	if !asked {
		return r.Verb.NoMatch()
	}
	return eachGroup(ctx, r, command.Need{Write: true}, func(inv *lvm.Inventory, w want) error {
		if req.SystemID != nil && !maySetSystemID(r, w.vg, *req.SystemID) {
			return r.Failed("Volume group %s system ID not changed.", w.vg.Name())
		}
		g, err := r.Open(inv, w.found.ID.String(), 0)
		if err != nil {
			return err
		}
		if n := req.MetadataCopies; n != nil && *n == g.VG().MetadataCopies() && !allAreas(r) {
			word := "unmanaged"
			if *n > 0 {
				word = strconv.FormatUint(uint64(*n), 10)
			}
			r.Warn("Number of metadata copies for VG %s is already %s.", g.VG().Name(), word)
		}
		after, op, err := g.VG().Change(r.Env(), req)
		r.Say(op)
		if err == nil {
			err = r.Commit(ctx, g, after, op)
		}
		if err == nil && allAreas(r) && !r.Test() {
			for _, pv := range g.Members() {
				err = errors.Join(err, g.SetIgnored(ctx, pv, false))
			}
		}
		if err != nil {
			return err
		}
		r.Print("Volume group \"%s\" successfully changed", after.Name())
		return nil
	})
}

// inactive reports whether an activation only deactivates.
func inactive(s string) bool { return s == "n" || s == "en" || s == "ne" || s == "ln" || s == "nl" }

// changeOf makes a request of the options; it is false if they ask for nothing.
func changeOf(r *command.Run) (c metadata.ChangeVG, asked bool) {
	number := func(name string) *uint32 {
		v, ok := r.Get(name)
		if !ok {
			return nil
		}
		asked = true
		n := uint32(v.N)
		return &n
	}
	flag := func(name string) *bool {
		if !r.Has(name) {
			return nil
		}
		asked = true
		is := r.Yes(name, false)
		return &is
	}
	c.MaxLV, c.MaxPV = number("logicalvolume"), number("maxphysicalvolumes")
	c.Resizeable, c.AutoActivate = flag("resizeable"), flag("setautoactivation")
	c.AddTags, c.DelTags, c.NewID = r.All("addtag"), r.All("deltag"), r.Has("uuid")
	if v, ok := r.Get("physicalextentsize"); ok {
		c.ExtentSize = &v.N
	}
	if r.Has("alloc") {
		a := policy(r, metadata.AllocNormal)
		c.Allocation = &a
	}
	if r.Has("vgmetadatacopies") {
		n := copies(r)
		c.MetadataCopies = &n
	}
	if r.Has("systemid") {
		id := r.Str("systemid", "")
		c.SystemID = &id
	}
	asked = asked || len(c.AddTags)+len(c.DelTags) > 0 || c.NewID || c.ExtentSize != nil || c.Allocation != nil ||
		c.MetadataCopies != nil || c.SystemID != nil
	return c, asked
}

// maySetSystemID asks before a group is given to another machine.
func maySetSystemID(r *command.Run, vg *metadata.VG, id string) bool {
	own := r.SystemIDs()
	switch {
	case id == "":
		if vg.SystemID() == "" {
			return true
		}
		r.Warn("WARNING: Removing the system ID allows unsafe access from other hosts.")
		return r.Ask("Remove system ID %s from volume group %s? [y/n]: ", vg.SystemID(), vg.Name())
	case len(own) > 0 && id == own[0] || id == vg.SystemID():
		return true
	case len(own) == 0:
		r.Warn("WARNING: No local system ID is set.")
	default:
		r.Warn("WARNING: Requested system ID %s does not match local system ID %s.", id, own[0])
	}
	r.Warn("WARNING: Volume group %s might become inaccessible from this machine.", vg.Name())
	return r.Ask("Set foreign system ID %s on volume group %s? [y/n]: ", id, vg.Name())
}

func vgrename(ctx context.Context, r *command.Run) error {
	from, to := groupName(r.Operands[0]), groupName(r.Operands[1])
	if !validOldName(from) {
		return r.Failed("Invalid volume group name %s.", from)
	}
	if err := newGroupName(r, to); err != nil {
		return failedNotUsage(r, err)
	}
	if from == to {
		return r.Failed("Old and new volume group names must differ")
	}
	inv, err := r.Scan(ctx, command.Need{Write: true, Global: true, Groups: []string{from, to}})
	if err != nil {
		return err
	}
	f, err := r.Found(inv, from)
	if err != nil {
		return err
	}
	if f.Name != from {
		r.Print("Processing VG %s because of matching UUID %s", f.Name, from)
	}
	if _, err := inv.Group(to); !errors.Is(err, lvm.ErrNotFound) {
		return r.Failed("New VG name \"%s\" already exists", to)
	}
	g, err := r.Open(inv, f.ID.String(), lvm.AllowExported)
	if err != nil {
		return err
	}
	old := g.VG().Name()
	after, op, err := g.VG().Rename(to)
	r.Say(op)
	if err == nil {
		err = r.Commit(ctx, g, after, op)
	}
	if err != nil {
		return err
	}
	if !r.Test() {
		if err := r.Store().Remove(old); err != nil {
			r.Warn("WARNING: %v", err)
		}
	}
	r.Print("Volume group \"%s\" successfully renamed to \"%s\"", from, to)
	return nil
}

// validOldName reports whether a name may be that of a group, or its uuid.
func validOldName(s string) bool { return s != "" && !strings.ContainsRune(s, '/') }

// failedNotUsage prints what is wrong with a command line without the pointer to help, as lvm2 does where the exit
// code is 5.
func failedNotUsage(r *command.Run, err error) error {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return r.Failed("%s", strings.TrimSpace(line))
}

func vgexport(ctx context.Context, r *command.Run) error {
	return exportOrImport(ctx, r, 0, func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) { return vg.Export() }, "exported")
}

func vgimport(ctx context.Context, r *command.Run) error {
	id := ""
	if ids := r.SystemIDs(); len(ids) > 0 {
		id = ids[0]
	}
	allow := lvm.AllowExported
	if r.Force() > 0 {
		r.Warn("WARNING: Volume groups with missing PVs will be imported with --force.")
		allow |= lvm.AllowMissing
	}
	return exportOrImport(ctx, r, allow, func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) { return vg.Import(id) }, "imported")
}

func exportOrImport(ctx context.Context, r *command.Run, allow lvm.Allow,
	change func(*metadata.VG) (*metadata.VG, metadata.Operation, error), done string,
) error {
	switch {
	case len(r.Operands) == 0 && !r.Has("all") && !r.Has("select"):
		return r.Verb.NoMatch()
	case len(r.Operands) > 0 && r.Has("all"):
		return r.Verb.WrongUse("No arguments permitted when using --all.")
	}
	return eachGroup(ctx, r, command.Need{Write: true}, func(inv *lvm.Inventory, w want) error {
		if r.Has("all") && w.vg.Exported() != (done == "imported") {
			return nil
		}
		g, err := r.Open(inv, w.found.ID.String(), allow)
		if err != nil {
			return err
		}
		after, op, err := change(g.VG())
		r.Say(op)
		if err == nil {
			err = r.Commit(ctx, g, after, op)
		}
		if err != nil {
			return err
		}
		r.Print("Volume group \"%s\" successfully %s", after.Name(), done)
		return nil
	})
}
