package xenstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"morgana/tests/xenstore/peers"
	"morgana/xenstore"
	"morgana/xenstore/clienttest"
)

// services are the three daemons, each started anew on its host by its function.
func services(t *testing.T) map[string]func(h *peers.Host) *peers.Daemon {
	p := others(t)
	must := func(d *peers.Daemon, err error) *peers.Daemon {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Kill)
		return d
	}
	return map[string]func(h *peers.Host) *peers.Daemon{
		"ours":  func(h *peers.Host) *peers.Daemon { return startOurs(t, h) },
		"C":     func(h *peers.Host) *peers.Daemon { return must(p.StartC(h)) },
		"OCaml": func(h *peers.Host) *peers.Daemon { return must(p.StartOCaml(h)) },
	}
}

// Our client does all it can with each daemon.
func TestClientOperations(t *testing.T) {
	for name, start := range services(t) {
		t.Run(name, func(t *testing.T) {
			ctx := within(t, 30*time.Second)
			clienttest.Operations(ctx, t, dial(t, ctx, start(host(t)).Host))
		})
	}
}

// oneByOne is a stream that is neither a socket nor a ring: each request is a write of its own, as /dev/xen/xenbus wants.
type oneByOne struct{ io.ReadWriteCloser }

// The daemon dies and comes again, several times, while clients read, write, count in transactions and watch, on a socket
// and on what is like a device: the clients go on by themselves. No call hangs, what was acknowledged was done, a count
// is never too high, and each watch fires again.
func TestClientOutlivesTheDaemon(t *testing.T) {
	for name, start := range services(t) {
		for _, device := range []bool{false, true} {
			kind := "socket"
			if device {
				kind = "device"
			}
			t.Run(name+"/"+kind, func(t *testing.T) { outlive(t, start, name == "ours", device) })
		}
	}
}

