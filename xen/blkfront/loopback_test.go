package blkfront

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"morgana/block"
	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/blkif"
)

// loopback is a domain and a backend whose every call costs nothing, so that what is measured is the frontend: pages
// are of the heap, and a notification runs the backend at once, which answers and moves no data.
type loopback struct {
	mu   sync.Mutex
	next xen.GrantRef
	mem  map[xen.GrantRef][]byte
	back *ring.Back
	req  []byte
	rsp  []byte
	seen int
	hold int // answer after so many requests
	ids  []blkif.Response
	dec  blkif.Request
	wake chan struct{}
}

type loopGrant struct {
	refs  []xen.GrantRef
	bytes []byte
}

func (g *loopGrant) Refs() []xen.GrantRef { return g.refs }
func (g *loopGrant) Bytes() []byte        { return g.bytes }
func (g *loopGrant) Close() error         { return nil }

func (l *loopback) Share(_ xen.DomID, pages int, _ xen.Access) (xen.Grant, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	g := &loopGrant{bytes: make([]byte, pages*xen.PageSize)}
	for i := range pages {
		l.next++
		g.refs = append(g.refs, l.next)
		l.mem[l.next] = g.bytes[i*xen.PageSize:]
	}
	return g, nil
}

func (l *loopback) Listen(xen.DomID) (xen.Event, error)            { return l, nil }
func (l *loopback) Connect(xen.DomID, xen.Port) (xen.Event, error) { return nil, xen.ErrInvalid }
func (l *loopback) BindVIRQ(xen.VIRQ) (xen.Event, error)           { return nil, xen.ErrInvalid }
func (l *loopback) Port() xen.Port                                 { return 1 }
func (l *loopback) Close() error                                   { return nil }

func (l *loopback) Wait(ctx context.Context) error {
	select {
	case <-l.wake:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Notify is the backend.
func (l *loopback) Notify() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for idle := false; !idle; {
		for {
			ok, err := l.back.Take(l.req)
			if err != nil {
				return err // a test that writes into the ring
			}
			if !ok {
				break
			}
			l.seen++
			blkif.Native.DecodeRequest(&l.dec, l.req)
			l.ids = append(l.ids, blkif.Response{ID: l.dec.ID, Op: l.dec.Moves()})
		}
		idle, _ = l.back.Idle()
	}
	if len(l.ids) < l.hold {
		return nil
	}
	for _, r := range l.ids {
		blkif.Native.PutResponse(l.rsp, r)
		l.back.Put(l.rsp)
	}
	l.ids = l.ids[:0]
	if l.back.Push() {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

func newLoopback(tb testing.TB, f blkif.Features, cfg Config) (*loopback, *Disk) {
	tb.Helper()
	size := blkif.Native.SlotSize()
	l := &loopback{mem: map[xen.GrantRef][]byte{}, req: make([]byte, size), rsp: make([]byte, blkif.ResponseMax), wake: make(chan struct{}, 1)}
	p := &peer{store: map[string]string{}, disk: block.NewMem(1<<30, 512)}
	p.features(f)
	cfg.Domain, cfg.Path = l, "device/vbd/51712"
	d, err := newDisk(cfg)
	if err != nil {
		tb.Fatal(err)
	}
	go d.run(waitOver)
	tb.Cleanup(func() { d.Close() })
	if _, err := (driver{d}).Prepare(context.Background(), 1, p.nodes); err != nil {
		tb.Fatal(err)
	}
	if l.back, err = ring.NewBack(d.preparing.queues[0].pages.Bytes(), size); err != nil {
		tb.Fatal(err)
	}
	if err := (driver{d}).Connect(context.Background(), p.nodes); err != nil {
		tb.Fatal(err)
	}
	return l, d
}

// In steady state no request allocates, alone or in a batch.
func TestNoAllocation(t *testing.T) {
	if raced {
		t.Skip("the race detector makes sync.Pool forget")
	}
	for _, feat := range []blkif.Features{{Flush: true, Discard: true}, {Flush: true, Discard: true, MaxIndirect: 32, MaxRingOrder: 2}} {
		_, d := newLoopback(t, feat, Config{})
		buf := make([]byte, 128<<10)
		reqs, vecs := batch(8, 4096)
		for _, c := range []struct {
			what string
			do   func() error
		}{
			{"read", func() error { return second(d.ReadAt(buf[:4096], 0)) }},
			{"read of half a sector", func() error { return second(d.ReadAt(buf[:256], 256)) }},
			{"write", func() error { return second(d.WriteAt(buf, 4096)) }},
			{"vector", func() error { return d.WriteVec(vecs, 4096) }},
			{"flush", func() error { return d.Flush() }},
			{"discard", func() error { return d.Discard(0, 4096) }},
			{"zeroes", func() error { return d.WriteZeroes(4096, 100<<10) }},
			{"batch", func() error { return d.Do(context.Background(), reqs) }},
		} {
			if n := testing.AllocsPerRun(1000, func() {
				if err := c.do(); err != nil {
					t.Error(c.what, err)
				}
			}); n >= 1 {
				t.Errorf("%s: %v allocations", c.what, n)
			}
		}
	}
}

// batch is n reads of size bytes.
func batch(n, size int) (reqs []Request, vecs [][]byte) {
	reqs = make([]Request, n)
	for i := range reqs {
		vecs = append(vecs, make([]byte, size))
		reqs[i] = Request{Op: Read, Off: int64(i) * int64(size) * 2, Bufs: vecs[i : i+1 : i+1]}
	}
	return reqs, vecs
}

// What the frontend alone costs, without a hypervisor and a disk.
func BenchmarkFrontend(b *testing.B) {
	for _, size := range []int{4 << 10, 64 << 10} {
		for _, depth := range []int{1, 32} {
			b.Run(fmt.Sprintf("read-%dK-depth-%d", size>>10, depth), func(b *testing.B) {
				_, d := newLoopback(b, blkif.Features{MaxIndirect: 256, MaxRingOrder: 2}, Config{})
				reqs, _ := batch(depth, size)
				b.SetBytes(int64(size))
				b.ReportAllocs()
				for i := 0; i < b.N; i += depth {
					if err := d.Do(context.Background(), reqs); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}
