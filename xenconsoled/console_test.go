package xenconsoled_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/sim"
	"morgana/xen/wire/console"
	"morgana/xenconsoled"
)

// guest is a domain of the simulator with a console that is served.
type guest struct {
	t     testing.TB
	page  []byte // its own view
	event xen.Event
	out   *ring.Producer
	in    *ring.Consumer
	// The service's side.
	console *xenconsoled.Console
	stream  *xenconsoled.Stream
	served  chan error
	stop    context.CancelCauseFunc
}

// serve makes a guest and serves its console, as set says.
func serve(t testing.TB, set func(*xenconsoled.Config)) *guest {
	t.Helper()
	h := sim.New(1)
	t.Cleanup(h.Close)
	dom, err := h.NewDomain()
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	grant, err := dom.Share(0, 1, xen.ReadWrite)
	must(err)
	g := &guest{t: t, served: make(chan error, 1)}
	g.event, err = dom.Listen(0)
	must(err)
	g.attach(grant.Bytes())

	mapping, err := h.Dom0().Map(dom.ID(), grant.Refs(), xen.ReadWrite)
	must(err)
	event, err := h.Dom0().Connect(dom.ID(), g.event.Port())
	must(err)
	g.stream, err = xenconsoled.NewStream(make([]byte, xenconsoled.StreamHeader+64<<10), "guest")
	must(err)
	cfg := xenconsoled.Config{Dom: dom.ID(), Name: "guest", Page: mapping.Bytes(), Event: event, Stream: g.stream}
	if set != nil {
		set(&cfg)
	}
	g.console, err = xenconsoled.New(cfg)
	must(err)
	ctx, stop := context.WithCancelCause(t.Context())
	g.stop = stop
	go func() { g.served <- g.console.Run(ctx) }()
	t.Cleanup(func() { g.end(context.Canceled) })
	return g
}

// attach finds the rings in the console's page.
func (g *guest) attach(page []byte) {
	g.t.Helper()
	g.page = page
	word := func(off int) *atomic.Uint32 {
		w, err := ring.Word(page, off)
		if err != nil {
			g.t.Fatal(err)
		}
		return w
	}
	var err1, err2 error
	g.out, err1 = ring.NewProducer(page[console.Out:][:console.OutSize], word(console.OutProd), word(console.OutCons))
	g.in, err2 = ring.NewConsumer(page[console.In:][:console.InSize], word(console.InProd), word(console.InCons))
	if err := errors.Join(err1, err2); err != nil {
		g.t.Fatal(err)
	}
}

func (g *guest) end(cause error) {
	g.stop(cause)
	select {
	case err := <-g.served:
		g.served <- err
	case <-time.After(10 * time.Second):
		g.t.Fatal("Run does not end")
	}
}

func (g *guest) ctx() context.Context {
	ctx, cancel := context.WithTimeout(g.t.Context(), 10*time.Second)
	g.t.Cleanup(cancel)
	return ctx
}

// write writes as a guest's kernel does.
func (g *guest) write(b []byte) {
	g.t.Helper()
	ctx := g.ctx()
	for len(b) > 0 {
		n, err := g.out.Write(b)
		if err != nil {
			g.t.Fatal(err)
		}
		if b = b[n:]; n > 0 {
			if err := g.event.Notify(); err != nil {
				g.t.Fatal(err)
			}
			continue
		}
		if err := g.event.Wait(ctx); err != nil {
			g.t.Fatalf("%d bytes are left: %v", len(b), err)
		}
	}
}

// read reads n bytes that were typed.
func (g *guest) read(n int) string {
	g.t.Helper()
	ctx := g.ctx()
	var got []byte
	buf := make([]byte, console.InSize)
	for len(got) < n {
		m, err := g.in.Read(buf[:min(len(buf), n-len(got))])
		if err != nil {
			g.t.Fatal(err)
		}
		got = append(got, buf[:m]...)
		if m > 0 {
			err = g.event.Notify()
		} else {
			err = g.event.Wait(ctx)
		}
		if err != nil {
			g.t.Fatalf("after %q: %v", got, err)
		}
	}
	return string(got)
}

