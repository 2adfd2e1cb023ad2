package main

import (
	"context"
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
		&cli.BoolFlag{Name: "linux", Usage: "let dom0's own Linux serve the volume, and xenstored the store, for comparison"},
		&cli.DurationFlag{Name: "timeout", Value: 15 * time.Minute, Usage: "give up after this `TIME`"},
	},
	Action: func(c *cli.Context) error {
		if c.NArg() > 0 {
			return cli.Exit("host takes no operands", exitUsage)
		}
		ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
		defer stop()
		ctx, cancel := context.WithTimeout(ctx, c.Duration("timeout"))
		defer cancel()
		if err := host.Run(ctx, host.Options{Images: c.String("images"), Programs: c.String("programs"), Words: os.Stderr, Linux: c.Bool("linux")}, os.Stdout); err != nil {
			return endOf(ctx, err)
		}
		return nil
	},
}
