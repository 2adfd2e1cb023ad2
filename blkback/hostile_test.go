package blkback

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"morgana/blkback/attack"
	"morgana/block"
	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/sim"
	"morgana/xen/wire/blkif"
)

// Each thing that a hostile frontend may write into a request is answered with an error, and the next request is
// served.
func TestHostileRequests(t *testing.T) {
	each(t, func(t *testing.T, g *guard, f *front) {
		end := uint64(g.Size() / 512)
		other := f.domain()
		foreign, err := other.Share(f.self.ID(), 1, xen.ReadWrite)
		f.check(err)
		readOnly, err := f.self.Share(f.back.ID(), 1, xen.ReadOnly)
		f.check(err)
		revoked, err := f.self.Share(f.back.ID(), 1, xen.ReadWrite)
		f.check(err)
		gone := revoked.Refs()[0]
		f.check(revoked.Close())

		with := func(op blkif.Op, sector uint64, segs ...blkif.Segment) blkif.Request {
			r := blkif.Request{Op: op, Sector: sector, Segments: len(segs)}
			copy(r.Direct[:], segs)
			return r
		}
		many := make([]blkif.Segment, 300)
		for i := range many {
			many[i] = f.seg(i, 0, 7)
		}
		count := func(r blkif.Request, n int) blkif.Request {
			r.Segments = n
			return r
		}
		pages := func(r blkif.Request, ref xen.GrantRef) blkif.Request {
			r.Pages[0] = ref
			return r
		}
		good := f.whole(blkif.Write, 0, 0, 1)
		for name, c := range map[string]struct {
			r    blkif.Request
			want blkif.Status
		}{
			"no segment":                     {with(blkif.Read, 0), blkif.Failed},
			"first after last":               {with(blkif.Read, 0, f.seg(0, 5, 4)), blkif.Failed},
			"last beyond the page":           {with(blkif.Read, 0, f.seg(0, 0, 8)), blkif.Failed},
			"last far beyond the page":       {with(blkif.Write, 0, f.seg(0, 0, 255)), blkif.Failed},
			"second segment bad":             {with(blkif.Write, 0, f.seg(0, 0, 7), f.seg(1, 7, 0)), blkif.Failed},
			"at the end":                     {with(blkif.Read, end, f.seg(0, 0, 0)), blkif.Failed},
			"across the end":                 {with(blkif.Write, end-7, f.seg(0, 0, 7)), blkif.Failed},
			"sector that overflows":          {with(blkif.Write, 1<<64-8, f.seg(0, 0, 7)), blkif.Failed},
			"sector that overflows as bytes": {with(blkif.Write, 1<<55, f.seg(0, 0, 7)), blkif.Failed},
			"unknown operation":              {with(77, 0, f.seg(0, 0, 7)), blkif.NotSupported},
			"packet command":                 {with(blkif.Reserved, 0, f.seg(0, 0, 7)), blkif.NotSupported},
			"reference of nobody":            {with(blkif.Write, 0, blkif.Segment{Ref: 4000, Last: 7}), blkif.Failed},
			"reference that is huge":         {with(blkif.Read, 0, blkif.Segment{Ref: 1<<32 - 1, Last: 7}), blkif.Failed},
			"reserved reference":             {with(blkif.Read, 0, blkif.Segment{Ref: 1, Last: 7}), blkif.Failed},
			"revoked reference":              {with(blkif.Write, 0, f.seg(0, 0, 7), blkif.Segment{Ref: gone, Last: 7}), blkif.Failed},
			"reference for another domain":   {with(blkif.Write, 0, blkif.Segment{Ref: foreign.Refs()[0] + 1000, Last: 7}), blkif.Failed},
			"read into a read-only page":     {with(blkif.Read, 0, blkif.Segment{Ref: readOnly.Refs()[0], Last: 7}), blkif.Failed},
			"discard beyond the end":         {blkif.Request{Op: blkif.Discard, Sector: end - 1, Count: 2}, blkif.Failed},
			"discard that overflows":         {blkif.Request{Op: blkif.Discard, Sector: 8, Count: 1<<64 - 4}, blkif.Failed},
			"twelve segments":                {count(with(blkif.Write, 0), 12), blkif.Failed},
			"255 segments":                   {count(with(blkif.Read, 0), 255), blkif.Failed},
			"barrier of 255 segments":        {count(with(blkif.Barrier, 0), 255), blkif.Failed},
			"flush of 12 segments":           {count(with(blkif.Flush, 1<<64-1), 12), blkif.Failed},
			"indirect of nothing":            {count(f.indirect(blkif.Read, 0, 400, many[:12]), 0), blkif.Failed},
			"indirect of too many":           {count(f.indirect(blkif.Read, 0, 400, many[:12]), 257), blkif.Failed},
			"indirect of very many":          {count(f.indirect(blkif.Read, 0, 400, many[:12]), 65535), blkif.Failed},
			"indirect flush":                 {f.indirect(blkif.Flush, 0, 400, many[:12]), blkif.Failed},
			"indirect indirect":              {f.indirect(blkif.Indirect, 0, 400, many[:12]), blkif.Failed},
			"indirect across the end":        {f.indirect(blkif.Write, end-16, 400, many[:12]), blkif.Failed},
			"indirect, page of nobody":       {pages(f.indirect(blkif.Write, 0, 400, many[:12]), 4000), blkif.Failed},
			"indirect, revoked page":         {pages(f.indirect(blkif.Write, 0, 400, many[:12]), gone), blkif.Failed},
			"indirect, bad segment":          {f.indirect(blkif.Write, 0, 401, []blkif.Segment{f.seg(0, 0, 7), f.seg(1, 0, 8)}), blkif.Failed},
		} {
			// Alone, and between good requests that it must not spoil.
			if got := f.do(c.r); got[0] != c.want {
				t.Errorf("%s: status %d, want %d", name, got[0], c.want)
			}
			f.pass(2 * time.Second)
			got := f.do(good, c.r, f.whole(blkif.Write, 8, 1, 1))
			if got[0] != blkif.OK || got[1] != c.want || got[2] != blkif.OK {
				t.Errorf("%s, between good ones: %v, want [0 %d 0]", name, got, c.want)
			}
			f.pass(2 * time.Second)
		}
		// A page that comes up twice is legal: the bytes go where they are told.
		f.good(with(blkif.Write, 0, f.seg(0, 0, 7), f.seg(0, 0, 7)))
		if f.broken != nil {
			t.Error("the connection was ended:", f.broken)
		}
	})
}

