// Package fakehost is a host that is a directory, as our daemon sees it: what shim.c of package peers is for the daemons of
// others, and says.
package fakehost

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"morgana/xen"
	"morgana/xenstore/server"
)

// Ports of the daemon.
const (
	PortException = 1
	PortDomain    = 1000 // and the domain's number
)

// Machine implements daemon.Machine.
type Machine struct {
	dir string
	fd  int
}

// Open serves the host in a directory. events is a descriptor that another daemon handed over, -1 for none.
func Open(dir string, events int) (*Machine, error) {
	m := &Machine{dir: dir, fd: events}
	if events >= 0 {
		unix.CloseOnExec(events)
		return m, nil
	}
	name := filepath.Join(dir, "daemon.sock")
	_ = os.Remove(name)
	var err error
	if m.fd, err = unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0); err != nil {
		return nil, err
	}
	return m, unix.Bind(m.fd, &unix.SockaddrUnix{Name: name})
}

func (m *Machine) path(d xen.DomID, what string) string {
	return filepath.Join(m.dir, fmt.Sprintf("dom%d.%s", d, what))
}

func exists(f string) bool {
	_, err := os.Stat(f)
	return err == nil
}

// FD implements daemon.Events.
func (m *Machine) FD() int { return m.fd }

// Take implements daemon.Events.
func (m *Machine) Take() (xen.Port, bool, error) {
	var b [4]byte
	switch n, _, err := unix.Recvfrom(m.fd, b[:], 0); {
	case errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR):
		return 0, false, nil
	case err != nil:
		return 0, false, err
	case n != len(b):
		return 0, true, nil
	}
	return xen.Port(binary.LittleEndian.Uint32(b[:])), true, nil
}

// Unmask implements daemon.Events: nothing is masked here.
func (m *Machine) Unmask([]xen.Port) error { return nil }

// Notify implements daemon.Events. As with Xen it succeeds when nobody listens.
func (m *Machine) Notify(p xen.Port) error {
	if p < PortDomain {
		return nil
	}
	b := binary.LittleEndian.AppendUint32(nil, uint32(p))
	to := &unix.SockaddrUnix{Name: m.path(xen.DomID(p-PortDomain), "sock")}
	_ = unix.Sendto(m.fd, b, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL, to)
	return nil
}

// Bind implements daemon.Events.
func (m *Machine) Bind(d xen.DomID, _ xen.Port) (xen.Port, error) {
	return PortDomain + xen.Port(d), nil
}

// BindException implements daemon.Events.
func (m *Machine) BindException() (xen.Port, error) { return PortException, nil }

// Unbind implements daemon.Events.
func (m *Machine) Unbind(xen.Port) error { return nil }

// Map implements daemon.Machine.
func (m *Machine) Map(d xen.DomID) ([]byte, error) {
	f, err := os.OpenFile(m.path(d, "ring"), os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return unix.Mmap(int(f.Fd()), 0, xen.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}

// Unmap implements daemon.Machine.
func (m *Machine) Unmap(_ xen.DomID, page []byte) error { return unix.Munmap(page) }

// State implements daemon.Machine.
func (m *Machine) State(d xen.DomID) server.DomainState {
	switch {
	case !exists(m.path(d, "ring")):
		return server.Gone
	case exists(m.path(d, "shutdown")):
		return server.Shutdown
	}
	return server.Running
}

// Dom0Port implements daemon.Machine.
func (m *Machine) Dom0Port() (xen.Port, error) {
	b, err := os.ReadFile(filepath.Join(m.dir, "xsd_port"))
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32)
	if err != nil {
		return 0, fmt.Errorf("xsd_port: %w", err)
	}
	return xen.Port(n), nil
}
