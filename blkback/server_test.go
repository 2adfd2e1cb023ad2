package blkback_test

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"morgana/blkback"
	"morgana/block"
	"morgana/xen/blkfront"
	"morgana/xen/sim"
	"morgana/xen/xenbus/xenbustest"
)

const mib = 1 << 20

// site is a host with a storage domain, whose disks are made by name, and a tool stack.
type site struct {
	t    testing.TB
	host *sim.Host
	back *sim.Domain
	xl   *xenbustest.ToolStack
	opt  blkback.Options
	log  bytes.Buffer

	mu     sync.Mutex
	disks  map[string]block.Device
	closed map[string]int
	server *blkback.Server
	stop   func()
	number uint32
}

func newSite(t testing.TB, faults sim.Faults) *site {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		t.Parallel() // most of the time is waiting: a backend stays in each state for a while
	}
	host := sim.New(1, sim.WithFaults(faults))
	t.Cleanup(host.Close)
	s := &site{
		t: t, host: host, xl: &xenbustest.ToolStack{Store: host.Dom0().Store()},
		disks: map[string]block.Device{}, closed: map[string]int{}, number: 51712,
	}
	s.back = s.domain()
	return s
}

func (s *site) domain() *sim.Domain {
	s.t.Helper()
	d, err := s.host.NewDomain()
	s.check(err)
	return d
}

func (s *site) check(err error) {
	s.t.Helper()
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.t.Fatalf("%v\n%s", err, s.log.String())
	}
}

// Write takes the server's log.
func (s *site) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log.Write(b)
}

func (s *site) open(_ context.Context, a *blkback.Attachment) (blkback.Disk, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.disks[a.Target]
	if d == nil {
		return blkback.Disk{}, fmt.Errorf("no disk %q: %w", a.Target, fs.ErrNotExist)
	}
	target := a.Target
	return blkback.Disk{Device: d, Close: func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.closed[target]++
	}}, nil
}

// serve starts the storage domain's service.
func (s *site) serve() {
	s.t.Helper()
	server, err := blkback.New(blkback.Config{
		Store: s.back.Store(), Domain: s.back, Open: s.open, Options: s.opt, Log: slog.New(slog.NewTextHandler(s, nil)),
	})
	s.check(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx) }()
	s.server = server
	s.stop = sync.OnceFunc(func() {
		cancel()
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			s.t.Error("the service does not end")
		}
	})
	s.t.Cleanup(s.stop)
}

// attach attaches a disk of the storage domain to a domain.
func (s *site) attach(front *sim.Domain, target, mode string) *xenbustest.Device {
	s.t.Helper()
	d, err := s.tryAttach(front, target, mode)
	s.check(err)
	return d
}

func (s *site) tryAttach(front *sim.Domain, target, mode string) (*xenbustest.Device, error) {
	s.mu.Lock()
	s.number += 16
	d := &xenbustest.Device{
		Class: "vbd", Frontend: front.ID(), Backend: s.back.ID(), Number: s.number,
		Nodes: map[string]string{"params": target, "mode": mode},
	}
	s.mu.Unlock()
	return d, s.xl.Attach(s.ctx(), d)
}

func (s *site) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	s.t.Cleanup(cancel)
	return ctx
}

// use opens a disk as its frontend.
func (s *site) use(front *sim.Domain, d *xenbustest.Device, c blkfront.Config) *blkfront.Disk {
	s.t.Helper()
	c.Store, c.Domain, c.Path = front.Store(), front, fmt.Sprintf("device/vbd/%d", d.Number)
	x, err := blkfront.Open(s.ctx(), c)
	s.check(err)
	s.t.Cleanup(func() { x.Close() })
	return x
}

// churn writes, reads and compares at random for a number of rounds, on a disk that nobody else uses.
func churn(dev block.Device, rng *rand.Rand, rounds int) error {
	model := make([]byte, dev.Size())
	if _, err := dev.WriteAt(model, 0); err != nil {
		return err
	}
	for range rounds {
		off := rng.Int64N(dev.Size()/512) * 512
		n := min((1+rng.Int64N(64))*512, dev.Size()-off)
		b := make([]byte, n)
		switch rng.IntN(5) {
		case 0:
			if err := dev.Flush(); err != nil {
				return err
			}
		case 1, 2:
			for i := range b {
				b[i] = byte(rng.Uint32())
			}
			if _, err := dev.WriteAt(b, off); err != nil {
				return err
			}
			copy(model[off:], b)
		default:
			if _, err := dev.ReadAt(b, off); err != nil {
				return err
			}
			if !bytes.Equal(b, model[off:off+n]) {
				return fmt.Errorf("%d bytes at %d differ", n, off)
			}
		}
	}
	return nil
}

// A disk is attached, used by our frontend in each way that it can, and detached; nothing of it is left.
func TestAttachUseDetach(t *testing.T) {
	for name, c := range map[string]blkfront.Config{
		"one page":               {RingOrder: -1},
		"four queues, 16 pages":  {Queues: 4, RingOrder: 4},
		"small requests, 1 page": {RingOrder: -1, Segments: 11},
	} {
		for _, persistent := range []int{0, -1} {
			t.Run(fmt.Sprintf("%s, persistent %d", name, persistent), func(t *testing.T) {
				s := newSite(t, sim.Faults{})
				s.opt.MaxQueues, s.opt.PersistentGrants = 4, persistent
				s.disks["web"] = block.NewMem(4*mib, 512)
				s.serve()
				guest := s.domain()
				d := s.attach(guest, "web", "w")
				x := s.use(guest, d, c)
				s.check(churn(x, rand.New(rand.NewPCG(1, 1)), 300))
				a := s.server.Attached()
				if len(a) != 1 || a[0].Connected() != max(c.Queues, 1) || a[0].Target != "web" || a[0].Stats().Requests(blkback.StatRead) == 0 {
					t.Errorf("attached: %+v", a)
				}
				s.check(s.xl.Detach(s.ctx(), d))
				s.gone("web", 1)
			})
		}
	}
}

