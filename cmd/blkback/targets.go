package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"morgana/blkback"
	"morgana/block/file"
	"morgana/cmd/mlvm/serving"
	"morgana/xen/xenbus"
	"morgana/xenstore"
)

// targets finds what is behind disks.
type targets struct {
	store   *xenstore.Client
	volumes *serving.Volumes // nil without --disks
	log     *slog.Logger
}

// open is a blkback.Config's. A disk is ours when its script is this program, and has run, or when no driver of the
// kernel's could have the disk.
func (t *targets) open(ctx context.Context, a *blkback.Attachment) (blkback.Disk, error) {
	script, err := t.store.Read(ctx, a.Path+"/script")
	if err != nil || filepath.Base(script) != programName {
		return blkback.Disk{}, xenbus.ErrNotOurs
	}
	if kernelServes() {
		if status, err := t.store.Read(ctx, a.Path+"/"+handed); err != nil || status != "1" {
			return blkback.Disk{}, xenbus.ErrNotOurs
		}
	}
	if !strings.HasPrefix(a.Target, "/") {
		if t.volumes == nil {
			return blkback.Disk{}, fmt.Errorf("target %q is a volume, and blkback serve was given no --disks", a.Target)
		}
		return t.volumes.Disk(ctx, a)
	}
	open := file.Open
	if a.ReadOnly {
		open = file.OpenReadOnly
	}
	d, err := open(a.Target, file.Direct())
	if err != nil {
		return blkback.Disk{}, err
	}
	return blkback.Disk{
		Device: d, ReadOnly: a.ReadOnly,
		Close: func() {
			if err := d.Close(); err != nil {
				t.log.Error("closing a disk", "target", a.Target, "error", err)
			}
		},
	}, nil
}

// programName is what the script of a disk of ours is called.
const programName = "blkback"

// kernelDriver is the kernel's driver of block backends: a directory with a link for each disk that it has.
const kernelDriver = "/sys/bus/xen-backend/drivers/vbd"

func kernelServes() bool {
	_, err := os.Stat(kernelDriver)
	return err == nil
}
