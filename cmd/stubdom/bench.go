package main

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"morgana/tests/bench"
	"morgana/tests/ratios"
	"morgana/tests/testbed"
	"morgana/unikernel/image"
)

var benchCommand = &cli.Command{
	Name:      "bench",
	Usage:     "boot an image several times and measure it; and the machine beside a Linux guest",
	ArgsUsage: "[IMAGE | PACKAGE | --binary FILE] [-- ARGUMENTS]",
	Description: `Prints an image's size and what the kernel adds to it, how long xl takes to create its domain and how long that lives,
beside a kernel that does nothing; then what the operations of a machine take, beside a Linux guest with the same
memory that runs the same program. All is of one boot of one host: where that is emulated, only ratios mean something.
Without an image only the machine is measured.`,
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "binary", Usage: "measure this static Linux `PROGRAM`, joined with the kernel"},
		&cli.IntFlag{Name: "runs", Value: 3, Usage: "boot `N` times"},
		&cli.IntFlag{Name: "rounds", Value: 1000, Usage: "repeat what the machine does `N` times in a run"},
		&cli.IntFlag{Name: "memory", Usage: "`MiB`; by default what the image needs and 16 more"},
		&cli.BoolFlag{Name: "machine", Value: true, Usage: "measure the machine too"},
		&cli.BoolFlag{Name: "qemu", Usage: "boot the image in QEMU without Xen; only its whole life is measured, QEMU's own included"},
		&cli.BoolFlag{Name: "json", Usage: "print JSON"},
		&cli.StringFlag{Name: "stock", Hidden: true, Usage: "`DIR` with the stock Linux guest"},
	},
	Action: func(c *cli.Context) error {
		ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
		defer stop()
		if c.Int("runs") < 1 || c.Int("rounds") < 100 {
			return cli.Exit("bench: want --runs of 1 or more, --rounds of 100 or more", exitUsage)
		}
		dir, err := os.MkdirTemp("", "stubdom")
		if err != nil {
			return failed(err)
		}
		defer os.RemoveAll(dir)
		img, err := benchImage(c, dir)
		if err != nil {
			return err
		}
		var rep *bench.Report
		switch {
		case c.Bool("qemu") && img == nil:
			return cli.Exit("bench: --qemu wants an image", exitUsage)
		case c.Bool("qemu"):
			rep, err = benchQEMU(ctx, c, img)
		case testbed.OwnHost():
			rep, err = benchHere(ctx, c, img)
		default:
			rep, err = benchThere(ctx, c, img)
		}
		if err != nil {
			return endOf(ctx, err)
		}
		if err := ratios.Keep("unikernel", rep.Ratios()); err != nil {
			return failed(err)
		}
		if c.Bool("json") {
			return failed(rep.WriteJSON(os.Stdout))
		}
		return failed(rep.WriteText(os.Stdout))
	},
}

// benchOperand is what to measure, and the arguments that it gets.
func benchOperand(c *cli.Context) (operand string, args []string) {
	if binary := c.String("binary"); binary != "" {
		return binary, c.Args().Slice()
	}
	return c.Args().First(), c.Args().Tail()
}

// benchImage is the image that the command line wants, made in dir where it has to be; nil if it wants none.
func benchImage(c *cli.Context, dir string) (*bench.Image, error) {
	operand, args := benchOperand(c)
	binary := c.String("binary")
	if operand == "" {
		return nil, nil
	}
	file := operand
	name := filepath.Base(operand)
	var program []byte
	var err error
	info, statErr := os.Stat(operand)
	switch {
	case binary != "":
		if program, err = os.ReadFile(binary); err != nil {
			return nil, failed(err)
		}
	case statErr != nil || info.IsDir():
		if program, err = image.BuildProgram(filepath.Join(dir, "program"), operand); err != nil {
			return nil, failed(err)
		}
	}
	if program != nil {
		b, _, err := image.Join(program, image.Options{Name: name[:min(len(name), image.MaxName)]})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", operand, err)
		}
		file = filepath.Join(dir, name+".elf")
		if err := os.WriteFile(file, b, 0o755); err != nil {
			return nil, failed(err)
		}
	}
	r, err := inspectImage(file)
	if err != nil {
		return nil, err
	}
	memory, err := memoryFor(r, file, c.Int("memory"))
	if err != nil {
		return nil, err
	}
	size, err := os.Stat(file)
	if err != nil {
		return nil, failed(err)
	}
	img := &bench.Image{Name: operand, File: file, Size: int(size.Size()), MemoryMiB: memory, Cmdline: image.Cmdline(args...)}
	for _, s := range r.Segments {
		if s.What == "boot" || s.What == "kernel" {
			img.Kernel += int(s.File)
		}
	}
	return img, nil
}

// self is this program's file, which must be static to run in any guest.
func self() ([]byte, error) {
	name, err := os.Executable()
	if err != nil {
		return nil, err
	}
	b, err := os.ReadFile(name)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return nil, errors.New("stubdom is linked dynamically and cannot be measured in a guest; build it with CGO_ENABLED=0")
		}
	}
	return b, nil
}

