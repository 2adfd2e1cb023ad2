package xenstore_test

import (
	"io"
	"net"
	"sync"
	"testing"

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
