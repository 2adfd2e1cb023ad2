package main

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"morgana/unikernel/image"
)

var buildCommand = &cli.Command{
	Name:      "build",
	Usage:     "compile a Go package, or take a static binary, and join it with the kernel",
	ArgsUsage: "PACKAGE [-- GO BUILD FLAGS] | --binary FILE",
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "write the image to `FILE`"},
		&cli.StringFlag{Name: "binary", Usage: "join this static Linux `PROGRAM` instead of building one"},
		&cli.StringSliceFlag{Name: "file", Usage: "carry a file or directory, `SRC:DST`, for the program to open"},
		&cli.StringFlag{Name: "name", Usage: "the program's `NAME`, its argv[0]"},
	},
	Action: build,
}

func build(c *cli.Context) error {
	out, binary := c.String("output"), c.String("binary")
	if out == "" {
		return cli.Exit("build: where to? Give -o FILE", exitUsage)
	}
	if (binary == "") == (c.NArg() == 0) {
		return cli.Exit("build: give either one Go package, as in ./cmd/hello, or --binary FILE", exitUsage)
	}
	var program []byte
	var err error
	name := c.String("name")
	if binary != "" {
		if program, err = os.ReadFile(binary); err != nil {
			return failed(err)
		}
		if name == "" {
			name = filepath.Base(binary)
		}
	} else {
		dir, err := os.MkdirTemp("", "stubdom")
		if err != nil {
			return failed(err)
		}
		defer os.RemoveAll(dir)
		if program, err = image.BuildProgram(filepath.Join(dir, "program"), c.Args().First(), c.Args().Tail()...); err != nil {
			return failed(err)
		}
		if name == "" {
			name = path.Base(filepath.ToSlash(c.Args().First()))
		}
	}
	files, err := readFiles(c.StringSlice("file"))
	if err != nil {
		return failed(err)
	}
	b, layout, err := image.Join(program, image.Options{Name: name[:min(len(name), 55)], Files: files})
	if err != nil {
		if binary != "" {
			return fmt.Errorf("%s: %w", binary, err)
		}
		return err
	}
	if err := os.WriteFile(out, b, 0o755); err != nil {
		return failed(err)
	}
	fmt.Fprintf(os.Stderr, "%s: %v\n", out, layout)
	warn(os.Stderr, program)
	return nil
}

// warn names the system calls that the program's Go runtime makes and the kernel does not have: they may be those of a
// newer Go. What the rest of a program makes may never be made; inspect lists it.
func warn(w io.Writer, program []byte) {
	r, err := image.Inspect(program)
	if err != nil {
		return // Join has accepted it, so there is nothing to say
	}
	var names []string
	for _, c := range r.Syscalls.Missing() {
		if slices.ContainsFunc(c.From, func(f string) bool { return strings.HasPrefix(f, "runtime.") }) {
			names = append(names, fmt.Sprintf("%s (%d)", c.Name, c.Number))
		}
	}
	if len(names) > 0 {
		fmt.Fprintf(w, "warning: the runtime of %s asks for system calls that the kernel does not have: %s; they get ENOSYS. If the program fails to start, build it with an older Go\n", r.Go, strings.Join(names, ", "))
	}
}

// readFiles reads what --file names: SRC:DST, directories with all that is in them.
func readFiles(args []string) ([]image.File, error) {
	var files []image.File
	for _, a := range args {
		src, dst, ok := strings.Cut(a, ":")
		if !ok || src == "" || !path.IsAbs(dst) {
			return nil, fmt.Errorf("--file %s: want SRC:DST with an absolute DST, as in cert.pem:/etc/cert.pem", a)
		}
		err := filepath.WalkDir(src, func(p string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := os.Stat(p)
			if err != nil {
				return err
			}
			rel, err := filepath.Rel(src, p)
			if err != nil {
				return err
			}
			f := image.File{Name: path.Join(dst, filepath.ToSlash(rel)), Mode: info.Mode() & (fs.ModePerm | fs.ModeDir)}
			if !info.IsDir() {
				if f.Data, err = os.ReadFile(p); err != nil {
					return err
				}
			}
			if f.Name != "/" {
				files = append(files, f)
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	return files, nil
}
