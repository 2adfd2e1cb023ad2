package blkback

import (
	"math/rand/v2"
	"testing"

	"morgana/xen"
	"morgana/xen/wire/blkif"
)

// Several rings take and give pieces at random: none ever holds more than its own bound, all together never more than
// theirs and a call's for each ring, and a ring without a call always gets one.
func TestBuffersStayWithinTheirBounds(t *testing.T) {
	rng := rand.New(rand.NewPCG(seed(t), 1))
	p := &pool{limit: 1000}
	type piece struct {
		pages int
		mem   []byte
	}
	rings := make([]buffers, 5)
	inUse := make([][]piece, len(rings))
	for i := range rings {
		rings[i] = buffers{pool: p, limit: 512}
	}
	for step := range 20000 {
		i := rng.IntN(len(rings))
		b := &rings[i]
		if n := len(inUse[i]); n > 0 && rng.IntN(5) < 2 {
			x := inUse[i][n-1]
			inUse[i] = inUse[i][:n-1]
			b.give(x.mem)
			b.release(x.pages)
		} else if pages := 1 + rng.IntN(callPages); b.reserve(pages) {
			m := b.take(pages, 0)
			if len(m) < pages*xen.PageSize {
				t.Fatalf("%d bytes for %d pages", len(m), pages)
			}
			inUse[i] = append(inUse[i], piece{pages, m})
		} else if n == 0 {
			t.Fatal("a ring without a call got no memory")
		}
		if b.held > b.limit {
			t.Fatalf("step %d: a ring holds %d pages of %d", step, b.held, b.limit)
		}
		if held := p.held.Load(); held > p.limit+int64(len(rings)*callPages) {
			t.Fatalf("step %d: the rings hold %d pages of %d", step, held, p.limit)
		}
	}
	for i := range rings {
		for _, x := range inUse[i] {
			rings[i].give(x.mem)
			rings[i].release(x.pages)
		}
		rings[i].dropAll()
		if rings[i].held != 0 || rings[i].reserved != 0 {
			t.Errorf("a ring ends with %d pages held and %d reserved", rings[i].held, rings[i].reserved)
		}
	}
	if p.held.Load() != 0 {
		t.Errorf("%d pages are held by nobody", p.held.Load())
	}
}

// Where memory is short requests are served one after the other, and all of them.
func TestShortOfMemory(t *testing.T) {
	g := newGuard(t, 8*mib, 512)
	f := connect(t, g, wiring{options: Options{MemoryPages: 256, BufferPages: 256}})
	f.queue.opt.pool.held.Store(256) // another ring's
	var reqs []blkif.Request
	for i := range 20 {
		reqs = append(reqs, f.whole(blkif.Write, uint64(i*200), i*11, 11))
	}
	f.good(reqs...)
	if g.writes != 20 {
		t.Errorf("%d writes, want 20", g.writes)
	}
	if held := f.queue.bufs.held; held != 0 {
		t.Errorf("%d pages are kept although memory is short", held)
	}
	f.queue.opt.pool.held.Add(-256)
}