// benchHere measures on this machine's own Xen.
func benchHere(ctx context.Context, c *cli.Context, img *bench.Image) (*bench.Report, error) {
	program, err := self()
	if err != nil {
		return nil, err
	}
	h, err := testbed.Start(ctx, testbed.Options{Progress: os.Stderr, Stock: c.String("stock")})
	if err != nil {
		return nil, err
	}
	defer h.Close()
	rep := &bench.Report{}
	xen, err := h.Script(ctx, "xl info | awk -F ': *' '/^xen_version/ {print $2}'")
	if err != nil {
		return nil, err
	}
	rep.Host = "Xen " + strings.TrimSpace(xen)
	trivial := bench.Image{Name: "a PVH kernel that only powers off", File: filepath.Join(h.Share, "trivial.elf"), MemoryMiB: 16}
	b := bench.Trivial()
	trivial.Size = len(b)
	if err := os.WriteFile(trivial.File, b, 0o755); err != nil {
		return nil, err
	}
	images := []bench.Image{trivial}
	if img != nil {
		images[0].MemoryMiB = img.MemoryMiB
		images = append(images, *img)
	}
	fmt.Fprintln(os.Stderr, "stubdom: whole lives")
	if rep.Images, err = bench.Lives(ctx, h, images, c.Int("runs")); err != nil {
		return nil, err
	}
	if !c.Bool("machine") {
		return rep, nil
	}
	fmt.Fprintln(os.Stderr, "stubdom: the machine, as a unikernel and in a Linux guest")
	ours, peers, err := bench.Machine(ctx, h, program, c.Int("runs"), c.Int("rounds"))
	if err != nil {
		return nil, err
	}
	rep.Machine = bench.Rows(ours, peers, rep.Images[0].Life.Min)
	return rep, nil
}

// benchThere boots a Xen host in QEMU and runs this program in its dom0.
func benchThere(ctx context.Context, c *cli.Context, img *bench.Image) (*bench.Report, error) {
	program, err := self()
	if err != nil {
		return nil, err
	}
	h, err := startHost(ctx)
	if err != nil {
		return nil, err
	}
	defer h.Close()
	if err := os.WriteFile(filepath.Join(h.Share, "stubdom"), program, 0o755); err != nil {
		return nil, err
	}
	if err := h.ShareStock(); err != nil {
		return nil, err
	}
	args := []string{
		h.Path("stubdom"), "bench", "--json", "--stock", h.Dir, "--runs", strconv.Itoa(c.Int("runs")),
		"--rounds", strconv.Itoa(c.Int("rounds")), "--machine=" + strconv.FormatBool(c.Bool("machine")),
	}
	if img != nil {
		b, err := os.ReadFile(img.File)
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(h.Share, "image.elf"), b, 0o755); err != nil {
			return nil, err
		}
		args = append(args, "--memory", strconv.Itoa(img.MemoryMiB), h.Path("image.elf"), "--")
		args = append(args, c.Args().Tail()...)
	}
	var out bytes.Buffer
	code, err := h.Command(ctx, nil, &out, os.Stderr, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("stubdom bench in dom0: exit status %d", code)
	}
	if err != nil {
		return nil, err
	}
	rep := &bench.Report{}
	if err := json.Unmarshal(out.Bytes(), rep); err != nil {
		return nil, fmt.Errorf("stubdom bench in dom0: %w in %q", err, out.String())
	}
	for i := range rep.Images {
		if img != nil && rep.Images[i].Name == h.Path("image.elf") {
			rep.Images[i].Name = img.Name
		}
	}
	rep.Host += " in QEMU"
	return rep, nil
}

// benchQEMU measures QEMU's whole life with the image.
func benchQEMU(ctx context.Context, c *cli.Context, img *bench.Image) (*bench.Report, error) {
	img.MemoryMiB = max(img.MemoryMiB, 128)
	_, args := benchOperand(c)
	var times []time.Duration
	reason := "poweroff"
	for range c.Int("runs") {
		start := time.Now()
		end, err := inQEMU(ctx, io.Discard, img.File, img.MemoryMiB, args)
		if err != nil {
			return nil, err
		}
		reason = string(end)
		times = append(times, time.Since(start))
	}
	return &bench.Report{Host: "QEMU", Images: []bench.Life{bench.NewLife(*img, reason, nil, times)}}, nil
}

// figures is the program of bench's guests.
func figures(atMain time.Duration, args []string) {
	rounds := 0
	if len(args) == 1 {
		rounds, _ = strconv.Atoi(args[0])
	}
	if rounds < 100 {
		fmt.Fprintln(os.Stderr, "stubdom: figures is what bench starts in its guests; use bench")
		os.Exit(exitUsage)
	}
	if err := bench.Figures(context.Background(), os.Stdout, atMain, rounds); err != nil {
		fmt.Fprintln(os.Stderr, "stubdom:", err)
		os.Exit(exitRun)
	}
}
