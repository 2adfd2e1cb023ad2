package xenstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"morgana/xen"
	"morgana/xen/sim"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
	"morgana/xenstore/clienttest"
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

func TestOperations(t *testing.T) { clienttest.Operations(testContext(t), t, dom0(t)) }

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
	// The service writes an impossible index: the connection ends with an error, not with a hang. No request may be
	// under way meanwhile, because the service's next honest reply puts the index right again.
	m.Bytes()[xs.RingRspProd+2] ^= 0x80
	if err := sev.Notify(); err != nil {
		t.Fatal(err)
	}
	select {
	case <-c.Done():
	case <-ctx.Done():
		t.Fatal("a bad index did not end the connection")
	}
	if _, err := c.Read(ctx, "data/0"); !errors.Is(err, xenstore.ErrProtocol) {
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
