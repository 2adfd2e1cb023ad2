package fakehost

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"morgana/xen"
)

// Consoles is the host as our console daemon sees it. It implements the Machine of package xenconsoled/daemon.
type Consoles struct{ dir string }

// OpenConsoles serves the consoles of the host in a directory.
func OpenConsoles(dir string) *Consoles { return &Consoles{dir: dir} }

func (m *Consoles) path(d xen.DomID, what string) string {
	return filepath.Join(m.dir, fmt.Sprintf("dom%d.%s", d, what))
}

// Alive reports whether a domain exists.
func (m *Consoles) Alive(d xen.DomID) bool {
	return exists(m.path(d, "ring")) && !exists(m.path(d, "dying"))
}

// ReadLog reads Xen's log.
func (m *Consoles) ReadLog(p []byte, index *uint32) (int, error) {
	f, err := os.Open(filepath.Join(m.dir, "xen.log"))
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	n, err := f.ReadAt(p, int64(*index))
	*index += uint32(n)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Map maps the page of a console: grant 0.
func (m *Consoles) Map(d xen.DomID, refs []xen.GrantRef, _ xen.Access) (xen.Mapping, error) {
	if len(refs) != 1 || refs[0] != xen.GrantConsole {
		return nil, &xen.Error{Op: "map", Object: fmt.Sprintf("grants %v of domain %d", refs, d), Err: xen.ErrBadGrant}
	}
	f, err := os.OpenFile(m.path(d, "console"), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	page, err := syscall.Mmap(int(f.Fd()), 0, xen.PageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, err
	}
	return &mapping{page: page}, nil
}

type mapping struct {
	page []byte
	once sync.Once
}

func (m *mapping) Bytes() []byte { return m.page }

func (m *mapping) Close() (err error) {
	m.once.Do(func() { err = syscall.Munmap(m.page) })
	return err
}

// Listen is not what a console daemon does.
func (m *Consoles) Listen(xen.DomID) (xen.Event, error) { return nil, xen.ErrInvalid }

// Connect binds to a console's event channel, which is pending once.
func (m *Consoles) Connect(d xen.DomID, _ xen.Port) (xen.Event, error) {
	e, err := m.listen(m.path(d, "console.daemon"), PortDomain+xen.Port(d))
	if err != nil {
		return nil, err
	}
	if e.notify, err = Sender(e.sock, m.path(d, "console.sock"), e.port); err == nil {
		_, err = e.sock.WriteToUnix(e.msg[:], e.at)
	}
	return e, err
}

// BindVIRQ binds the one that says that Xen's log grew.
func (m *Consoles) BindVIRQ(v xen.VIRQ) (xen.Event, error) {
	if v != xen.VIRQConRing {
		return nil, xen.ErrInvalid
	}
	return m.listen(filepath.Join(m.dir, "xen.log.sock"), PortException)
}

func (m *Consoles) listen(name string, port xen.Port) (*channel, error) {
	_ = os.Remove(name)
	at := &net.UnixAddr{Name: name, Net: "unixgram"}
	sock, err := net.ListenUnixgram("unixgram", at)
	if err != nil {
		return nil, err
	}
	c := &channel{sock: sock, at: at, port: port}
	binary.LittleEndian.PutUint32(c.msg[:], uint32(port))
	return c, nil
}

// Sender makes a function that sends an event from a socket to a name: without waiting, because one event is as good as
// many, and without an error if nobody is there.
func Sender(from *net.UnixConn, to string, port xen.Port) (func() error, error) {
	raw, err := from.SyscallConn()
	if err != nil {
		return nil, err
	}
	msg := binary.LittleEndian.AppendUint32(nil, uint32(port))
	addr := &syscall.SockaddrUnix{Name: to}
	send := func(fd uintptr) {
		_ = syscall.Sendto(int(fd), msg, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL, addr)
	}
	return func() error { return raw.Control(send) }, nil
}

// channel implements xen.Event.
type channel struct {
	sock   *net.UnixConn
	at     *net.UnixAddr
	notify func() error
	port   xen.Port
	msg    [4]byte
	buf    [4]byte
}

func (c *channel) Port() xen.Port { return c.port }

// Notify succeeds when nobody listens, as with Xen, or does not read: one event is as good as many.
func (c *channel) Notify() error {
	if c.notify == nil {
		return xen.ErrInvalid
	}
	return c.notify()
}

func (c *channel) Wait(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = c.sock.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	for {
		if _, err := c.sock.Read(c.buf[:]); err == nil {
			return nil
		} else if ctx.Err() != nil {
			return context.Cause(ctx)
		} else {
			return fmt.Errorf("%w: %w", xen.ErrClosed, err)
		}
	}
}

func (c *channel) Close() error {
	if err := c.sock.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}
