package devxen

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"morgana/xen"
)

// fakeDevice is /dev/xen/evtchn as a program sees it: a port that fired is read once and then masked until it is
// written back.
type fakeDevice struct {
	mu      sync.Mutex
	cond    *sync.Cond
	next    xen.Port
	pending []xen.Port        // fired and not masked: to be read
	masked  map[xen.Port]bool // read, not written back
	late    map[xen.Port]bool // fired while masked
	sent    []xen.Port
	closed  bool
	err     error // what Read fails with
}

func newFake() *fakeDevice {
	f := &fakeDevice{masked: map[xen.Port]bool{}, late: map[xen.Port]bool{}}
	f.cond = sync.NewCond(&f.mu)
	return f
}

// fire is a notification from the peer.
func (f *fakeDevice) fire(p xen.Port) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.masked[p]:
		f.late[p] = true
	case !slices.Contains(f.pending, p):
		f.pending = append(f.pending, p)
		f.cond.Broadcast()
	}
}

func (f *fakeDevice) Read(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for len(f.pending) == 0 && !f.closed && f.err == nil {
		f.cond.Wait()
	}
	switch {
	case f.err != nil:
		return 0, f.err
	case f.closed:
		return 0, io.EOF
	}
	n := 0
	for ; len(f.pending) > 0 && n+4 <= len(b); n += 4 {
		le.PutUint32(b[n:], uint32(f.pending[0]))
		f.masked[f.pending[0]] = true
		f.pending = f.pending[1:]
	}
	return n, nil
}

func (f *fakeDevice) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := 0; i+4 <= len(b); i += 4 {
		p := xen.Port(le.Uint32(b[i:]))
		f.masked[p] = false
		if f.late[p] {
			f.late[p] = false
			f.pending = append(f.pending, p)
			f.cond.Broadcast()
		}
	}
	return len(b), nil
}

func (f *fakeDevice) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	f.cond.Broadcast()
	return nil
}

func (f *fakeDevice) bind(uintptr, []byte) (xen.Port, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next++
	return f.next, nil
}

func (f *fakeDevice) unbind(xen.Port) error { return nil }

func (f *fakeDevice) notify(p xen.Port) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sent = append(f.sent, p)
	return nil
}

func (f *fakeDevice) isMasked(p xen.Port) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.masked[p]
}

func bindOne(t testing.TB) (*fakeDevice, *events, *event) {
	t.Helper()
	f := newFake()
	v := newEvents(f)
	t.Cleanup(func() { v.Close() })
	e, err := v.bind(evtchnBindUnbound, 3)
	if err != nil {
		t.Fatal(err)
	}
	return f, v, e
}

func wait(t testing.TB, e *event) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := e.Wait(ctx); err != nil {
		t.Fatal(err)
	}
}

// Every notification after a Wait gives another Wait, however they fall.
func TestEventsAreNotLost(t *testing.T) {
	f, _, e := bindOne(t)
	for range 10_000 {
		f.fire(e.port)
		wait(t, e)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cause := errors.New("enough")
	cancel(cause)
	if err := e.Wait(ctx); !errors.Is(err, cause) {
		t.Errorf("Wait without a notification: %v, want %v", err, cause)
	}
}

// A peer that notifies without end costs one read for each Wait: the port stays masked in between.
func TestFloodStaysMasked(t *testing.T) {
	f, _, e := bindOne(t)
	f.fire(e.port)
	for !e.held.Load() { // a second one is read, and nobody has taken the first
		f.fire(e.port)
	}
	if !f.isMasked(e.port) {
		t.Error("the port was unmasked with an event still waiting")
	}
	wait(t, e)
	if f.isMasked(e.port) {
		t.Error("the port is still masked after the event was taken")
	}
}

// A Wait ends when its event is closed, and when the device is.
func TestWaitEndsOnClose(t *testing.T) {
	for _, c := range []struct {
		name  string
		close func(*fakeDevice, *events, *event)
	}{
		{"event", func(_ *fakeDevice, _ *events, e *event) { e.Close() }},
		{"domain", func(_ *fakeDevice, v *events, _ *event) { v.Close() }},
		{"device", func(f *fakeDevice, _ *events, _ *event) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.err = errors.New("gone")
			f.cond.Broadcast()
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			f, v, e := bindOne(t)
			got := make(chan error, 1)
			go func() { got <- e.Wait(context.Background()) }()
			c.close(f, v, e)
			if err := <-got; !errors.Is(err, xen.ErrClosed) {
				t.Errorf("Wait: %v, want %v", err, xen.ErrClosed)
			}
			if err := e.Notify(); !errors.Is(err, xen.ErrClosed) {
				t.Errorf("Notify: %v, want %v", err, xen.ErrClosed)
			}
			if err := e.Close(); err != nil {
				t.Errorf("Close again: %v", err)
			}
		})
	}
}

