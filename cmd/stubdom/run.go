package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	testqemu "morgana/tests/qemu"
	"morgana/tests/testbed"
)

var runCommand = &cli.Command{
	Name:      "run",
	Usage:     "run an image on this Xen host, or on one booted in QEMU, its console attached",
	ArgsUsage: "IMAGE [-- ARGUMENTS]",
	Description: `What is typed goes to the domain, Ctrl-C destroys it. Standard output is the domain's console, alone.
Where this machine is no Xen host's dom0, a Xen host is booted in QEMU; it is built at the first time, which needs root.`,
	Flags: []cli.Flag{
		&cli.BoolFlag{Name: "qemu", Usage: "boot it in QEMU without Xen (events, grants and xenstore are not there)"},
		&cli.StringFlag{Name: "name", Usage: "begin of the domain's `NAME`"},
		&cli.IntFlag{Name: "memory", Usage: "`MiB`; by default what the image needs and 16 more"},
		&cli.StringSliceFlag{Name: "extra", Usage: "one more `LINE` of the xl configuration"},
	},
	Action: func(c *cli.Context) error {
		if c.NArg() < 1 {
			return cli.Exit("run: give one image", exitUsage)
		}
		file, args := c.Args().First(), c.Args().Tail()
		r, err := inspectImage(file)
		if err != nil {
			return err
		}
		memory, err := memoryFor(r, file, c.Int("memory"))
		if err != nil {
			return err
		}
		if c.Bool("qemu") {
			return qemu(file, max(memory, 128), args)
		}
		name := c.String("name")
		if name == "" {
			name = "run"
		}
		ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
		defer stop()
		return run(ctx, testbed.DomainConfig{
			Name: name, Kernel: file, Cmdline: quoteWords(args), MemoryMiB: memory, Extra: c.StringSlice("extra"), Output: os.Stdout,
		})
	},
}

// run starts a domain, connects it with the terminal and waits for its end, which is the error's exit code.
func run(ctx context.Context, c testbed.DomainConfig) (err error) {
	h, err := startHost(ctx)
	if err != nil {
		return err
	}
	defer func() {
		if cerr := h.Close(); err == nil {
			err = failed(cerr)
		}
	}()
	d, err := h.StartDomain(ctx, c)
	if err != nil {
		return endOf(ctx, err)
	}
	fmt.Fprintf(os.Stderr, "stubdom: domain %d, %s; Ctrl-C ends it\n", d.ID, d.Name)
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := os.Stdin.Read(b)
			d.Console.Type(string(b[:n]))
			if err != nil {
				return // the domain goes on without a keyboard
			}
		}
	}()
	reason, err := d.Wait(ctx)
	if err != nil {
		return endOf(ctx, err)
	}
	if reason == "poweroff" || reason == "reboot" {
		return nil
	}
	return cli.Exit("the domain ended with "+reason, exitCrash)
}

// startHost is the Xen host to use; it says on stderr when that takes a while.
func startHost(ctx context.Context) (*testbed.Host, error) {
	if !testbed.OwnHost() {
		fmt.Fprintln(os.Stderr, "stubdom: this machine is no Xen host; booting one in QEMU")
	}
	h, err := testbed.Start(ctx, testbed.Options{Progress: os.Stderr})
	if err != nil {
		return nil, endOf(ctx, err)
	}
	if !h.Own {
		fmt.Fprintf(os.Stderr, "stubdom: it is up after %v\n", h.BootTime.Round(100*time.Millisecond))
	}
	return h, nil
}

// endOf is the error of something that Ctrl-C may have ended.
func endOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return cli.Exit("interrupted", exitInterrupted)
	}
	return failed(err)
}

// qemu boots an image directly, connected with the terminal.
func qemu(img string, memory int, args []string) error {
	cmd := qemuCommand(context.Background(), img, memory, quoteWords(args))
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return qemuEnd(cmd.Run())
}

// qemuCommand is QEMU with an image and what the image writes on standard output.
func qemuCommand(ctx context.Context, img string, memory int, cmdline string) *exec.Cmd {
	return exec.CommandContext(ctx, "qemu-system-x86_64", "-machine", "q35", "-accel", testqemu.Accelerator(), "-cpu", "max", "-m", fmt.Sprint(memory), "-display", "none", "-no-reboot",
		"-kernel", img, "-append", cmdline, "-chardev", "stdio,id=c", "-device", "isa-debugcon,iobase=0xe9,chardev=c",
		"-device", "isa-debug-exit,iobase=0xf4", "-net", "none")
}

// qemuEnd says how the guest ended: isa-debug-exit ends QEMU with 2·reason+1.
func qemuEnd(err error) error {
	var ended *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ended) && ended.ExitCode() == 1: // reason 0, poweroff
		return nil
	case errors.As(err, &ended) && ended.ExitCode() == 7:
		return cli.Exit("the guest crashed or its program failed", exitCrash)
	case errors.Is(err, exec.ErrNotFound):
		return failed(errors.New("qemu-system-x86_64 is missing; install Debian's qemu-system-x86"))
	}
	return failed(err)
}
