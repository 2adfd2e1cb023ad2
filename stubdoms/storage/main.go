// Storage is a domain that serves logical volumes as disks: the volumes of the groups on its own disks, which are dom0's
// or a driver domain's. Its xl configuration:
//
//	name="storage"  type="pvh"  kernel="storage.elf"  memory=96
//	disk=['/dev/sdb,raw,xvda,rw']
//
// and a guest's, whose disk is volume web1 of group vg0:
//
//	disk=['format=raw,vdev=xvda,access=rw,backend=storage,target=vg0/web1']
//
// Volumes are managed while guests use them, with mlvm in dom0: mlvm --domain storage lvcreate -L10g -n web2 vg0. The
// groups are LVM2's: when the domain is shut down, dom0's lvm2 may have them. While it runs, nobody else may.
//
// A guest's disk survives the death of this program: the kernel starts it again in the same domain, it finds its own
// disks and its guests' rings where they were, and goes on.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"morgana/blkback"
	"morgana/cmd/mlvm/serving"
	"morgana/lvm/remote"
	"morgana/unikernel"
	"morgana/unikernel/crashtest"
	"morgana/xen/devxen"
	"morgana/xenstore"
)

func main() {
	redo := flag.Bool("redolog", true, "give groups a redo log, with which a change takes as long however many volumes there are")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "usage: storage [--redolog=false]")
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := serve(ctx, log, *redo); err != nil && ctx.Err() == nil {
		log.Error("storage ends", "error", err)
		os.Exit(1)
	}
}

// closeTime bounds what the domain does at its end: xl's own patience is no longer.
const closeTime = 30 * time.Second

func serve(ctx context.Context, log *slog.Logger, redo bool) error {
	if unikernel.Booted() {
		if err := unikernel.RestartOnFatal(true); err != nil {
			return err
		}
		unikernel.SetLimits()
	}
	store, err := xenstore.Dial(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	dom, err := devxen.Open()
	if err != nil {
		return err
	}
	defer dom.Close()

	disks, err := openDisks(ctx, store, dom, log)
	if err != nil {
		return err
	}
	defer disks.close()
	volumes := serving.New(disks.list, serving.Options{RedoLog: redo, Words: os.Stderr})
	groups, err := volumes.Start(ctx)
	if err != nil {
		log.Error("not all groups can be served", "error", err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTime)
		defer cancel()
		if err := volumes.Close(ctx); err != nil {
			log.Error("groups are not as LVM2 wants them; mlvm sync mends that", "error", err)
		}
	}()
	server, err := blkback.New(blkback.Config{
		Store: store, Domain: dom, Open: volumes.Disk, Log: log, Options: blkback.Options{Resumable: true},
	})
	if err != nil {
		return err
	}
	crashtest.Watch(ctx, store)
	log.Info("serving", "groups", groups, "disks", len(disks.list), "generation", unikernel.Generation())

	ctx, cancel := context.WithCancelCause(ctx)
	commands := make(chan struct{})
	go func() {
		defer close(commands)
		cancel(remote.Serve(ctx, store, dom.ID(), serving.Commands(volumes, server)))
	}()
	cancel(server.Serve(ctx))
	<-commands
	return context.Cause(ctx)
}
