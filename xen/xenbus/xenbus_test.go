package xenbus_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"morgana/xen"
	"morgana/xen/sim"
	"morgana/xen/xenbus"
	"morgana/xen/xenbus/xenbustest"
	"morgana/xenstore"
)

// host is a machine with a tool stack, a domain that serves and one that uses.
type host struct {
	t           *testing.T
	ctx         context.Context
	stop        func() // ends the backend
	sim         *sim.Host
	tools       xenbustest.ToolStack
	back, front *sim.Domain
	dev         xenbustest.Device
	served      sync.WaitGroup
	log         *journal
	backend     script
	current     *xenbus.Device // connected last; read after the frontend connected
}

// script is how a backend behaves.
type script struct {
	open, connect func() error
	inConnect     func()
}

// journal is what happened, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
	more  chan struct{}
}

func (j *journal) add(format string, args ...any) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, fmt.Sprintf(format, args...))
	close(j.more)
	j.more = make(chan struct{})
}

// wait waits for a line, and gives what was there before it.
func (j *journal) wait(t *testing.T, want string, times int) {
	t.Helper()
	after := time.After(20 * time.Second)
	for {
		j.mu.Lock()
		n := 0
		for _, l := range j.lines {
			if l == want {
				n++
			}
		}
		more := j.more
		j.mu.Unlock()
		if n >= times {
			return
		}
		select {
		case <-more:
		case <-after:
			t.Fatalf("%q did not come %d times, only:\n%s", want, times, j)
		}
	}
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.lines, "\n")
}

func newHost(t *testing.T) *host {
	t.Parallel()
	h := &host{t: t, log: &journal{more: make(chan struct{})}, sim: sim.New(1)}
	t.Cleanup(h.sim.Close)
	var err error
	if h.back, err = h.sim.NewDomain(); err != nil {
		t.Fatal(err)
	}
	if h.front, err = h.sim.NewDomain(); err != nil {
		t.Fatal(err)
	}
	h.tools = xenbustest.ToolStack{Store: h.sim.Dom0().Store()}
	h.dev = xenbustest.Device{
		Class: "vbd", Frontend: h.front.ID(), Backend: h.back.ID(), Number: 51712,
		Nodes: map[string]string{"params": "vg0/web1", "mode": "w"},
	}
	var cancel context.CancelFunc
	h.ctx, cancel = context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(func() { cancel(); h.served.Wait() })
	return h
}

// serve runs the backend.
func (h *host) serve() {
	ctx, cancel := context.WithCancel(h.ctx)
	done := make(chan struct{})
	h.served.Add(1)
	go func() {
		defer h.served.Done()
		defer close(done)
		err := xenbus.Backends(ctx, h.back.Store(), "vbd", func(_ context.Context, d *xenbus.Device) (xenbus.Backend, error) {
			params, _ := d.Own("params")
			h.log.add("open %s of domain %d as %d", params, d.Frontend, d.Number)
			if h.backend.open != nil {
				if err := h.backend.open(); err != nil {
					return nil, err
				}
			}
			return &backend{h, d}, nil
		})
		if !errors.Is(err, context.Canceled) && !errors.Is(err, xenstore.ErrClosed) {
			h.t.Error("backends:", err)
		}
	}()
	h.stop = func() { cancel(); <-done }
}

type backend struct {
	h *host
	d *xenbus.Device
}

func (b *backend) Features() map[string]string { return map[string]string{"feature-x": "1"} }

func (b *backend) Connect(_ context.Context, front xenbus.Nodes) (map[string]string, error) {
	ring, _ := front("ring-ref")
	b.h.log.add("connect to ring %s", ring)
	if f := b.h.backend.inConnect; f != nil {
		f()
	}
	if f := b.h.backend.connect; f != nil {
		if err := f(); err != nil {
			return nil, err
		}
	}
	b.h.current = b.d
	return map[string]string{"sectors": "100"}, nil
}

func (b *backend) Disconnect() { b.h.log.add("disconnect") }
func (b *backend) Close()      { b.h.log.add("close") }

// use runs a frontend and gives what ends it, and its end.
func (h *host) use() (stop func() error) {
	ctx, cancel := context.WithCancel(h.ctx)
	done := make(chan error, 1)
	h.served.Add(1)
	go func() {
		defer h.served.Done()
		done <- xenbus.RunFrontend(ctx, h.front.Store(), fmt.Sprintf("device/vbd/%d", h.dev.Number), &frontend{h: h})
	}()
	return func() error {
		select {
		case err := <-done:
			return err
		case <-time.After(5 * time.Second):
		}
		cancel()
		return <-done
	}
}

type frontend struct {
	h     *host
	rings int
}

