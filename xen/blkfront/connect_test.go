package blkfront_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"morgana/blkback"
	"morgana/block"
	"morgana/xen"
	"morgana/xen/blkfront"
	"morgana/xen/sim"
	"morgana/xen/xenbus/xenbustest"
)

// world is a host with a tool stack, a domain that has a disk and one that serves it by package blkback.
type world struct {
	t      testing.TB
	host   *sim.Host
	tools  xenbustest.ToolStack
	front  *sim.Domain
	back   *sim.Domain
	device xenbustest.Device
	disk   block.Device
	stop   func() // ends the backend's program
	server *blkback.Server
}

func newWorld(t testing.TB, disk block.Device, opts ...sim.Option) *world {
	t.Helper()
	w := &world{t: t, host: sim.New(1, opts...), disk: disk, stop: func() {}}
	t.Cleanup(w.host.Close)
	var err error
	if w.front, err = w.host.NewDomain(); err != nil {
		t.Fatal(err)
	}
	w.tools.Store = w.host.Dom0().Store()
	w.newBackend()
	return w
}

// newBackend makes a new domain for the backend, and the device anew for it.
func (w *world) newBackend() {
	w.t.Helper()
	var err error
	if w.back, err = w.host.NewDomain(); err != nil {
		w.t.Fatal(err)
	}
	w.device = xenbustest.Device{
		Class: "vbd", Frontend: w.front.ID(), Backend: w.back.ID(), Number: 51712,
		Nodes: map[string]string{"params": "disk", "mode": "w"},
	}
	w.serve(blkback.Options{})
	if err := w.tools.Attach(within(w.t, time.Minute), &w.device); err != nil {
		w.t.Fatal(err)
	}
}

// serve starts the backend's program.
func (w *world) serve(o blkback.Options) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var err error
	if w.server, err = blkback.New(blkback.Config{
		Store: w.back.Store(), Domain: w.back, Options: o,
		Open: func(context.Context, *blkback.Attachment) (blkback.Disk, error) {
			return blkback.Disk{Device: w.disk}, nil
		},
	}); err != nil {
		w.t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.server.Serve(ctx) // the end of the test or of the domain
	}()
	w.stop = func() {
		cancel()
		<-done
	}
	w.t.Cleanup(w.stop)
}

func (w *world) open(cfg blkfront.Config) *blkfront.Disk {
	w.t.Helper()
	cfg.Store, cfg.Domain, cfg.Path = w.front.Store(), w.front, "device/vbd/51712"
	d, err := blkfront.Open(within(w.t, time.Minute), cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { d.Close() })
	return d
}

func within(t testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), d, fmt.Errorf("%v are over", d))
	t.Cleanup(cancel)
	return ctx
}

