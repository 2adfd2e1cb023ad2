// Ramdisk is a domain that serves disks of its own memory: to try the block backend on a Xen host, and to measure it
// without a disk behind. In a guest's configuration the target is the size in MiB, and anything after it:
//
//	disk=['format=raw,vdev=xvda,access=rw,backend=ramdisk,target=16']
//
// Whoever attaches a target again finds what was on it. While disks are used, a line every few seconds tells what a
// request costs, in system calls, hypercalls, events and changes of thread.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"morgana/blkback"
	"morgana/block"
	"morgana/unikernel"
	"morgana/xen/devxen"
	"morgana/xenstore"
)

func main() {
	var o blkback.Options
	flag.IntVar(&o.PersistentGrants, "persistent", 0, "pages that a ring keeps mapped; negative: none")
	flag.IntVar(&o.MapPages, "map-pages", 0, "from how many pages on others are mapped, not copied; 0: the default")
	flag.IntVar(&o.Parallel, "parallel", 0, "calls of the disk at a time")
	sector := flag.Int("sector", 512, "size of a sector")
	every := flag.Duration("every", 2*time.Second, "how often to tell what requests cost")
	flag.Parse()
	if flag.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "ramdisk: %q is not a flag\n", flag.Arg(0))
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := serve(ctx, o, *sector, *every); err != nil && ctx.Err() == nil {
		fmt.Println("ramdisk: FAIL:", err)
		os.Exit(1)
	}
}

// mostMiB bounds the disks together, as the domain's memory does.
const mostMiB = 64

// memory is the disks by their targets.
type memory struct {
	sector int

	mu    sync.Mutex
	total int
	disks map[string]*block.Mem
}

func (m *memory) open(_ context.Context, a *blkback.Attachment) (blkback.Disk, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.disks[a.Target]; d != nil {
		return blkback.Disk{Device: d, SecureDiscard: true}, nil
	}
	digits := a.Target[:len(a.Target)-len(strings.TrimLeft(a.Target, "0123456789"))]
	n, err := strconv.Atoi(digits)
	if err != nil || n < 1 || m.total+n > mostMiB {
		return blkback.Disk{}, fmt.Errorf("target %.40q: a size in MiB wanted, %d are left", a.Target, mostMiB-m.total)
	}
	m.total += n
	d := block.NewMem(int64(n)<<20, m.sector)
	m.disks[a.Target] = d
	return blkback.Disk{Device: d, SecureDiscard: true}, nil
}

func serve(ctx context.Context, o blkback.Options, sector int, every time.Duration) error {
	unikernel.SetLimits()
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
	m := &memory{sector: sector, disks: map[string]*block.Mem{}}
	server, err := blkback.New(blkback.Config{
		Store: store, Domain: dom, Open: m.open, Options: o, Log: slog.New(slog.NewTextHandler(os.Stdout, nil)),
	})
	if err != nil {
		return err
	}
	go tell(ctx, server, every)
	fmt.Println("ramdisk: serving")
	return server.Serve(ctx)
}

// tell says now and then what requests cost since it last said so.
func tell(ctx context.Context, server *blkback.Server, every time.Duration) {
	was := map[*blkback.Attachment]uint64{}
	batches := map[*blkback.Attachment]uint64{}
	before := unikernel.Counters()
	for {
		select {
		case <-time.After(every):
		case <-ctx.Done():
			return
		}
		after := unikernel.Counters()
		n, b := uint64(0), uint64(0)
		for _, a := range server.Attached() {
			s := a.Stats()
			all := uint64(0)
			for k := blkback.StatRead; k <= blkback.StatOther; k++ {
				all += s.Requests(k)
			}
			n, b = n+all-was[a], b+s.Batches()-batches[a]
			was[a], batches[a] = all, s.Batches()
		}
		if n > 0 {
			per := func(a, b uint64) float64 { return float64(b-a) / float64(n) }
			fmt.Printf("ramdisk: %d requests, %.1f a batch; each: %.2f system calls, %.2f hypercalls, %.2f events, %.2f switches\n",
				n, float64(n)/float64(max(b, 1)), per(before.Syscalls, after.Syscalls), per(before.Hypercalls, after.Hypercalls),
				per(before.Events, after.Events), per(before.Switches, after.Switches))
		}
		before = after
	}
}