func (f *frontend) Prepare(_ context.Context, peer xen.DomID, back xenbus.Nodes) (map[string]string, error) {
	x, _ := back("feature-x")
	f.rings++
	f.h.log.add("front: prepare ring %d for domain %d, feature %s", f.rings, peer, x)
	return map[string]string{"ring-ref": fmt.Sprint(f.rings)}, nil
}

func (f *frontend) Connect(_ context.Context, back xenbus.Nodes) error {
	n, _ := back("sectors")
	f.h.log.add("front: connect, %s sectors", n)
	return nil
}

func (f *frontend) Changed(back xenbus.Nodes) {
	n, _ := back("sectors")
	f.h.log.add("front: changed, %s sectors", n)
}
func (f *frontend) Disconnect() { f.h.log.add("front: disconnect") }

func (h *host) state(path string) string {
	v, err := h.tools.Store.Read(h.ctx, path+"/state")
	if errors.Is(err, xenstore.ErrNotExist) {
		return "gone"
	} else if err != nil {
		h.t.Fatal(err)
	}
	return v
}

func (h *host) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatalf("%v\n%s", err, h.log)
	}
}

// settled waits until a half has a state.
func (h *host) settled(path, want string) {
	h.t.Helper()
	for range 500 {
		if h.state(path) == want {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	h.t.Fatalf("%s is in state %s, want %s\n%s", path, h.state(path), want, h.log)
}

func TestLifeOfADevice(t *testing.T) {
	h := newHost(t)
	h.tools.Late = 200 * time.Millisecond // a busy dom0: the frontend is faster than xl
	h.serve()
	h.check(h.tools.Make(h.ctx, &h.dev))
	gone := h.use()
	h.log.wait(t, "front: connect, 100 sectors", 1)
	h.settled(h.dev.FrontPath(), "4")

	h.check(h.current.Publish(h.ctx, map[string]string{"sectors": "200"}))
	h.log.wait(t, "front: changed, 200 sectors", 1)

	h.check(h.tools.Detach(h.ctx, &h.dev))
	if err := gone(); !errors.Is(err, xenbus.ErrRemoved) {
		t.Error("the frontend ended with", err)
	}
	h.log.wait(t, "close", 1)
	for _, want := range []string{
		"open vg0/web1 of domain 2 as 51712", "front: prepare ring 1 for domain 1, feature 1", "connect to ring 1",
		"front: connect, 100 sectors", "front: changed, 200 sectors", "front: disconnect", "disconnect", "close",
	} {
		if n := strings.Count("\n"+h.log.String()+"\n", "\n"+want+"\n"); n != 1 {
			t.Errorf("%q happened %d times:\n%s", want, n, h.log)
		}
	}
	// Nothing stays behind in the backend's quota.
	if names, err := h.tools.Store.List(h.ctx, fmt.Sprintf("/local/domain/%d/backend/vbd", h.back.ID())); err != nil || len(names) > 0 {
		t.Error("left behind:", names, err)
	}
}

// xl sees state 2, however late it looks and however fast the guest is; fifty times, and nothing is left.
func TestHotAttachAndDetach(t *testing.T) {
	h := newHost(t)
	h.serve()
	h.tools.Late = 100 * time.Millisecond
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	for range rounds {
		stop := make(chan struct{})
		// A guest's kernel waits for devices to appear.
		go func() {
			defer close(stop)
			for h.state(h.dev.FrontPath()) == "gone" {
				time.Sleep(time.Millisecond)
			}
			h.use()
		}()
		h.check(h.tools.Attach(h.ctx, &h.dev))
		<-stop
		h.settled(h.dev.FrontPath(), "4")
		h.check(h.tools.Detach(h.ctx, &h.dev))
	}
	h.log.wait(t, "close", rounds)
}

func TestManyDevices(t *testing.T) {
	h := newHost(t)
	h.serve()
	var wg sync.WaitGroup
	for i := range 20 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			d := h.dev
			d.Number = uint32(i)
			if err := h.tools.Attach(h.ctx, &d); err != nil {
				t.Error(err)
			}
			if err := h.tools.Destroy(h.ctx, &d); err != nil {
				t.Error(err)
			}
		}()
	}
	wg.Wait()
	h.log.wait(t, "close", 20)
}

// The guest dies: xenstored drops what it owned without an event, and the tool stack tells us.
func TestFrontendsDomainDies(t *testing.T) {
	h := newHost(t)
	h.serve()
	h.check(h.tools.Make(h.ctx, &h.dev))
	h.use()
	h.log.wait(t, "front: connect, 100 sectors", 1)
	h.front.Destroy()
	h.check(h.tools.Destroy(h.ctx, &h.dev))
	h.log.wait(t, "disconnect", 1)
	h.log.wait(t, "close", 1)
}

