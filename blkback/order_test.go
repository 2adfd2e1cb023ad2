package blkback

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"morgana/block"
	"morgana/xen/wire/blkif"
)

// gate is a disk whose calls wait until the test lets them go.
type gate struct {
	*block.Mem
	calls chan waiter
}

type waiter struct {
	what string
	let  chan error
}

// slow wires a disk all of whose calls take a millisecond at least.
func slow(parallel int) wiring {
	return wiring{persistent: true, options: Options{Parallel: parallel}, tick: time.Millisecond}
}

func newGate() *gate { return &gate{block.NewMem(8*mib, 512), make(chan waiter, 100)} }

func (g *gate) stop(format string, args ...any) error {
	h := waiter{fmt.Sprintf(format, args...), make(chan error)}
	g.calls <- h
	return <-h.let
}

func (g *gate) ReadAt(p []byte, off int64) (int, error) {
	if err := g.stop("read %d", off/512); err != nil {
		return 0, err
	}
	return g.Mem.ReadAt(p, off)
}

func (g *gate) WriteAt(p []byte, off int64) (int, error) {
	if err := g.stop("write %d", off/512); err != nil {
		return 0, err
	}
	return g.Mem.WriteAt(p, off)
}

func (g *gate) Flush() error { return g.stop("flush") }

// next waits for n calls and gives them by what they are.
func (g *gate) next(t *testing.T, n int) map[string]chan error {
	t.Helper()
	m := make(map[string]chan error)
	for range n {
		select {
		case h := <-g.calls:
			m[h.what] = h.let
		case <-time.After(10 * time.Second):
			t.Fatalf("%d calls of the disk, want %d: %v", len(m), n, m)
		}
	}
	return m
}

// none checks that no further call came. A call that comes wrongly comes at once, by the goroutine that took the
// request; this waits a little for it.
func (g *gate) none(t *testing.T) {
	t.Helper()
	select {
	case h := <-g.calls:
		t.Fatalf("%s, which must wait", h.what)
	case <-time.After(5 * time.Millisecond):
	}
}

// answered waits for n responses.
func (f *front) answered(n int) {
	f.t.Helper()
	for end := time.Now().Add(10 * time.Second); n > 0; {
		n -= len(f.responses())
		if n > 0 && time.Now().After(end) {
			f.t.Fatalf("%d responses are missing", n)
		}
		time.Sleep(10 * time.Microsecond)
	}
}

// Requests that do not touch are with the disk at the same time, up to the bound; the others wait in the ring.
func TestRequestsAreServedInParallel(t *testing.T) {
	g := newGate()
	f := connect(t, g, slow(3))
	for i := range 5 {
		f.put(f.whole(blkif.Read, uint64(i*100), i, 1))
	}
	f.ring.Push()
	f.queue.kick()
	first := g.next(t, 3)
	g.none(t)
	first["read 100"] <- nil
	f.answered(1) // though the one before it has not ended
	second := g.next(t, 1)
	g.none(t)
	first["read 0"] <- nil
	last := g.next(t, 1)
	for _, m := range []map[string]chan error{first, second, last} {
		for what, let := range m {
			if what != "read 100" && what != "read 0" {
				let <- nil
			}
		}
	}
	f.answered(4)
}

// A barrier begins when everything before it has ended, and nothing after it begins before it has.
func TestBarrierStandsAlone(t *testing.T) {
	g := newGate()
	f := connect(t, g, slow(8))
	f.put(f.whole(blkif.Write, 0, 0, 1), f.whole(blkif.Write, 100, 1, 1), f.whole(blkif.Barrier, 200, 2, 1), f.whole(blkif.Write, 300, 3, 1))
	f.ring.Push()
	f.queue.kick()
	before := g.next(t, 2)
	g.none(t)
	before["write 0"] <- nil
	f.answered(1)
	g.none(t)
	before["write 100"] <- nil
	f.answered(1)
	for _, want := range []string{"flush", "write 200", "flush"} {
		m := g.next(t, 1)
		g.none(t)
		if m[want] == nil {
			t.Fatalf("%v, want %s", m, want)
		}
		m[want] <- nil
	}
	f.answered(1)
	m := g.next(t, 1)
	m["write 300"] <- nil
	f.answered(1)
}

// A device that never returns from a call does not keep the queue from being told to stop, and keeps its memory: the
// frontend's pages stay mapped until the call returns.
func TestHungDeviceKeepsItsMemory(t *testing.T) {
	for _, parallel := range []int{1, 4} {
		t.Run(fmt.Sprint(parallel), func(t *testing.T) {
			g := newGate()
			f := connect(t, g, slow(parallel))
			f.put(f.whole(blkif.Read, 0, 0, 1))
			f.ring.Push()
			var wg sync.WaitGroup
			wg.Go(f.queue.kick)
			m := g.next(t, 1)
			f.queue.stop() // returns
			select {
			case <-f.queue.ended:
				t.Fatal("the queue ended while the device had its memory")
			case <-time.After(5 * time.Millisecond):
			}
			if err := f.data.Close(); err == nil {
				t.Error("the page that the device writes to is not mapped any more")
			}
			m["read 0"] <- nil
			<-f.queue.ended
			wg.Wait()
		})
	}
}

// A device that was slow gets goroutines, and one that is fast is called at once.
func TestPace(t *testing.T) {
	var p pace
	for range 3 {
		p.add(time.Millisecond)
	}
	if p.fast {
		t.Error("a millisecond counts as fast")
	}
	for range 50 {
		p.add(time.Microsecond)
	}
	if !p.fast {
		t.Error("a microsecond counts as slow")
	}
	p.add(time.Millisecond)
	if p.fast {
		t.Error("a device that has become slow counts as fast")
	}
}
