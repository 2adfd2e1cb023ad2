// Package dom0 is Xen as a xenstore daemon in dom0 sees it: a daemon.Machine over Linux's devices /dev/xen/evtchn,
// gntdev and privcmd, and the files by which dom0's kernel tells of its own ring.
//
// Sources: Linux, include/uapi/xen/{evtchn,gntdev,privcmd}.h and drivers/xen/xenfs/xenstored.c; xen/include/public/
// domctl.h.
package dom0

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"morgana/xen"
	"morgana/xenstore/server"
)

const (
	evtchnDevice  = "/dev/xen/evtchn"
	gntdevDevice  = "/dev/xen/gntdev"
	privcmdDevice = "/dev/xen/privcmd"
	portFile      = "/proc/xen/xsd_port"
	ringFile      = "/proc/xen/xsd_kva"
)

var le = binary.LittleEndian

// Machine implements daemon.Machine. Not safe for concurrent use.
type Machine struct {
	events  int
	grants  *os.File
	control *control
	pending []xen.Port // read, and not taken yet
	index   map[*byte]uint64
}

// Open opens the devices; events is the descriptor of event channels that another daemon handed over, -1 for none.
func Open(events int) (*Machine, error) {
	m := &Machine{events: events, index: make(map[*byte]uint64)}
	if events < 0 {
		fd, err := unix.Open(evtchnDevice, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return nil, fmt.Errorf("%w; is this dom0, with the module xen-evtchn?", &os.PathError{Op: "open", Path: evtchnDevice, Err: err})
		}
		m.events = fd
	} else if err := unix.SetNonblock(events, true); err != nil {
		return nil, err
	}
	var err error
	if m.grants, err = os.OpenFile(gntdevDevice, os.O_RDWR, 0); err != nil {
		return nil, fmt.Errorf("%w; is this dom0, with the module xen-gntdev?", err)
	}
	m.control, err = openControl()
	return m, err
}

// FD implements daemon.Events.
func (m *Machine) FD() int { return m.events }

// Take implements daemon.Events.
func (m *Machine) Take() (xen.Port, bool, error) {
	if len(m.pending) == 0 {
		var b [4 * 256]byte
		n, err := unix.Read(m.events, b[:])
		switch {
		case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
			return 0, false, nil
		case err != nil:
			return 0, false, os.NewSyscallError("read", err)
		case n <= 0:
			return 0, false, nil
		}
		for i := 0; i+4 <= n; i += 4 {
			m.pending = append(m.pending, xen.Port(le.Uint32(b[i:])))
		}
	}
	p := m.pending[0]
	m.pending = m.pending[1:]
	return p, true, nil
}

// Unmask implements daemon.Events. One that was closed meanwhile is refused by itself.
func (m *Machine) Unmask(ports []xen.Port) error {
	var b [4 * 256]byte
	for len(ports) > 0 {
		n := min(len(ports), len(b)/4)
		for i, p := range ports[:n] {
			le.PutUint32(b[4*i:], uint32(p))
		}
		if _, err := unix.Write(m.events, b[:4*n]); err != nil {
			return os.NewSyscallError("write", err)
		}
		ports = ports[n:]
	}
	return nil
}

// Requests of the event channel device: _IOC(_IOC_NONE, 'E', number, size).
const (
	bindVIRQ        = 4<<16 | 'E'<<8 // number 0
	bindInterdomain = 8<<16 | 'E'<<8 | 1
	unbind          = 4<<16 | 'E'<<8 | 3
	notify          = 4<<16 | 'E'<<8 | 4
)

func (m *Machine) event(request uintptr, args ...uint32) (int, error) {
	var b [8]byte
	for i, a := range args {
		le.PutUint32(b[4*i:], a)
	}
	return ioctl(m.events, request, b[:])
}

// Notify implements daemon.Events.
func (m *Machine) Notify(p xen.Port) error {
	_, err := m.event(notify, uint32(p))
	return err
}

// Bind implements daemon.Events.
func (m *Machine) Bind(d xen.DomID, remote xen.Port) (xen.Port, error) {
	n, err := m.event(bindInterdomain, uint32(d), uint32(remote))
	return xen.Port(n), err
}

// BindException implements daemon.Events.
func (m *Machine) BindException() (xen.Port, error) {
	n, err := m.event(bindVIRQ, uint32(xen.VIRQDomExc))
	return xen.Port(n), err
}

// Unbind implements daemon.Events.
func (m *Machine) Unbind(p xen.Port) error {
	_, err := m.event(unbind, uint32(p))
	return err
}

// Requests of the grant device.
const (
	mapGrant   = 24<<16 | 'G'<<8 // number 0
	unmapGrant = 16<<16 | 'G'<<8 | 1
)

// Map implements daemon.Machine.
func (m *Machine) Map(d xen.DomID) ([]byte, error) {
	const access = unix.PROT_READ | unix.PROT_WRITE
	if d == 0 {
		f, err := os.OpenFile(ringFile, os.O_RDWR, 0)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		page, err := unix.Mmap(int(f.Fd()), 0, xen.PageSize, access, unix.MAP_SHARED)
		return page, os.NewSyscallError("mmap", err)
	}
	// struct ioctl_gntdev_map_grant_ref: count, pad, index (out), then domain and reference.
	var b [24]byte
	le.PutUint32(b[0:], 1)
	le.PutUint32(b[16:], uint32(d))
	le.PutUint32(b[20:], uint32(xen.GrantXenstore))
	fd := int(m.grants.Fd())
	if _, err := ioctl(fd, mapGrant, b[:]); err != nil {
		return nil, err
	}
	at := le.Uint64(b[8:])
	page, err := unix.Mmap(fd, int64(at), xen.PageSize, access, unix.MAP_SHARED)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("map grant %d of domain %d: %w", xen.GrantXenstore, d, err), m.release(at))
	}
	m.index[&page[0]] = at
	return page, nil
}

// release ends a mapping of the grant device.
func (m *Machine) release(at uint64) error {
	var b [16]byte
	le.PutUint64(b[0:], at)
	le.PutUint32(b[8:], 1)
	_, err := ioctl(int(m.grants.Fd()), unmapGrant, b[:])
	return err
}

// Unmap implements daemon.Machine.
func (m *Machine) Unmap(_ xen.DomID, page []byte) error {
	at, granted := m.index[&page[0]]
	delete(m.index, &page[0])
	err := unix.Munmap(page)
	if granted {
		err = errors.Join(err, m.release(at))
	}
	return err
}

// State implements daemon.Machine.
func (m *Machine) State(d xen.DomID) server.DomainState { return m.control.state(d) }

// Dom0Port implements daemon.Machine.
func (m *Machine) Dom0Port() (xen.Port, error) {
	b, err := os.ReadFile(portFile)
	if err != nil {
		return 0, fmt.Errorf("%w; is xenfs mounted on /proc/xen?", err)
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", portFile, err)
	}
	return xen.Port(n), nil
}
