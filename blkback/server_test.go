package blkback_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"morgana/blkback"
	"morgana/block"
	"morgana/xen"
	"morgana/xen/blkfront"
	"morgana/xen/ring"
	"morgana/xen/sim"
	"morgana/xen/xenbus/xenbustest"
	"morgana/xenstore"
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

// hangs is a disk one of whose reads does not return until it is let go.
type hangs struct {
	*block.Mem
	armed atomic.Bool
	in    chan struct{}
	let   chan struct{}
}

func (h *hangs) ReadAt(p []byte, off int64) (int, error) {
	if h.armed.CompareAndSwap(true, false) {
		close(h.in)
		<-h.let
	}
	return h.Mem.ReadAt(p, off)
}

// A device that does not return keeps nobody from detaching its disk, nor other disks from being served. The disk is
// closed when the device has returned, and not before.
func TestDetachFromADeviceThatHangs(t *testing.T) {
	s := newSite(t, sim.Faults{})
	s.opt.CloseTimeout = 100 * time.Millisecond
	h := &hangs{Mem: block.NewMem(mib, 512), in: make(chan struct{}), let: make(chan struct{})}
	s.disks["sick"], s.disks["well"] = h, block.NewMem(mib, 512)
	s.serve()
	guest := s.domain()
	sick, well := s.attach(guest, "sick", "w"), s.attach(guest, "well", "w")
	x, y := s.use(guest, sick, blkfront.Config{}), s.use(guest, well, blkfront.Config{})
	s.check(churn(x, rand.New(rand.NewPCG(1, 1)), 10))
	h.armed.Store(true)
	go x.ReadAt(make([]byte, 4096), 0)
	<-h.in
	s.check(churn(y, rand.New(rand.NewPCG(1, 1)), 100))
	s.check(s.xl.Detach(s.ctx(), sick))
	s.mu.Lock()
	early := s.closed["sick"]
	s.mu.Unlock()
	if early != 0 {
		t.Error("the disk was closed while its device had not returned")
	}
	s.check(s.xl.Detach(s.ctx(), well))
	close(h.let)
	s.gone("sick", 1)
}

// A frontend that breaks its ring is disconnected with a reason; other disks do not notice.
func TestFrontendThatBreaksItsRing(t *testing.T) {
	s := newSite(t, sim.Faults{})
	s.disks["a"], s.disks["b"] = block.NewMem(mib, 512), block.NewMem(mib, 512)
	s.serve()
	bad, good := s.domain(), s.domain()
	da, db := s.attach(bad, "a", "w"), s.attach(good, "b", "w")
	y := s.use(good, db, blkfront.Config{})
	r, err := s.raw(bad, da, nil)
	s.check(err)
	prod, err := ring.Word(r.ring.Bytes(), 0)
	s.check(err)
	prod.Store(5000)
	s.check(r.event.Notify())
	s.check(s.node(da.BackPath()+"/state", "5"))
	v, err := s.xl.Store.Read(s.ctx(), da.BackPath()+"/error")
	if err != nil || !strings.Contains(v, "impossible index") {
		t.Errorf("the reason in xenstore is %q (%v)", v, err)
	}
	s.check(churn(y, rand.New(rand.NewPCG(1, 1)), 100))
	s.check(r.ring.Close()) // it is not mapped any more
	s.check(s.xl.Detach(s.ctx(), da))
}

// rawFront is a frontend by hand, up to its state Connected.
type rawFront struct {
	ring  xen.Grant
	event xen.Event
	path  string
}

