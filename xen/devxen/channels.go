package devxen

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"
	"time"

	"morgana/xen"
)

// Channels are event channels as one file, for a program with a loop of its own: it waits until FD is readable, or in
// Wait, and calls Take until nothing is there. Not safe for concurrent use.
type Channels struct {
	file    *os.File
	raw     syscall.RawConn
	fd      int
	buf     [4 * readPorts]byte
	unmask  [4 * readPorts]byte
	pending []byte // read and not taken
	failed  error  // of the read in Wait

	fill     func(fd uintptr) bool // read, made once: it does not allocate
	deadline bool                  // the file has one
}

// OpenChannels opens the event device.
func OpenChannels() (*Channels, error) {
	f, err := openDevice(EventDevice)
	if err != nil {
		return nil, err
	}
	return newChannels(f)
}

// InheritChannels goes on with the descriptor of an event device that another program opened.
func InheritChannels(fd int) (*Channels, error) {
	if err := syscall.SetNonblock(fd, true); err != nil {
		return nil, opError("take over", fmt.Sprintf("event channels of descriptor %d", fd), err)
	}
	return newChannels(os.NewFile(uintptr(fd), EventDevice))
}

func newChannels(f *os.File) (*Channels, error) {
	fd, err := descriptor(f)
	if err != nil {
		f.Close()
		return nil, opError("open", EventDevice, err)
	}
	raw, err := f.SyscallConn()
	if err != nil {
		f.Close()
		return nil, opError("open", EventDevice, err)
	}
	c := &Channels{file: f, raw: raw, fd: fd}
	c.fill = func(uintptr) bool {
		again, err := c.read()
		c.failed = err
		return !again
	}
	return c, nil
}

// FD is readable while a port is pending. It stays the same.
func (c *Channels) FD() int { return c.fd }

// Take returns a port that was notified, false if there is none. It stays masked until Unmask.
func (c *Channels) Take() (xen.Port, bool, error) {
	if len(c.pending) == 0 {
		if again, err := c.read(); again || err != nil {
			return 0, false, err
		}
	}
	p := le.Uint32(c.pending)
	c.pending = c.pending[4:]
	return xen.Port(p), true, nil
}

// Unmask lets ports be notified again. What came for them meanwhile is there to be taken.
func (c *Channels) Unmask(ports []xen.Port) error {
	for len(ports) > 0 {
		b := c.unmask[:0]
		for _, p := range ports[:min(len(ports), readPorts)] {
			b = le.AppendUint32(b, uint32(p))
		}
		// A port that was closed meanwhile is refused by itself.
		if _, err := write(c.fd, b); err != nil && !errors.Is(err, syscall.EINVAL) {
			return opError("unmask", fmt.Sprintf("%d ports", len(ports)), wrap(err))
		}
		ports = ports[len(b)/4:]
	}
	return nil
}

// read fills pending. Again says that nothing is there.
func (c *Channels) read() (again bool, err error) {
	n, err := read(c.fd, c.buf[:])
	switch {
	case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
		return true, nil
	case err != nil:
		return false, opError("read", EventDevice, wrap(err))
	case n < 4:
		return false, opError("read", EventDevice, io.ErrUnexpectedEOF)
	}
	c.pending = c.buf[:n&^3]
	return false, nil
}

// Wait returns when Take has something, or after the timeout, if it is not negative. It waits in Go's poller: the one
// thread that runs goes to sleep in the kernel and is the one that is woken, and the watcher of the scheduler sleeps on.
// A blocking system call instead would have that watcher take the processor away and give it back, by timers and
// futexes, at each turn.
func (c *Channels) Wait(timeout time.Duration) error {
	if timeout == 0 || len(c.pending) > 0 {
		return nil
	}
	if has := timeout > 0; has || c.deadline {
		var until time.Time
		if has {
			until = time.Now().Add(timeout)
		}
		if err := c.file.SetReadDeadline(until); err != nil {
			return opError("wait", EventDevice, err)
		}
		c.deadline = has
	}
	switch err := c.raw.Read(c.fill); {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil
	case err != nil:
		return opError("wait", EventDevice, err)
	}
	return c.failed
}

// Notify makes the peer's port pending.
func (c *Channels) Notify(p xen.Port) error {
	if _, err := ioctlWord(c.fd, evtchnNotify, uint32(p)); err != nil {
		return opError("notify", fmt.Sprintf("port %d", p), wrap(err))
	}
	return nil
}

// Bind connects to a port that a domain made for us. The new port is pending once.
func (c *Channels) Bind(d xen.DomID, remote xen.Port) (xen.Port, error) {
	n, err := ioctl(c.fd, evtchnBindInterdomain, le.AppendUint32(le.AppendUint32(nil, uint32(d)), uint32(remote)))
	if err != nil {
		return 0, opError("connect", fmt.Sprintf("domain %d port %d", d, remote), wrap(err))
	}
	return xen.Port(n), nil
}

// BindVIRQ binds a virtual interrupt.
func (c *Channels) BindVIRQ(v xen.VIRQ) (xen.Port, error) {
	n, err := ioctl(c.fd, evtchnBindVIRQ, le.AppendUint32(nil, uint32(v)))
	if err != nil {
		return 0, opError("bind", fmt.Sprintf("virtual interrupt %d", v), wrap(err))
	}
	return xen.Port(n), nil
}

// BindException binds the virtual interrupt by which Xen tells the xenstore service that a domain died or shut down.
func (c *Channels) BindException() (xen.Port, error) { return c.BindVIRQ(xen.VIRQDomExc) }

// Unbind closes a port. The peer's stays, unbound.
func (c *Channels) Unbind(p xen.Port) error {
	_, err := ioctlWord(c.fd, evtchnUnbind, uint32(p))
	return opError("close", fmt.Sprintf("port %d", p), wrap(err))
}

// Close closes the device, and with it all ports.
func (c *Channels) Close() error { return c.file.Close() }
