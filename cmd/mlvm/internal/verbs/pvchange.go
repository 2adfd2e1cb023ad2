package verbs

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"

	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/cmd/mlvm/internal/progress"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// physicalChanges are the verbs that change physical volumes.
func physicalChanges() []command.Verb {
	return []command.Verb{
		{
			Name: "pvchange", Summary: "change physical volumes", Usage: []string{"OPTION ... PV|Tag|Select ...", "OPTION ... --all"}, Max: -1,
			Supports: "addtag all allocatable autobackup deltag force metadataignore reportformat select uuid",
			Own: []args.Option{
				{Name: "metadatasize", Kind: args.SizeMiB, Help: "make the metadata area larger; what is in the way moves elsewhere"},
			},
			Details: `With --metadatasize, the metadata area at the beginning of the disk of a group that outgrew it becomes as large, at
least: the extents behind it move to other disks, or further back where there is no other room, and the data begin later.
The volumes that have those extents must not be in use.`,
			Examples: []string{
				"pvchange -xn a.img", "pvchange --addtag ssd a.img", "pvchange --metadataignore y a.img", "pvchange --metadatasize 16m a.img",
			},
			Run: pvchange,
		},
		{
			Name: "pvresize", Summary: "tell a physical volume that its disk has another size", Usage: []string{"PV ..."}, Min: 1, Max: -1,
			Supports: "reportformat setphysicalvolumesize",
			Details:  "Without --setphysicalvolumesize, the size of the disk. Extents behind the new end must be free.",
			Examples: []string{"pvresize a.img", "pvresize --setphysicalvolumesize 40g a.img"},
			Run:      pvresize,
		},
	}
}

// member is a disk that a verb changes, and its group, nil for a disk that is in none.
type member struct {
	pv    *lvm.PhysicalVolume
	group *lvm.Group
}

// members are the disks that the operands name, or all of them with --all or --select. Groups are opened once.
func members(r *command.Run, inv *lvm.Inventory) (list []member, failed error) {
	groups := map[*lvm.FoundGroup]*lvm.Group{}
	add := func(pv *lvm.PhysicalVolume) {
		if pv.Group == nil {
			list = append(list, member{pv: pv})
			return
		}
		g := groups[pv.Group]
		if g == nil {
			var err error
			if g, err = r.Open(inv, pv.Group.ID.String(), 0); err != nil {
				failed = r.Fail(err)
				return
			}
			groups[pv.Group] = g
		}
		list = append(list, member{pv, g})
	}
	sel, err := selector(r)
	if err != nil {
		return nil, err
	}
	named := func(pv *lvm.PhysicalVolume) bool {
		if len(r.Operands) == 0 {
			return true
		}
		for _, o := range r.Operands {
			if tag, ok := strings.CutPrefix(o, "@"); ok {
				if m := pv.In(); m != nil && slices.Contains(m.Tags, tag) {
					return true
				}
			} else if d, ok := r.Disk(o); ok && d.Name == pv.Disk.Name {
				return true
			}
		}
		return false
	}
	for _, o := range r.Operands {
		if strings.HasPrefix(o, "@") {
			continue
		}
		d, ok := r.Disk(o)
		switch {
		case !ok:
			failed = r.NoDisk(o)
		case inv.PV(d.Name) == nil:
			failed = r.Failed("Failed to find physical volume \"%s\".", o)
		}
	}
	for _, f := range sortedGroups(inv) {
		for _, pv := range f.Members {
			if !pv.Missing() && named(pv) && (sel == nil || selectedDisk(sel, inv, f, pv)) {
				add(pv)
			}
		}
	}
	for _, pv := range inv.Orphans() {
		if named(pv) && (sel == nil || selectedDisk(sel, inv, nil, pv)) {
			add(pv)
		}
	}
	return list, failed
}

func selectedDisk(sel *selection, inv *lvm.Inventory, f *lvm.FoundGroup, pv *lvm.PhysicalVolume) bool {
	var vg *metadata.VG
	if f != nil {
		vg = f.VG
	}
	g, disks := command.View(inv, f, vg)
	for _, d := range disks {
		if d.ID == pv.ID {
			return sel.disk(diskIn{g, d})
		}
	}
	return false
}

