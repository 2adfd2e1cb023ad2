package blkback

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

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

// hostile writes anything into rings, pages and grants.
type hostile struct {
	*front
	rng      *rand.Rand
	revoked  []xen.GrantRef
	readOnly xen.Grant
	sent     int
	slot     [128]byte
}

func newHostile(f *front, rng *rand.Rand) *hostile {
	h := &hostile{front: f, rng: rng}
	gone, err := f.self.Share(f.back.ID(), 8, xen.ReadWrite)
	f.check(err)
	h.revoked = append(h.revoked, gone.Refs()...)
	f.check(gone.Close())
	h.readOnly, err = f.self.Share(f.back.ID(), 8, xen.ReadOnly)
	f.check(err)
	return h
}

func (h *hostile) ref() xen.GrantRef {
	switch h.rng.IntN(40) {
	case 0:
		return h.revoked[h.rng.IntN(len(h.revoked))]
	case 1:
		return h.readOnly.Refs()[h.rng.IntN(8)]
	case 2:
		return xen.GrantRef(h.rng.Uint32())
	case 3:
		return xen.GrantRef(h.rng.IntN(8))
	}
	return h.data.Refs()[h.rng.IntN(dataPages)]
}

// near is a number that is often close to a limit.
func (h *hostile) near(limit uint64) uint64 {
	switch h.rng.IntN(6) {
	case 0:
		return h.rng.Uint64()
	case 1:
		return limit - uint64(h.rng.IntN(20)) + uint64(h.rng.IntN(20))
	case 2:
		return -uint64(h.rng.IntN(20))
	}
	return h.rng.Uint64N(limit)
}

func (h *hostile) segment() blkif.Segment {
	s := blkif.Segment{Ref: h.ref(), Last: 7}
	switch h.rng.IntN(12) {
	case 0:
		s.First, s.Last = uint8(h.rng.Uint32()), uint8(h.rng.Uint32())
	case 1:
		s.First, s.Last = uint8(h.rng.IntN(9)), uint8(h.rng.IntN(9))
	}
	return s
}

// request makes a slot of anything: at times random bytes, mostly requests that are wrong in a place or two.
func (h *hostile) request() []byte {
	h.sent++
	slot := h.slot[:h.abi.SlotSize()]
	if h.rng.IntN(30) == 0 {
		for i := 0; i+4 <= len(slot); i += 4 {
			binary.LittleEndian.PutUint32(slot[i:], h.rng.Uint32())
		}
		slot[0] %= 8
		return slot
	}
	end := uint64(h.disk.volume.Load().dev.Size() / 512)
	r := blkif.Request{Op: blkif.Op(h.rng.IntN(8)), ID: uint64(h.sent), Sector: h.near(end), Segments: 1 + h.rng.IntN(4)}
	switch h.rng.IntN(20) {
	case 0:
		r.Segments = h.rng.IntN(12)
	}
	if r.Op == blkif.Discard {
		r.Count, r.Secure = h.near(end/64), h.rng.IntN(8) == 0
	}
	if r.Op == blkif.Indirect {
		r.Inner = blkif.Op(h.rng.IntN(2))
		if h.rng.IntN(10) == 0 {
			r.Inner = blkif.Op(h.rng.Uint32())
		}
		r.Segments = 1 + h.rng.IntN(16)
		if h.rng.IntN(30) == 0 {
			r.Segments = h.rng.IntN(300)
		}
		var segs [512]blkif.Segment
		n := min(r.Segments, len(segs))
		for i := range n {
			segs[i] = h.segment()
		}
		page := h.rng.IntN(dataPages)
		blkif.PutSegments(h.page(page), segs[:n])
		r.Pages[0] = h.data.Refs()[page]
		if h.rng.IntN(20) == 0 {
			r.Pages[0] = h.ref()
		}
	} else {
		for i := range min(r.Segments, blkif.MaxSegments) {
			r.Direct[i] = h.segment()
		}
	}
	if h.rng.IntN(40) == 0 {
		r.Segments = h.rng.IntN(1 << 16)
	}
	encode(h.abi, slot, r)
	return slot
}

// attack sends n requests, each of which must be answered.
func (h *hostile) attack(n int) {
	for n > 0 {
		k := 0
		for want := 1 + h.rng.IntN(h.ring.Size()); k < want && k < n && h.ring.Put(h.request()); {
			k++
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
				continue
			}
			if time.Now().After(end) {
				h.t.Fatalf("%d of %d requests are not answered", k-got, k)
			}
			h.queue.kick()
		}
		n -= k
		if h.rng.IntN(10) == 0 {
			h.pass(time.Duration(h.rng.IntN(3000)) * time.Millisecond)
		}
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
	sent := 0
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
				for left := n / (2 * len(all)); left > 0; left -= 1000 {
					h.attack(min(left, 1000))
					neighbour.good(neighbour.whole(blkif.Read, 8, 1, 1))
					if got := string(neighbour.page(1)[:12]); got != "this is mine" {
						t.Fatalf("the neighbour's disk has %q", got)
					}
				}
				if h.broken != nil {
					t.Error("the ring was given up:", h.broken)
				}
				sent += h.sent
				if failed := h.disk.stats.Failed(); failed == 0 || failed == uint64(h.sent) {
					t.Errorf("%d of %d requests failed: the mixture tests nothing", failed, h.sent)
				}
			})
		}
	}
	took := time.Since(begun)
	t.Logf("%d requests in %v: %.0f a second", sent, took.Round(time.Millisecond), float64(sent)/took.Seconds())
}

// Memory that changes while a request is served makes no difference to what was checked: a second goroutine turns
// requests in the ring and segments in their pages from good to bad and back all the time.
func TestMemoryThatChanges(t *testing.T) {
	rounds := 3000
	if testing.Short() {
		rounds = 300
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
		w := wiring{secure: true}
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
