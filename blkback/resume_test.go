package blkback

import (
	"testing"

	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/blkif"
)

// A backend that is killed leaves a ring in which precisely the requests are that it had not answered, whatever the
// order in which it served them.
func TestRingIsTakenUpWhereItWasLeft(t *testing.T) {
	g := newGate()
	w := slow(8)
	w.options.Resumable = true
	f := connect(t, g, w)
	for i := range 5 {
		f.put(f.whole(blkif.Read, uint64(i*100), i, 1))
	}
	f.put(blkif.Request{Op: blkif.Reserved}) // refused, and not before those
	f.ring.Push()
	f.queue.kick()
	calls := g.next(t, 5)
	calls["read 300"] <- nil
	calls["read 400"] <- nil
	g.none(t)
	if r := f.responses(); len(r) > 0 {
		t.Fatalf("answered before those in front of it: %+v", r)
	}
	calls["read 0"] <- nil
	f.answered(1)

	// The next one attaches to the same pages.
	m, err := f.back.Map(f.self.ID(), f.grant.Refs(), xen.ReadWrite)
	f.check(err)
	defer m.Close()
	next, err := ring.NewBack(m.Bytes(), f.abi.SlotSize())
	f.check(err)
	var slot [ring.HeaderSize * 2]byte
	for id := uint64(1); id < 6; id++ {
		ok, err := next.Take(slot[:])
		f.check(err)
		var r blkif.Request
		f.abi.DecodeRequest(&r, slot[:])
		want := f.whole(blkif.Read, id*100, int(id), 1)
		if id == 5 {
			want = blkif.Request{Op: blkif.Reserved}
		}
		want.ID = id
		if !ok || r != want {
			t.Errorf("request %d is left as %+v, %v; want %+v", id, r, ok, want)
		}
	}
	if ok, err := next.Take(slot[:]); ok || err != nil {
		t.Error("more requests than there were:", err)
	}

	calls["read 100"] <- nil
	f.answered(1)
	calls["read 200"] <- nil
	f.answered(4)
}
