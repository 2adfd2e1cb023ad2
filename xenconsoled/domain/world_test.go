package domain_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"morgana/block"
	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/sim"
	"morgana/xen/wire/console"
	"morgana/xen/wire/xs"
	"morgana/xenconsoled"
	"morgana/xenconsoled/agent"
	"morgana/xenconsoled/attach"
	"morgana/xenconsoled/domain"
	"morgana/xenconsoled/logstore"
	"morgana/xenstore"
)

// world is a host of the simulator with a console domain and an agent in dom0, and what outlives their programs: the
// domain's arena and its disk.
type world struct {
	t     testing.TB
	host  *sim.Host
	store *xenstore.Client // dom0's
	dom   *sim.Domain
	arena []byte
	disk  block.Device
	log   *logstore.Store

	service *xenconsoled.Service
	agent   *agent.Agent
}

const scrollback = 16 << 10

func newWorld(t testing.TB, guests int) *world {
	t.Helper()
	w := &world{
		t: t, host: sim.New(1), arena: make([]byte, 4096+guests*(xenconsoled.StreamHeader+scrollback+4)), disk: block.NewMem(16<<20, 512),
	}
	t.Cleanup(w.host.Close)
	w.store = w.host.Dom0().Store()
	w.newDomain()
	if err := logstore.Format(w.disk, logstore.Options{Segment: 64 << 10, ID: 1}); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) newDomain() {
	w.t.Helper()
	var err error
	if w.dom, err = w.host.NewDomain(); err != nil {
		w.t.Fatal(err)
	}
	w.write(xs.DomainPath(w.dom.ID())+"/name", "consoles")
}

func (w *world) ctx() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), 30*time.Second)
	w.t.Cleanup(cancel)
	return ctx
}

func (w *world) write(path, value string) {
	w.t.Helper()
	if err := w.store.Write(w.ctx(), path, value); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) read(path string) string {
	v, err := w.store.Read(w.ctx(), path)
	if err != nil && !errors.Is(err, xenstore.ErrNotExist) {
		w.t.Fatal(err)
	}
	return v
}

func (w *world) eventually(what string, f func() bool) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within 20 s", what)
		}
	}
}

func run(t testing.TB, what string, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var stopped atomic.Bool
	stop = func() {
		if !stopped.CompareAndSwap(false, true) {
			return
		}
		cancel()
		select {
		case err := <-done:
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%s: %v", what, err)
			}
		case <-time.After(20 * time.Second):
			t.Errorf("%s does not end", what)
		}
	}
	t.Cleanup(stop)
	return stop
}

