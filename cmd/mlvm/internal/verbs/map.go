package verbs

import (
	"context"
	"encoding/json"
	"os"

	"golang.org/x/sys/unix"

	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/cmd/mlvm/internal/picture"
)

func mapVerb() command.Verb {
	return command.Verb{
		Name: "map", Summary: "draw who has which extents", Usage: []string{"[--svg FILE|--json] [VG ...]"}, Max: -1,
		Own: []args.Option{
			{Name: "svg", Kind: args.String, Help: "draw into an SVG file, - for standard output; one group"},
			{Name: "json", Help: "the runs of extents as JSON"},
			{Name: "width", Kind: args.Number, Help: "columns; by default the terminal's, else 80"},
		},
		Details: `Each disk is a bar, to scale, each letter a volume, dots are free. On a terminal volumes have colours, unless
NO_COLOR is set.`,
		Examples: []string{"map", "map vg0", "map --svg vg0.svg vg0"},
		Run:      drawMap,
	}
}

func drawMap(ctx context.Context, r *command.Run) error {
	picked, err := Pick(ctx, r, false, r.Operands)
	if err != nil {
		return err
	}
	if svg := r.Str("svg", ""); svg != "" {
		switch {
		case len(picked) != 1:
			return r.Failed("An SVG has one group; %d are chosen.", len(picked))
		case svg == "-":
			_, err := r.Stdout.Write([]byte(picture.Of(picked[0].Group.VG()).SVG()))
			return err
		}
		if err := r.NotOurs(svg); err != nil {
			return err
		}
		return os.WriteFile(svg, []byte(picture.Of(picked[0].Group.VG()).SVG()), 0o644)
	}
	if r.Has("json") {
		return mapJSON(r, picked)
	}
	width, terminal := columns(r)
	for _, s := range picked {
		text := picture.Of(s.Group.VG()).Text(width, terminal && r.Getenv("NO_COLOR") == "")
		if _, err := r.Stdout.Write([]byte(text)); err != nil {
			return err
		}
	}
	return nil
}

func mapJSON(r *command.Run, picked []Selected) error {
	type pv struct {
		Name    string        `json:"pv_name"`
		Extents uint32        `json:"extents"`
		Runs    []picture.Run `json:"runs"`
	}
	type vg struct {
		Name       string `json:"vg_name"`
		ExtentSize uint64 `json:"extent_size"` // bytes
		PVs        []pv   `json:"pvs"`
	}
	list := []vg{}
	for _, s := range picked {
		p := picture.Of(s.Group.VG())
		g := vg{Name: p.Group, ExtentSize: p.ExtentSize * 512, PVs: []pv{}}
		for _, d := range p.Disks {
			g.PVs = append(g.PVs, pv{d.Name, uint32(d.Extents), d.Runs})
		}
		list = append(list, g)
	}
	return json.NewEncoder(r.Stdout).Encode(struct {
		VGs []vg `json:"vgs"`
	}{list})
}

// columns is how wide output may be, and whether it goes to a terminal.
func columns(r *command.Run) (n int, terminal bool) {
	n = 80
	if f, ok := r.Stdout.(*os.File); ok {
		if ws, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ); err == nil && ws.Col > 0 {
			n, terminal = int(ws.Col), true
		}
	}
	if r.Has("width") {
		n = int(min(r.Uint("width", 80), 1000))
	}
	return n, terminal
}