func pvchange(ctx context.Context, r *command.Run) error {
	asked := slices.ContainsFunc([]string{"addtag", "deltag", "allocatable", "metadataignore", "metadatasize", "uuid"}, r.Has)
	switch {
	case !asked, len(r.Operands) == 0 && !r.Has("all") && !r.Has("select"):
		return r.Verb.NoMatch()
	case r.Has("all") && len(r.Operands) > 0:
		return r.Verb.WrongUse("Option --all and PhysicalVolumePath are exclusive.")
	}
	var disks []string
	for _, o := range r.Operands {
		if !strings.HasPrefix(o, "@") {
			disks = append(disks, o)
		}
	}
	inv, err := r.Scan(ctx, command.Need{Write: true, Global: r.Has("uuid"), Disks: disks})
	if err != nil {
		return err
	}
	list, failed := members(r, inv)
	done, not := 0, 0
	for _, m := range list {
		if err := ctx.Err(); err != nil {
			return err
		}
		quiet, err := changeDisk(ctx, r, m)
		if err != nil {
			r.Warn("%v", err)
			not++
			if quiet {
				r.Print("Physical volume %s not changed", m.pv.Disk.Name)
			} else {
				failed = r.Failed("Physical volume %s not changed", m.pv.Disk.Name)
			}
			continue
		}
		done++
		r.Print("Physical volume \"%s\" changed", m.pv.Disk.Name)
	}
	r.Print("%d physical volume%s changed / %d physical volume%s not changed", done, plural(done), not, plural(not))
	return failed
}

func plural(n int) string {
	if n == 1 {
		return ""
	}
	return "s"
}

// changeDisk changes one disk. With quiet, an error is one that lvm2 does not let the command fail for.
func changeDisk(ctx context.Context, r *command.Run, m member) (quiet bool, err error) {
	name := m.pv.Disk.Name
	if m.group == nil {
		return false, changeOrphan(ctx, r, m.pv)
	}
	if ignored, ok := r.Get("metadataignore"); ok {
		return false, ignoreAreas(ctx, r, m, ignored.Text == "y")
	}
	if r.Has("metadatasize") {
		return false, enlargeArea(ctx, r, m, r.Uint("metadatasize", 0)*metadata.SectorSize)
	}
	req := metadata.ChangePV{Device: name, AddTags: r.All("addtag"), DelTags: r.All("deltag"), NewID: r.Has("uuid")}
	if r.Has("allocatable") {
		is := r.Yes("allocatable", true)
		req.Allocatable = &is
		if pv := m.pv.In(); pv != nil && pv.Allocatable() == is {
			word := "allocatable"
			if !is {
				word = "unallocatable"
			}
			return true, &metadata.Error{Msg: "Physical volume \"" + name + "\" is already " + word + ".", Err: metadata.ErrNoChange}
		}
	}
	after, op, err := m.group.VG().ChangePV(r.Env(), req)
	r.Say(op)
	if err != nil {
		return errors.Is(err, metadata.ErrNoChange), err
	}
	if !req.NewID {
		return false, r.Commit(ctx, m.group, after, op)
	}
	return false, r.Around(m.group, func() error { return m.group.ChangeID(ctx, m.pv, after, op) })
}

// ignoreAreas says whether the group uses the disk's metadata areas.
func ignoreAreas(ctx context.Context, r *command.Run, m member, ignored bool) error {
	word := "not ignored"
	if ignored {
		word = "ignored"
	}
	if len(m.pv.Areas) == 0 || !slices.ContainsFunc(m.pv.Areas, func(a *lvm.MetadataArea) bool { return a.Ignored() != ignored }) {
		return &metadata.Error{
			Msg: "Metadata areas on physical volume \"" + m.pv.Disk.Name + "\" already " + word + ".", Err: metadata.ErrNoChange,
		}
	}
	return r.Around(m.group, func() error { return m.group.SetIgnored(ctx, m.pv, ignored) })
}

