package blkback_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"morgana/block"
	"morgana/xen"
	"morgana/xen/blkfront"
	"morgana/xen/ring"
	"morgana/xen/sim"
	"morgana/xen/xenbus/xenbustest"
	"morgana/xenstore"
)

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
