package verbs

import (
	"context"
	"errors"
	"strings"

	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// volumeChanges are the verbs that change what a volume is.
func volumeChanges() []command.Verb {
	return []command.Verb{
		{
			Name: "lvchange", Summary: "change logical volumes", Usage: []string{"OPTION ... VG|LV|Tag|Select ..."}, Max: -1,
			Supports: "activate addtag alloc autobackup contiguous deltag force ignoremonitoring major minor permission persistent readahead " +
				"reportformat select setactivationskip setautoactivation",
			Details:  "-an is accepted, because nothing is active; -ay is not, because mlvm activates nothing.",
			Examples: []string{"lvchange -pr vg0/root", "lvchange --addtag db --deltag scratch vg0/home", "lvchange --alloc contiguous -S 'lv_tags=db'"},
			Run:      lvchange,
		},
		{
			Name: "lvrename", Summary: "rename a logical volume", Usage: []string{"VG LV LV_new", "LV LV_new"}, Min: 2, Max: 3,
			Supports: "autobackup noudevsync reportformat", Examples: []string{"lvrename vg0 root system", "lvrename vg0/root vg0/system"},
			Run: lvrename,
		},
		{
			Name: "lvconvert", Summary: "say that conversions are lvm2's", Usage: []string{"OPTION ... LV ..."}, Max: -1,
			Details: `Conversions between types (mirror, RAID, snapshot, thin, cache, VDO) need the kernel's device-mapper. mlvm lists such
volumes and keeps them as they are; convert them with lvm2.`,
			Examples: []string{"lvconvert --help"},
			Run: func(_ context.Context, r *command.Run) error {
				if len(r.Operands) == 0 {
					return r.Verb.NoMatch()
				}
				return r.Failed("Converting logical volume %s is not supported by mlvm; use lvm2 on a machine with device-mapper.", r.Operands[0])
			},
		},
	}
}

// volumeChange makes a request of the options; it is false if they ask for nothing.
func volumeChange(r *command.Run) (c metadata.ChangeLV, asked bool, err error) {
	flag := func(name string) *bool {
		if !r.Has(name) {
			return nil
		}
		asked = true
		is := r.Yes(name, false)
		return &is
	}
	c.AddTags, c.DelTags = r.All("addtag"), r.All("deltag")
	c.AutoActivate, c.ActivationSkip = flag("setautoactivation"), flag("setactivationskip")
	if p, ok := r.Get("permission"); ok {
		readOnly := p.Text == "r"
		c.ReadOnly = &readOnly
	}
	if r.Has("alloc") || r.Has("contiguous") {
		a := allocationOf(r)
		c.Allocation = &a
	}
	if r.Has("readahead") {
		n, err := readAhead(r)
		if err != nil {
			return c, false, err
		}
		c.ReadAhead = &n
	}
	if r.Has("persistent") {
		major, minor, err := deviceNumbers(r)
		if err != nil {
			return c, false, err
		}
		fixed := minor != nil
		c.Persistent = &fixed
		if fixed {
			c.Major, c.Minor = *major, *minor
		}
	}
	asked = asked || len(c.AddTags)+len(c.DelTags) > 0 || c.ReadOnly != nil || c.Allocation != nil || c.ReadAhead != nil || c.Persistent != nil
	return c, asked, nil
}

func lvchange(ctx context.Context, r *command.Run) error {
	if len(r.Operands) == 0 && !r.Has("select") {
		return r.Verb.NoMatch()
	}
	req, asked, err := volumeChange(r)
	if err != nil {
		return err
	}
	if err := refuseKernelWork(r); err != nil {
		return err
	}
	if !asked && !r.Has("activate") {
		return r.Verb.NoMatch()
	}
	return eachVolume(ctx, r, func(r *command.Run, g *lvm.Group, names []string) (failed error) {
		if !asked {
			return nil // deactivated they are
		}
		vg := g.VG()
		var ops []metadata.Operation
		var done []string
		for _, name := range names {
			req.Name = name
			after, op, err := vg.ChangeLV(req)
			r.Say(op)
			if err != nil {
				failed = r.Fail(err)
				continue
			}
			vg, ops, done = after, append(ops, op), append(done, name)
		}
		if len(ops) > 0 {
			if err := commitAll(ctx, r, g, ops); err != nil {
				return err
			}
		}
		for _, name := range done {
			if req.Persistent == nil || !*req.Persistent { // of this alone lvm2 says nothing
				r.Print("Logical volume %s/%s changed.", vg.Name(), name)
			}
		}
		return failed
	})
}

func lvrename(ctx context.Context, r *command.Run) error {
	group, from, to, err := renameNames(r)
	if err != nil {
		return err
	}
	g, err := r.OpenNamed(ctx, group)
	if err != nil {
		return err
	}
	after, op, err := g.VG().RenameLV(from, to)
	r.Say(op)
	if err == nil {
		err = r.Commit(ctx, g, after, op)
	}
	if err != nil {
		if errors.Is(err, metadata.ErrUnsupported) {
			return r.Failed("%v", err)
		}
		return err
	}
	r.Print("Renamed \"%s\" to \"%s\" in volume group \"%s\"", from, to, group)
	return nil
}

// renameNames are the group, the old and the new name: VG LV LV, or LV LV.
func renameNames(r *command.Run) (group, from, to string, err error) {
	if len(r.Operands) == 3 {
		group, from, to = groupName(r.Operands[0]), args.StripDev(r.Operands[1]), args.StripDev(r.Operands[2])
		if vg, lv, ok := strings.Cut(from, "/"); ok {
			if vg != group {
				return "", "", "", r.Verb.WrongUse("Logical volume names must have the same volume group (\"%s\" or \"%s\")", group, vg)
			}
			from = lv
		}
	} else {
		if group, from = args.SplitLV(r.Operands[0]); from == "" {
			return "", "", "", r.Verb.WrongUse("Please provide a valid volume group name")
		}
		to = args.StripDev(r.Operands[1])
	}
	if vg, lv := args.SplitLV(r.Operands[len(r.Operands)-1]); lv != "" {
		if vg != group {
			return "", "", "", r.Verb.WrongUse("Logical volume names must have the same volume group (\"%s\" or \"%s\")", group, vg)
		}
		to = lv
	}
	switch words := args.Reserved(to); {
	case len(to) > 127:
		return "", "", "", r.Verb.WrongUse("New logical volume name \"%s\" may not exceed 127 characters.", to)
	case to == "":
		return "", "", "", r.Verb.WrongUse("New logical volume name may not be blank")
	case words != "":
		return "", "", "", r.Verb.WrongUse("%s", words)
	case !args.ValidName(to):
		return "", "", "", r.Verb.WrongUse("New logical volume name \"%s\" is invalid", to)
	case from == to:
		return "", "", "", r.Verb.WrongUse("Old and new logical volume names must differ")
	}
	return group, from, to, nil
}
