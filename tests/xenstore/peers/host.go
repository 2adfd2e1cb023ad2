package peers

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"morgana/tests/xenstore/fakehost"
	"morgana/xen"
	"morgana/xenstore"
)

// Host is a host of domains that are files; shim.c says which.
type Host struct{ Dir string }

// NewHost makes a host with dom0 in a directory.
func NewHost(dir string) (*Host, error) {
	h := &Host{Dir: dir}
	for _, d := range []string{"etc", "run", "log"} {
		if err := os.MkdirAll(filepath.Join(dir, d), 0o755); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "xsd_port"), []byte("1"), 0o644); err != nil {
		return nil, err
	}
	return h, h.MakeDomain(0)
}

func (h *Host) path(d xen.DomID, what string) string {
	return filepath.Join(h.Dir, fmt.Sprintf("dom%d.%s", d, what))
}

// Socket is where the daemon listens for clients.
func (h *Host) Socket() string { return filepath.Join(h.Dir, "run", "socket") }

// MakeDomain makes a domain with a fresh ring.
func (h *Host) MakeDomain(d xen.DomID) error {
	return os.WriteFile(h.path(d, "ring"), make([]byte, xen.PageSize), 0o644)
}

// Shutdown lets a domain shut down.
func (h *Host) Shutdown(d xen.DomID) error { return os.WriteFile(h.path(d, "shutdown"), nil, 0o644) }

// Destroy ends a domain.
func (h *Host) Destroy(d xen.DomID) error {
	for _, what := range []string{"ring", "shutdown", "sock", "dying", "console", "console.sock", "console.daemon"} {
		if err := os.Remove(h.path(d, what)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Exception tells the daemon that a domain shut down or is gone.
func (h *Host) Exception() error { return h.notify(fakehost.PortException) }

// notify sends the daemon an event. As with Xen, it is lost if nobody is there.
func (h *Host) notify(port uint32) error { return h.send("daemon.sock", port) }

func (h *Host) send(socket string, port uint32) error {
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: filepath.Join(h.Dir, socket), Net: "unixgram"})
	if err != nil {
		return nil
	}
	defer c.Close()
	_, _ = c.Write(binary.LittleEndian.AppendUint32(nil, port))
	return nil
}

// Ring maps the ring page of a domain, as the domain sees it.
func (h *Host) Ring(d xen.DomID) ([]byte, error) {
	f, err := os.OpenFile(h.path(d, "ring"), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return syscall.Mmap(int(f.Fd()), 0, xen.PageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
}

// Guest is a domain on its ring.
type Guest struct {
	*xenstore.Ring
	Page  []byte
	event *event
	once  sync.Once
}

// Guest attaches to the ring of a domain as its kernel does. One at a time.
func (h *Host) Guest(d xen.DomID) (*Guest, error) {
	page, err := h.Ring(d)
	if err != nil {
		return nil, err
	}
	addr := &net.UnixAddr{Name: h.path(d, "sock"), Net: "unixgram"}
	_ = os.Remove(addr.Name)
	sock, err := net.ListenUnixgram("unixgram", addr)
	if err != nil {
		return nil, err
	}
	ev := &event{host: h, dom: d, sock: sock}
	r, err := xenstore.NewRing(page, ev)
	if err != nil {
		sock.Close()
		return nil, err
	}
	return &Guest{Ring: r, Page: page, event: ev}, nil
}

// Notify sends the daemon an event.
func (g *Guest) Notify() error { return g.event.Notify() }

// Close detaches; the ring stays as it is.
func (g *Guest) Close() error {
	g.once.Do(func() {
		g.Ring.Close()
		g.event.Close()
		// The page stays mapped: whoever still reads it must not fault.
	})
	return nil
}

// event is a domain's end of the event channel to the daemon.
type event struct {
	host *Host
	dom  xen.DomID
	sock *net.UnixConn
}

func (e *event) Port() xen.Port { return 7 }

func (e *event) Notify() error { return e.host.notify(fakehost.PortDomain + uint32(e.dom)) }

// Wait waits for an event. It also returns now and then without one, so that a guest goes on after the daemon was
// restarted, as a kernel does that has other business.
func (e *event) Wait(ctx context.Context) error {
	var b [4]byte
	stop := context.AfterFunc(ctx, func() { _ = e.sock.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	if _, err := e.sock.Read(b[:]); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%w: %w", xen.ErrClosed, err)
	}
	return nil
}

func (e *event) Close() error { return e.sock.Close() }

var _ io.ReadWriteCloser = (*Guest)(nil)
