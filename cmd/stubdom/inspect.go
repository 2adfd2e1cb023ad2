package main

import (
	"encoding/json"
	"fmt"
	"io"
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
		&cli.BoolFlag{Name: "syscalls", Usage: "list the system calls that the kernel serves, too"},
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
	syscalls(w, r.Syscalls, c.Bool("syscalls"))
	return failed(w.Flush())
}

// syscalls prints what the program's code can ask for; what the kernel serves, only if all.
func syscalls(w io.Writer, r *image.SyscallReport, all bool) {
	count := map[string]int{}
	for _, c := range r.Calls {
		count[c.Kernel]++
	}
	fmt.Fprintf(w, "\nsystem calls in the code: %d (%d implemented, %d refused, %d missing: those get ENOSYS if they are made)\nfound by: %s\n",
		len(r.Calls), count[image.SyscallServed], count[image.SyscallRefused], count[image.SyscallMissing], r.Method)
	if len(r.Computed) > 0 {
		fmt.Fprintf(w, "number not found in: %s\n", some(r.Computed, 8))
	}
	shown := []string{image.SyscallMissing, image.SyscallRefused}
	if all {
		shown = append(shown, image.SyscallServed)
	}
	fmt.Fprint(w, "\ncall\tnumber\tkernel\tmade by\n")
	for _, kind := range shown {
		for _, c := range r.Calls {
			if c.Kernel == kind {
				fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", c.Name, c.Number, c.Kernel, some(c.From, 3))
			}
		}
	}
}

// some joins the first n of a list and says how many more there are.
func some(list []string, n int) string {
	if len(list) <= n {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:n], ", "), len(list)-n)
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
	fmt.Fprintf(&s, "name = %s\ntype = \"pvh\"\nkernel = %s\nmemory = %d\nvcpus = 1\non_crash = %s\n", quoteXL(name), quoteXL(abs), memory, quoteXL(onCrash))
	if len(args) > 0 {
		fmt.Fprintf(&s, "cmdline = %s\n", quoteXL(quoteWords(args)))
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
func quoteWords(args []string) string { return image.Cmdline(args...) }

// quoteXL quotes a string for xl's configuration, whose escapes are not Go's (libxl's libxlu_cfg_l.l and libxlu_cfg.c).
func quoteXL(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`, "\t", `\t`, "\r", `\r`).Replace(s) + `"`
}
