package xenconsoled_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"morgana/xen"
	"morgana/xen/sim"
	"morgana/xen/wire/xs"
	"morgana/xenconsoled"
	"morgana/xenstore"
)

// house is a host of the simulator whose consoles are served.
type house struct {
	t       testing.TB
	host    *sim.Host
	store   *xenstore.Client // dom0's
	service *xenconsoled.Service

	mu   sync.Mutex
	logs map[string]*keeper
	mem  map[xen.DomID]*memory
	ttys int
}

// memory is memory that outlives a service.
type memory struct {
	h    *house
	dom  xen.DomID
	b    []byte
	open bool
}

func (m *memory) Bytes() []byte { return m.b }

func (m *memory) Close(gone bool) error {
	m.h.mu.Lock()
	defer m.h.mu.Unlock()
	m.open = false
	if gone {
		delete(m.h.mem, m.dom)
	}
	return nil
}

// terminal is one that nobody opens.
type terminal string

func (t terminal) Name() string          { return string(t) }
func (terminal) Run(ctx context.Context) { <-ctx.Done() }

func newHouse(t testing.TB) *house {
	t.Helper()
	h := &house{t: t, host: sim.New(1), logs: make(map[string]*keeper), mem: make(map[xen.DomID]*memory)}
	t.Cleanup(h.host.Close)
	h.store = h.host.Dom0().Store()
	return h
}

// serve runs a service until stop.
func (h *house) serve() (stop func()) {
	h.t.Helper()
	dom0 := h.host.Dom0()
	s, err := xenconsoled.NewService(xenconsoled.Host{
		Dial: func(context.Context) (*xenstore.Client, error) {
			return xenstore.NewClient(dom0.OpenStore()), nil
		},
		Mapper: dom0, Events: dom0,
		Alive: func(d xen.DomID) bool {
			is, err := h.store.IsIntroduced(h.t.Context(), d)
			return err == nil && is
		},
		Memory: func(d xen.DomID, size int) (xenconsoled.Memory, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			if h.mem[d] == nil {
				h.mem[d] = &memory{h: h, dom: d, b: make([]byte, size)}
			}
			if h.mem[d].open {
				h.t.Errorf("the memory of domain %d is used twice", d)
			}
			h.mem[d].open = true
			return h.mem[d], nil
		},
		Log: func(name, _ string, _ *xenconsoled.Mark) (xenconsoled.Sink, error) { return h.log(name), nil },
		Terminal: func(*xenconsoled.Console, int) (xenconsoled.Terminal, error) {
			h.mu.Lock()
			defer h.mu.Unlock()
			h.ttys++
			return terminal(fmt.Sprintf("/dev/pts/%d", h.ttys)), nil
		},
	}, xenconsoled.Options{Poll: 5 * time.Millisecond})
	if err != nil {
		h.t.Fatal(err)
	}
	h.service = s
	ctx, cancel := context.WithCancel(h.t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			h.t.Errorf("Run: %v", err)
		}
	}
}

func (h *house) log(name string) *keeper {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.logs[name] == nil {
		h.logs[name] = &keeper{}
	}
	return h.logs[name]
}

// guest makes a domain with a console, and has xenstore know it as xl does.
func (h *house) guest(name, kind string) (*sim.Domain, *guest) {
	h.t.Helper()
	d, err := h.host.NewDomain()
	if err != nil {
		h.t.Fatal(err)
	}
	g := &guest{t: h.t}
	grant, err := d.ShareConsole(0)
	if err != nil {
		h.t.Fatal(err)
	}
	if g.event, err = d.Listen(0); err != nil {
		h.t.Fatal(err)
	}
	g.attach(grant.Bytes())
	h.write(d.ID(), map[string]string{
		"name": name, "vm": "/vm/" + name, "console/ring-ref": "1048575", "console/port": fmt.Sprint(g.event.Port()), "console/limit": "65536",
		"console/type": kind, "console/tty": "",
	})
	return d, g
}

func (h *house) write(d xen.DomID, keys map[string]string) {
	h.t.Helper()
	err := h.store.Transact(h.t.Context(), func(tx *xenstore.Tx) error {
		for k, v := range keys {
			if err := tx.Write(h.t.Context(), xs.DomainPath(d)+"/"+k, v); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		h.t.Fatal(err)
	}
}

func (h *house) eventually(what string, f func() bool) {
	h.t.Helper()
	for end := time.Now().Add(10 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			h.t.Fatalf("%s: not within 10 s", what)
		}
	}
}

func (h *house) tty(d xen.DomID) string {
	v, _ := h.store.Read(h.t.Context(), xs.DomainPath(d)+"/console/tty")
	return v
}

func TestService(t *testing.T) {
	h := newHouse(t)
	_, early := h.guest("early", "xenconsoled") // before the service
	stop := h.serve()
	late, g := h.guest("late", "")
	ioemu, _ := h.guest("ioemu", "ioemu")
	early.write([]byte("one"))
	g.write([]byte("two"))
	h.eventually("the logs", func() bool { return h.log("early").text() == "one" && h.log("late").text() == "two" })
	if _, ok := h.service.Find("ioemu"); ok || h.tty(ioemu.ID()) != "" {
		t.Error("the console of a device model is served")
	}
	c, ok := h.service.Find("late")
	if !ok || c.Dom() != late.ID() {
		t.Fatalf("%v %v", c, ok)
	}
	if other, ok := h.service.Find(fmt.Sprint(late.ID())); !ok || other != c {
		t.Error("it is not found by its number")
	}
	if _, err := c.Write(g.ctx(), []byte("hello")); err != nil || g.read(5) != "hello" {
		t.Errorf("typing: %v", err)
	}
	h.eventually("the terminal in xenstore", func() bool { return h.tty(late.ID()) != "" })

	h.write(late.ID(), map[string]string{"name": "renamed"})
	h.eventually("the new name", func() bool { _, ok := h.service.Find("renamed"); return ok })

	// The service ends and another one goes on, with another terminal.
	tty := h.tty(late.ID())
	stop()
	g.write([]byte(" three"))
	stop = h.serve()
	g.write([]byte(" four"))
	h.eventually("the rest of the log", func() bool { return h.log("late").text() == "two" && h.log("renamed").text() == " three four" })
	h.eventually("the new terminal", func() bool { return h.tty(late.ID()) != tty })

	// The guest's side of the event channel is made anew.
	event, err := late.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	g.event = event
	h.write(late.ID(), map[string]string{"console/port": fmt.Sprint(event.Port())})
	g.write([]byte(" five"))
	h.eventually("the log", func() bool { return h.log("renamed").text() == " three four five" })

	g.write([]byte(" last"))
	late.Destroy()
	h.eventually("the guest's end", func() bool { _, ok := h.service.Find("renamed"); return !ok })
	h.eventually("its memory's end", func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return h.mem[late.ID()] == nil
	})
	if got := h.log("renamed").text(); got != " three four five last" {
		t.Errorf("the log: %q", got)
	}
	if n := len(h.service.Consoles()); n != 1 {
		t.Errorf("%d consoles are served", n)
	}
	stop()
}