// An index that no honest frontend writes ends this ring, with a reason, and no other.
func TestProducerThatJumps(t *testing.T) {
	for _, jump := range []uint32{33, 1000, 1 << 31, 1<<32 - 1} {
		host := sim.New(1)
		t.Cleanup(host.Close)
		g := newGuard(t, mib, 512)
		bad, healthy := connectOn(t, host, g, wiring{}), connectOn(t, host, newGuard(t, mib, 512), wiring{})
		bad.good(bad.whole(blkif.Write, 0, 0, 1))
		prod, err := ring.Word(bad.grant.Bytes(), 0)
		bad.check(err)
		prod.Add(jump)
		bad.queue.kick()
		if !errors.Is(bad.broken, ring.ErrBadIndex) {
			t.Errorf("producer %d ahead: %v, want %v", jump, bad.broken, ring.ErrBadIndex)
		}
		prod.Store(2)
		bad.queue.kick()
		if g.writes != 1 {
			t.Error("a ring that is broken was served")
		}
		healthy.good(healthy.whole(blkif.Write, 0, 0, 1))
	}
}

// hostile is a frontend that misbehaves.
type hostile struct {
	*front
	attack.Frontend
	sent, refused int
	slot          [128]byte
	verdicts      map[uint64]attack.Verdict
}

func newHostile(f *front, rng *rand.Rand) *hostile {
	h := &hostile{front: f, verdicts: make(map[uint64]attack.Verdict)}
	gone, err := f.self.Share(f.back.ID(), 8, xen.ReadWrite)
	f.check(err)
	h.Revoked = append(h.Revoked, gone.Refs()...)
	f.check(gone.Close())
	readOnly, err := f.self.Share(f.back.ID(), 8, xen.ReadOnly)
	f.check(err)
	h.Frontend = attack.Frontend{
		ABI: f.abi, Frozen: f.disk.readOnly, Sectors: f.disk.sectors(), Refs: f.data.Refs(), Data: f.data.Bytes(), ReadOnly: readOnly.Refs(), Revoked: h.Revoked, Rand: rng,
	}
	return h
}

