package verbs

import (
	"context"
	"strings"

	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/cmd/mlvm/internal/progress"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// moves are the verbs that copy extents.
func moves() []command.Verb {
	return []command.Verb{
		{
			Name: "pvmove", Summary: "move extents to other disks", Usage: []string{"PV [PV ...]", "", "--abort [PV]"}, Max: -1,
			Supports: "abort alloc autobackup interval name reportformat",
			Details: `The volumes must not be in use. Extents are copied in steps, each of which counts once it is complete: after Ctrl-C or a
power cut all data is where the metadata say, and pvmove without a disk goes on. --abort forgets what is left to do; what
was moved stays where it is. With --name, only the extents of that volume.`,
			Examples: []string{"pvmove a.img", "pvmove a.img:0-999 b.img", "pvmove -n root a.img", "pvmove"},
			Run:      pvmove,
		},
	}
}

func pvmove(ctx context.Context, r *command.Run) error {
	var disks []string
	for _, o := range r.Operands {
		disks = append(disks, o)
		if name, _, ok := strings.Cut(o, ":"); ok {
			disks = append(disks, name)
		}
	}
	inv, err := r.Scan(ctx, command.Need{Write: true, Disks: disks})
	if err != nil {
		return err
	}
	switch {
	case r.Has("abort"):
		return abortMoves(ctx, r, inv)
	case len(r.Operands) == 0:
		return resumeMoves(ctx, r, inv)
	}
	where := r.Where(r.Operands)
	source := where[0]
	pv := inv.PV(source)
	if pv == nil {
		name, _, _ := strings.Cut(source, ":")
		if pv = inv.PV(name); pv == nil {
			if _, ok := r.Disk(name); !ok {
				return r.Failed("Failed to find physical volume \"%s\".", name)
			}
			return r.Failed("Failed to find physical volume \"%s\".", name)
		}
	}
	if pv.Group == nil {
		return r.Failed("Physical volume %s is not in a volume group.", pv.Disk.Name)
	}
	name := r.Str("name", "")
	if _, lv := args.SplitLV(name); lv != "" {
		name = lv
	}
	g, err := r.Open(inv, pv.Group.ID.String(), 0)
	if err != nil {
		return err
	}
	return move(ctx, r, g, metadata.Move{Source: source, LV: name, Targets: where[1:], Allocation: policy(r, metadata.AllocInherit)})
}

// move moves extents, with a bar.
func move(ctx context.Context, r *command.Run, g *lvm.Group, m metadata.Move) error {
	source, _, _ := strings.Cut(m.Source, ":")
	if g.VG().PVByDevice(m.Source) != nil {
		source = m.Source
	}
	if r.Test() {
		_, op, _, err := g.VG().MoveExtents(r.Env(), m)
		r.Say(op)
		return err
	}
	var bar *progress.Bar
	last, moved := uint64(0), false
	err := r.Around(g, func() error {
		return g.Move(ctx, r.Env(), m, lvm.MoveOptions{Progress: func(done, total uint64) {
			if bar == nil {
				bar = progress.New(r.Stderr, "pvmove "+source, int64(total))
			}
			bar.Add(int64(done - last))
			last, moved = done, true
		}})
	})
	bar.End()
	if err != nil {
		if ctx.Err() != nil && moved {
			r.Warn("Interrupted after %s; pvmove goes on.", metadata.FormatSize(last/metadata.SectorSize))
		}
		return err
	}
	r.Print("%s: Moved: 100.00%%", source)
	return nil
}

func resumeMoves(ctx context.Context, r *command.Run, inv *lvm.Inventory) error {
	found := false
	var failed error
	for _, f := range sortedGroups(inv) {
		vg := r.Current(inv, f)
		if vg == nil || len(lvm.Moves(vg)) == 0 {
			continue
		}
		found = true
		g, err := r.Open(inv, f.ID.String(), 0)
		if err != nil {
			failed = r.Fail(err)
			continue
		}
		for _, m := range lvm.Moves(vg) {
			if err := move(ctx, r, g, m); err != nil {
				failed = r.Fail(err)
			}
		}
	}
	if !found {
		r.Print("No moves to go on with.")
	}
	return failed
}

func abortMoves(ctx context.Context, r *command.Run, inv *lvm.Inventory) error {
	var failed error
	for _, f := range sortedGroups(inv) {
		vg := r.Current(inv, f)
		if vg == nil {
			continue
		}
		for _, m := range lvm.Moves(vg) {
			if len(r.Operands) > 0 && r.Where(r.Operands)[0] != m.Source {
				continue
			}
			g, err := r.Open(inv, f.ID.String(), 0)
			if err == nil && !r.Test() {
				device, _, _ := strings.Cut(m.Source, ":")
				err = g.AbandonMove(ctx, r.Env(), device)
			}
			if err != nil {
				failed = r.Fail(err)
				continue
			}
			r.Print("%s: move abandoned.", m.Source)
		}
	}
	return failed
}
