package verbs

import (
	"context"

	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm/metadata"
)

const resizeOptions = "alloc autobackup extents force nofsck reportformat size stripes stripesize type"

// resizes are the verbs that make volumes larger and smaller.
func resizes() []command.Verb {
	const note = `The file system in the volume is not touched: make it smaller before the volume, larger after it.`
	return []command.Verb{
		{
			Name: "lvresize", Summary: "give a logical volume another size", Min: 1, Max: -1,
			Usage:    []string{"-L|--size [+|-]Size[m|UNIT] LV [PV ...]", "-l|--extents [+|-]Number[PERCENT] LV [PV ...]", "LV PV ..."},
			Supports: resizeOptions, Details: note, Examples: []string{"lvresize -L 20g vg0/root", "lvresize -L-1g vg0/root"},
			Run: func(ctx context.Context, r *command.Run) error { return resize(ctx, r, metadata.ResizeAny) },
		},
		{
			Name: "lvextend", Summary: "make a logical volume larger", Min: 1, Max: -1,
			Usage:    []string{"-L|--size [+]Size[m|UNIT] LV [PV ...]", "-l|--extents [+]Number[PERCENT] LV [PV ...]", "LV PV ..."},
			Supports: resizeOptions, Details: note, Examples: []string{"lvextend -L+5g vg0/root", "lvextend -l+100%FREE vg0/home", "lvextend vg0/home c.img"},
			Run: func(ctx context.Context, r *command.Run) error { return resize(ctx, r, metadata.Extend) },
		},
		{
			Name: "lvreduce", Summary: "make a logical volume smaller", Min: 1, Max: 1,
			Usage:    []string{"-L|--size [-]Size[m|UNIT] LV"},
			Supports: resizeOptions, Details: note + " What is behind the new end is lost. -l counts in extents or percent.", Examples: []string{"lvreduce -L-1g vg0/root"},
			Run: func(ctx context.Context, r *command.Run) error { return resize(ctx, r, metadata.Reduce) },
		},
	}
}

func resize(ctx context.Context, r *command.Run, mode metadata.ResizeMode) error {
	where := r.Operands[1:]
	if !r.Has("size") && !r.Has("extents") && (len(where) == 0 || mode == metadata.Reduce) {
		return r.Verb.NoMatch()
	}
	size, err := amount(r)
	if err != nil {
		return err
	}
	group, name := args.SplitLV(r.Operands[0])
	if name == "" {
		if group, name = groupName(r.Getenv("LVM_VG_NAME")), group; group == "" {
			return r.Verb.WrongUse("Please specify a logical volume path.")
		}
	}
	if err := stripeOptions(r); err != nil {
		return err
	}
	g, err := r.OpenNamed(ctx, group)
	if err != nil {
		return err
	}
	after, op, err := g.VG().ResizeLV(r.Env(), metadata.ResizeLV{
		Name: name, Mode: mode, Size: size, Type: r.Str("type", ""), Stripes: int(min(r.Uint("stripes", 0), 1<<30)),
		StripeSize: r.Uint("stripesize", 0), PVs: r.Where(where), Allocation: policy(r, metadata.AllocInherit),
	})
	r.Say(op)
	if err != nil {
		return err
	}
	if err := r.Commit(ctx, g, after, op); err != nil {
		return err
	}
	r.Print("Logical volume %s/%s successfully resized.", group, name)
	return nil
}
