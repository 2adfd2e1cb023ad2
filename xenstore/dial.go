package xenstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"syscall"
	"time"
)

// Where Dial looks, in this order, after $XENSTORED_PATH.
const (
	Socket = "/run/xenstored/socket"
	Device = "/dev/xen/xenbus"
)

// Dial connects to this machine's xenstore: $XENSTORED_PATH if it is set, else the daemon's socket, else the
// device, of the first that exists.
func Dial(ctx context.Context) (*Client, error) { return Open(ctx, Options{}) }

// DialPath connects to a unix socket or a character device.
func DialPath(ctx context.Context, path string) (*Client, error) {
	return Open(ctx, Options{Dial: func(ctx context.Context) (io.ReadWriteCloser, error) { return dialPath(ctx, path) }})
}

func dialAny(ctx context.Context) (io.ReadWriteCloser, error) {
	if p := os.Getenv("XENSTORED_PATH"); p != "" {
		return dialPath(ctx, p)
	}
	c, err := dialPath(ctx, Socket)
	// A socket that nobody listens on is a leftover of a daemon that moved elsewhere.
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		c, err = dialPath(ctx, Device)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fail("connect", "", fmt.Errorf("neither %s nor %s exists: is this a Xen domain, and does xenstored run? %w", Socket, Device, fs.ErrNotExist))
	}
	return c, err
}

func dialPath(ctx context.Context, path string) (io.ReadWriteCloser, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return nil, fail("connect", path, err)
	}
	if fi.Mode()&fs.ModeSocket == 0 {
		// Non-blocking, so that reads wait in Go's poller and Close interrupts them.
		f, err := os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK, 0)
		if err != nil {
			return nil, fail("connect", path, err)
		}
		return f, nil
	}
	conn, err := dialSocket(ctx, path)
	if err != nil {
		return nil, fail("connect", path, err)
	}
	return conn, nil
}

// dialSocket connects to a unix socket. Real daemons listen with a backlog of 1, and a non-blocking connect, which
// Go's is, then gets EAGAIN while others connect: it tries again.
func dialSocket(ctx context.Context, path string) (net.Conn, error) {
	var d net.Dialer
	for wait := 100 * time.Microsecond; ; wait = min(2*wait, 20*time.Millisecond) {
		conn, err := d.DialContext(ctx, "unix", path)
		if !errors.Is(err, syscall.EAGAIN) {
			return conn, err
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			return nil, fmt.Errorf("%w (the daemon takes no connections)", context.Cause(ctx))
		}
	}
}