func (g *guest) session(mode xenconsoled.Mode) *xenconsoled.Session {
	g.t.Helper()
	s, err := g.console.Attach(mode, 0)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(s.Close)
	return s
}

// sees reads n bytes of a session.
func (g *guest) sees(s *xenconsoled.Session, n int) string {
	g.t.Helper()
	ctx := g.ctx()
	got := make([]byte, 0, n)
	for len(got) < n {
		if err := s.Wait(ctx, 1); err != nil {
			g.t.Fatalf("after %d of %d bytes: %v", len(got), n, err)
		}
		m, _ := s.Read(got[len(got):n])
		got = got[:len(got)+m]
	}
	return string(got)
}

func TestSessions(t *testing.T) {
	g := serve(t, nil)
	a, b, r := g.session(xenconsoled.Shared), g.session(xenconsoled.Shared), g.session(xenconsoled.ReadOnly)
	g.write([]byte("login: "))
	for _, s := range []*xenconsoled.Session{a, b, r} {
		if got := g.sees(s, 7); got != "login: " {
			t.Errorf("%q", got)
		}
	}
	if _, err := a.Write(g.ctx(), []byte("root\n")); err != nil {
		t.Fatal(err)
	}
	if got := g.read(5); got != "root\n" {
		t.Errorf("typed is %q", got)
	}
	if _, err := r.Write(g.ctx(), []byte("x")); !errors.Is(err, xenconsoled.ErrTaken) {
		t.Errorf("who only reads types: %v", err)
	}
	if _, err := g.console.Attach(xenconsoled.Sole, 0); !errors.Is(err, xenconsoled.ErrTaken) {
		t.Errorf("the only one beside two others: %v", err)
	}
	a.Close()
	a.Close()
	b.Close()
	sole := g.session(xenconsoled.Sole)
	if _, err := g.console.Attach(xenconsoled.Shared, 0); !errors.Is(err, xenconsoled.ErrTaken) {
		t.Errorf("beside the only one: %v", err)
	}
	if _, err := g.console.Write(g.ctx(), []byte("x")); !errors.Is(err, xenconsoled.ErrTaken) {
		t.Errorf("the terminal beside the only one: %v", err)
	}
	if _, err := sole.Write(g.ctx(), []byte("y")); err != nil {
		t.Error(err)
	}
	sole.Close()
	if _, err := g.console.Write(g.ctx(), []byte("z")); err != nil {
		t.Error(err)
	}
	if got := g.read(2); got != "yz" {
		t.Errorf("typed is %q", got)
	}
	g.end(xenconsoled.ErrGone)
	if _, err := g.console.Write(g.ctx(), []byte("z")); !errors.Is(err, xenconsoled.ErrGone) {
		t.Errorf("typing when the guest is gone: %v", err)
	}
	g.stream.Close()
	if err := r.Wait(g.ctx(), 1); !errors.Is(err, io.EOF) {
		t.Errorf("after the guest's end: %v", err)
	}
}

