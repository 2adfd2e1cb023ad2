// Command blkback serves files, block devices and logical volumes of dom0 as disks to domains, in place of the kernel's
// driver and beside it. See blkback --help.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"morgana/blkback"
	"morgana/cmd/mlvm/serving"
	"morgana/lvm/remote"
	"morgana/metrics"
	"morgana/metrics/exporter"
	"morgana/xen/devxen"
	"morgana/xenstore"
)

const description = `The daemon: blkback serve, with --disks for those whose volume groups it serves.

A guest's disk is given to it by naming this program as the disk's script:

   disk=['format=raw,vdev=xvda,access=rw,script=/usr/local/bin/blkback,target=/srv/web.img']
   disk=['format=raw,vdev=xvdb,access=rw,script=/usr/local/bin/blkback,target=vg0/data']

A target that begins with a slash is a file or a block device; any other is a volume of a group on --disks. xl runs the
script when it attaches a disk and when it detaches one: the disk is taken from the kernel's driver, if that is loaded,
and given to the daemon. Disks with other scripts stay the kernel's.

Disks survive the daemon: when it ends or is killed, guests wait, and go on when it is started again.

Volumes of its groups are managed meanwhile with mlvm --domain 0 lvcreate, lvextend, lvs and so on.

Exit status: 0 ended by SIGTERM or Ctrl-C, 1 failed, 2 wrong usage.`

// errUsage says that the program was called wrongly.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	// xl runs a script with the directory of the backend in its environment.
	if path := os.Getenv("XENBUS_PATH"); path != "" && len(os.Args) == 2 {
		if err := script(ctx, path, os.Args[1]); err != nil {
			fmt.Fprintln(os.Stderr, "blkback:", err)
			os.Exit(1)
		}
		return
	}
	app := &cli.App{
		Name: "blkback", Usage: "serve disks to domains", HideVersion: true, Description: description,
		ExitErrHandler: func(*cli.Context, error) {},
		OnUsageError:   func(_ *cli.Context, err error, _ bool) error { return fmt.Errorf("%w: %w", errUsage, err) },
		Commands: []*cli.Command{{
			Name: "serve", Usage: "serve until SIGTERM", Action: serve,
			Flags: []cli.Flag{
				&cli.StringSliceFlag{Name: "disks", Usage: "serve the volume groups on `DISK`,…: files and block devices"},
				&cli.BoolFlag{Name: "redolog", Usage: "give these groups a redo log, with which a change takes as long however many volumes there are"},
				&cli.BoolFlag{Name: "json", Usage: "log as JSON"},
				&cli.StringFlag{Name: "metrics", Usage: "tell Prometheus of the disks at this `ADDRESS`, 127.0.0.1:9103 for one"},
			},
		}},
	}
	switch err := app.RunContext(ctx, os.Args); {
	case err == nil || ctx.Err() != nil:
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "blkback:", err)
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "blkback:", err)
		os.Exit(1)
	}
}

func serve(c *cli.Context) error {
	if c.NArg() > 0 {
		return fmt.Errorf("%w: %q is no option; disks are named by their guests' configuration", errUsage, c.Args().First())
	}
	ctx, cancel := context.WithCancelCause(c.Context)
	defer cancel(nil)
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if c.Bool("json") {
		log = slog.New(slog.NewJSONHandler(os.Stderr, nil))
	}
	store, err := xenstore.Open(ctx, xenstore.Options{Lost: xenstore.Wait}) // guests keep their disks while xenstored is restarted
	if err != nil {
		return err
	}
	defer store.Close()
	dom, err := devxen.Open()
	if err != nil {
		return err
	}
	defer dom.Close()

	t := &targets{store: store, log: log}
	if devices := c.StringSlice("disks"); len(devices) > 0 {
		t.volumes = serving.New(nil, serving.Options{RedoLog: c.Bool("redolog"), Devices: devices, Words: os.Stderr})
		groups, err := t.volumes.Start(ctx)
		if err != nil {
			return err
		}
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 30*time.Second)
			defer cancel()
			if err := t.volumes.Close(ctx); err != nil {
				log.Error("groups are not as LVM2 wants them; mlvm sync mends that", "error", err)
			}
		}()
		log.Info("serving volumes", "groups", groups)
	}
	server, err := blkback.New(blkback.Config{
		Store: store, Domain: dom, Open: t.open, Log: log, Options: blkback.Options{Resumable: true},
	})
	if err != nil {
		return err
	}
	if at := c.String("metrics"); at != "" {
		stop, err := exporter.Start(ctx, at, func(_ context.Context, set *metrics.Set) error {
			server.Collect(set)
			return nil
		}, log, func(err error) { log.Error(err.Error()) })
		if err != nil {
			return err
		}
		defer stop()
	}
	commands := make(chan struct{})
	go func() {
		defer close(commands)
		cancel(remote.Serve(ctx, store, dom.ID(), serving.Commands(t.volumes, server)))
	}()
	log.Info("serving", "domain", dom.ID())
	cancel(server.Serve(ctx))
	<-commands
	return context.Cause(ctx)
}