// gone waits until no disk is attached and the named one was closed n times.
func (s *site) gone(name string, n int) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		closed := s.closed[name]
		s.mu.Unlock()
		if len(s.server.Attached()) == 0 && closed == n {
			return
		}
		if time.Now().After(end) {
			s.t.Fatalf("%d disks attached, %s closed %d times; want none, %d", len(s.server.Attached()), name, closed, n)
		}
	}
}

// A frontend cannot write to a disk that is attached read-only, and sees that it is.
func TestReadOnlyAttachment(t *testing.T) {
	s := newSite(t, sim.Faults{})
	s.disks["web"] = block.NewMem(mib, 512)
	s.serve()
	guest := s.domain()
	x := s.use(guest, s.attach(guest, "web", "r"), blkfront.Config{})
	if !x.ReadOnly() {
		t.Error("the frontend does not see that the disk is read-only")
	}
	if _, err := x.WriteAt(make([]byte, 512), 0); err == nil {
		t.Error("a read-only disk was written")
	}
	_, err := x.ReadAt(make([]byte, 4096), 0)
	s.check(err)
	s.check(x.Flush())
}

// A disk that does not exist is not attached, and the tool stack finds out why.
func TestNoSuchDisk(t *testing.T) {
	s := newSite(t, sim.Faults{})
	s.serve()
	guest := s.domain()
	d := &xenbustest.Device{
		Class: "vbd", Frontend: guest.ID(), Backend: s.back.ID(), Number: 51712,
		Nodes: map[string]string{"params": "nothing", "mode": "w"},
	}
	s.check(s.xl.Make(s.ctx(), d))
	w, err := s.xl.Store.Watch(s.ctx(), d.BackPath())
	s.check(err)
	defer w.Close()
	for {
		v, err := s.xl.Store.Read(s.ctx(), d.BackPath()+"/error")
		if err == nil && strings.Contains(v, "nothing") {
			return
		}
		if _, err := w.Next(s.ctx()); err != nil {
			t.Fatalf("no error in the backend's directory: %v, last %q", err, v)
		}
	}
}

// A disk that grows while it is used is seen to have grown, and nothing that was written is lost.
func TestDiskGrowsInUse(t *testing.T) {
	s := newSite(t, sim.Faults{})
	big := block.NewMem(4*mib, 512)
	small, err := block.Sub(big, 0, mib)
	s.check(err)
	s.disks["web"] = small
	s.serve()
	guest := s.domain()
	x := s.use(guest, s.attach(guest, "web", "w"), blkfront.Config{})
	_, err = x.WriteAt([]byte("before it grew"), 4096)
	s.check(err)
	var stop atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for !stop.Load() {
			if _, err := x.WriteAt(make([]byte, 8192), 512*1024); err != nil {
				t.Error(err)
				return
			}
		}
	})
	s.check(s.server.Attached()[0].Replace(s.ctx(), big))
	select {
	case <-x.Resized():
	case <-time.After(10 * time.Second):
		t.Fatal("the frontend does not learn that the disk grew")
	}
	stop.Store(true)
	wg.Wait()
	if x.Size() != 4*mib {
		t.Errorf("the frontend sees %d bytes, want %d", x.Size(), 4*mib)
	}
	_, err = x.WriteAt([]byte("the new end"), 4*mib-100)
	s.check(err)
	b := make([]byte, 14)
	_, err = x.ReadAt(b, 4096)
	s.check(err)
	if string(b) != "before it grew" {
		t.Errorf("read %q", b)
	}
}

// The service stops and starts again: the frontend goes on, with what it had under way.
func TestServiceStartsAgain(t *testing.T) {
	s := newSite(t, sim.Faults{})
	s.disks["web"] = block.NewMem(mib, 512)
	s.serve()
	guest := s.domain()
	x := s.use(guest, s.attach(guest, "web", "w"), blkfront.Config{})
	done := make(chan error, 1)
	go func() { done <- churn(x, rand.New(rand.NewPCG(1, 2)), 3000) }()
	for range 2 {
		time.Sleep(20 * time.Millisecond)
		s.stop()
		s.serve()
	}
	s.check(<-done)
}

// Fifty times a disk is attached, used and detached under I/O: no grant, port or node is left, and no detach is late.
func TestAttachDetachCycles(t *testing.T) {
	cycles := 20 // a second each
	if testing.Short() {
		cycles = 2
	}
	s := newSite(t, sim.Faults{})
	s.disks["a"] = block.NewMem(mib, 512)
	s.serve()
	guest := s.domain()
	for n := range cycles {
		d := s.attach(guest, "a", "w")
		x, err := blkfront.Open(s.ctx(), blkfront.Config{Store: guest.Store(), Domain: guest, Path: fmt.Sprintf("device/vbd/%d", d.Number)})
		s.check(err)
		var wg sync.WaitGroup
		wg.Go(func() { _ = churn(x, rand.New(rand.NewPCG(1, uint64(n))), 1<<30) })
		time.Sleep(5 * time.Millisecond)
		s.check(s.xl.Detach(s.ctx(), d))
		x.Close()
		wg.Wait()
		for _, p := range []string{d.BackPath(), d.FrontPath()} {
			if ok, err := s.xl.Store.Exists(s.ctx(), p); err != nil || ok {
				t.Fatalf("cycle %d: %s is left (%v)", n, p, err)
			}
		}
	}
	s.gone("a", cycles)
}