// What is typed waits for a guest that does not read, and gives up with its context.
func TestTypingWaits(t *testing.T) {
	g := serve(t, nil)
	text := bytes.Repeat([]byte("0123456789"), 300)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	n, err := g.console.Write(ctx, text)
	if n != console.InSize || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%d bytes, %v", n, err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := g.console.Write(g.ctx(), text[n:])
		done <- err
	}()
	// Nor does it keep others longer than they want.
	short, cancelShort := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancelShort()
	if n, err := g.console.Write(short, []byte("x")); n != 0 || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("beside somebody who waits: %d bytes, %v", n, err)
	}
	if got := g.read(len(text)); got != string(text) {
		t.Error("something else was typed")
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// keeper is a sink in memory, which may fail.
type keeper struct {
	mu   sync.Mutex
	log  bytes.Buffer
	fail error
	last bool
}

func (k *keeper) Write(m *xenconsoled.Mark, p []byte, last bool) (int, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail != nil {
		return 0, k.fail
	}
	k.log.Write(p)
	k.last = k.last || last
	m.Set(m.Position()+uint64(len(p)), 0)
	return len(p), nil
}

func (k *keeper) Lost(_ *xenconsoled.Mark, n uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fail == nil {
		fmt.Fprintf(&k.log, "[%d lost]", n)
	}
	return k.fail
}

func (k *keeper) Close() error { return nil }

func (k *keeper) set(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.fail = err
}

func (k *keeper) text() string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.log.String()
}

// Everything is in the log when Run has ended, and the log is not told that it was the last while the guest lives.
func TestLogHasEverything(t *testing.T) {
	for _, cause := range []error{context.Canceled, xenconsoled.ErrGone} {
		k := &keeper{}
		g := serve(t, func(c *xenconsoled.Config) { c.Sink = k })
		text := bytes.Repeat([]byte("0123456789abcdef"), 40<<10)
		g.write(text)
		if cause == context.Canceled { // then what is in the ring is the next one's
			for binary.NativeEndian.Uint32(g.page[console.OutCons:]) != binary.NativeEndian.Uint32(g.page[console.OutProd:]) {
				time.Sleep(time.Millisecond)
			}
		}
		g.end(cause)
		if k.text() != string(text) {
			t.Errorf("%v: %d bytes of %d", cause, len(k.text()), len(text))
		}
		if k.last && cause != xenconsoled.ErrGone {
			t.Errorf("%v: the log was told that it was the last", cause)
		}
	}
}

// A log that cannot be written does not hold the guest up. It is tried again, and says what is missing.
func TestLogFails(t *testing.T) {
	k := &keeper{fail: errors.New("no space left on device")}
	warned := make(chan string, 10)
	g := serve(t, func(c *xenconsoled.Config) { c.Sink, c.Warn = k, func(s string) { warned <- s } })
	g.write(bytes.Repeat([]byte("x"), 300<<10)) // more than the scrollback
	select {
	case <-warned:
	case <-time.After(10 * time.Second):
		t.Fatal("nobody is told")
	}
	k.set(nil)
	for end := time.Now().Add(10 * time.Second); g.stream.Mark().Lost() > 0 || g.stream.Mark().Position() < 300<<10; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes lost, logged up to %d", g.stream.Mark().Lost(), g.stream.Mark().Position())
		}
	}
	text := k.text()
	var lost int
	if _, err := fmt.Sscanf(text, "[%d lost]", &lost); err != nil || lost == 0 {
		t.Fatalf("the log begins with %q", text[:min(40, len(text))])
	}
	if n := bytes.Count([]byte(text), []byte("x")); n+lost != 300<<10 {
		t.Errorf("%d bytes in the log and %d lost are not %d", n, lost, 300<<10)
	}
}

// A log that is slow holds the guest up, and has everything.
func TestLogIsSlow(t *testing.T) {
	k := &keeper{}
	slow := slowSink{k}
	g := serve(t, func(c *xenconsoled.Config) { c.Sink = slow })
	text := bytes.Repeat([]byte("0123456789abcdef"), 20<<10)
	g.write(text)
	g.end(xenconsoled.ErrGone)
	if k.text() != string(text) {
		t.Errorf("%d bytes of %d, %d in the stream, logged up to %d, lost %d", len(k.text()), len(text), g.stream.End(), g.stream.Mark().Position(), g.stream.Mark().Lost())
	}
}

type slowSink struct{ *keeper }

func (s slowSink) Write(m *xenconsoled.Mark, p []byte, last bool) (int, error) {
	time.Sleep(5 * time.Millisecond)
	return s.keeper.Write(m, p[:min(len(p), 8<<10)], last)
}