func outlive(t *testing.T, start func(*peers.Host) *peers.Daemon, keeps, device bool) {
	h := host(t)
	first := start(h)
	d := first
	ctx := within(t, 60*time.Second)
	open := func(lost xenstore.Lost) *xenstore.Client {
		t.Helper()
		o := xenstore.Options{Path: h.Socket(), Lost: lost}
		if device {
			o.Path = ""
			o.Dial = func(ctx context.Context) (io.ReadWriteCloser, error) {
				c, err := first.Dial(ctx)
				if err != nil {
					return nil, err
				}
				return oneByOne{c}, nil
			}
		}
		c, err := xenstore.Open(ctx, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	c := open(xenstore.Wait)
	w, err := c.Watch(ctx, "/watched/a", "/watched/b")
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if e, err := w.Next(ctx); err != nil || e.Lost {
			t.Fatalf("first event: %+v, %v", e, err)
		}
	}
	hasty := open(xenstore.Fail)
	for round := range 3 {
		stop := make(chan struct{})
		var wg sync.WaitGroup
		var acked, lost, written, unsure atomic.Int64
		if err := c.Write(ctx, "/count", "0"); err != nil {
			t.Fatal(err)
		}
		again := func() bool {
			select {
			case <-stop:
				return false
			default:
				return true
			}
		}
		for range 4 {
			wg.Go(func() {
				for again() {
					err := c.Transact(ctx, func(tx *xenstore.Tx) error {
						n, err := tx.ReadUint(ctx, "/count", 32)
						if errors.Is(err, xenstore.ErrNotExist) { // a daemon that forgets
							n, err = 0, nil
						}
						if err != nil {
							return err
						}
						return tx.Write(ctx, "/count", strconv.FormatUint(n+1, 10))
					})
					switch {
					case err == nil:
						acked.Add(1)
					case errors.Is(err, xenstore.ErrLost):
						lost.Add(1)
					default:
						t.Errorf("count: %v", err)
						return
					}
				}
			})
		}
		wg.Go(func() { // a client of one kind reads: it must not notice anything
			for again() {
				if _, err := c.List(ctx, "/"); err != nil {
					t.Errorf("list: %v", err)
					return
				}
			}
		})
		wg.Go(func() {
			for n := int64(1); again(); n++ {
				switch err := c.Write(ctx, "/last", strconv.FormatInt(n, 10)); {
				case err == nil:
					written.Store(n)
				case errors.Is(err, xenstore.ErrLost):
					unsure.Store(n)
				default:
					t.Errorf("write: %v", err)
					return
				}
			}
		})
		wg.Go(func() {
			for again() {
				_, err := hasty.List(ctx, "/")
				if err != nil && !errors.Is(err, xenstore.ErrDown) && !errors.Is(err, xenstore.ErrLost) {
					t.Errorf("a client that fails: %v", err)
					return
				}
			}
		})
		time.Sleep(100 * time.Millisecond)
		d.Kill()
		time.Sleep(50 * time.Millisecond)
		d = start(h)
		// The watches are set again, each says so once, and they work.
		seen := map[string]bool{}
		for len(seen) < 2 {
			e, err := w.Next(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if e.Lost && seen[e.Watched] {
				t.Errorf("%s is lost twice", e.Watched)
			}
			seen[e.Watched] = seen[e.Watched] || e.Lost
		}
		for _, p := range []string{"/watched/a", "/watched/b"} {
			if err := c.Write(ctx, p, fmt.Sprint(round)); err != nil {
				t.Fatal(err)
			}
			if e, err := w.Next(ctx); err != nil || e.Path != p || e.Lost {
				t.Fatalf("event %+v, %v; want %s", e, err, p)
			}
		}
		time.Sleep(50 * time.Millisecond)
		close(stop)
		wg.Wait()
		count, err := c.ReadUint(ctx, "/count", 32)
		if err != nil {
			t.Fatal(err)
		}
		if most := acked.Load() + lost.Load(); int64(count) > most || keeps && int64(count) < acked.Load() {
			t.Errorf("counted to %d; %d were acknowledged, %d lost", count, acked.Load(), lost.Load())
		}
		last, err := c.ReadUint(ctx, "/last", 62)
		if err != nil || int64(last) != max(written.Load(), min(unsure.Load(), int64(last))) {
			t.Errorf("last written is %d, %v; %d was acknowledged", last, err, written.Load())
		}
		t.Logf("round %d: %d transactions, %d of unknown end, %d writes", round, acked.Load(), lost.Load(), written.Load())
	}
}

// Many requests are under way at once on one connection, and each gets its own answer; events neither get lost nor change
// their order, however late they are read.
func TestClientPipelinesAndKeepsEvents(t *testing.T) {
	for name, start := range services(t) {
		t.Run(name, func(t *testing.T) {
			ctx := within(t, 60*time.Second)
			h := start(host(t)).Host
			c := dial(t, ctx, h)
			w, err := c.Watch(ctx, "/order")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := w.Next(ctx); err != nil {
				t.Fatal(err)
			}
			const each, many = 50, 64
			other := dial(t, ctx, h)
			var wg sync.WaitGroup
			for i := range many {
				wg.Go(func() {
					for n := range each {
						p := fmt.Sprintf("/order/%d/%d", i, n)
						if err := other.Write(ctx, p, p); err != nil {
							t.Error(err)
							return
						}
						if v, err := c.Read(ctx, p); v != p || err != nil {
							t.Errorf("%s: %q, %v", p, v, err)
							return
						}
					}
				})
			}
			wg.Wait() // nobody has read an event yet
			next := make([]int, many)
			for range each * many {
				e, err := w.Next(ctx)
				if err != nil {
					t.Fatal(err)
				}
				var i, n int
				if _, err := fmt.Sscanf(e.Path, "/order/%d/%d", &i, &n); err != nil {
					t.Fatalf("event of %q", e.Path)
				}
				if n != next[i] {
					t.Fatalf("event of %s, want number %d", e.Path, next[i])
				}
				next[i]++
			}
			// A context that ends takes its call alone with it.
			gone, cancel := context.WithCancel(ctx)
			cancel()
			if _, err := c.Read(gone, "/order"); !errors.Is(err, context.Canceled) {
				t.Errorf("a call whose context has ended: %v", err)
			}
			names, err := c.List(ctx, "/order")
			slices.Sort(names)
			if err != nil || len(slices.Compact(names)) != many {
				t.Errorf("%d names, %v", len(names), err)
			}
		})
	}
}
