// Command blkbench measures a stock Linux guest's disk by three roads to the same kind of disk, in one boot of one host,
// turn by turn: Linux's block backend in dom0, our backend as a process of dom0, and the storage domain. In the guest
// runs Debian's fio.
//
//	go run ./tests/blkbench [-seconds 4] [-turns 2] [-only linux,process,domain]
//
// For each load it prints the requests a second and the CPU time of everything but the guest for each request, of all
// domains that serve it: dom0 by itself, or dom0 and the storage domain. Under emulation only the ratios mean something.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"morgana/tests/ratios"
	"morgana/tests/testbed"
)

func main() {
	seconds := flag.Int("seconds", 4, "how long each load runs on each road in one turn")
	turns := flag.Int("turns", 2, "how often the roads take turns; the median counts")
	only := flag.String("only", "linux,process,domain", "the roads")
	loads := flag.String("loads", "", "loads whose names begin so alone")
	mib := flag.Int("size", 256, "of each disk, in MiB")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	b := bench{seconds: *seconds, turns: *turns, mib: *mib, loads: *loads}
	if err := b.run(ctx, strings.Split(*only, ",")); err != nil {
		fmt.Fprintln(os.Stderr, "blkbench:", err)
		os.Exit(1)
	}
}

// bench is one run.
type bench struct {
	seconds, turns, mib int
	loads               string

	dir   string
	host  *testbed.Host
	roads []road
}

// road is a way from the guest to a disk.
type road struct {
	name   string
	active bool // dom0's lvm2 has the volume
	// begin makes it ready for the volume bench of a group on dom0's disk, and returns what xl is told for the guest's
	// disk vdev, which domains serve it beside dom0, and how it ends.
	begin func(ctx context.Context, b *bench, disk, group, vdev string) (way, error)
}

type way struct {
	spec    string
	domains []string
	end     func() error
}

var allRoads = []road{{"linux", true, linux}, {"process", false, process}, {"domain", false, storage}}

func (b *bench) run(ctx context.Context, names []string) error {
	for _, n := range names {
		i := slices.IndexFunc(allRoads, func(r road) bool { return r.name == n })
		if i < 0 {
			return fmt.Errorf("there is no road %q", n)
		}
		b.roads = append(b.roads, allRoads[i])
	}
	var err error
	if b.dir, err = os.MkdirTemp("/dev/shm", "blkbench"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir)
	// Each road has a disk of its own, all alike.
	o := testbed.Options{MemoryMiB: 3584, Share: filepath.Join(b.dir, "share")}
	if err := os.Mkdir(o.Share, 0o755); err != nil {
		return err
	}
	for i := range b.roads {
		file := filepath.Join(b.dir, fmt.Sprintf("disk%d.img", i))
		if err := os.WriteFile(file, nil, 0o644); err != nil {
			return err
		}
		if err := os.Truncate(file, int64(b.mib)<<20); err != nil {
			return err
		}
		o.Disks = append(o.Disks, file)
	}
	if b.host, err = testbed.Start(ctx, o); err != nil {
		return err
	}
	defer b.host.Close()
	files, err := b.host.Programs(ctx, "/usr/bin/fio")
	if err != nil {
		return err
	}
	disk := func(i int) string { return fmt.Sprintf("/dev/vd%c", 'b'+i) }
	group := func(i int) string { return fmt.Sprint("vg", i) }
	// All of them before anybody serves one: who serves a group locks it, and lvm2 waits for that.
	for i, r := range b.roads {
		if err := b.volume(ctx, disk(i), group(i), r.active); err != nil {
			return err
		}
	}
	var specs []string
	var ways []way
	var roads []road
	var failed error // roads that are closed; the others are measured all the same
	for i, r := range b.roads {
		w, err := r.begin(ctx, b, disk(i), group(i), fmt.Sprintf("xvd%c", 'a'+len(roads)))
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", r.name, err))
			continue
		}
		roads = append(roads, r)
		if w.end != nil {
			defer func() {
				if err := w.end(); err != nil {
					fmt.Fprintf(os.Stderr, "blkbench: %s: %v\n", r.name, err)
				}
			}()
		}
		specs, ways = append(specs, w.spec), append(ways, w)
	}
	b.roads = roads
	if len(roads) == 0 {
		return failed
	}
	t, err := b.measure(ctx, files, specs, ways)
	if err != nil {
		return errors.Join(failed, err)
	}
	return errors.Join(failed, t.print(os.Stdout), ratios.Keep("blk", t.ratios()))
}

// measure runs every load on every road, turn by turn.
func (b *bench) measure(ctx context.Context, files testbed.Files, specs []string, ways []way) (*table, error) {
	var rows []load
	for _, l := range allLoads {
		if strings.HasPrefix(l.name, b.loads) {
			rows = append(rows, l)
		}
	}
	// A kernel's command line is too short for it.
	files["bench.sh"] = []byte(b.script(rows))
	c, err := b.host.StockGuest(ctx, "fio", "pvh", "sh /bench.sh", files)
	if err != nil {
		return nil, err
	}
	c.MemoryMiB, c.Disks = 512, specs
	start := time.Now()
	g, err := b.host.StartDomain(ctx, c)
	if err != nil {
		return nil, err
	}
	defer g.Destroy(context.WithoutCancel(ctx))
	t := &table{roads: b.roads, loads: rows}
	if _, err := g.Console.WaitFor(ctx, "FIO 0 begins"); err != nil {
		return nil, fmt.Errorf("%w\n%s", err, g.Console)
	}
	// What dom0 and the others use while nothing is asked of them, the measuring included.
	idle := make([]time.Duration, len(ways))
	for j, w := range ways {
		if idle[j], err = b.used(ctx, w, func() error {
			select {
			case <-time.After(time.Duration(b.seconds) * time.Second):
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}); err != nil {
			return nil, err
		}
	}
	n := b.turns * len(rows) * len(b.roads)
	for k := range n {
		i, j := k/len(b.roads)%len(rows), k%len(b.roads)
		// What a road left in dom0's page cache is written now, and not while the next one is measured.
		if _, err := b.host.Output(ctx, "sync"); err != nil {
			return nil, err
		}
		if _, err := g.Console.WaitFor(ctx, fmt.Sprintf("FIO %d begins", k)); err != nil {
			return nil, fmt.Errorf("%w\n%s", err, g.Console)
		}
		var m []string
		used, err := b.used(ctx, ways[j], func() (err error) {
			g.Console.Type("\n")
			m, err = g.Console.WaitFor(ctx, fmt.Sprintf(`FIO %d ends: (.*)\n`, k))
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, g.Console)
		}
		r, err := parseTerse(m[1])
		if err != nil {
			return nil, fmt.Errorf("%w\n%s", err, g.Console)
		}
		r.cpu = max(used-idle[j], 0)
		t.add(i, j, r)
		fmt.Fprintf(os.Stderr, "blkbench: %3d of %d, %4.0f s: %-14s %-8s %8.0f requests/s\n",
			k+1, n, time.Since(start).Seconds(), rows[i].name, b.roads[j].name, r.rate)
	}
	return t, nil
}

// used is the CPU time that the domains of a way use while f runs.
func (b *bench) used(ctx context.Context, w way, f func() error) (time.Duration, error) {
	before, err := cpu(ctx, b.host, w.domains)
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := cpu(ctx, b.host, w.domains)
	return after - before, err
}