func (s *site) raw(dom *sim.Domain, d *xenbustest.Device, nodes map[string]string) (*rawFront, error) {
	r := &rawFront{path: d.FrontPath()}
	var err error
	if r.ring, err = dom.Share(s.back.ID(), 1, xen.ReadWrite); err != nil {
		return nil, err
	}
	if _, err = ring.NewFront(r.ring.Bytes(), 112); err != nil {
		return nil, err
	}
	if r.event, err = dom.Listen(s.back.ID()); err != nil {
		return nil, err
	}
	all := map[string]string{
		"ring-ref": fmt.Sprint(r.ring.Refs()[0]), "event-channel": fmt.Sprint(r.event.Port()), "protocol": "x86_64-abi", "state": "3",
	}
	for k, v := range nodes {
		all[k] = v
	}
	err = dom.Store().Transact(s.ctx(), func(tx *xenstore.Tx) error {
		for k, v := range all {
			if err := tx.Write(s.ctx(), r.path+"/"+k, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil || nodes != nil {
		return r, err
	}
	if err := s.node(d.BackPath()+"/state", "4"); err != nil {
		return r, err
	}
	return r, dom.Store().Write(s.ctx(), r.path+"/state", "4")
}

// node waits until a node has a value.
func (s *site) node(path, want string) error {
	w, err := s.xl.Store.Watch(s.ctx(), path)
	if err != nil {
		return err
	}
	defer w.Close()
	for {
		v, err := s.xl.Store.Read(s.ctx(), path)
		if err == nil && v == want {
			return nil
		}
		if _, err := w.Next(s.ctx()); err != nil {
			return fmt.Errorf("%s is %q, %q wanted: %w", path, v, want, err)
		}
	}
}

// together calls f for 0 to n-1, several at once, because most of the time is waiting.
func (s *site) together(n int, f func(i int) error) {
	s.t.Helper()
	var wg sync.WaitGroup
	places := make(chan struct{}, 16) // as many disks as a domain's quota of nodes allows, and some room
	for i := range n {
		wg.Go(func() {
			places <- struct{}{}
			defer func() { <-places }()
			if err := f(i); err != nil {
				s.t.Errorf("%d: %v", i, err)
			}
		})
	}
	wg.Wait()
	if s.t.Failed() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.t.Log(s.log.String())
	}
}

// Nodes that make no sense close the device, with a reason, and leave nothing mapped.
func TestNodesThatMakeNoSense(t *testing.T) {
	var names []string
	var cases []map[string]string
	for name, nodes := range map[string]map[string]string{
		"unknown protocol":      {"protocol": "z80-abi"},
		"ring of nobody":        {"ring-ref": "4000"},
		"reserved ring":         {"ring-ref": "0"},
		"no number":             {"ring-ref": "-1"},
		"too many queues":       {"multi-queue-num-queues": "4000000000"},
		"queues without nodes":  {"multi-queue-num-queues": "2"},
		"ring order beyond all": {"ring-page-order": "31"},
		"port of nobody":        {"event-channel": "4000"},
		"long value":            {"protocol": strings.Repeat("x", 1500)},
	} {
		cases = append(cases, nodes)
		names = append(names, name)
	}
	s := newSite(t, sim.Faults{})
	s.opt.MaxQueues = 2
	s.disks["a"] = block.NewMem(mib, 512)
	s.serve()
	guests := make([]*sim.Domain, len(cases))
	for i := range guests {
		guests[i] = s.domain()
	}
	s.together(len(cases), func(i int) error {
		d, err := s.tryAttach(guests[i], "a", "w")
		if err != nil {
			return err
		}
		r, err := s.raw(guests[i], d, cases[i])
		if err == nil {
			err = s.node(d.BackPath()+"/state", "5")
		}
		if err != nil {
			return fmt.Errorf("%s: %w", names[i], err)
		}
		if v, err := s.xl.Store.Read(s.ctx(), d.BackPath()+"/error"); err != nil || v == "" {
			return fmt.Errorf("%s: no reason in xenstore: %q, %w", names[i], v, err)
		}
		if err := r.ring.Close(); err != nil {
			return fmt.Errorf("%s: the ring is still mapped: %w", names[i], err)
		}
		return s.xl.Detach(s.ctx(), d)
	})
}

// What a frontend writes into its nodes after it connected changes nothing.
func TestNodesThatChangeAfterwards(t *testing.T) {
	s := newSite(t, sim.Faults{})
	s.disks["a"] = block.NewMem(mib, 512)
	s.serve()
	guest := s.domain()
	d := s.attach(guest, "a", "r")
	x := s.use(guest, d, blkfront.Config{})
	for k, v := range map[string]string{"protocol": "x86_32-abi", "ring-page-order": "4", "event-channel": "77", "mode": "w", "ring-ref": "1"} {
		s.check(guest.Store().Write(s.ctx(), d.FrontPath()+"/"+k, v))
	}
	_, err := x.ReadAt(make([]byte, 4096), 0)
	s.check(err)
	if err := guest.Store().Write(s.ctx(), d.BackPath()+"/mode", "w"); err == nil {
		t.Error("the simulator lets a frontend write to its backend's directory")
	}
}

// The frontend's domain dies at each step of its life; the service goes on, and a new domain is served.
func TestFrontendDiesAtEachStep(t *testing.T) {
	s := newSite(t, sim.Faults{})
	s.disks["a"], s.disks["b"] = block.NewMem(mib, 512), block.NewMem(mib, 512)
	s.serve()
	other := s.domain()
	y := s.use(other, s.attach(other, "b", "w"), blkfront.Config{})
	steps := 60
	if testing.Short() {
		steps = 32
	}
	guests := make([]*sim.Domain, steps)
	for i := range guests {
		guests[i] = s.domain()
	}
	var survived atomic.Int64
	s.together(steps, func(n int) error {
		guest := guests[n]
		d, err := s.tryAttach(guest, "a", "w")
		if err != nil {
			return err
		}
		guest.KillAfter(n)
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		x, err := blkfront.Open(ctx, blkfront.Config{Store: guest.Store(), Domain: guest, Path: fmt.Sprintf("device/vbd/%d", d.Number)})
		if err == nil {
			survived.Add(1)
			io := make(chan struct{})
			go func() {
				defer close(io)
				_ = churn(x, rand.New(rand.NewPCG(1, uint64(n))), 30)
			}()
			select {
			case <-io:
			case <-time.After(300 * time.Millisecond): // a dead domain's requests are never answered
			}
			x.Close()
		}
		guest.Destroy()
		if err := s.xl.Destroy(s.ctx(), d); err != nil && !errors.Is(err, xenstore.ErrNotExist) {
			return err
		}
		return nil
	})
	s.check(churn(y, rand.New(rand.NewPCG(1, 1)), 200))
	if survived.Load() == 0 {
		t.Error("no frontend came as far as to use its disk: the test tries too few steps")
	}
	s.attached(1)
}

// attached waits until n disks are attached.
func (s *site) attached(n int) {
	s.t.Helper()
	for end := time.Now().Add(10 * time.Second); len(s.server.Attached()) != n; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			s.t.Fatalf("%d disks attached, want %d", len(s.server.Attached()), n)
		}
	}
}

// Mappings fail, notifications come late, together and without a reason: no data is lost or changed.
func TestFaults(t *testing.T) {
	rounds := 1500
	if testing.Short() {
		rounds = 200
	}
	start := uint64(1)
	if os.Getenv("SOAK") != "" {
		start = uint64(time.Now().UnixNano())
	}
	for name, f := range map[string]sim.Faults{
		"late":     {EventDelay: 2 * time.Millisecond},
		"spurious": {Spurious: 0.5},
		"failing":  {Fail: 0.2},
		"all":      {EventDelay: time.Millisecond, Spurious: 0.3, Fail: 0.1},
	} {
		for _, mapPages := range []int{0, 1} {
			t.Run(fmt.Sprintf("%s, map from %d", name, mapPages), func(t *testing.T) {
				s := newSite(t, f)
				s.opt.MapPages = mapPages
				s.disks["a"] = block.NewMem(mib, 512)
				s.serve()
				guest := s.domain()
				t.Logf("SEED=%d", start)
				// Connecting wants memory too, and is tried again when there was none.
				var x *blkfront.Disk
				for range 20 {
					d := s.attach(guest, "a", "w")
					ctx, cancel := context.WithTimeout(s.ctx(), 2*time.Second)
					var err error
					x, err = blkfront.Open(ctx, blkfront.Config{Store: guest.Store(), Domain: guest, Path: fmt.Sprintf("device/vbd/%d", d.Number)})
					cancel()
					if err == nil {
						break
					}
					s.check(s.xl.Detach(s.ctx(), d))
				}
				if x == nil {
					t.Fatal("no connection in 20 tries")
				}
				defer x.Close()
				s.check(churn(x, rand.New(rand.NewPCG(start, 9)), rounds))
			})
		}
	}
}

// Fifty times a disk is attached, used and detached under I/O: no grant, port or node is left, and no detach is late.
func TestAttachDetachCycles(t *testing.T) {
	cycles := 50
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