// After a restart in place nobody knows whether a port fired: Adopt looks once.
func TestAdopt(t *testing.T) {
	f, v, _ := bindOne(t)
	f.masked[77] = true
	e, err := v.adopt(77)
	if err != nil {
		t.Fatal(err)
	}
	wait(t, e)
	if f.isMasked(77) {
		t.Error("an adopted port stays masked")
	}
	if _, err := v.adopt(77); !errors.Is(err, xen.ErrInvalid) {
		t.Errorf("adopted twice: %v, want %v", err, xen.ErrInvalid)
	}
}

func TestEventsDoNotAllocate(t *testing.T) {
	f, _, e := bindOne(t)
	ctx := context.Background()
	f.sent = make([]xen.Port, 0, 4000)
	f.pending = make([]xen.Port, 0, 8)
	if n := testing.AllocsPerRun(1000, func() {
		f.fire(e.port)
		if e.Wait(ctx) != nil || e.Notify() != nil {
			t.Error("an event failed")
		}
	}); n > 1 { // the stand-in's own slice
		t.Errorf("%v allocations for an event", n)
	}
}

// The device's own reads wait in the poller, take what is there, allocate nothing, and end when it is closed. A socket
// stands for the device: it blocks and wakes in the same way.
func TestPortFileWaits(t *testing.T) {
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_SEQPACKET|syscall.SOCK_NONBLOCK|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	peer := os.NewFile(uintptr(fds[1]), "peer")
	defer peer.Close()
	f, err := newPortFile(os.NewFile(uintptr(fds[0]), "device"))
	if err != nil {
		t.Fatal(err)
	}
	got, again := make(chan int), make(chan struct{})
	go func() {
		defer close(got)
		b := make([]byte, 64)
		for range again {
			n, err := f.Read(b)
			if err != nil {
				return
			}
			got <- n
		}
	}()
	ports := []byte{7, 0, 0, 0, 9, 0, 0, 0}
	turn := func() {
		again <- struct{}{}
		if _, err := write(fds[1], ports); err != nil {
			t.Fatal(err)
		}
		if n := <-got; n != len(ports) {
			t.Fatalf("%d bytes", n)
		}
	}
	turn()
	if n := testing.AllocsPerRun(200, turn); n > 0 {
		t.Errorf("%v allocations for a read", n)
	}
	if n, err := f.Write(ports); n != len(ports) || err != nil {
		t.Error(n, err)
	}
	again <- struct{}{}
	time.Sleep(10 * time.Millisecond) // most likely it waits now; if not it finds the file closed
	f.Close()
	if n, ok := <-got; ok {
		t.Errorf("a read of a closed device gave %d bytes", n)
	}
}

func BenchmarkEvent(b *testing.B) {
	f, _, e := bindOne(b)
	ctx := context.Background()
	b.ReportAllocs()
	for b.Loop() {
		f.fire(e.port)
		if err := e.Wait(ctx); err != nil {
			b.Fatal(err)
		}
	}
}
