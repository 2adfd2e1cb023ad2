package xenstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"
	"testing"
	"time"

	"morgana/xen"
	"morgana/xen/sim"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

func testContext(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func dom0(t testing.TB) *xenstore.Client {
	h := sim.New(1)
	t.Cleanup(h.Close)
	return h.Dom0().Store()
}

func TestOperations(t *testing.T) { operations(t, dom0(t)) }

// operations is what every service must do for dom0.
func operations(t *testing.T, c *xenstore.Client) {
	ctx := testContext(t)
	const at = "/morgana-test"
	if err := c.Remove(ctx, at); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(ctx, at+"/a/b", "1"); err != nil {
		t.Fatal(err)
	}
	if n, err := c.ReadUint(ctx, at+"/a/b", 8); n != 1 || err != nil {
		t.Errorf("ReadUint: %d, %v", n, err)
	}
	if _, err := c.Read(ctx, at+"/none"); !errors.Is(err, fs.ErrNotExist) || !errors.Is(err, xenstore.ErrNotExist) {
		t.Errorf("read of nothing: %v", err)
	}
	var e *xenstore.Error
	if _, err := c.Read(ctx, at+"/none"); !errors.As(err, &e) || e.Path != at+"/none" || e.Op != "read" {
		t.Errorf("the error does not say what failed: %v", err)
	}
	perms := []xs.Perm{{Access: xs.AccessRead}, {Access: xs.AccessNone, Dom: 0}}
	if err := c.SetPerms(ctx, at+"/a", perms...); err != nil {
		t.Error(err)
	}
	if got, err := c.GetPerms(ctx, at+"/a"); err != nil || len(got) != 2 || got[0] != perms[0] {
		t.Errorf("permissions: %v, %v", got, err)
	}
	if p, err := c.DomainPath(ctx, 7); p != "/local/domain/7" || err != nil {
		t.Errorf("domain path: %q, %v", p, err)
	}
	if ok, err := c.IsIntroduced(ctx, 0); !ok || err != nil {
		t.Errorf("is dom0 introduced: %v, %v", ok, err)
	}
	if ok, err := c.IsIntroduced(ctx, 777); ok || err != nil {
		t.Errorf("is domain 777 introduced: %v, %v", ok, err)
	}
	if s, err := c.Control(ctx, "check"); s != "OK" && s != "" || err != nil {
		t.Errorf("control check: %q, %v", s, err)
	}
	for i := range 700 {
		if err := c.Mkdir(ctx, fmt.Sprintf("%s/big/entry-%05d", at, i)); err != nil {
			t.Fatal(err)
		}
	}
	if names, err := c.List(ctx, at+"/big"); len(names) != 700 || err != nil {
		t.Errorf("list of 700 children: %d, %v", len(names), err)
	}
	if names, err := c.List(ctx, at+"/a/b"); len(names) != 0 || err != nil {
		t.Errorf("list without children: %v, %v", names, err)
	}

	// Watches: one event at once, then each change in order; none from a failed transaction.
	w, err := c.Watch(ctx, at+"/w", at+"/a")
	if err != nil {
		t.Fatal(err)
	}
	next := func(want string) {
		t.Helper()
		if e, err := w.Next(ctx); err != nil || e.Path != want {
			t.Fatalf("event %+v, %v; want %s", e, err, want)
		}
	}
	next(at + "/w")
	next(at + "/a")
	for i := range 30 {
		if err := c.Write(ctx, fmt.Sprintf("%s/w/%d", at, i), ""); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 30 {
		next(fmt.Sprintf("%s/w/%d", at, i))
	}
	tx, err := c.Begin(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Read(ctx, at+"/a/b"); err != nil {
		t.Fatal(err)
	}
	if err := c.Write(ctx, at+"/a/b", "2"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Write(ctx, at+"/a/b", "3"); err != nil {
		t.Fatal(err)
	}
	if err := tx.Commit(ctx); !errors.Is(err, xenstore.ErrAgain) {
		t.Errorf("commit after a conflict: %v", err)
	}
	next(at + "/a/b")
	if err := w.Remove(ctx, at+"/a"); err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if _, ok := <-w.Events(); ok {
		t.Error("an event after Close")
	}

	// Many goroutines count one node up; none is lost.
	if err := c.Write(ctx, at+"/n", "0"); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 10 {
				err := c.Transact(ctx, func(tx *xenstore.Tx) error {
					n, err := tx.ReadUint(ctx, at+"/n", 32)
					if err != nil {
						return err
					}
					return tx.Write(ctx, at+"/n", fmt.Sprint(n+1))
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n, err := c.ReadUint(ctx, at+"/n", 32); n != 80 || err != nil {
		t.Errorf("counted to %d, %v; want 80", n, err)
	}
	if err := c.Remove(ctx, at); err != nil {
		t.Error(err)
	}
}

// A domain speaks through a page and an event channel, as a real one does; more than a ring full at once.
func TestRing(t *testing.T) {
	h := sim.New(1)
	defer h.Close()
	ctx := testContext(t)
	d, err := h.NewDomain()
	if err != nil {
		t.Fatal(err)
	}
	g, err := d.Share(0, 1, xen.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	dev, err := d.Listen(0)
	if err != nil {
		t.Fatal(err)
	}
	m, err := h.Dom0().Map(d.ID(), g.Refs(), xen.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	sev, err := h.Dom0().Connect(d.ID(), dev.Port())
	if err != nil {
		t.Fatal(err)
	}
	service, err := xenstore.NewServiceRing(m.Bytes(), sev)
	if err != nil {
		t.Fatal(err)
	}
	h.ServeStore(d.ID(), service)
	r, err := xenstore.NewRing(g.Bytes(), dev)
	if err != nil {
		t.Fatal(err)
	}
	c := xenstore.NewClient(r)
	defer c.Close()
	var wg sync.WaitGroup
	big := string(make([]byte, 1900))
	for i := range 8 {
		wg.Go(func() {
			p := fmt.Sprintf("data/%d", i)
			for range 20 {
				if err := c.Write(ctx, p, big); err != nil {
					t.Error(err)
				}
				if v, err := c.Read(ctx, p); v != big || err != nil {
					t.Errorf("%d bytes, %v", len(v), err)
				}
			}
		})
	}
	wg.Wait()
	// The service writes an impossible index: the connection ends with an error, not with a hang. Its next honest
	// reply puts the index right again, so the client may not have looked in between: again then.
	for err = nil; err == nil; _, err = c.Read(ctx, "data/0") {
		m.Bytes()[xs.RingRspProd+2] ^= 0x80
		if err := sev.Notify(); err != nil {
			t.Fatal(err)
		}
	}
	if !errors.Is(err, xenstore.ErrProtocol) {
		t.Errorf("after a bad index: %v, want %v", err, xenstore.ErrProtocol)
	}
}

// hostile answers the first request with the bytes given.
func hostile(t *testing.T, answer func(xs.Header) []byte) *xenstore.Client {
	ours, theirs := net.Pipe()
	go func() {
		b := make([]byte, xs.HeaderSize+xs.PayloadMax)
		if _, err := ours.Read(b); err == nil {
			h, _ := xs.ParseHeader(b)
			_, _ = ours.Write(answer(h))
			_, _ = io.Copy(io.Discard, ours)
		}
	}()
	c := xenstore.NewClient(theirs)
	t.Cleanup(func() { c.Close(); ours.Close() })
	return c
}

func TestHostileReplies(t *testing.T) {
	for name, answer := range map[string]func(xs.Header) []byte{
		"too long":        func(h xs.Header) []byte { h.Len = 4097; return xs.AppendHeader(nil, h) },
		"far too long":    func(h xs.Header) []byte { h.Len = 1<<32 - 1; return xs.AppendHeader(nil, h) },
		"unknown request": func(h xs.Header) []byte { h.Req++; return xs.AppendMessage(nil, h, nil) },
		"other type":      func(h xs.Header) []byte { h.Op = xs.Write; return xs.AppendMessage(nil, h, nil) },
		"unknown type":    func(h xs.Header) []byte { h.Op = 99; return xs.AppendMessage(nil, h, nil) },
		"error unended":   func(h xs.Header) []byte { h.Op = xs.ErrorReply; return xs.AppendMessage(nil, h, []byte("ENOENT")) },
		"event unended":   func(h xs.Header) []byte { h.Op = xs.WatchEvent; return xs.AppendMessage(nil, h, []byte("/a")) },
	} {
		t.Run(name, func(t *testing.T) {
			c := hostile(t, answer)
			if _, err := c.Read(testContext(t), "/a"); !errors.Is(err, xenstore.ErrProtocol) {
				t.Errorf("%v, want %v", err, xenstore.ErrProtocol)
			}
			if !errors.Is(c.Err(), xenstore.ErrProtocol) {
				t.Errorf("connection: %v", c.Err())
			}
		})
	}
	c := hostile(t, func(h xs.Header) []byte { return xs.AppendMessage(nil, h, []byte("no number\x00")) })
	if _, err := c.Begin(testContext(t)); !errors.Is(err, xenstore.ErrProtocol) {
		t.Errorf("transaction without a number: %v", err)
	}
}

// A service that never answers is the caller's to give up on; what it answers later harms nobody.
func TestContextEndsACall(t *testing.T) {
	ours, theirs := net.Pipe()
	c := xenstore.NewClient(theirs)
	defer c.Close()
	requests := make(chan xs.Header)
	go func() {
		defer close(requests)
		for {
			var hb [xs.HeaderSize]byte
			if _, err := io.ReadFull(ours, hb[:]); err != nil {
				return
			}
			h, _ := xs.ParseHeader(hb[:])
			if _, err := io.CopyN(io.Discard, ours, int64(h.Len)); err != nil {
				return
			}
			requests <- h
		}
	}()
	ctx, cancel := context.WithCancel(testContext(t))
	failed := make(chan error)
	go func() {
		_, err := c.Begin(ctx)
		failed <- err
	}()
	late := <-requests
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Fatalf("begin: %v", err)
	}
	// The transaction that nobody wants is ended at once when its number comes.
	if _, err := ours.Write(xs.AppendMessage(nil, late, xs.AppendTxID(nil, 9))); err != nil {
		t.Fatal(err)
	}
	if h := <-requests; h.Op != xs.TransactionEnd || h.Tx != 9 {
		t.Errorf("after an abandoned begin came %+v, want the end of transaction 9", h)
	}
	c.Close()
	if _, err := c.Read(testContext(t), "/"); !errors.Is(err, xenstore.ErrClosed) {
		t.Errorf("read after close: %v", err)
	}
	ours.Close()
	for range requests {
	}
}

// Whatever a service sends, the client ends or goes on; it neither panics nor hangs.
func FuzzService(f *testing.F) {
	f.Add(xs.AppendMessage(nil, xs.Header{Op: xs.Read, Req: 1}, []byte("x")))
	f.Add(xs.AppendMessage(nil, xs.Header{Op: xs.WatchEvent}, []byte("/a\x001\x00")))
	f.Fuzz(func(t *testing.T, b []byte) {
		ours, theirs := net.Pipe()
		c := xenstore.NewClient(theirs)
		done := make(chan struct{})
		go func() {
			defer close(done)
			buf := make([]byte, 4096)
			_, _ = ours.Read(buf)
			_, _ = ours.Write(b)
			ours.Close()
		}()
		ctx := testContext(t)
		_, _ = c.List(ctx, "/a")
		<-c.Done()
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Error("hung")
		}
		c.Close()
		<-done
	})
}

func BenchmarkRead(b *testing.B) {
	c := dom0(b)
	ctx := testContext(b)
	if err := c.Write(ctx, "/x", "value"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := c.Read(context.Background(), "/x"); err != nil {
			b.Fatal(err)
		}
	}
}
