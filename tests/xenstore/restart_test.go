package xenstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"morgana/tests/xenstore/peers"
	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

func within(t testing.TB, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func dial(t testing.TB, ctx context.Context, h *peers.Host) *xenstore.Client {
	t.Helper()
	c, err := xenstore.DialPath(ctx, h.Socket())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// newGuest makes a domain that is introduced and has a home of its own.
func newGuest(t testing.TB, ctx context.Context, c *xenstore.Client, h *peers.Host, d xen.DomID) {
	t.Helper()
	if err := h.MakeDomain(d); err != nil {
		t.Fatal(err)
	}
	if err := c.Introduce(ctx, d, 1, 7); err != nil {
		t.Fatal(err)
	}
	home := xs.DomainPath(d)
	if err := c.Mkdir(ctx, home); err != nil {
		t.Fatal(err)
	}
	if err := c.SetPerms(ctx, home, xs.Perm{Access: xs.AccessNone, Dom: d}); err != nil {
		t.Fatal(err)
	}
}

// A hundred writers count one node up in transactions, a thousand times each: none is lost.
func TestIncrements(t *testing.T) {
	writers, times := 100, 1000
	if testing.Short() {
		writers, times = 20, 20
	}
	d := startOurs(t, host(t))
	ctx := within(t, 8*time.Minute)
	c := dial(t, ctx, d.Host)
	if err := c.Write(ctx, "/n", "0"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	var tries atomic.Int64
	for range writers {
		c := dial(t, ctx, d.Host)
		wg.Go(func() {
			for range times {
				err := c.Transact(ctx, func(tx *xenstore.Tx) error {
					tries.Add(1)
					n, err := tx.ReadUint(ctx, "/n", 32)
					if err != nil {
						return err
					}
					return tx.Write(ctx, "/n", fmt.Sprint(n+1))
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if n, err := c.ReadUint(ctx, "/n", 32); err != nil || n != uint64(writers*times) {
		t.Errorf("counted to %d, want %d: %v", n, writers*times, err)
	}
	t.Logf("%d tries", tries.Load())
}

// A hundred writers make different children of one directory in transactions that are open at the same time: no conflict.
func TestCreationsDoNotConflict(t *testing.T) {
	const writers = 100
	d := startOurs(t, host(t))
	ctx := within(t, time.Minute)
	var ready, wg sync.WaitGroup
	ready.Add(writers)
	for i := range writers {
		c := dial(t, ctx, d.Host)
		wg.Go(func() {
			tx, err := c.Begin(ctx)
			if err == nil {
				err = tx.Write(ctx, fmt.Sprintf("/dir/child-%d", i), "x")
			}
			ready.Done()
			ready.Wait()
			if err == nil {
				err = tx.Commit(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	names, err := dial(t, ctx, d.Host).List(ctx, "/dir")
	if err != nil || len(names) != writers {
		t.Errorf("%d children, %v", len(names), err)
	}
}

// kill -9 of the daemon while a hundred clients write and twenty guests hold three watches each: the next one has every
// write that was acknowledged, all watches fire without being set again, and requests that were half sent complete.
func TestKill(t *testing.T) {
	const guests = 20
	h := host(t)
	d := startOurs(t, h)
	ctx := within(t, 2*time.Minute)
	c := dial(t, ctx, h)
	var clients []*xenstore.Client
	var watches []*xenstore.Watch
	var halves []*peers.Guest // of guests that sent half a request
	for i := range xen.DomID(guests) {
		dom := i + 1
		newGuest(t, ctx, c, h, dom)
		g, err := h.Guest(dom)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { g.Close() })
		gc := xenstore.NewClient(g)
		t.Cleanup(func() { gc.Close() })
		w, err := gc.Watch(ctx, "a", "b", "data")
		if err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if _, err := w.Next(ctx); err != nil {
				t.Fatal(err)
			}
		}
		clients, watches = append(clients, gc), append(watches, w)
	}
	// Two more guests stop in the middle of a request, one of them in one that is larger than the ring.
	long := xs.AppendMessage(nil, xs.Header{Op: xs.Write, Req: 9}, append([]byte("long\x00"), make([]byte, 1500)...))
	short := xs.AppendMessage(nil, xs.Header{Op: xs.Write, Req: 9}, []byte("short\x00value"))
	for i, msg := range [][]byte{long, short} {
		dom := xen.DomID(guests + 1 + i)
		newGuest(t, ctx, c, h, dom)
		g, err := h.Guest(dom)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		halves = append(halves, g)
		if _, err := g.Write(msg[:len(msg)/2]); err != nil {
			t.Fatal(err)
		}
	}

	for round := range 5 {
		// Writers on the socket and on rings; each knows the last value that was acknowledged.
		acked := make([]atomic.Int64, 100+guests)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		for i := range 100 {
			wc, err := xenstore.DialPath(ctx, h.Socket())
			if err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				defer wc.Close()
				for n := int64(1); ; n++ {
					err := wc.Transact(ctx, func(tx *xenstore.Tx) error {
						return tx.Write(ctx, fmt.Sprintf("/w/%d/%d", round, i), strconv.FormatInt(n, 10))
					})
					if err != nil {
						if !errors.Is(err, xenstore.ErrClosed) && !errors.Is(err, xenstore.ErrProtocol) {
							t.Errorf("writer %d: %v", i, err)
						}
						return
					}
					acked[i].Store(n)
				}
			})
		}
		for i, gc := range clients {
			wg.Go(func() {
				for n := int64(1); ; n++ {
					select {
					case <-stop:
						return
					default:
					}
					// Its ring outlives the daemon: it must not notice anything.
					if err := gc.Write(ctx, fmt.Sprintf("count%d", round), strconv.FormatInt(n, 10)); err != nil {
						t.Errorf("guest %d: %v", i+1, err)
						return
					}
					acked[100+i].Store(n)
				}
			})
		}
		time.Sleep(time.Duration(200+100*round) * time.Millisecond)
		d.Kill()
		time.Sleep(20 * time.Millisecond)
		d = startOurs(t, h)
		time.Sleep(100 * time.Millisecond)
		close(stop)
		wg.Wait()
		c = dial(t, ctx, h)
		total := int64(0)
		for i := range acked {
			path := fmt.Sprintf("/w/%d/%d", round, i)
			if i >= 100 {
				path = fmt.Sprintf("%s/count%d", xs.DomainPath(xen.DomID(i-99)), round)
			}
			want := acked[i].Load()
			total += want
			got, err := c.ReadUint(ctx, path, 62)
			if want > 0 && (err != nil || int64(got) < want) {
				t.Errorf("%s is %d, %d was acknowledged: %v", path, got, want, err)
			}
		}
		if total == 0 {
			t.Error("nothing was acknowledged")
		}
		// Every watch fires.
		for i, w := range watches {
			home := xs.DomainPath(xen.DomID(i + 1))
			for _, name := range []string{"a", "b", "data"} {
				if err := c.Write(ctx, home+"/"+name, fmt.Sprint(round)); err != nil {
					t.Fatal(err)
				}
				e, err := w.Next(within(t, 10*time.Second))
				if err != nil || e.Path != name {
					t.Fatalf("guest %d: event %+v, %v; want %s", i+1, e, err, name)
				}
			}
		}
		t.Logf("round %d: %d writes were acknowledged", round, total)
	}
	for i, msg := range [][]byte{long, short} {
		g := halves[i]
		if _, err := g.Write(msg[len(msg)/2:]); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, xs.HeaderSize+3)
		if _, err := io.ReadFull(g, b); err != nil || string(b[xs.HeaderSize:]) != "OK\x00" {
			t.Errorf("half %d: %q, %v", i, b, err)
		}
	}
	if v, err := c.Read(ctx, xs.DomainPath(guests+1)+"/long"); err != nil || len(v) != 1500 {
		t.Errorf("long: %d bytes, %v", len(v), err)
	}
}

// Without --no-fork the daemon goes into the background, as an init script wants: it returns when it serves, with its
// number in the pid file; a second one refuses.
func TestBackground(t *testing.T) {
	h := host(t)
	file, err := build()
	if err != nil {
		t.Fatal(err)
	}
	pidFile := filepath.Join(h.Dir, "pid")
	start := func() ([]byte, error) {
		c := exec.Command(file, "--pid-file", pidFile)
		run := filepath.Join(h.Dir, "run")
		c.Env = append(os.Environ(), "FAKEXEN="+h.Dir, "XENSTORED_RUNDIR="+run, "XENSTORED_PATH="+h.Socket())
		return c.CombinedOutput()
	}
	if out, err := start(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	b, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	}()
	ctx := within(t, 10*time.Second)
	if _, err := dial(t, ctx, h).List(ctx, "/"); err != nil {
		t.Error(err)
	}
	if out, err := start(); err == nil || !strings.Contains(string(out), "runs already") {
		t.Errorf("a second daemon: %v, %s", err, out)
	}
	if _, err := dial(t, ctx, h).List(ctx, "/"); err != nil {
		t.Errorf("after a second one: %v", err)
	}
}

// Hostile guests lose their own connections, and dom0 does not notice.
func TestHostileGuests(t *testing.T) {
	h := host(t)
	startOurs(t, h)
	ctx := within(t, 30*time.Second)
	c := dial(t, ctx, h)
	word := func(page []byte, off int) *atomic.Uint32 {
		w, err := ring.Word(page, off)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for i, attack := range []struct {
		name   string
		do     func(page []byte)
		reason uint32 // 0: it is not cut off
	}{
		{"requests beyond the ring", func(p []byte) { word(p, xs.RingReqProd).Store(5000) }, xs.RingErrorIndex},
		{"requests behind", func(p []byte) { word(p, xs.RingReqProd).Store(^uint32(0)) }, xs.RingErrorIndex},
		{"a long message", func(p []byte) {
			copy(p[xs.RingReq:], xs.AppendHeader(nil, xs.Header{Op: xs.Write, Len: 5000}))
			word(p, xs.RingReqProd).Store(xs.HeaderSize)
		}, xs.RingErrorProto},
		{"replies beyond the ring", func(p []byte) {
			copy(p[xs.RingReq:], xs.AppendMessage(nil, xs.Header{Op: xs.Read}, []byte("x\x00")))
			word(p, xs.RingRspCons).Store(77)
			word(p, xs.RingReqProd).Store(xs.HeaderSize + 2)
		}, xs.RingErrorIndex},
		{"it asks for a fresh start", func(p []byte) {
			word(p, xs.RingReqProd).Store(9999)
			word(p, xs.RingConn).Store(1)
		}, 0},
	} {
		d := xen.DomID(30 + i)
		newGuest(t, ctx, c, h, d)
		g, err := h.Guest(d)
		if err != nil {
			t.Fatal(err)
		}
		attack.do(g.Page)
		for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
			if err := g.Notify(); err != nil {
				t.Fatal(err)
			}
			if attack.reason != 0 && word(g.Page, xs.RingError).Load() == attack.reason {
				break
			}
			if attack.reason == 0 && word(g.Page, xs.RingConn).Load() == 0 && word(g.Page, xs.RingReqProd).Load() == 0 {
				break
			}
			if time.Now().After(end) {
				t.Errorf("%s: error %d", attack.name, word(g.Page, xs.RingError).Load())
				break
			}
		}
		g.Close()
		if err := c.Write(ctx, "/alive", attack.name); err != nil {
			t.Fatal(err)
		}
	}
	// A bad guest's death is still told.
	w, err := c.Watch(ctx, xs.ReleaseDomain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Next(ctx); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(h.Destroy(30), h.Exception()); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Next(ctx); err != nil {
		t.Error(err)
	}
}