// A backend that starts again finds its devices as it left them, and no frontend notices.
func TestBackendStartsAgain(t *testing.T) {
	h := newHost(t)
	h.serve()
	h.check(h.tools.Make(h.ctx, &h.dev))
	h.use()
	h.log.wait(t, "front: connect, 100 sectors", 1)
	h.settled(h.dev.FrontPath(), "4")
	h.stop()
	h.log.wait(t, "close", 1)
	if s := h.state(h.dev.BackPath()); s != "4" {
		t.Fatalf("a backend that ended left state %s, want 4", s)
	}
	h.serve()
	h.log.wait(t, "connect to ring 1", 2)
	h.settled(h.dev.BackPath(), "4")
	if strings.Contains(h.log.String(), "front: disconnect") {
		t.Errorf("the frontend noticed:\n%s", h.log)
	}
	h.check(h.tools.Detach(h.ctx, &h.dev))
}

func TestNothingToServe(t *testing.T) {
	h := newHost(t)
	h.backend.open = func() error { return errors.New("no volume web1 in group vg0") }
	h.serve()
	h.check(h.tools.Make(h.ctx, &h.dev))
	h.settled(h.dev.BackPath(), "6")
	if v, err := h.tools.Store.Read(h.ctx, h.dev.BackPath()+"/error"); err != nil || v != "no volume web1 in group vg0" {
		t.Errorf("error node: %q, %v", v, err)
	}
	h.check(h.tools.Detach(h.ctx, &h.dev))
	h.backend.open = nil
	h.check(h.tools.Attach(h.ctx, &h.dev))
}

func TestFrontendAtFault(t *testing.T) {
	h := newHost(t)
	first := true
	h.backend.connect = func() error {
		if first {
			first = false
			return errors.New("ring 1 is no ring")
		}
		return nil
	}
	h.serve()
	h.check(h.tools.Make(h.ctx, &h.dev))
	h.use()
	// Ours gives way, and tries again.
	h.log.wait(t, "connect to ring 2", 1)
	h.settled(h.dev.FrontPath(), "4")
	if v, err := h.tools.Store.Read(h.ctx, h.dev.BackPath()+"/error"); err != nil || v != "ring 1 is no ring" {
		t.Errorf("error node: %q, %v", v, err)
	}
	h.current.Fail(errors.New("12 segments"))
	h.log.wait(t, "disconnect", 1)
	h.log.wait(t, "connect to ring 3", 1)
	h.settled(h.dev.FrontPath(), "4")
	if v, err := h.tools.Store.Read(h.ctx, h.dev.BackPath()+"/error"); err != nil || v != "12 segments" {
		t.Errorf("error node: %q, %v", v, err)
	}
}

// What the tool stack removes while a connection is being opened stays removed, and the connection is closed.
func TestRemovedDuringConnect(t *testing.T) {
	h := newHost(t)
	h.backend.inConnect = func() {
		for _, p := range []string{h.dev.FrontPath(), h.dev.BackPath()} {
			h.check(h.tools.Store.Remove(h.ctx, p))
		}
	}
	h.serve()
	h.check(h.tools.Make(h.ctx, &h.dev))
	h.use()
	h.log.wait(t, "disconnect", 1)
	h.log.wait(t, "close", 1)
	for _, p := range []string{h.dev.FrontPath(), h.dev.BackPath()} {
		if ok, err := h.tools.Store.Exists(h.ctx, p); ok || err != nil {
			t.Errorf("%s was made again (%v)", p, err)
		}
	}
}

// A frontend that ends says so before it gives its rings up, and comes again.
func TestFrontendStartsAgain(t *testing.T) {
	h := newHost(t)
	h.serve()
	h.check(h.tools.Make(h.ctx, &h.dev))
	ctx, cancel := context.WithCancel(h.ctx)
	done := make(chan error, 1)
	go func() { done <- xenbus.RunFrontend(ctx, h.front.Store(), h.dev.FrontPath(), &frontend{h: h}) }()
	h.log.wait(t, "front: connect, 100 sectors", 1)
	h.settled(h.dev.FrontPath(), "4")
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	h.settled(h.dev.BackPath(), "6")
	h.use()
	h.log.wait(t, "front: connect, 100 sectors", 2)
}

func TestFrontendWithoutADevice(t *testing.T) {
	h := newHost(t)
	err := xenbus.RunFrontend(h.ctx, h.front.Store(), "device/vbd/1", &frontend{h: h})
	if !errors.Is(err, xenbus.ErrRemoved) {
		t.Error(err)
	}
}