// load writes and reads in the n bytes at begin until stop is closed, and checks all that it reads.
func load(t *testing.T, d block.Device, begin, n int64, seed uint64, stop <-chan struct{}) {
	rnd := rand.New(rand.NewPCG(seed, 1))
	model := make([]byte, n)
	if err := block.WriteZeroes(d, begin, n); err != nil {
		t.Error(err)
	}
	for !t.Failed() {
		select {
		case <-stop:
			return
		default:
		}
		off := rnd.Int64N(n)
		b := make([]byte, min(rnd.Int64N(100<<10), n-off))
		var err error
		switch rnd.IntN(5) {
		case 0, 1:
			for i := range b {
				b[i] = byte(rnd.Uint32())
			}
			_, err = d.WriteAt(b, begin+off)
			copy(model[off:], b)
		case 2, 3:
			if _, err = d.ReadAt(b, begin+off); err == nil && !bytes.Equal(b, model[off:off+int64(len(b))]) {
				err = fmt.Errorf("%d bytes at %d are not what was written", len(b), begin+off)
			}
		case 4:
			err = d.Flush()
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// Both halves and a tool stack, on a machine whose events are late and come without reason: attached, used, grown,
// detached; the calls that come after say that it was.
func TestLife(t *testing.T) {
	for _, o := range []blkfront.Config{{}, {Queues: 4, RingOrder: 4}, {RingOrder: -1, Segments: 11, Memory: 1}} {
		w := newWorld(t, block.NewMem(4<<20, 512), sim.WithFaults(sim.Faults{EventDelay: 300 * time.Microsecond, Spurious: 0.02}))
		d := w.open(o)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 4 {
			wg.Go(func() { load(t, d, int64(i)<<20+int64(i), 1<<20-int64(i), uint64(i), stop) })
		}
		time.Sleep(200 * time.Millisecond)
		if a := w.server.Attached(); len(a) != 1 {
			t.Fatal(a)
		}
		close(stop)
		wg.Wait()
		ctx := within(t, time.Minute)
		if err := w.tools.Detach(ctx, &w.device); err != nil {
			t.Fatal(err)
		}
		select {
		case <-d.Done():
		case <-ctx.Done():
			t.Fatal("detached, and the disk does not know")
		}
		if err := d.Flush(); !errors.Is(err, blkfront.ErrRemoved) {
			t.Error(err)
		}
		t.Logf("%+v", d.Stats())
		w.stop()
	}
}

// The backend's domain is destroyed under load and another one takes its place, again and again: the tool stack makes
// the device anew. Calls wait, and nothing that was answered is lost.
func TestBackendDomainIsReplaced(t *testing.T) {
	rounds := 10
	if testing.Short() {
		rounds = 3
	}
	w := newWorld(t, block.NewMem(2<<20, 512))
	d := w.open(blkfront.Config{})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() { load(t, d, int64(i)<<19, 1<<19, uint64(i), stop) })
	}
	for i := range rounds {
		connections(t, d, i+1)
		time.Sleep(20 * time.Millisecond)
		w.back.Destroy()
		w.stop()
		w.newBackend()
	}
	connections(t, d, rounds+1)
	close(stop)
	wg.Wait()
	t.Logf("%+v", d.Stats())
}

// connections waits until a disk has connected for the nth time.
func connections(t *testing.T, d *blkfront.Disk, n int) {
	t.Helper()
	for ctx := within(t, time.Minute); d.Stats().Connections < uint64(n); time.Sleep(time.Millisecond) {
		if ctx.Err() != nil || d.Err() != nil {
			t.Fatal(ctx.Err(), d.Err())
		}
	}
}

// A device without a backend does not keep Open beyond its context, and the error says what it waits for.
func TestOpenGivesUp(t *testing.T) {
	w := newWorld(t, block.NewMem(1<<20, 512))
	w.stop()
	_, err := blkfront.Open(within(t, 30*time.Millisecond), blkfront.Config{Store: w.front.Store(), Domain: w.front, Path: "device/vbd/51712"})
	if err == nil || !strings.Contains(err.Error(), "device/vbd/51712") || !strings.Contains(err.Error(), "does not connect") {
		t.Error(err)
	}
	_, err = blkfront.Open(within(t, time.Minute), blkfront.Config{Store: w.front.Store(), Domain: w.front, Path: "device/vbd/51728"})
	if !errors.Is(err, blkfront.ErrRemoved) {
		t.Error("a device that there is not:", err)
	}
	if _, err := blkfront.Open(context.Background(), blkfront.Config{}); !errors.Is(err, xen.ErrInvalid) {
		t.Error(err)
	}
}

// The frontend's Close tells the backend, which lets go of everything.
func TestCloseGivesAllBack(t *testing.T) {
	w := newWorld(t, block.NewMem(1<<20, 512))
	for range 3 {
		d := w.open(blkfront.Config{})
		if _, err := d.WriteAt(make([]byte, 100<<10), 0); err != nil {
			t.Fatal(err)
		}
		d.Close()
		if n := d.Stats().Parked; n > 0 {
			t.Logf("%d pages were still mapped when they were given back", n)
		}
	}
}

// Both halves over the simulator, whose notifications cost about as much as Xen's: reads and writes of memory.
func BenchmarkPair(b *testing.B) {
	for _, op := range []blkfront.Op{blkfront.Read, blkfront.Write} {
		for _, size := range []int{4 << 10, 64 << 10, 1 << 20} {
			for _, depth := range []int{1, 32} {
				b.Run(fmt.Sprintf("%v-%dK-depth-%d", op, size>>10, depth), func(b *testing.B) {
					w := newWorld(b, block.NewMem(64<<20, 512))
					d := w.open(blkfront.Config{})
					reqs := make([]blkfront.Request, depth)
					for i := range reqs {
						reqs[i] = blkfront.Request{Op: op, Off: int64(i) << 20, Bufs: [][]byte{make([]byte, size)}}
					}
					b.SetBytes(int64(size))
					b.ReportAllocs()
					if err := d.Do(context.Background(), reqs); err != nil { // pages and buffers are there afterwards
						b.Fatal(err)
					}
					b.ResetTimer()
					for i := 0; i < b.N; i += depth {
						if err := d.Do(context.Background(), reqs); err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
