package main

import (
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"morgana/cmd/stubdom/internal/host"
)

var hostCommand = &cli.Command{
	Name:  "host",
	Usage: "bring Morgana's domains up on this Xen host, or on one booted in QEMU, and serve a stock guest from them",
	Description: `A disk that dom0's lvm2 prepares goes to the storage domain; a stock Linux guest boots from a volume that this domain
serves, writes, syncs and powers off; then lvm2, e2fsck and checksums say whether all is well. How it goes is on
standard error, what was verified on standard output.`,
	Flags: []cli.Flag{
		&cli.StringFlag{Name: "images", Value: "build/stubdoms", Usage: "`DIRECTORY` of the domains' images, which make stubdoms makes"},
		&cli.StringFlag{Name: "programs", Value: "build", Usage: "`DIRECTORY` of the programs that make build makes"},
		&cli.BoolFlag{Name: "sim", Usage: "the same domains in this process, on the simulator: on any machine, without root"},
		&cli.StringFlag{Name: "http", Usage: "show the host on a page at this `ADDRESS`, 127.0.0.1:8080 for one, until quit"},
		&cli.BoolFlag{Name: "linux", Usage: "let dom0's own Linux serve the volume, and xenstored the store, for comparison"},
		&cli.DurationFlag{Name: "timeout", Value: 5 * time.Minute, Usage: "give up when a step takes longer than this `TIME`"},
	},
	Action: func(c *cli.Context) error {
		if c.NArg() > 0 {
			return cli.Exit("host takes no operands", exitUsage)
		}
		ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
		defer stop()
		o := host.Options{
			Images: c.String("images"), Programs: c.String("programs"), Words: os.Stderr, Linux: c.Bool("linux"), HTTP: c.String("http"),
			Patience: c.Duration("timeout"),
		}
		run := host.Run
		if c.Bool("sim") {
			run = host.Simulate
		}
		if err := run(ctx, o, os.Stdout); err != nil {
			return endOf(ctx, err)
		}
		return nil
	},
}
