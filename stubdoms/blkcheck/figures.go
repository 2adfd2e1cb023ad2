package main

import (
	"context"
	"fmt"
	"time"

	"morgana/unikernel"
	"morgana/xen/blkfront"
)

var background = context.Background()

// figures measures what a request costs: time, system calls, hypercalls, events, and changes of thread.
func figures(disk *blkfront.Disk, rounds int) error {
	fmt.Println("blkcheck: figures     µs/request  syscalls  hypercalls  notifications  events  switches")
	for _, c := range []struct {
		name  string
		op    blkfront.Op
		size  int
		depth int
	}{
		{"read 4K  depth 1", blkfront.Read, 4 << 10, 1},
		{"read 4K  depth 32", blkfront.Read, 4 << 10, 32},
		{"write 4K depth 1", blkfront.Write, 4 << 10, 1},
		{"write 4K depth 32", blkfront.Write, 4 << 10, 32},
		{"read 64K depth 8", blkfront.Read, 64 << 10, 8},
		{"read 1M  depth 2", blkfront.Read, 1 << 20, 2},
	} {
		if c.op != blkfront.Read && disk.ReadOnly() {
			continue
		}
		reqs := make([]blkfront.Request, c.depth)
		slots := disk.Size() / int64(c.size)
		for i := range reqs {
			// What is written is what is there, in places that are apart.
			off := int64(i) * (slots / int64(c.depth)) * int64(c.size)
			b := make([]byte, c.size)
			stamp(b, off)
			reqs[i] = blkfront.Request{Op: c.op, Off: off, Bufs: [][]byte{b}}
		}
		n := max(rounds*(4<<10)/c.size/c.depth, 4) * c.depth
		at := int64(1)
		run := func(n int) error {
			for i := 0; i < n; i += c.depth {
				for k := range reqs {
					if c.op == blkfront.Read {
						at = at * 48271 % 2147483647 // Park and Miller's generator: any order does
						reqs[k].Off = at % slots * int64(c.size)
					}
				}
				if err := disk.Do(background, reqs); err != nil {
					return err
				}
			}
			return nil
		}
		if err := run(4 * c.depth); err != nil {
			return err
		}
		before, from, start := unikernel.Counters(), disk.Stats(), time.Now()
		if err := run(n); err != nil {
			return err
		}
		took, after, to := time.Since(start), unikernel.Counters(), disk.Stats()
		per := func(a, b uint64) float64 { return float64(b-a) / float64(n) }
		fmt.Printf("blkcheck: %-20s %8.1f  %8.2f  %10.2f  %13.2f  %6.2f  %8.2f\n", c.name, took.Seconds()*1e6/float64(n),
			per(before.Syscalls, after.Syscalls), per(before.Hypercalls, after.Hypercalls),
			per(from.Notifications, to.Notifications), per(from.Events, to.Events), per(before.Switches, after.Switches))
	}
	return nil
}
