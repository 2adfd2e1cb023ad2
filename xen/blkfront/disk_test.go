package blkfront

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"morgana/block"
	"morgana/xen/sim"
	"morgana/xen/wire/blkif"
)

// kinds are backends that offer this and that.
var kinds = []struct {
	name   string
	sector int
	feat   blkif.Features
	cfg    Config
}{
	{"plain", 512, blkif.Features{}, Config{}},
	{"large-sectors", 4096, blkif.Features{Flush: true, MaxIndirect: 32}, Config{}},
	{"everything", 512, blkif.Features{Flush: true, Barrier: true, Discard: true, MaxIndirect: 256, MaxRingOrder: 4, MaxQueues: 4, Persistent: true}, Config{Queues: 3, RingOrder: 3}},
	{"barrier", 512, blkif.Features{Barrier: true, MaxIndirect: 12, MaxRingOrder: 1}, Config{}},
	{"tight", 512, blkif.Features{Flush: true, Discard: true, MaxIndirect: 64}, Config{RingOrder: -1, Memory: 1}},
}

// A disk holds what a slice of bytes does, whatever calls move it, at any place and length, from several goroutines.
func TestDevice(t *testing.T) {
	for _, k := range kinds {
		t.Run(k.name, func(t *testing.T) {
			const size, workers = 4 << 20, 4
			p := newPeer(t, block.NewMem(size, k.sector))
			p.features(k.feat)
			d := p.open(k.cfg)
			p.connect(d)
			if d.Size() != size || d.SectorSize() != k.sector {
				t.Fatal(d.Size(), d.SectorSize())
			}
			var wg sync.WaitGroup
			for w := range workers {
				wg.Go(func() {
					// Each has a part of its own, which begins and ends within a sector.
					begin, end := int64(w)*(size/workers)+100*int64(w), int64(w+1)*(size/workers)+100*int64(w+1)
					if w == workers-1 {
						end = size
					}
					walk(t, d, begin, end, uint64(w))
				})
			}
			wg.Wait()
			st := d.Stats()
			if st.Segments != max(11, min(256, k.feat.MaxIndirect)) {
				t.Error("requests of", st.Segments, "segments")
			}
			t.Logf("%+v", st)
		})
	}
}

func walk(t *testing.T, d *Disk, begin, end int64, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	model := make([]byte, end-begin)
	check := func(err error) {
		t.Helper()
		if err != nil {
			t.Error(err)
		}
	}
	check(d.WriteZeroes(begin, end-begin))
	steps := 150
	if testing.Short() {
		steps = 40
	}
	for range steps {
		if t.Failed() {
			return
		}
		off := rnd.Int64N(end - begin)
		n := min(rnd.Int64N(300<<10), end-begin-off)
		if rnd.IntN(2) == 0 {
			n = min(n, rnd.Int64N(2000))
		}
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(rnd.Uint32())
		}
		switch rnd.IntN(7) {
		case 0, 1:
			_, err := d.WriteAt(b, begin+off)
			check(err)
			copy(model[off:], b)
		case 2:
			k := rnd.Int64N(n + 1)
			check(block.WriteVec(d, [][]byte{b[:k], nil, b[k:]}, begin+off))
			copy(model[off:], b)
		case 3:
			check(block.WriteZeroes(d, begin+off, n))
			clear(model[off : off+n])
		case 4:
			_, err := d.ReadAt(b, begin+off)
			check(err)
			if !bytes.Equal(b, model[off:off+n]) {
				t.Errorf("%d bytes at %d differ", n, begin+off)
			}
		case 5:
			k := rnd.Int64N(n + 1)
			check(block.ReadVec(d, [][]byte{b[:k], nil, b[k:]}, begin+off))
			if !bytes.Equal(b, model[off:off+n]) {
				t.Errorf("%d bytes at %d differ", n, begin+off)
			}
		case 6:
			check(block.Discard(d, begin+off, n))
			check(block.WriteZeroes(d, begin+off, n))
			check(d.Flush())
			clear(model[off : off+n])
		}
	}
}

