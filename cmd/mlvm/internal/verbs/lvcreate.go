package verbs

import (
	"context"
	"fmt"
	"iter"
	"strings"

	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// volumes are the verbs that make volumes and remove them.
func volumes() []command.Verb {
	return []command.Verb{
		{
			Name: "lvcreate", Summary: "create a logical volume", Max: -1,
			Usage: []string{
				"-L|--size Size[m|UNIT] VG [PV ...]", "-l|--extents Number[PERCENT] VG [PV ...]",
				"-i|--stripes Number -L|--size Size[m|UNIT] VG [PV ...]", "--type error|zero -L|--size Size[m|UNIT] VG",
			},
			Supports: "activate addtag alloc autobackup contiguous extents ignoremonitoring major minor monitor name permission persistent " +
				"readahead reportformat setactivationskip setautoactivation size stripes stripesize type wipesignatures zero",
			Details: `The volume is linear, or striped over as many disks as -i says. Sizes are rounded up to whole extents. PV may have
ranges of extents (a.img:0-99:200-) or be a tag of disks (@fast). The first 4 KiB are zeroed, unless -Zn or -an is given.
Mirrors, RAID, snapshots, thin pools and caches are made by lvm2 only; mlvm keeps them as they are.`,
			Examples: []string{
				"lvcreate -L 10g -n root vg0", "lvcreate -l 50%FREE -n home vg0", "lvcreate -i2 -I64k -L1g -n fast vg0 a.img b.img",
				"lvcreate -L1g --addtag db --alloc contiguous -n db vg0 a.img:0-499",
			},
			Run: lvcreate,
		},
		{
			Name: "lvremove", Summary: "remove logical volumes", Usage: []string{"VG|LV|Tag|Select ..."}, Min: 1, Max: -1,
			Supports: "autobackup force nohistory reportformat select",
			Details:  "With a group, all of its volumes. A volume that another one needs stays.",
			Examples: []string{"lvremove vg0/root", "lvremove -S 'lv_tags=scratch'"},
			Run:      lvremove,
		},
	}
}

// amount is the size that -L or -l ask for.
func amount(r *command.Run) (metadata.Amount, error) {
	size, hasSize := r.Get("size")
	extents, hasExtents := r.Get("extents")
	word := "not both"
	if r.Verb.Name != "lvcreate" {
		word = "but not both"
	}
	switch {
	case hasSize && hasExtents && r.Verb.Name == "lvcreate":
		return metadata.Amount{}, r.Verb.WrongUse("Please specify either size or extents (%s).", word)
	case hasSize && hasExtents:
		return metadata.Amount{}, r.Verb.WrongUse("Please specify either size or extents %s.", word)
	case hasSize && size.N == 0:
		return metadata.Amount{}, r.Verb.WrongUse("--size may not be zero.")
	case hasExtents && extents.N == 0:
		return metadata.Amount{}, r.Verb.WrongUse("--extents may not be zero.")
	case hasSize:
		return metadata.Amount{Sign: signOf(size), Sectors: size.N}, nil
	}
	return metadata.Amount{Sign: signOf(extents), Count: extents.N, Of: percentOf(extents.Percent)}, nil
}

func signOf(v args.Value) metadata.Sign {
	switch v.Sign {
	case '+':
		return metadata.Plus
	case '-':
		return metadata.Minus
	}
	return metadata.Plain
}

func percentOf(p args.Percent) metadata.Of {
	switch p {
	case args.OfVG:
		return metadata.OfVG
	case args.OfFree:
		return metadata.OfFree
	case args.OfLV:
		return metadata.OfLV
	case args.OfPVs:
		return metadata.OfPVs
	case args.OfOrigin:
		return metadata.OfOrigin
	}
	return metadata.OfNone
}

// volumeName takes the names of a new volume and its group from --name and the first operand.
func volumeName(r *command.Run) (vg, lv string, rest []string, err error) {
	rest = r.Operands
	lv = r.Str("name", "")
	if strings.Contains(lv, "/") {
		vg, lv = args.SplitLV(lv)
	}
	if len(rest) > 0 {
		operand := groupName(rest[0])
		switch {
		case vg == "":
			vg, rest = operand, rest[1:]
		case vg == operand:
			rest = rest[1:]
		default:
			if _, isDisk := r.Disk(rest[0]); !isDisk && !strings.HasPrefix(rest[0], "@") && !strings.Contains(rest[0], ":") {
				return "", "", nil, r.Verb.WrongUse("Inconsistent volume group names given: \"%s\" and \"%s\"", vg, operand)
			}
		}
	}
	if vg == "" {
		vg = groupName(r.Getenv("LVM_VG_NAME"))
	}
	switch {
	case vg == "":
		return "", "", nil, r.Verb.NoMatch()
	case strings.Contains(vg, "/"):
		return "", "", nil, r.Verb.WrongUse("Volume group name expected (no slash)")
	case !r.Has("name"):
		return vg, "", rest, nil
	}
	if words := args.Reserved(lv); words != "" {
		return "", "", nil, r.Verb.WrongUse("%s", words)
	}
	if !args.ValidName(lv) {
		return "", "", nil, r.Verb.WrongUse("Logical volume name \"%s\" is invalid.", lv)
	}
	return vg, lv, rest, nil
}

func lvcreate(ctx context.Context, r *command.Run) error {
	if !r.Has("size") && !r.Has("extents") {
		return r.Verb.NoMatch()
	}
	size, err := amount(r)
	if err != nil {
		return err
	}
	if err := refuseKernelWork(r); err != nil {
		return err
	}
	group, name, where, err := volumeName(r)
	if err != nil {
		return err
	}
	req := metadata.CreateLV{
		Name: name, Size: size, Type: r.Str("type", ""), Stripes: int(min(r.Uint("stripes", 0), 1<<30)), StripeSize: r.Uint("stripesize", 0),
		Allocation: allocationOf(r), ReadOnly: r.Str("permission", "rw") == "r", Tags: r.All("addtag"),
		NoAutoActivate: !r.Yes("setautoactivation", true), ActivationSkip: r.Yes("setactivationskip", false),
	}
	if err := stripeOptions(r); err != nil {
		return err
	}
	if req.ReadAhead, err = readAhead(r); err != nil {
		return err
	}
	if req.Major, req.Minor, err = deviceNumbers(r); err != nil {
		return err
	}
	g, err := r.OpenNamed(ctx, group)
	if err != nil {
		return err
	}
	req.PVs = r.Where(where)
	after, op, err := g.VG().CreateLV(r.Env(), req)
	r.Say(op)
	if err != nil {
		return err
	}
	lv := after.LVByID(op.PutLVs[0].ID)
	if err := zeroBegin(r, g, after, lv); err != nil {
		return err
	}
	if err := r.Commit(ctx, g, after, op); err != nil {
		return err
	}
	r.Print("Logical volume \"%s\" created.", lv.Name)
	return nil
}

// refuseKernelWork refuses what only a kernel can do.
func refuseKernelWork(r *command.Run) error {
	if a, ok := r.Get("activate"); ok && !inactive(a.Text) {
		return r.Verb.WrongUse("Option --activate %s of %s is not supported by mlvm: it activates nothing.", a.Text, r.Verb.Name)
	}
	for _, name := range []string{"wipesignatures", "monitor"} {
		if r.Yes(name, false) {
			return r.Verb.WrongUse("Option --%s y of %s is not supported by mlvm.", name, r.Verb.Name)
		}
	}
	return nil
}

// allocationOf is the policy that --alloc or --contiguous ask for.
func allocationOf(r *command.Run) metadata.Allocation {
	if r.Yes("contiguous", false) {
		return metadata.AllocContiguous
	}
	return policy(r, metadata.AllocInherit)
}

// stripeOptions checks what -i and -I say.
func stripeOptions(r *command.Run) error {
	stripes, hasStripes := r.Get("stripes")
	size, hasSize := r.Get("stripesize")
	const most = 128
	if hasStripes && (stripes.N == 0 || stripes.N > most) {
		if r.Verb.Name == "lvcreate" {
			return r.Verb.WrongUse("Number of stripes (%d) must be between %d and %d.", stripes.N, 1, most)
		}
	}
	switch {
	case hasSize && (stripes.N == 1 || !hasStripes) && r.Verb.Name == "lvcreate" && r.Str("type", "") != "striped":
		r.Print("Ignoring stripesize argument with single stripe.")
	case hasSize && (size.N == 0 || size.N&(size.N-1) != 0 || size.N < 8):
		return r.Verb.WrongUse("Invalid stripe size %s.", metadata.FormatSize(size.N))
	}
	return nil
}

// readAhead is what -r says, rounded up to whole pages as lvm2 does.
func readAhead(r *command.Run) (metadata.ReadAhead, error) {
	v, ok := r.Get("readahead")
	switch {
	case !ok || strings.EqualFold(v.Text, "auto"):
		return metadata.ReadAheadAuto, nil
	case strings.EqualFold(v.Text, "none") || v.N == 0:
		return metadata.ReadAheadNone, nil
	case v.N >= 1<<32-8:
		return 0, r.Verb.WrongUse("Read ahead of %d sectors is too much.", v.N)
	}
	const page = 8
	n := (v.N + page - 1) / page * page
	if n != v.N {
		r.Warn("WARNING: Overriding readahead to %d sectors, a multiple of 4K page size.", n)
	}
	return metadata.ReadAhead(n), nil
}

// deviceNumbers are fixed numbers of the volume's device, nil if the kernel is to choose.
func deviceNumbers(r *command.Run) (major, minor *int, err error) {
	numbers := r.Has("major") || r.Has("minor")
	switch {
	case !r.Yes("persistent", numbers) && numbers:
		return nil, nil, r.Failed("Options --major and --minor are incompatible with -Mn.")
	case !r.Yes("persistent", numbers):
		return nil, nil, nil
	}
	v, ok := r.Get("minor")
	if !ok {
		return nil, nil, r.Failed("Please specify minor number with --minor when using -My.")
	}
	if v.N > 1048575 {
		return nil, nil, r.Failed("Minor number %d outside allowed range 0-1048575.", v.N)
	}
	if m, ok := r.Get("major"); ok && m.N != 0 {
		r.Warn("WARNING: Ignoring supplied major number %d - kernel assigns major numbers dynamically. Using major number 0 instead.", m.N)
	}
	zero, n := 0, int(v.N)
	return &zero, &n, nil
}

// zeroBegin zeroes the first 4 KiB of a volume that is to be, so that nothing finds what was there before. Its extents
// are still free, so nothing is lost if the volume does not come to be.
func zeroBegin(r *command.Run, g *lvm.Group, vg *metadata.VG, lv *metadata.LV) error {
	s := &lv.Segments[0]
	if len(s.Stripes) == 0 {
		return nil
	}
	if r.Test() {
		return nil
	}
	wanted := r.Yes("zero", !r.Has("activate") && lv.Writable())
	if !wanted {
		r.Warn("WARNING: Logical volume %s/%s not zeroed.", vg.Name(), lv.Name)
		return nil
	}
	pv := vg.PV(s.Stripes[0].PV)
	d := g.Device(pv.Key)
	off := int64((pv.PEStart + uint64(s.Stripes[0].Start)*vg.ExtentSize()) * metadata.SectorSize)
	n := min(4096, int64(uint64(s.Count)*vg.ExtentSize()*metadata.SectorSize))
	if _, err := d.WriteAt(make([]byte, n), off); err != nil {
		return fmt.Errorf("cannot zero the begin of %s/%s: %w", vg.Name(), lv.Name, err)
	}
	return d.Flush()
}

func lvremove(ctx context.Context, r *command.Run) error {
	return eachVolume(ctx, r, func(r *command.Run, g *lvm.Group, names []string) (failed error) {
		vg := g.VG()
		var ops []metadata.Operation
		var done []string
		for _, name := range names {
			if vg.LV(name) == nil {
				continue // it went with another one
			}
			after, op, err := vg.RemoveLV(name)
			r.Say(op)
			if err != nil {
				failed = r.Fail(err)
				continue
			}
			vg, ops, done = after, append(ops, op), append(done, name)
		}
		if len(ops) == 0 {
			return failed
		}
		if err := commitAll(ctx, r, g, ops); err != nil {
			return err
		}
		for _, name := range done {
			r.Print("Logical volume \"%s\" successfully removed.", name)
		}
		return failed
	})
}

// commitAll makes several changes at once.
func commitAll(ctx context.Context, r *command.Run, g *lvm.Group, ops []metadata.Operation) error {
	after, op, err := g.VG().Join(ops...)
	if err != nil {
		return err
	}
	return r.Commit(ctx, g, after, op)
}

// eachVolume does something with the volumes that the operands name or --select selects, group by group.
func eachVolume(ctx context.Context, r *command.Run, do func(*command.Run, *lvm.Group, []string) error) error {
	inv, err := r.Scan(ctx, command.Need{Write: true, Groups: operandGroups(r.Operands)})
	if err != nil {
		return err
	}
	sel, err := selector(r)
	if err != nil {
		return err
	}
	var failed error
	for _, w := range wanted(r, inv, &failed) {
		view, _ := command.View(inv, w.found, w.vg)
		var names []string
		for lv := range w.candidates() {
			named := contains(w.lvs, lv.Name)
			if view.Internal(lv) || !w.has(lv) || !named && !view.Visible(lv) || sel != nil && !sel.volume(inv, w, lv) {
				continue
			}
			names = append(names, lv.Name)
		}
		if len(names) == 0 {
			continue
		}
		g, err := r.Open(inv, w.found.ID.String(), lvm.AllowMissing)
		if err == nil {
			err = do(r, g, names)
		}
		if err != nil {
			failed = r.Fail(err)
		}
	}
	return failed
}

// candidates are the volumes among which those are that were asked for: not the whole group where one is named, so that
// changing one of ten thousand costs no more than changing one of one.
func (w want) candidates() iter.Seq[*metadata.LV] {
	if len(w.lvs) != 1 || len(w.tags) > 0 {
		return w.vg.LVs()
	}
	return func(yield func(*metadata.LV) bool) {
		if lv := w.vg.LV(w.lvs[0]); lv != nil {
			yield(lv)
		}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}