// send sends n requests of a kind, each of which must be answered, and not taken for good if it cannot be.
func (h *hostile) send(w *attack.Way, n int) {
	h.t.Helper()
	for n > 0 {
		clear(h.verdicts)
		k := 0
		for want := 1 + h.Rand.IntN(h.ring.Size()); k < want && k < n && h.ring.Free() > 0; k++ {
			h.sent++
			if v := w.Slot(&h.Frontend, h.slot[:], uint64(h.sent)); v == attack.Refuse {
				h.verdicts[uint64(h.sent)] = v
			}
			h.ring.Put(h.slot[:h.abi.SlotSize()])
		}
		h.ring.Push()
		h.queue.kick()
		for got, end := 0, time.Now().Add(20*time.Second); got < k; {
			ok, err := h.ring.Take(h.slot[:])
			if err != nil {
				h.t.Fatal(err)
			}
			if ok {
				got++
				r := h.abi.DecodeResponse(h.slot[:])
				if r.Status == blkif.OK && h.verdicts[r.ID] == attack.Refuse {
					h.t.Errorf("%s: a request that must be refused succeeded", w.Name)
				}
				if r.Status != blkif.OK {
					h.refused++
				}
				continue
			}
			if time.Now().After(end) {
				h.t.Fatalf("%d of %d requests are not answered", k-got, k)
			}
			h.queue.kick()
		}
		n -= k
		if h.Rand.IntN(10) == 0 {
			h.pass(time.Duration(h.Rand.IntN(3000)) * time.Millisecond)
		}
	}
}

// Each kind of misbehaviour is answered, refused where it must be, and ends nothing.
func TestEachKindOfMisbehaviour(t *testing.T) {
	for _, kind := range attack.Ways() {
		t.Run(kind.Name, func(t *testing.T) {
			for name, w := range ways() {
				w.readOnly = kind.Name == "writes"
				g := newGuard(t, 4*mib, 512)
				g.readOnly = w.readOnly
				h := newHostile(connect(t, g, w), rand.New(rand.NewPCG(seed(t), 5)))
				h.send(&kind, 500)
				if h.broken != nil {
					t.Errorf("%s: the ring was given up: %v", name, h.broken)
				}
				if kind.Name != "repeated" && h.refused == 0 {
					t.Errorf("%s: no request of %d was refused", name, h.sent)
				}
				op := blkif.Write
				if w.readOnly {
					op = blkif.Read
				}
				h.good(h.whole(op, 0, 0, 1))
			}
		})
	}
}

// Ten million requests of anything (SOAK; a few thousand in the short form) are answered, touch nothing that is not on
// the disk, and leave a neighbour on the same host alone.
func TestHostileFrontend(t *testing.T) {
	n := 200_000
	switch {
	case os.Getenv("SOAK") != "":
		n = 10_000_000
	case testing.Short():
		n = 20_000
	}
	start := seed(t)
	begun := time.Now()
	all := ways()
	sent, refused := 0, 0
	kinds := attack.Ways()
	anything := kinds[len(kinds)-1]
	for name, w := range all {
		for _, readOnly := range []bool{false, true} {
			w.readOnly, w.secure = readOnly, true
			t.Run(fmt.Sprintf("%s, read-only %v", name, readOnly), func(t *testing.T) {
				host := sim.New(start)
				t.Cleanup(host.Close)
				g := newGuard(t, 4*mib+512, 512)
				g.readOnly = readOnly
				var dev block.Device = g
				if w.abi == blkif.ABI64 {
					dev = vectored{g}
				}
				h := newHostile(connectOn(t, host, dev, w), rand.New(rand.NewPCG(start, 3)))
				quiet := newGuard(t, mib, 512)
				neighbour := connectOn(t, host, quiet, wiring{persistent: true})
				copy(neighbour.page(0), "this is mine")
				neighbour.good(neighbour.whole(blkif.Write, 8, 0, 1))
				for left := n/(2*len(all)) + 1; left > 0; left -= 1000 {
					h.send(&anything, min(left, 1000))
					neighbour.good(neighbour.whole(blkif.Read, 8, 1, 1))
					if got := string(neighbour.page(1)[:12]); got != "this is mine" {
						t.Fatalf("the neighbour's disk has %q", got)
					}
				}
				if h.broken != nil {
					t.Error("the ring was given up:", h.broken)
				}
				sent += h.sent
				refused += h.refused
				if failed := h.disk.stats.Failed(); failed == 0 || failed == uint64(h.sent) {
					t.Errorf("%d of %d requests failed: the mixture tests nothing", failed, h.sent)
				}
			})
		}
	}
	took := time.Since(begun)
	t.Logf("%d requests, %d of them refused, in %v: %.0f a second", sent, refused, took.Round(time.Millisecond), float64(sent)/took.Seconds())
}

