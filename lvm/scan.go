package lvm

import (
	"context"
	"errors"
	"sync"
)

// ScanOptions changes how disks are scanned.
type ScanOptions struct {
	// Parallel is how many disks are read at the same time, 0 for 16.
	Parallel int
	// Prefer are names of disks that are taken where two disks have the same UUID.
	Prefer []string
}

// Scan reads the labels and metadata of disks and puts groups together. It writes nothing. What is wrong with a disk
// is told by Inventory.Problems and keeps nobody from using the others; the error is that of ctx only.
func Scan(ctx context.Context, disks []Disk, o ScanOptions) (*Inventory, error) {
	inv := &Inventory{disks: disks}
	var (
		texts texts
		mu    sync.Mutex // guards texts
		wg    sync.WaitGroup
	)
	parse := func(raw []byte) *textCopy {
		mu.Lock()
		defer mu.Unlock()
		return texts.parse(raw)
	}
	type result struct {
		pv  *PhysicalVolume
		err error
	}
	results := make([]result, len(disks))
	n := o.Parallel
	if n <= 0 {
		n = 16
	}
	slots := make(chan struct{}, n)
	for i, d := range disks {
		select {
		case slots <- struct{}{}:
		case <-ctx.Done():
			wg.Wait()
			return nil, ctx.Err()
		}
		wg.Go(func() {
			defer func() { <-slots }()
			results[i].pv, results[i].err = readPV(d, parse)
		})
	}
	wg.Wait()
	for i, r := range results {
		switch {
		case r.pv != nil:
			inv.pvs = append(inv.pvs, r.pv)
		case errors.Is(r.err, ErrNotPhysical):
			inv.unlabelled = append(inv.unlabelled, disks[i])
		default:
			inv.unlabelled = append(inv.unlabelled, disks[i])
			inv.problem(disks[i].Name, r.err, "")
		}
	}
	inv.assemble(o.Prefer)
	return inv, ctx.Err()
}
