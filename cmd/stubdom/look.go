package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"morgana/cmd/stubdom/internal/host/dom0"
	"morgana/cmd/stubdom/internal/host/look"
	"morgana/metrics"
	"morgana/metrics/exporter"
	"morgana/xenstore"
)

var lookFlags = []cli.Flag{
	&cli.StringFlag{Name: "socket", Value: dom0.DefaultSocket, Usage: "where Morgana's xenconsoled listens"},
	&cli.StringFlag{Name: "logs", Value: dom0.DefaultLogs, Usage: "`DIRECTORY` of the logs of consoles"},
}

// looker connects to this dom0's xenstore.
func looker(ctx context.Context, c *cli.Context) (*look.Looker, error) {
	store, err := xenstore.Dial(ctx)
	if err != nil {
		return nil, failed(fmt.Errorf("%w; is this the dom0 of a Xen host?", err))
	}
	return &look.Looker{Store: store, Machine: &dom0.Machine{Socket: c.String("socket"), Logs: c.String("logs")}, Host: "Xen"}, nil
}

// dom0Path has the directories of the tool stack, which a service's environment may lack.
func dom0Path() error {
	return os.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin:/usr/bin:/bin")
}

var agentCommand = &cli.Command{
	Name: "agent", Hidden: true, Flags: lookFlags,
	Usage: "answer on standard output what stubdom host asks on standard input; in dom0",
	Action: func(c *cli.Context) error {
		if err := dom0Path(); err != nil {
			return failed(err)
		}
		l, err := looker(c.Context, c)
		if err != nil {
			return err
		}
		defer l.Store.Close()
		return failed(dom0.Serve(c.Context, l, os.Stdin, os.Stdout))
	},
}

var metricsCommand = &cli.Command{
	Name:  "metrics",
	Usage: "tell Prometheus of this host's domains: what xenstore, the storage domain and consoles count; in dom0",
	Description: `Each collection asks the parts anew: xenstore by its CONTROL stats, domains that serve disks by a command, the console
daemon or domain by its socket, xl for the domains. docs/operations.md lists the metrics.
Example: stubdom metrics --listen 127.0.0.1:9101; with --once they are printed instead.`,
	Flags: append([]cli.Flag{
		&cli.StringFlag{Name: "listen", Value: "127.0.0.1:9101", Usage: "serve /metrics at this `ADDRESS`"},
		&cli.BoolFlag{Name: "once", Usage: "print the metrics and end"},
	}, lookFlags...),
	Action: func(c *cli.Context) error {
		ctx, stop := signal.NotifyContext(c.Context, os.Interrupt, syscall.SIGTERM)
		defer stop()
		if err := dom0Path(); err != nil {
			return failed(err)
		}
		l, err := looker(ctx, c)
		if err != nil {
			return err
		}
		defer l.Store.Close()
		if c.Bool("once") {
			var set metrics.Set
			if err := l.Collect(ctx, &set); err != nil {
				return failed(err)
			}
			_, err := os.Stdout.Write(set.Append(nil))
			return failed(err)
		}
		e, err := exporter.Listen(c.String("listen"), l.Collect, slog.New(slog.NewTextHandler(os.Stderr, nil)))
		if err != nil {
			return failed(err)
		}
		if err := e.Serve(ctx); ctx.Err() == nil {
			return failed(err)
		}
		return nil
	},
}