// serve runs the domain's program.
func (w *world) serve() (stop func()) {
	w.t.Helper()
	pool, err := xenconsoled.NewPool(w.arena, scrollback)
	if err != nil {
		w.t.Fatal(err)
	}
	if w.log, err = logstore.Open(w.disk); err != nil {
		w.t.Fatal(err)
	}
	dom := w.dom
	d, err := domain.New(domain.Config{
		Machine: dom, Dial: func(context.Context) (*xenstore.Client, error) { return xenstore.NewClient(dom.OpenStore()), nil },
		Memory: pool.Memory, Left: pool.Leave, Logs: "disk",
		Log: func(name, key string, m *xenconsoled.Mark) (xenconsoled.Sink, error) {
			return w.log.Source(name, key, m, time.Now)
		},
		History: logstore.History{Store: w.log},
		Warn:    func(s string) { w.t.Log("domain:", s) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.service = d.Service()
	return run(w.t, "the domain", d.Run)
}

// startAgent runs the agent.
func (w *world) startAgent() (stop func()) {
	w.t.Helper()
	dom0 := w.host.Dom0()
	a, err := agent.New(agent.Config{
		Domain: "consoles", Machine: dom0, Poll: 10 * time.Millisecond, Patience: 2 * time.Second,
		Dial: func(context.Context) (*xenstore.Client, error) { return xenstore.NewClient(dom0.OpenStore()), nil },
		Alive: func(d xen.DomID) bool {
			is, err := w.store.IsIntroduced(context.Background(), d)
			return err == nil && is
		},
		Warn: func(s string) { w.t.Log("agent:", s) },
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.agent = a
	return run(w.t, "the agent", a.Run)
}

// guest is a domain with a console.
type guest struct {
	w     *world
	dom   *sim.Domain
	name  string
	event xen.Event
	page  []byte
	out   *ring.Producer
	in    *ring.Consumer
}

// guest makes a domain as libxl does: the console's ring goes to the domain that Chosen names.
func (w *world) guest(name string) *guest {
	w.t.Helper()
	var backend uint64
	w.eventually("the choice of a console domain", func() bool {
		var err error
		backend, err = strconv.ParseUint(w.read(domain.Chosen), 10, 15)
		return err == nil
	})
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	d, err := w.host.NewDomain()
	must(err)
	g := &guest{w: w, dom: d, name: name}
	grant, err := d.ShareConsole(xen.DomID(backend))
	must(err)
	g.event, err = d.Listen(xen.DomID(backend))
	must(err)
	g.page = grant.Bytes()
	word := func(off int) *atomic.Uint32 {
		v, err := ring.Word(g.page, off)
		must(err)
		return v
	}
	g.out, err = ring.NewProducer(g.page[console.Out:][:console.OutSize], word(console.OutProd), word(console.OutCons))
	must(err)
	g.in, err = ring.NewConsumer(g.page[console.In:][:console.InSize], word(console.InProd), word(console.InCons))
	must(err)
	for k, v := range map[string]string{
		"name": name, "vm": "/vm/" + name, "console/ring-ref": "1048575", "console/limit": "1048576", "console/type": "xenconsoled",
		"console/backend-id": fmt.Sprint(backend), "console/tty": "",
	} {
		w.write(xs.DomainPath(d.ID())+"/"+k, v)
	}
	w.write(xs.DomainPath(d.ID())+"/console/port", fmt.Sprint(g.event.Port()))
	return g
}

// say writes as a guest's kernel does: it waits while the ring is full.
func (g *guest) say(b []byte) {
	ctx := g.w.ctx()
	for len(b) > 0 {
		n, err := g.out.Write(b)
		if err != nil {
			g.w.t.Error(err)
			return
		}
		if b = b[n:]; n > 0 {
			if err := g.event.Notify(); err != nil {
				g.w.t.Error(err)
				return
			}
			continue
		}
		if err := g.event.Wait(ctx); err != nil {
			g.w.t.Errorf("%s: %d bytes are left: %v", g.name, len(b), err)
			return
		}
	}
}

// hear reads n bytes that were typed.
func (g *guest) hear(n int) string {
	ctx := g.w.ctx()
	got := make([]byte, 0, n)
	buf := make([]byte, n)
	for len(got) < n {
		m, err := g.in.Read(buf[:n-len(got)])
		if err != nil {
			g.w.t.Error(err)
			break
		}
		if got = append(got, buf[:m]...); m > 0 {
			_ = g.event.Notify()
			continue
		}
		if err := g.event.Wait(ctx); err != nil {
			g.w.t.Errorf("%s heard %q: %v", g.name, got, err)
			break
		}
	}
	return string(got)
}

// open attaches by the agent, and waits until the domain serves the guest.
func (w *world) open(r attach.Request) (*attach.Client, attach.Info) {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		conn, err := w.agent.Dial(w.ctx())
		if err != nil {
			w.t.Fatal(err)
		}
		c := attach.NewClient(conn)
		info, err := c.Open(r)
		if err == nil {
			w.t.Cleanup(func() { c.Close() })
			return c, info
		}
		c.Close()
		if time.Now().After(end) {
			w.t.Fatalf("%+v: %v", r, err)
		}
	}
}

// logs is the whole log of a guest: from the disk, and what is not there yet.
func (w *world) logs(guest string) []byte {
	w.t.Helper()
	c, _ := w.open(attach.Request{Op: attach.OpLogs, Guest: guest})
	b, err := io.ReadAll(c)
	if err != nil {
		w.t.Fatal(err)
	}
	if n := c.Lost(); n > 0 {
		w.t.Errorf("%s: %d bytes of the log are missing", guest, n)
	}
	return b
}

// follow reads a console over as many connections as it takes, until it has n bytes.
func (w *world) follow(guest string, n int) []byte {
	w.t.Helper()
	var got []byte
	for end := time.Now().Add(30 * time.Second); len(got) < n && time.Now().Before(end); {
		from := uint64(len(got))
		c, _ := w.open(attach.Request{Op: attach.OpLogs, Guest: guest, From: &from, Follow: true})
		buf := make([]byte, 8192)
		for len(got) < n {
			m, err := c.Read(buf)
			got = append(got, buf[:m]...)
			if lost := c.Lost(); lost > 0 {
				w.t.Errorf("%s: %d bytes are missing after %d", guest, lost, len(got)-m)
			}
			if err != nil {
				break
			}
		}
		c.Close()
	}
	return got
}

// text is n bytes of lines that tell where they are.
func text(name string, n int) []byte {
	var b bytes.Buffer
	for i := 0; b.Len() < n; i++ {
		fmt.Fprintf(&b, "%s line %d of what a guest says\n", name, i)
	}
	return b.Bytes()[:n]
}