// A process that ends at any place leaves a stream and a ring from which the next one goes on: nothing is missing, nothing
// is there twice.
func TestGoesOnAfterEachStep(t *testing.T) {
	mem := make([]byte, xenconsoled.StreamHeader+4096)
	page := make([]byte, xen.PageSize)
	event := nobody{}
	start := func() *xenconsoled.Console {
		s, err := xenconsoled.NewStream(mem, "guest")
		if err != nil {
			t.Fatal(err)
		}
		c, err := xenconsoled.New(xenconsoled.Config{Page: page, Event: event, Stream: s})
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	run := func(c *xenconsoled.Console) { // until the ring is empty
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(xenconsoled.ErrGone)
		_ = c.Run(ctx)
	}
	le := binary.LittleEndian
	put := func(text string) {
		prod := le.Uint32(page[console.OutProd:])
		for i := range len(text) {
			page[console.Out+int(prod+uint32(i))%console.OutSize] = text[i]
		}
		le.PutUint32(page[console.OutProd:], prod+uint32(len(text)))
	}
	want := ""
	for i := range 500 {
		text := fmt.Sprintf("line %d ", i)
		before := le.Uint32(page[console.OutCons:])
		put(text)
		want += text
		c := start()
		run(c)
		if i%2 == 1 {
			// It ended after the bytes were kept, and before the guest was told.
			le.PutUint32(page[console.OutCons:], before)
		}
	}
	c := start()
	run(c)
	if end := c.Stream().End(); end != uint64(len(want)) {
		t.Fatalf("%d bytes, want %d", end, len(want))
	}
	buf := make([]byte, 4096)
	n, from := c.Stream().NewReader(0, xenconsoled.Newest, 0).Read(buf)
	if string(buf[:n]) != want[from:] {
		t.Errorf("%q, want %q", buf[:n], want[from:])
	}
}

// nobody is an event channel without anybody at the other end.
type nobody struct{}

func (nobody) Port() xen.Port { return 1 }
func (nobody) Notify() error  { return nil }
func (nobody) Close() error   { return nil }
func (nobody) Wait(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// Whatever a guest writes into its page, the service neither fails nor copies more than the ring has, and what is typed
// stays within the ring.
func FuzzPage(f *testing.F) {
	f.Add(uint32(0), uint32(5), uint32(0), uint32(0))
	f.Add(uint32(0xfffffff0), uint32(0x10), uint32(0xffffffff), uint32(0))
	f.Add(uint32(0), uint32(2049), uint32(1025), uint32(0))
	f.Add(uint32(5), uint32(4), uint32(0), uint32(1024))
	f.Fuzz(func(t *testing.T, outCons, outProd, inCons, inProd uint32) {
		page := make([]byte, xen.PageSize)
		for off, v := range map[int]uint32{console.OutCons: outCons, console.OutProd: outProd, console.InCons: inCons, console.InProd: inProd} {
			binary.LittleEndian.PutUint32(page[off:], v)
		}
		s, err := xenconsoled.NewStream(make([]byte, xenconsoled.StreamHeader+4096), "guest")
		if err != nil {
			t.Fatal(err)
		}
		c, err := xenconsoled.New(xenconsoled.Config{Page: page, Event: nobody{}, Stream: s})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(xenconsoled.ErrGone)
		room := int(console.InSize - (inProd - inCons))
		if inProd-inCons > console.InSize {
			room = 0
		}
		if n, _ := c.Write(ctx, make([]byte, 2000)); n != room {
			t.Errorf("%d bytes were typed, there is room for %d", n, room)
		}
		_ = c.Run(ctx)
		want := uint64(outProd - outCons)
		if want > console.OutSize {
			want = 0
		}
		if s.End() != want {
			t.Errorf("%d bytes were taken, want %d", s.End(), want)
		}
	})
}
