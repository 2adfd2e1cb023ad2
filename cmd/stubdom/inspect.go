package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/urfave/cli/v2"

	"morgana/unikernel/image"
)

var inspectCommand = &cli.Command{
	Name:      "inspect",
	Usage:     "say what an image or a program consists of",
	ArgsUsage: "FILE",
	Flags: []cli.Flag{
		&cli.BoolFlag{Name: "json", Usage: "print JSON"},
		&cli.IntFlag{Name: "packages", Value: 12, Usage: "list the `N` largest Go packages; 0 lists none"},
	},
	Action: inspect,
}

func inspect(c *cli.Context) error {
	if c.NArg() != 1 {
		return cli.Exit("inspect: give one file", exitUsage)
	}
	b, err := os.ReadFile(c.Args().First())
	if err != nil {
		return failed(err)
	}
	r, err := image.Inspect(b)
	if err != nil {
		return fmt.Errorf("%s: %w", c.Args().First(), err)
	}
	if n := c.Int("packages"); n < len(r.Packages) {
		r.Packages = r.Packages[:max(n, 0)]
	}
	if c.Bool("json") {
		e := json.NewEncoder(os.Stdout)
		e.SetIndent("", "  ")
		return failed(e.Encode(r))
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 4, 2, ' ', 0)
	fmt.Fprintf(w, "kind\t%s\n", r.Kind)
	if r.Go != "" {
		fmt.Fprintf(w, "built by\t%s, main package %s\n", r.Go, r.Main)
	}
	if r.Image {
		fmt.Fprintf(w, "PVH entry\t%#x\nprogram\t%s, entry %#x\nphysical\t%#x to %#x\nmemory\t%d MiB or more\n", r.PVHEntry, r.Name, r.Entry, r.Start, r.End, r.MinimumMiB)
	}
	fmt.Fprintf(w, "\nsegment\trights\tvirtual\tphysical\tin file\tin memory\n")
	for _, s := range r.Segments {
		fmt.Fprintf(w, "%s\t%s\t%#x\t%#x\t%d\t%d\n", s.What, s.Rights, s.Vaddr, s.Paddr, s.File, s.Memory)
	}
	for _, f := range r.Files {
		fmt.Fprintf(w, "file\t%v\t%s\t\t%d\t\n", f.Mode, f.Name, len(f.Data))
	}
	if len(r.Packages) > 0 {
		fmt.Fprintf(w, "\npackage\tcode bytes\n")
		for _, p := range r.Packages {
			fmt.Fprintf(w, "%s\t%d\n", p.Name, p.Bytes)
		}
	}
	return failed(w.Flush())
}

var configCommand = &cli.Command{
	Name:      "config",
	Usage:     "write the xl configuration for an image",
	ArgsUsage: "IMAGE [-- ARGUMENTS]",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "name", Usage: "the domain's `NAME`"},
		&cli.IntFlag{Name: "memory", Usage: "`MiB`; by default what the image needs and 16 more"},
		&cli.StringFlag{Name: "on-crash", Value: "preserve", Usage: "`ACTION`: preserve, destroy or restart"},
		&cli.StringSliceFlag{Name: "extra", Usage: "one more `LINE` of the configuration"},
	},
	Action: func(c *cli.Context) error {
		if c.NArg() < 1 {
			return cli.Exit("config: give one image", exitUsage)
		}
		s, err := config(c.Args().First(), c.String("name"), c.Int("memory"), c.String("on-crash"), c.Args().Tail(), c.StringSlice("extra"))
		if err != nil {
			return err
		}
		fmt.Print(s)
		return nil
	},
}

// config is the text of an xl configuration (xl.cfg(5)).
func config(file, name string, memory int, onCrash string, args, extra []string) (string, error) {
	r, err := inspectImage(file)
	if err != nil {
		return "", err
	}
	if memory, err = memoryFor(r, file, memory); err != nil {
		return "", err
	}
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", failed(err)
	}
	if name == "" {
		name = strings.TrimSuffix(filepath.Base(file), ".elf")
	}
	var s strings.Builder
	fmt.Fprintf(&s, "name = %q\ntype = \"pvh\"\nkernel = %q\nmemory = %d\nvcpus = 1\non_crash = %q\n", name, abs, memory, onCrash)
	if len(args) > 0 {
		fmt.Fprintf(&s, "cmdline = %q\n", quoteWords(args))
	}
	for _, e := range extra {
		fmt.Fprintln(&s, e)
	}
	return s.String(), nil
}

// inspectImage looks into an image; a program is an error.
func inspectImage(file string) (*image.Report, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return nil, failed(err)
	}
	r, err := image.Inspect(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if !r.Image {
		return nil, fmt.Errorf("%s: %w: it is a program; join it first with stubdom build --binary", file, image.ErrProgram)
	}
	return r, nil
}

// memoryFor is what the image is given, in MiB: what was asked for, or by default what it needs and 16 more.
func memoryFor(r *image.Report, file string, memory int) (int, error) {
	if memory == 0 {
		return r.MinimumMiB + 16, nil
	}
	if memory < r.MinimumMiB {
		return 0, cli.Exit(fmt.Sprintf("%s needs %d MiB; give --memory %d or more", file, r.MinimumMiB, r.MinimumMiB), exitUsage)
	}
	return memory, nil
}

// quoteWords joins arguments so that the kernel splits them again.
func quoteWords(args []string) string {
	q := make([]string, len(args))
	for i, a := range args {
		if a == "" || strings.ContainsAny(a, " \t\n'\"\\") {
			a = "'" + strings.ReplaceAll(a, "'", `'"'"'`) + "'"
		}
		q[i] = a
	}
	return strings.Join(q, " ")
}
