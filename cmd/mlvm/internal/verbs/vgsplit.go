package verbs

import (
	"context"
	"errors"
	"fmt"

	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// splits are the verbs that make two groups of one, and one of two.
func splits() []command.Verb {
	return []command.Verb{
		{
			Name: "vgsplit", Summary: "move disks into a new or another volume group", Min: 2, Max: -1,
			Usage:    []string{"VG VG PV ...", "--name LV VG VG"},
			Supports: "alloc autobackup maxlogicalvolumes maxphysicalvolumes metadatatype name reportformat vgmetadatacopies",
			Details:  "The logical volumes on the disks go with them; one that is on other disks too forbids it.",
			Examples: []string{"vgsplit vg0 vg1 c.img", "vgsplit -n home vg0 vg1"},
			Run:      vgsplit,
		},
		{
			Name: "vgmerge", Summary: "merge a volume group into another", Usage: []string{"VG VG"}, Min: 2, Max: 2,
			Supports: "autobackup list reportformat", Details: "The first group takes in the second.",
			Examples: []string{"vgmerge vg0 vg1"},
			Run:      vgmerge,
		},
	}
}

func vgsplit(ctx context.Context, r *command.Run) error {
	from, to, devices := groupName(r.Operands[0]), groupName(r.Operands[1]), r.Operands[2:]
	switch {
	case len(devices) == 0 && !r.Has("name"):
		return r.Verb.NoMatch()
	case from == to:
		return r.Failed("Duplicate volume group name \"%s\"", from)
	}
	inv, err := r.Scan(ctx, command.Need{Write: true, Global: true, Groups: []string{from, to}, Disks: devices})
	if err != nil {
		return err
	}
	if _, err := inv.Group(from); errors.Is(err, lvm.ErrNotFound) {
		r.Warn("Volume group \"%s\" not found", from)
		return r.Failed("Failed to read VG %s.", to)
	}
	g, err := r.Open(inv, from, 0)
	if err != nil {
		return err
	}
	req := metadata.Split{Name: to, LV: r.Str("name", "")}
	if _, lv := splitLV(req.LV); lv != "" {
		req.LV = lv
	}
	for _, d := range devices {
		if disk, ok := r.Disk(d); ok {
			d = disk.Name
		}
		req.PVs = append(req.PVs, d)
	}
	c, _ := changeOf(r)
	req.Allocation, req.MetadataCopies = c.Allocation, c.MetadataCopies
	if v, ok := r.Get("maxlogicalvolumes"); ok {
		n := uint32(v.N)
		req.MaxLV = &n
	}
	if v, ok := r.Get("maxphysicalvolumes"); ok {
		n := uint32(v.N)
		req.MaxPV = &n
	}
	word, into := "New", (*lvm.Group)(nil)
	if _, err := inv.Group(to); err == nil {
		if into, err = r.Open(inv, to, 0); err != nil {
			return err
		}
		word, req.Into = "Existing", into.VG()
	}
	if into != nil && len(req.PVs) > 0 && allOf(g.VG(), req.PVs) {
		if err := mergeAll(ctx, r, into, g); err != nil {
			return err
		}
		r.Print("%s volume group \"%s\" successfully split from \"%s\"", word, to, from)
		return nil
	}
	_, op, _, otherOp, err := g.VG().Split(r.Env(), req)
	r.Say(op)
	r.Say(otherOp)
	if err != nil {
		return err
	}
	if !r.Test() {
		if err := r.Archive(g.VG()); err != nil {
			return err
		}
		if into != nil {
			if err := r.Archive(into.VG()); err != nil {
				return err
			}
		}
		other, err := split(ctx, r, g, into, req)
		if err != nil {
			return err
		}
		r.Backup(g.VG())
		r.Backup(other)
	}
	r.Print("%s volume group \"%s\" successfully split from \"%s\"", word, to, from)
	return nil
}

func vgmerge(ctx context.Context, r *command.Run) error {
	to, from := groupName(r.Operands[0]), groupName(r.Operands[1])
	if from == to {
		return r.Failed("Duplicate volume group name \"%s\"", from)
	}
	inv, err := r.Scan(ctx, command.Need{Write: true, Global: true, Groups: []string{from, to}})
	if err != nil {
		return err
	}
	for _, name := range []string{to, from} {
		if _, err := inv.Group(name); errors.Is(err, lvm.ErrNotFound) {
			return r.Failed("Volume group \"%s\" not found", name)
		}
	}
	g, err := r.Open(inv, to, 0)
	if err != nil {
		return err
	}
	other, err := r.Open(inv, from, 0)
	if err != nil {
		return err
	}
	if err := mergeAll(ctx, r, g, other); err != nil {
		return err
	}
	r.Print("Volume group \"%s\" successfully merged into \"%s\"", from, to)
	return nil
}

// mergeAll merges a group into another one.
func mergeAll(ctx context.Context, r *command.Run, g, other *lvm.Group) error {
	from := other.VG().Name()
	after, op, err := g.VG().Merge(r.Env(), other.VG())
	r.Say(op)
	if err != nil || r.Test() {
		return err
	}
	for _, vg := range []*metadata.VG{g.VG(), other.VG()} {
		if err := r.Archive(vg); err != nil {
			return err
		}
	}
	if err := g.Merge(ctx, other, after); err != nil {
		return err
	}
	r.Backup(g.VG())
	if err := r.Store().Remove(from); err != nil {
		r.Warn("WARNING: %v", err)
	}
	return nil
}

// allOf reports whether the devices are all that a group has.
func allOf(vg *metadata.VG, devices []string) bool {
	for _, pv := range vg.PVs() {
		if !contains(devices, pv.Device) {
			return false
		}
	}
	return true
}

// split moves the disks of one group into a new group, or by way of one into another that exists: a power cut leaves at
// worst the one between, which vgmerge takes in.
func split(ctx context.Context, r *command.Run, g, into *lvm.Group, req metadata.Split) (*metadata.VG, error) {
	if into != nil {
		req = metadata.Split{Name: req.Name + ".split", PVs: req.PVs, LV: req.LV}
	}
	stay, _, other, _, err := g.VG().Split(r.Env(), req)
	if err != nil {
		return nil, err
	}
	n, err := g.Split(ctx, stay, other)
	if err != nil {
		return nil, err
	}
	r.Hold(n)
	if into == nil {
		return n.VG(), nil
	}
	after, _, err := into.VG().Merge(r.Env(), n.VG())
	if err == nil {
		err = into.Merge(ctx, n, after)
	}
	if err != nil {
		return nil, fmt.Errorf("%w; the disks are now in volume group %s, which vgmerge merges", err, n.VG().Name())
	}
	return into.VG(), nil
}

// splitLV takes VG/LV apart.
func splitLV(s string) (vg, lv string) {
	if s == "" {
		return "", ""
	}
	return args.SplitLV(s)
}
