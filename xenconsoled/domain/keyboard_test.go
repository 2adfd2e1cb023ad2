package domain_test

import (
	"context"
	"errors"
	"io"
	"math/rand"
	"os"
	"strconv"
	"testing"
	"time"

	"morgana/xen/wire/console"
	"morgana/xenconsoled/attach"
	"morgana/xenconsoled/domain"
)

// keyboard is what a terminal in dom0 types with at a guest.
func (w *world) keyboard(guest string) *attach.Keyboard { return w.typist(guest, w.agent.Dial) }

// typist types over connections that dial makes.
func (w *world) typist(guest string, dial func(context.Context) (io.ReadWriteCloser, error)) *attach.Keyboard {
	k := attach.NewKeyboard(func(ctx context.Context) (*attach.Client, attach.Info, error) {
		for {
			conn, err := dial(ctx)
			if err == nil {
				c := attach.NewClient(conn)
				info, err := c.Open(attach.Request{Op: attach.OpType, Guest: guest})
				if err == nil {
					return c, info, nil
				}
				c.Close()
			}
			select {
			case <-time.After(time.Millisecond):
			case <-ctx.Done():
				return nil, attach.Info{}, context.Cause(ctx)
			}
		}
	})
	w.t.Cleanup(k.Close)
	return k
}

// seed is where random tests begin: the same place each time, unless $SEED says another.
func seed(t *testing.T) int64 {
	t.Helper()
	n := int64(1)
	if s := os.Getenv("SEED"); s != "" {
		var err error
		if n, err = strconv.ParseInt(s, 10, 64); err != nil {
			t.Fatalf("SEED: %v; want a number", err)
		}
	} else if os.Getenv("SOAK") != "" {
		n = time.Now().UnixNano()
	}
	t.Logf("SEED=%d", n)
	return n
}

// The domain's program is started again and again while a long text is typed: the guest gets it byte for byte. It reads in
// pieces of any length, so that what is typed waits in all places where it can.
func TestTypedWhileDomainStartsAgain(t *testing.T) {
	w := newWorld(t, 1)
	stop := w.serve()
	w.startAgent()
	g := w.guest("web")
	random := rand.New(rand.NewSource(seed(t)))
	k := w.keyboard("web")
	want := string(text("typed", 60_000))
	typed := make(chan error, 1)
	go func() {
		_, err := k.Write(w.ctx(), []byte(want))
		typed <- err
	}()
	restarts := 0
	for at, next := 0, 0; at < len(want); {
		n := min(1+random.Intn(900), len(want)-at)
		if got := g.hear(n); got != want[at:at+n] {
			t.Fatalf("after %d bytes and %d restarts the guest heard %.60q, want %.60q", at, restarts, got, want[at:at+n])
		}
		if at += n; at >= next {
			if random.Intn(2) == 0 {
				time.Sleep(time.Duration(random.Intn(3000)) * time.Microsecond)
			}
			stop()
			stop = w.serve()
			restarts++
			next = at + random.Intn(4000)
		}
	}
	if err := <-typed; err != nil {
		t.Error(err)
	}
	w.silent(g)
	t.Logf("%d restarts", restarts)
}

// silent looks that a guest has heard all, and hears nothing more.
func (w *world) silent(g *guest) {
	w.t.Helper()
	w.open(attach.Request{Op: attach.OpAttach, Guest: g.name}) // the domain serves
	time.Sleep(20 * time.Millisecond)
	var b [console.InSize]byte
	if n, err := g.in.Read(b[:]); n > 0 || err != nil {
		w.t.Errorf("the guest hears %q more, %v", b[:n], err)
	}
}

// What is typed while the domain is away is heard when it is back; and what the guest has not read then, once.
func TestTypedWhileDomainIsAway(t *testing.T) {
	w := newWorld(t, 1)
	stop := w.serve()
	w.startAgent()
	g := w.guest("web")
	k := w.keyboard("web")
	write := func(s string) {
		t.Helper()
		if _, err := k.Write(w.ctx(), []byte(s)); err != nil {
			t.Fatal(err)
		}
	}
	write("one ")
	if got := g.hear(4); got != "one " {
		t.Errorf("%q", got)
	}
	for range 20 {
		stop()
		write("away ")
		stop = w.serve()
		write("back ")
		if got := g.hear(10); got != "away back " {
			t.Fatalf("the guest heard %q", got)
		}
	}
	// More than all on the road keep, at a guest that does not read: the writer waits.
	long := string(text("long", 100_000))
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	n, err := k.Write(ctx, []byte(long))
	if !errors.Is(err, context.DeadlineExceeded) || n == 0 || n > 40<<10 {
		t.Errorf("%d bytes are kept, %v", n, err)
	}
	stop()
	w.serve()
	if got := g.hear(n); got != long[:n] {
		t.Errorf("the guest heard others than the %d bytes", n)
	}
	w.silent(g)
}

// breakLink has the domain drop the agent's connection, and waits for the next one.
func (w *world) breakLink() {
	w.t.Helper()
	link := domain.Path(w.dom.ID(), domain.NodeLink)
	w.write(link, "nonsense")
	w.eventually("another offer", func() bool { v := w.read(link); return v != "" && v != "nonsense" })
}

// The connection between the agent and the domain breaks, and both go on: what is typed is heard once.
func TestTypedWhileLinkBreaks(t *testing.T) {
	w := newWorld(t, 1)
	w.serve()
	w.startAgent()
	g := w.guest("web")
	k := w.keyboard("web")
	want := string(text("typed", 30_000))
	go func() { _, _ = k.Write(w.ctx(), []byte(want)) }()
	for at := 0; at < len(want); at += 500 {
		if got := g.hear(500); got != want[at:at+500] {
			t.Fatalf("after %d bytes the guest heard %.60q, want %.60q", at, got, want[at:])
		}
		if at%3000 == 0 {
			w.breakLink()
		}
	}
	w.silent(g)
}
