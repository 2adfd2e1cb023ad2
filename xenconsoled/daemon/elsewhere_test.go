package daemon

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/sim"
	"morgana/xen/wire/console"
	"morgana/xen/wire/xs"
	"morgana/xenconsoled"
	"morgana/xenconsoled/domain"
	"morgana/xenstore"
)

// dom0 is the machine of a daemon in the simulator.
type dom0 struct {
	*sim.Domain
	store *xenstore.Client
}

func (m dom0) Alive(d xen.DomID) bool {
	is, err := m.store.IsIntroduced(context.Background(), d)
	return err == nil && is
}

func (dom0) ReadLog([]byte, *uint32) (int, error) { return 0, nil }

// world is a host of the simulator with a console domain, whose agent the daemon is, and a guest.
type world struct {
	t     testing.TB
	host  *sim.Host
	store *xenstore.Client // dom0's
	dom   *sim.Domain      // the console domain
	arena []byte
	guest *sim.Domain
	event xen.Event
	in    *ring.Consumer
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, host: sim.New(1), arena: make([]byte, 4096+xenconsoled.StreamHeader+16<<10+4)}
	t.Cleanup(w.host.Close)
	w.store = w.host.Dom0().Store()
	var err error
	if w.dom, err = w.host.NewDomain(); err != nil {
		t.Fatal(err)
	}
	w.write(xs.DomainPath(w.dom.ID())+"/name", "consoles")
	return w
}

func (w *world) write(path, value string) {
	w.t.Helper()
	if err := w.store.Write(w.t.Context(), path, value); err != nil {
		w.t.Fatal(err)
	}
}

func run(t testing.TB, f func(context.Context) error) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	var stopped atomic.Bool
	stop = func() {
		if stopped.Swap(true) {
			return
		}
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// serve runs the console domain's program.
func (w *world) serve() (stop func()) {
	w.t.Helper()
	pool, err := xenconsoled.NewPool(w.arena, 16<<10)
	if err != nil {
		w.t.Fatal(err)
	}
	d, err := domain.New(domain.Config{
		Machine: w.dom, Dial: func(context.Context) (*xenstore.Client, error) { return xenstore.NewClient(w.dom.OpenStore()), nil },
		Memory: pool.Memory, Left: pool.Leave,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return run(w.t, d.Run)
}

// agent runs the daemon, as the agent.
func (w *world) agent() (stop func()) {
	w.t.Helper()
	d, err := New(Config{
		Machine: dom0{w.host.Dom0(), w.store}, RunDir: filepath.Join(w.t.TempDir(), "run"), Domain: "consoles",
		Dial: func(context.Context) (*xenstore.Client, error) {
			return xenstore.NewClient(w.host.Dom0().OpenStore()), nil
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return run(w.t, d.Run)
}

// eventually waits until xenstore has a value that is wanted, and returns it.
func (w *world) eventually(path string, want func(string) bool) string {
	w.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
		if v, err := w.store.Read(w.t.Context(), path); err == nil && want(v) {
			return v
		}
		if time.Now().After(end) {
			w.t.Fatalf("%s: not within 20 s", path)
		}
	}
}

// start starts a guest whose console the domain serves, and returns the name of its terminal.
func (w *world) start() (tty string) {
	w.t.Helper()
	must := func(err error) {
		w.t.Helper()
		if err != nil {
			w.t.Fatal(err)
		}
	}
	w.eventually(domain.Chosen, func(v string) bool { return v == fmt.Sprint(w.dom.ID()) })
	var err error
	w.guest, err = w.host.NewDomain()
	must(err)
	grant, err := w.guest.ShareConsole(w.dom.ID())
	must(err)
	w.event, err = w.guest.Listen(w.dom.ID())
	must(err)
	page := grant.Bytes()
	prod, err := ring.Word(page, console.InProd)
	must(err)
	cons, err := ring.Word(page, console.InCons)
	must(err)
	w.in, err = ring.NewConsumer(page[console.In:][:console.InSize], prod, cons)
	must(err)
	home := xs.DomainPath(w.guest.ID())
	// As libxl does it: which guest it is stands there before it has a console, and its port comes last.
	for _, n := range [][2]string{
		{"vm", "/vm/web"}, {"name", "web"}, {"console/ring-ref", "1048575"}, {"console/limit", "1048576"}, {"console/type", "xenconsoled"},
		{"console/backend-id", fmt.Sprint(w.dom.ID())}, {"console/tty", ""}, {"console/port", strconv.Itoa(int(w.event.Port()))},
	} {
		w.write(home+"/"+n[0], n[1])
	}
	return w.eventually(home+"/console/tty", func(v string) bool { return v != "" })
}

// hear reads n bytes that are typed at the guest.
func (w *world) hear(n int) string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), 20*time.Second)
	defer cancel()
	got := make([]byte, 0, n)
	for len(got) < n {
		m, err := w.in.Read(got[len(got):n])
		if err != nil {
			w.t.Fatal(err)
		}
		if got = got[:len(got)+m]; m > 0 {
			_ = w.event.Notify()
			continue
		}
		if err := w.event.Wait(ctx); err != nil {
			w.t.Fatalf("the guest heard %d of %d bytes: %v", len(got), n, err)
		}
	}
	return string(got)
}

// A shell's echo into a guest's terminal, again and again while the console domain's program restarts: the guest hears each
// line once, whether the domain is there, is going, or is away when the terminal has long been closed again.
func TestEchoWhileConsoleDomainRestarts(t *testing.T) {
	w := newWorld(t)
	stop := w.serve()
	w.agent()
	tty := w.start()
	var want strings.Builder
	line := 0
	say := func() {
		line++
		s := fmt.Sprintf("line %d\n", line)
		want.WriteString(s)
		echo(t, tty, s)
	}
	heard := ""
	for range 20 {
		for range 5 {
			say()
		}
		stop()
		say()
		stop = w.serve()
		for range 5 {
			say()
		}
		heard += w.hear(want.Len() - len(heard))
	}
	if heard != want.String() {
		t.Errorf("the guest heard others than the %d lines:\n%s", line, heard)
	}
}

// A long text is typed by who closes the terminal when it is written. The guest reads in its own time, and the domain
// restarts meanwhile: it hears all, and then what the next one types.
func TestTextWhileConsoleDomainRestarts(t *testing.T) {
	w := newWorld(t)
	stop := w.serve()
	w.agent()
	tty := w.start()
	var text strings.Builder
	for i := range 2000 {
		fmt.Fprintf(&text, "line %d of a text that is typed\n", i)
	}
	want := text.String() + "the end\n"
	go func() {
		echo(t, tty, text.String())
		echo(t, tty, "the end\n")
	}()
	for at := 0; at < len(want); {
		n := min(1+at*37%3000, len(want)-at)
		if got := w.hear(n); got != want[at:at+n] {
			t.Fatalf("after %d bytes the guest heard %.60q, want %.60q", at, got, want[at:])
		}
		at += n
		stop()
		stop = w.serve()
	}
}