// Memory that changes while a request is served makes no difference to what was checked: a second goroutine turns
// requests in the ring and segments in their pages from good to bad and back all the time.
func TestMemoryThatChanges(t *testing.T) {
	rounds := 1000
	if testing.Short() {
		rounds = 100
	}
	each(t, func(t *testing.T, g *guard, f *front) {
		good := f.whole(blkif.Write, 0, 0, 8)
		evil := good
		evil.Sector, evil.Segments = uint64(g.Size())/512-1, 11
		for i := range evil.Direct {
			evil.Direct[i] = blkif.Segment{Ref: 1<<31 + 5, First: 3, Last: 200}
		}
		goodSegs := make([]blkif.Segment, 100)
		for i := range goodSegs {
			goodSegs[i] = f.seg(i, 0, 7)
		}
		evilSegs := make([]blkif.Segment, 100)
		for i := range evilSegs {
			evilSegs[i] = blkif.Segment{Ref: xen.GrantRef(i), First: 0, Last: 255}
		}
		ind := f.indirect(blkif.Read, 64, 200, goodSegs)
		slots := [2][]byte{make([]byte, f.abi.SlotSize()), make([]byte, f.abi.SlotSize())}
		f.abi.PutRequest(slots[0], &good)
		f.abi.PutRequest(slots[1], &evil)
		stop := make(chan struct{})
		var wg sync.WaitGroup
		mem := f.grant.Bytes()[ring.HeaderSize:]
		wg.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				for s := 0; s < f.ring.Size(); s += 2 { // every other request
					copy(mem[s*f.abi.SlotSize():], slots[i&1])
				}
				if i&1 == 0 {
					blkif.PutSegments(f.page(200), goodSegs)
				} else {
					blkif.PutSegments(f.page(200), evilSegs)
				}
			}
		})
		for range rounds / f.ring.Size() * 4 {
			n := 0
			for i := range f.ring.Size() {
				r := good
				if i%2 == 1 {
					r = ind
				}
				r.ID = uint64(i)
				f.put(r)
				n++
			}
			f.ring.Push()
			f.queue.kick()
			f.answered(n)
			f.pass(mapPause)
		}
		close(stop)
		wg.Wait()
		if f.broken != nil {
			t.Error(f.broken)
		}
	})
}

// A slot of random bytes is answered by any layout, on any kind of disk.
func FuzzSlots(f *testing.F) {
	f.Add([]byte{0, 1, 2, 3}, false)
	f.Add(make([]byte, 112), true)
	f.Add([]byte{6, 0, 12, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}, false)
	f.Add([]byte{5, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255}, true)
	f.Fuzz(func(t *testing.T, b []byte, small bool) {
		w := wiring{secure: true, pages: 8}
		if small {
			w.abi, w.persistent = blkif.ABI32, true
		}
		fr := connect(t, newGuard(t, mib, 512), w)
		n := 0
		for len(b) > 0 && n < fr.ring.Size() {
			var slot [128]byte
			k := copy(slot[:w.abi.SlotSize()], b)
			b = b[k:]
			fr.ring.Put(slot[:w.abi.SlotSize()])
			n++
		}
		fr.ring.Push()
		fr.queue.kick()
		if got := len(fr.responses()); got != n {
			t.Errorf("%d responses to %d requests", got, n)
		}
	})
}