// enlargeArea makes the disk's metadata area larger, with a bar while extents move out of its way.
func enlargeArea(ctx context.Context, r *command.Run, m member, size uint64) error {
	var bar *progress.Bar
	defer func() { bar.End() }()
	last := uint64(0)
	return r.Around(m.group, func() error {
		return m.group.EnlargeArea(ctx, r.Env(), m.pv, size, lvm.MoveOptions{Progress: func(done, total uint64) {
			if bar == nil {
				bar = progress.New(r.Stderr, "pvchange "+m.pv.Disk.Name, int64(total))
			}
			bar.Add(int64(done - last))
			last = done
		}})
	})
}

func changeOrphan(ctx context.Context, r *command.Run, pv *lvm.PhysicalVolume) error {
	switch {
	case r.Has("addtag") || r.Has("deltag"):
		return errors.New("Can't change tag on Physical Volume " + pv.Disk.Name + " not in volume group") //nolint:staticcheck // lvm2's words
	case r.Has("allocatable"):
		return errors.New("Allocatability not supported by orphan lvm2 format PV " + pv.Disk.Name) //nolint:staticcheck // lvm2's words
	case r.Has("metadatasize"):
		return r.Failed("Physical volume %s is in no volume group; make it anew with pvcreate --metadatasize", pv.Disk.Name)
	case r.Test():
		return nil
	case r.Has("metadataignore"):
		return pv.SetIgnored(ctx, r.Yes("metadataignore", false))
	}
	id, err := metadata.NewUUID(rand.Reader)
	if err != nil {
		return err
	}
	return pv.SetID(id)
}

func pvresize(ctx context.Context, r *command.Run) error {
	inv, err := r.Scan(ctx, command.Need{Write: true, Global: true, Disks: r.Operands})
	if err != nil {
		return err
	}
	if v, ok := r.Get("setphysicalvolumesize"); ok && v.N == 0 {
		return r.Verb.WrongUse("Physical volume size may not be zero")
	}
	list, failed := members(r, inv)
	done, not := 0, 0
	for _, m := range list {
		if err := resizeDisk(ctx, r, m); err != nil {
			failed = r.Fail(err)
			not++
			continue
		}
		done++
		r.Print("Physical volume \"%s\" changed", m.pv.Disk.Name)
	}
	r.Print("%d physical volume(s) resized or updated / %d physical volume(s) not resized", done, not)
	return failed
}

func resizeDisk(ctx context.Context, r *command.Run, m member) error {
	name, real := m.pv.Disk.Name, m.pv.DeviceSize()/metadata.SectorSize
	size := r.Uint("setphysicalvolumesize", real)
	if size != real {
		switch {
		case size < real && !r.Ask("%s: Requested size %s is less than real size %s. Proceed?  [y/n]: ", name,
			metadata.FormatSize(size), metadata.FormatSize(real)):
			return r.Failed("Physical Volume %s not resized.", name)
		case size > real && !r.Ask("%s: Requested size %s exceeds real size %s. Proceed?  [y/n]: ", name,
			metadata.FormatSize(size), metadata.FormatSize(real)):
			return r.Failed("Physical Volume %s not resized.", name)
		case size > real:
			r.Warn("WARNING: %s: Overriding real size %s. You could lose data.", name, metadata.FormatSize(real))
		}
		r.Warn("WARNING: %s: Pretending size is %d not %d sectors.", name, size, real)
	}
	bytes := size * metadata.SectorSize
	if m.group == nil {
		if r.Test() {
			return nil
		}
		return m.pv.Resize(bytes)
	}
	req, err := m.pv.Resizing(bytes)
	if err != nil {
		return err
	}
	after, op, err := m.group.VG().ResizePV(req)
	r.Say(op)
	if err != nil {
		return err
	}
	return r.Around(m.group, func() error { return m.group.ResizePV(ctx, m.pv, bytes, after, op) })
}
