package xenstore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"morgana/xen/sim"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// device is a stream that, like /dev/xen/xenbus, takes one whole request a write.
type device struct {
	t *testing.T
	io.ReadWriteCloser
}

func (d device) Write(b []byte) (int, error) {
	if _, _, rest, err := xs.ParseMessage(b); err != nil || len(rest) != 0 {
		d.t.Errorf("a write of %d bytes is not one request: %v, %d bytes left", len(b), err, len(rest))
	}
	return d.ReadWriteCloser.Write(b)
}

func TestDeviceGetsOneRequestAWrite(t *testing.T) {
	h := sim.New(1)
	defer h.Close()
	c := xenstore.NewClient(device{t, h.Dom0().OpenStore()})
	defer c.Close()
	ctx := testContext(t)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for range 50 {
				if _, err := c.List(ctx, "/"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// locking is a device that, like Linux's, would never answer again if it got a request about a watch while another was not
// answered yet.
type locking struct {
	device
	mu         *sync.Mutex
	unanswered *int
	rest       *[]byte // of the message that is being read
}

func (d locking) Write(b []byte) (int, error) {
	h, err := xs.ParseHeader(b)
	d.mu.Lock()
	switch watch := h.Op == xs.Watch || h.Op == xs.Unwatch; {
	case err == nil && watch && *d.unanswered > 0:
		d.t.Errorf("%v is written while %d requests are not answered", h.Op, *d.unanswered)
	case !watch:
		*d.unanswered++
	}
	d.mu.Unlock()
	return d.device.Write(b)
}

func (d locking) Read(b []byte) (int, error) {
	if len(*d.rest) == 0 {
		var hb [xs.HeaderSize]byte
		if _, err := io.ReadFull(d.ReadWriteCloser, hb[:]); err != nil {
			return 0, err
		}
		h, err := xs.ParseHeader(hb[:])
		if err != nil {
			return 0, err
		}
		m := append(hb[:], make([]byte, h.Len)...)
		if _, err := io.ReadFull(d.ReadWriteCloser, m[xs.HeaderSize:]); err != nil {
			return 0, err
		}
		if h.Op != xs.Watch && h.Op != xs.Unwatch && h.Op != xs.WatchEvent {
			d.mu.Lock()
			*d.unanswered--
			d.mu.Unlock()
		}
		*d.rest = m
	}
	n := copy(b, *d.rest)
	*d.rest = (*d.rest)[n:]
	return n, nil
}

// Requests about watches go to a device alone, however much is asked meanwhile, and whoever gave up waiting.
func TestDeviceGetsWatchesAlone(t *testing.T) {
	h := sim.New(1)
	defer h.Close()
	c := xenstore.NewClient(locking{device{t, h.Dom0().OpenStore()}, &sync.Mutex{}, new(int), new([]byte)})
	defer c.Close()
	ctx := testContext(t)
	var wg sync.WaitGroup
	for n := range 8 {
		wg.Go(func() {
			for range 50 {
				if n%2 == 0 {
					brief, cancel := context.WithTimeout(ctx, 20*time.Microsecond)
					_, _ = c.List(brief, "/") // its answer comes when nobody waits any more
					cancel()
					continue
				}
				if _, err := c.Read(ctx, "/"); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range 20 {
				w, err := c.Watch(ctx, fmt.Sprintf("/watched/%d", n))
				if err != nil {
					t.Error(err)
					return
				}
				if _, err := w.Next(ctx); err != nil {
					t.Error(err)
				}
				w.Close()
			}
		})
	}
	wg.Wait()
}

// full is a device that refuses watches as Linux does: by the write's error.
type full struct{ device }

func (d full) Write(b []byte) (int, error) {
	if h, err := xs.ParseHeader(b); err == nil && h.Op == xs.Watch {
		return 0, &fs.PathError{Op: "write", Path: xenstore.Device, Err: syscall.E2BIG}
	}
	return d.device.Write(b)
}

func TestDeviceRefusesWatch(t *testing.T) {
	h := sim.New(1)
	defer h.Close()
	c := xenstore.NewClient(full{device{t, h.Dom0().OpenStore()}})
	defer c.Close()
	ctx := testContext(t)
	if _, err := c.Watch(ctx, "/test"); !errors.Is(err, xs.E2BIG) {
		t.Errorf("a watch that Linux refuses: %v, want E2BIG", err)
	}
	if _, err := c.List(ctx, "/"); err != nil {
		t.Errorf("after a watch that was refused: %v", err)
	}
}

// A socket that nobody serves, and one that hangs up, end in a clear error.
func TestDialFails(t *testing.T) {
	ctx := testContext(t)
	path := t.TempDir() + "/socket"
	t.Setenv("XENSTORED_PATH", path)
	if _, err := xenstore.Dial(ctx); err == nil {
		t.Error("a socket that does not exist was dialled")
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if conn, err := l.Accept(); err == nil {
			conn.Close()
		}
	}()
	c, err := xenstore.Dial(ctx)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Read(ctx, "/"); err == nil {
		t.Error("read from a service that hung up")
	}
	if err := c.Err(); err == nil {
		t.Error("the connection does not say that it is over")
	}
}
