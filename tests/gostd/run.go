package gostd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"morgana/unikernel/image"
)

// goroot is where both worlds have Go's tree, as far as it is there: the time zones. Without a go command the tests that
// compile programs skip themselves.
const goroot = "/goroot"

// zones is the one file of it, relative to a Go tree.
const zones = "lib/time/zoneinfo.zip"

// programs are what tests on Linux find on their path: no compilers and no go, which may be in the same directory.
var programs = []string{"sh", "ls", "cat", "date", "hostname", "sleep", "true"}

// Build compiles the tests of p in dir, stripped, and returns the program.
func (p Package) Build(ctx context.Context, dir string) (file string, err error) {
	file = filepath.Join(dir, strings.ReplaceAll(p.Path, "/", "_")+".test")
	c := exec.CommandContext(ctx, "go", "test", "-c", "-ldflags=-s -w", "-o", file, p.Path)
	c.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := c.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%v: %w\n%s", c, err, out)
	}
	return file, nil
}

// Join makes an image of the test binary in file, which carries what p's tests open. The guest's working directory is /.
func (p Package) Join(file string) ([]byte, error) {
	program, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	tree, err := goTree()
	if err != nil {
		return nil, err
	}
	z, err := os.ReadFile(filepath.Join(tree, zones))
	if err != nil {
		return nil, err
	}
	files := []image.File{{Name: path.Join(goroot, zones), Mode: 0o644, Data: z}}
	err = p.carried(tree, func(rel string, mode fs.FileMode, data []byte) error {
		files = append(files, image.File{Name: path.Join("/", rel), Mode: mode, Data: data})
		return nil
	})
	if err != nil {
		return nil, err
	}
	b, _, err := image.Join(program, image.Options{Name: filepath.Base(file), Files: files})
	return b, err
}

// Words are the words of the kernel's command line for p's test binary with args.
func (p Package) Words(args ...string) []string {
	words := []string{"env=GOROOT=" + goroot, "env=HOME=/root"}
	for _, e := range p.Env {
		words = append(words, "env="+e)
	}
	return append(words, testArgs(args)...)
}

func testArgs(args []string) []string {
	return append([]string{"-test.short", "-test.v=test2json", "-test.timeout=8m"}, args...)
}

// Memory is what a guest needs, in MiB.
func (p Package) Memory() int {
	if p.MemoryMiB == 0 {
		return defaultMemory
	}
	return p.MemoryMiB
}

// Linux returns a Runner of the test binary in file on this machine: on one CPU, in a directory below dir that has the
// carried files in the same places relative to it, without a go command.
func (p Package) Linux(file, dir string) (Runner, error) {
	tree, err := goTree()
	if err != nil {
		return nil, err
	}
	world := filepath.Join(dir, strings.ReplaceAll(p.Path, "/", "_")+".linux")
	cwd := filepath.Join(world, "src", "a", "b", "c")
	bin := filepath.Join(world, "bin")
	for _, d := range []string{cwd, bin, filepath.Join(world, "home"), filepath.Join(world, "goroot", filepath.Dir(zones))} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return nil, err
		}
	}
	for _, name := range programs {
		f, err := exec.LookPath(name)
		if err != nil {
			return nil, err
		}
		if err := os.Symlink(f, filepath.Join(bin, name)); err != nil {
			return nil, err
		}
	}
	z, err := os.ReadFile(filepath.Join(tree, zones))
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(world, "goroot", zones), z, 0o644); err != nil {
		return nil, err
	}
	err = p.carried(tree, func(rel string, mode fs.FileMode, data []byte) error {
		name := filepath.Join(cwd, filepath.FromSlash(rel))
		if mode.IsDir() {
			return os.MkdirAll(name, 0o755)
		}
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		return os.WriteFile(name, data, mode)
	})
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, args ...string) (string, error) {
		c := exec.CommandContext(ctx, file, testArgs(args)...)
		c.Dir = cwd
		c.Env = []string{"GOROOT=" + filepath.Join(world, "goroot"), "HOME=" + filepath.Join(world, "home"), "PATH=" + bin}
		c.Env = append(c.Env, p.Env...)
		var b bytes.Buffer
		c.Stdout, c.Stderr = &b, &b
		c.WaitDelay = 10 * time.Second
		err := onOneCPU(c)
		var status *exec.ExitError
		if errors.As(err, &status) && ctx.Err() == nil {
			err = nil // the output tells
		}
		return b.String(), err
	}, nil
}

