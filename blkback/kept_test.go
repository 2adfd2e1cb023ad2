package blkback

import (
	"testing"
	"time"

	"morgana/xen"
	"morgana/xen/wire/blkif"
)

// A page that was used once is mapped, and stays so for a minute without use.
func TestPagesStayMappedForAMinute(t *testing.T) {
	g := newGuard(t, 8*mib, 512)
	f := connect(t, g, wiring{persistent: true})
	k := f.queue.kept
	f.good(f.whole(blkif.Write, 0, 0, 11), f.whole(blkif.Write, 88, 11, 11))
	if k.count != 22 {
		t.Fatalf("%d pages mapped, want 22", k.count)
	}
	maps := groupsOf(k)
	f.good(f.whole(blkif.Read, 0, 0, 11))
	if groupsOf(k) != maps {
		t.Error("pages that are mapped were mapped again")
	}
	f.pass(40 * time.Second)
	f.good(f.whole(blkif.Read, 0, 0, 1)) // the first group of 16 is used again
	f.pass(30 * time.Second)
	if k.count != groupPages {
		t.Errorf("%d pages mapped, want %d: the others are unused for 70 s", k.count, groupPages)
	}
	f.pass(61 * time.Second)
	if k.count != 0 || len(k.index) != 0 {
		t.Errorf("%d pages mapped after a minute without use", k.count)
	}
	if f.queue.bufs.held != 0 {
		t.Errorf("%d pages of buffers held", f.queue.bufs.held)
	}
	f.good(f.whole(blkif.Read, 0, 0, 11))
}

// groupsOf counts the groups in the list.
func groupsOf(k *kept) (n int) {
	for g := k.list.next; g != &k.list; g = g.next {
		n++
	}
	return n
}

// Where more pages are used than may stay mapped, those used longest ago make room, and requests are served meanwhile.
func TestTheLeastRecentlyUsedMakeRoom(t *testing.T) {
	g := newGuard(t, 8*mib, 512)
	f := connect(t, g, wiring{persistent: true, options: Options{PersistentGrants: 64}})
	k := f.queue.kept
	for i := range 20 {
		f.good(f.whole(blkif.Write, uint64(i*88), i*11, 11))
		if k.count > 64 {
			t.Fatalf("%d pages mapped, want at most 64", k.count)
		}
		f.pass(trimEvery)
	}
	if _, ok := k.index[f.data.Refs()[0]]; ok {
		t.Error("the page that was used longest ago is still mapped")
	}
	if _, ok := k.index[f.data.Refs()[19*11]]; !ok && k.count < 64 {
		t.Error("a page that was just used is not mapped although there is room")
	}
}

// A page that cannot be mapped for writing is copied, and nothing is mapped for a second.
func TestReadOnlyPagesAreCopied(t *testing.T) {
	g := newGuard(t, 8*mib, 512)
	f := connect(t, g, wiring{persistent: true})
	ro, err := f.self.Share(f.back.ID(), 1, xen.ReadOnly)
	f.check(err)
	ro.Bytes()[100] = 'x'
	r := blkif.Request{Op: blkif.Write, Segments: 1}
	r.Direct[0] = blkif.Segment{Ref: ro.Refs()[0], Last: 7}
	f.good(r)
	r.Op = blkif.Read
	if got := f.do(r); got[0] != blkif.Failed {
		t.Error("a page that was shared read-only was written")
	}
	f.good(f.whole(blkif.Read, 0, 1, 1))
	if f.page(1)[100] != 'x' {
		t.Error("data did not reach the disk")
	}
	if f.queue.kept.count != 0 {
		t.Error("something was mapped right after a mapping failed")
	}
	f.pass(mapPause)
	f.good(f.whole(blkif.Read, 0, 1, 1))
	if f.queue.kept.count != 1 {
		t.Error("nothing is mapped after the pause")
	}
}

// When a queue has ended nothing of the frontend's is in use.
func TestEndGivesEverythingBack(t *testing.T) {
	for name, w := range ways() {
		t.Run(name, func(t *testing.T) {
			f := connect(t, newGuard(t, 8*mib, 512), w)
			f.good(f.whole(blkif.Write, 0, 0, 11), f.whole(blkif.Read, 88, 30, 11))
			f.queue.stop()
			<-f.queue.ended
			if err := f.data.Close(); err != nil {
				t.Error(err)
			}
			if err := f.grant.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}
