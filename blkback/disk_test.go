package blkback

import (
	"errors"
	"testing"
	"time"

	"morgana/block"
	"morgana/xen/wire/blkif"
)

// A secure discard of a large disk ends when the connection does.
func TestSecureDiscardEndsWithTheConnection(t *testing.T) {
	g := newGuard(t, 64*mib, 512)
	f := connect(t, g, wiring{secure: true})
	g.fail = func(bool, int64, int64) error {
		f.disk.stopping.Store(true) // while the first piece is written
		return nil
	}
	if got := f.do(blkif.Request{Op: blkif.Discard, Secure: true, Count: 64 * mib / 512}); got[0] != blkif.Failed {
		t.Errorf("status %d of a discard that was cut short", got[0])
	}
	if g.writes != 1 || g.trims != 0 {
		t.Errorf("%d pieces were written and %d discarded afterwards; want 1 and none", g.writes, g.trims)
	}
}

// A device that was replaced while a write to it does not return is flushed with the new one: the write may still come.
func TestReplacedDeviceIsFlushedUntilItIsIdle(t *testing.T) {
	g := newGate()
	f := connect(t, g, slow(4))
	f.put(f.whole(blkif.Write, 0, 0, 1))
	f.ring.Push()
	f.queue.kick()
	write := g.next(t, 1)

	next := newGuard(t, 16*mib, 512)
	stop := make(chan struct{})
	replaced := make(chan error, 1)
	go func() { replaced <- f.disk.replace(next, stop) }()
	for f.disk.volume.Load().dev != block.Device(next) {
		time.Sleep(10 * time.Microsecond)
	}
	f.put(blkif.Request{Op: blkif.Flush})
	f.ring.Push()
	f.queue.kick()
	m := g.next(t, 1)
	if m["flush"] == nil {
		t.Fatalf("the old device got %v, want a flush", m)
	}
	m["flush"] <- nil
	f.answered(1)
	if next.flushes != 1 {
		t.Errorf("the new device was flushed %d times, want once", next.flushes)
	}

	write["write 0"] <- nil
	f.answered(1)
	m = g.next(t, 1) // what the write left is made stable without the guest's asking
	m["flush"] <- nil
	f.check(<-replaced)
	f.good(blkif.Request{Op: blkif.Flush})
	if next.flushes != 2 {
		t.Errorf("the new device was flushed %d times, want twice", next.flushes)
	}
	g.none(t)
}

// A device that cannot be left because a call of it hangs stays in use for flushes, and its successor for all else.
func TestReplaceGivesUpInTime(t *testing.T) {
	g := newGate()
	f := connect(t, g, slow(4))
	f.put(f.whole(blkif.Write, 0, 0, 1))
	f.ring.Push()
	f.queue.kick()
	write := g.next(t, 1)
	stop := make(chan struct{})
	close(stop)
	next := newGuard(t, mib, 512)
	if err := f.disk.replace(next, stop); err == nil {
		t.Error("a device was left while a call was under way")
	}
	f.good(f.whole(blkif.Write, 0, 1, 1))
	if next.writes != 1 {
		t.Error("the new device is not in use")
	}
	write["write 0"] <- errors.New("gone")
	f.answered(1)
}
