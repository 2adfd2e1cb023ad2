package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"sync"
	"time"

	"morgana/lvm"
	"morgana/xen/blkfront"
	"morgana/xen/devxen"
	"morgana/xen/wire/blkif"
	"morgana/xenstore"
)

// connectTime bounds how long the domain waits for its disks: a backend that is slow to come is waited for.
const connectTime = time.Minute

// disks are the domain's own.
type disks struct {
	list   []lvm.Disk
	opened []*blkfront.Disk
}

// openDisks connects to all disks that the tool stack gave the domain, at once.
func openDisks(ctx context.Context, store *xenstore.Client, dom *devxen.Domain, log *slog.Logger) (*disks, error) {
	names, err := store.List(ctx, "device/vbd")
	if errors.Is(err, xenstore.ErrNotExist) || err == nil && len(names) == 0 {
		return nil, errors.New("this domain has no disk; give it some in its configuration: disk=['/dev/sdb,raw,xvda,rw']")
	}
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, connectTime, errors.New("its backend did not answer in time"))
	defer cancel()
	var (
		mu   sync.Mutex
		wg   sync.WaitGroup
		d    disks
		errs []error
	)
	for _, n := range names {
		number, err := strconv.ParseUint(n, 10, 32)
		if err != nil {
			continue
		}
		wg.Go(func() {
			disk, err := blkfront.Open(ctx, blkfront.Config{Store: store, Domain: dom, Path: "device/vbd/" + n, Segments: 256})
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				errs = append(errs, fmt.Errorf("disk %s: %w", blkif.DiskName(uint32(number)), err))
				return
			}
			d.opened = append(d.opened, disk)
			d.list = append(d.list, lvm.Disk{Name: "/dev/" + blkif.DiskName(uint32(number)), Device: disk})
			log.Info("disk", "name", blkif.DiskName(uint32(number)), "bytes", disk.Size(), "sector", disk.SectorSize(), "read-only", disk.ReadOnly())
		})
	}
	wg.Wait()
	if len(errs) > 0 {
		d.close()
		return nil, errors.Join(errs...)
	}
	slices.SortFunc(d.list, func(a, b lvm.Disk) int {
		if a.Name < b.Name {
			return -1
		}
		return 1
	})
	return &d, nil
}

func (d *disks) close() {
	for _, x := range d.opened {
		_ = x.Close() // everything was flushed, or nothing can be done about it
	}
}
