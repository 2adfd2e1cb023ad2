package main

import (
	"errors"
	"fmt"
	"os"
	"os/exec"

	"github.com/urfave/cli/v2"

	testqemu "morgana/tests/qemu"
)

var runCommand = &cli.Command{
	Name:      "run",
	Usage:     "run an image on this Xen host, or in QEMU without Xen, its console attached",
	ArgsUsage: "IMAGE [-- ARGUMENTS]",
	Flags: []cli.Flag{
		&cli.BoolFlag{Name: "qemu", Usage: "boot it in QEMU without Xen (events, grants and xenstore are not there)"},
		&cli.IntFlag{Name: "memory", Usage: "`MiB`"},
	},
	Action: func(c *cli.Context) error {
		if c.NArg() < 1 {
			return cli.Exit("run: give one image", exitUsage)
		}
		img, args := c.Args().First(), c.Args().Tail()
		cfg, err := config(img, "", c.Int("memory"), "destroy", args, nil)
		if err != nil {
			return err
		}
		if c.Bool("qemu") {
			return qemu(img, max(c.Int("memory"), 128), args)
		}
		if _, err := os.Stat("/proc/xen/capabilities"); err != nil {
			return failed(errors.New("this is not a Xen host; use --qemu, or make xenhost for one in QEMU"))
		}
		f, err := os.CreateTemp("", "stubdom*.cfg")
		if err != nil {
			return failed(err)
		}
		defer os.Remove(f.Name())
		if _, err := f.WriteString(cfg); err != nil {
			return failed(err)
		}
		if err := f.Close(); err != nil {
			return failed(err)
		}
		return attached(exec.Command("xl", "create", "-c", f.Name()))
	},
}

func attached(cmd *exec.Cmd) error {
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	return failed(cmd.Run())
}

// qemu boots img directly. isa-debug-exit ends QEMU with 2·reason+1.
func qemu(img string, memory int, args []string) error {
	cmd := exec.Command("qemu-system-x86_64", "-machine", "q35", "-accel", testqemu.Accelerator(), "-cpu", "max", "-m", fmt.Sprint(memory), "-display", "none", "-no-reboot",
		"-kernel", img, "-append", quoteWords(args), "-chardev", "stdio,id=c", "-device", "isa-debugcon,iobase=0xe9,chardev=c",
		"-device", "isa-debug-exit,iobase=0xf4", "-net", "none")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err := cmd.Run()
	var ended *exec.ExitError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ended) && ended.ExitCode() == 1: // reason 0, poweroff
		return nil
	case errors.As(err, &ended) && ended.ExitCode() == 7:
		return cli.Exit("the guest crashed or its program failed", 7)
	case errors.Is(err, exec.ErrNotFound):
		return failed(errors.New("qemu-system-x86_64 is missing; install Debian's qemu-system-x86"))
	}
	return failed(err)
}