// A batch does all kinds at once; each request has its own error.
func TestBatch(t *testing.T) {
	p := newPeer(t, block.NewMem(1<<20, 512))
	d := p.open(Config{})
	p.connect(d)
	b := bytes.Repeat([]byte("abc"), 100000)
	reqs := []Request{
		{Op: Write, Off: 0, Bufs: [][]byte{b}},
		{Op: Write, Off: 1 << 20, Bufs: [][]byte{b[:1]}},
		{Op: WriteZeroes, Off: 600<<10 + 1, N: 100},
		{Op: Flush},
		{Op: Op(77)},
		{Op: Discard, Off: 700 << 10, N: 4096},
		{Op: Discard, Off: 700 << 10, N: 4096, Secure: true},
	}
	err := d.Do(within(t, time.Minute), reqs)
	if !errors.Is(err, block.ErrOutOfRange) || err != reqs[1].Err {
		t.Error(err)
	}
	for i, want := range []error{nil, block.ErrOutOfRange, nil, nil, ErrNotSupported, nil, ErrNotSupported} {
		if !errors.Is(reqs[i].Err, want) {
			t.Errorf("request %d: %v, want %v", i, reqs[i].Err, want)
		}
	}
	got := make([]byte, len(b))
	if err := d.ReadVec([][]byte{got}, 0); err != nil || !bytes.Equal(got, b) {
		t.Error(err)
	}
}

// One batch is one notification.
func TestBatchNotifiesOnce(t *testing.T) {
	p := newPeer(t, block.NewMem(1<<20, 512))
	d := p.open(Config{})
	p.connect(d)
	reqs := make([]Request, 32)
	for i := range reqs {
		reqs[i] = Request{Op: Write, Off: int64(i) * 8192, Bufs: [][]byte{make([]byte, 4096)}}
	}
	before := d.Stats()
	if err := d.Do(context.Background(), reqs); err != nil {
		t.Fatal(err)
	}
	after := d.Stats()
	if n := after.Notifications - before.Notifications; n != 1 || after.Requests-before.Requests != 32 {
		t.Errorf("%d notifications for %d requests", n, after.Requests-before.Requests)
	}
}

// Nothing is written to a disk that is read-only, and a grown one tells.
func TestReadOnlyAndResize(t *testing.T) {
	p := newPeer(t, block.NewMem(1<<20, 512))
	d := p.open(Config{})
	p.store["info"] = itoa(blkif.InfoReadOnly)
	p.connect(d)
	// As Linux's backend does, to which a flush is a write.
	p.decide(func(c *conn, i int, r *blkif.Request) {
		if r.Op == blkif.Flush {
			c.put(i, blkif.Response{ID: r.ID, Op: r.Op, Status: blkif.Failed})
			return
		}
		c.honest(i, r)
	})
	for what, err := range map[string]error{
		"write": second(d.WriteAt(make([]byte, 1), 5)), "zeroes": d.WriteZeroes(0, 512), "discard": d.Discard(0, 512),
	} {
		if !errors.Is(err, block.ErrReadOnly) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := d.Flush(); err != nil {
		t.Error(err)
	}
	p.disk = block.NewMem(3<<20, 512)
	p.resize(3 << 20)
	select {
	case <-d.Resized():
		t.Error("resized before it was")
	default:
	}
	driver{d}.Changed(p.nodes)
	select {
	case <-d.Resized():
	case <-time.After(time.Minute):
		t.Error("nobody told")
	}
	if _, err := d.ReadAt(make([]byte, 1), 3<<20-1); err != nil || d.Size() != 3<<20 {
		t.Error(d.Size(), err)
	}
}

func second(_ int, err error) error { return err }

// With few pages or none to be had requests become smaller, wait or fail; nothing hangs.
func TestNoMemory(t *testing.T) {
	for _, pages := range []int{2, 5, 20, 100} {
		t.Run(fmt.Sprint(pages), func(t *testing.T) {
			p := newPeer(t, block.NewMem(4<<20, 512), sim.WithLimits(sim.Limits{Pages: pages}))
			d := p.open(Config{RingOrder: -1})
			p.connect(d)
			var wg sync.WaitGroup
			for w := range 3 {
				wg.Go(func() {
					b := bytes.Repeat([]byte{byte(w + 1)}, 1<<20)
					if _, err := d.WriteAt(b, int64(w)<<20); err != nil {
						t.Error(err)
					}
					got := make([]byte, 1<<20)
					if _, err := d.ReadAt(got, int64(w)<<20); err != nil || !bytes.Equal(got, b) {
						t.Error(err)
					}
				})
			}
			wg.Wait()
		})
	}
	p := newPeer(t, block.NewMem(1<<20, 512), sim.WithLimits(sim.Limits{Pages: 1}))
	d := p.open(Config{RingOrder: -1})
	p.connect(d)
	if _, err := d.ReadAt(make([]byte, 1), 0); err == nil {
		t.Error("read without a page")
	}
	if err := d.Flush(); err != nil {
		t.Error("a flush needs no page:", err)
	}
}
