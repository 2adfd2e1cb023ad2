package devxen

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"morgana/xen"
)

// Channels are event channels as one file, for a program with a loop of its own: it waits until FD is readable and
// calls Take until nothing is there. Not safe for concurrent use.
type Channels struct {
	file    *os.File
	fd      int
	buf     [4 * readPorts]byte
	pending []byte // read and not taken
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
	return &Channels{file: f, fd: fd}, nil
}

// FD is readable while a port is pending. It stays the same.
func (c *Channels) FD() int { return c.fd }

// Take returns a port that was notified, false if there is none. The port is unmasked: the next notification counts.
func (c *Channels) Take() (xen.Port, bool, error) {
	if len(c.pending) == 0 {
		n, err := read(c.fd, c.buf[:])
		switch {
		case errors.Is(err, syscall.EAGAIN), errors.Is(err, syscall.EINTR):
			return 0, false, nil
		case err != nil:
			return 0, false, opError("read", EventDevice, wrap(err))
		case n < 4:
			return 0, false, opError("read", EventDevice, io.ErrUnexpectedEOF)
		}
		c.pending = c.buf[:n&^3]
		// A port that was closed meanwhile is refused by itself.
		_, _ = write(c.fd, c.pending)
	}
	p := le.Uint32(c.pending)
	c.pending = c.pending[4:]
	return xen.Port(p), true, nil
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