// onOneCPU runs c with one CPU of those that this process may use.
func onOneCPU(c *exec.Cmd) error {
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with its goroutine, and its affinity with it
		var all, one unix.CPUSet
		if err := unix.SchedGetaffinity(0, &all); err != nil {
			done <- err
			return
		}
		nth := rand.IntN(all.Count())
		for cpu := 0; one.Count() == 0; cpu++ {
			if all.IsSet(cpu) {
				if nth == 0 {
					one.Set(cpu)
				}
				nth--
			}
		}
		if err := unix.SchedSetaffinity(0, &one); err != nil {
			done <- err
			return
		}
		done <- c.Run()
	}()
	return <-done
}

// carried calls do for what p's tests open, with names relative to the package's directory.
func (p Package) carried(tree string, do func(rel string, mode fs.FileMode, data []byte) error) error {
	dir := filepath.Join(tree, "src", filepath.FromSlash(p.Path))
	for _, c := range p.Carry {
		root := filepath.Join(dir, filepath.FromSlash(c))
		err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			in, err := filepath.Rel(root, name)
			if err != nil {
				return err
			}
			rel := path.Join(c, filepath.ToSlash(in))
			if d.IsDir() {
				return do(rel, fs.ModeDir|0o755, nil)
			}
			b, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			return do(rel, 0o644, b)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func goTree() (string, error) {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	return strings.TrimSpace(string(out)), err
}

// A Runner runs a test binary with more arguments and returns what it printed. An error is one of the runner's: that
// tests fail is in the output.
type Runner func(ctx context.Context, args ...string) (string, error)

// maxCulprits is how many tests may end the whole program before it is given up.
const maxCulprits = 5

// Run runs all tests but those named in skip. A test that ends the program has failed; the others get their turn in
// another run without it.
func (run Runner) Run(ctx context.Context, skip []string, args ...string) (Results, string, error) {
	all, log := Results{}, ""
	culprits := slices.Clone(skip)
	for {
		a := args
		if len(culprits) > 0 {
			a = append(a[:len(a):len(a)], "-test.skip=^("+strings.Join(culprits, "|")+")$")
		}
		out, err := run(ctx, a...)
		log += out
		if err != nil {
			return all, log, err
		}
		r, culprit := parse(out)
		for n, s := range r {
			all[n] = s
		}
		if culprit == "" {
			if !endLine.MatchString(out) {
				return all, log, errors.New("the program ended before its first test, or without an end of its last")
			}
			return all, log, nil
		}
		if culprits = append(culprits, regexp.QuoteMeta(culprit)); len(culprits) > len(skip)+maxCulprits {
			return all, log, fmt.Errorf("%d tests end the program: %s", len(culprits)-len(skip), strings.Join(culprits[len(skip):], ", "))
		}
	}
}

// Compare lists the tests of p that end differently in two worlds. Those that are not expected run once more, by
// themselves, in both: on a busy machine a test of timing fails now and then in either. again are their names.
func (p Package) Compare(ctx context.Context, linux, guest Runner, l, g Results, expected []Difference) (found []Difference, again []string, err error) {
	found = compare(p.Path, l, g)
	for _, d := range found {
		name := top(d.Test)
		if len(Check(expected, []Difference{d}, nil)) == 0 || len(again) > 0 && again[len(again)-1] == name {
			continue
		}
		again = append(again, name)
	}
	if len(again) == 0 || len(again) > maxCulprits {
		return found, nil, nil
	}
	only := "-test.run=^(" + strings.Join(again, "|") + ")$"
	for _, w := range []struct {
		run Runner
		all Results
	}{{linux, l}, {guest, g}} {
		r, _, err := w.run.Run(ctx, p.Skip, only)
		if err != nil {
			return found, again, err
		}
		for n := range w.all {
			for _, a := range again {
				if top(n) == a {
					delete(w.all, n)
				}
			}
		}
		for n, s := range r {
			w.all[n] = s
		}
	}
	return compare(p.Path, l, g), again, nil
}
