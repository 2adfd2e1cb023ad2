package command

import (
	"os"

	"golang.org/x/sys/unix"

	"morgana/xen"
	"morgana/xenstore/server"
)

// noMachine is a machine without domains: its dom0 has a ring that nobody uses.
type noMachine struct {
	fd   int
	page [xen.PageSize]byte
}

func newNoMachine() (*noMachine, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	return &noMachine{fd: fd}, os.NewSyscallError("eventfd", err)
}

func (m *noMachine) FD() int                                    { return m.fd }
func (m *noMachine) Take() (xen.Port, bool, error)              { return 0, false, nil }
func (m *noMachine) Unmask([]xen.Port) error                    { return nil }
func (m *noMachine) Notify(xen.Port) error                      { return nil }
func (m *noMachine) Bind(xen.DomID, xen.Port) (xen.Port, error) { return 2, nil }
func (m *noMachine) BindException() (xen.Port, error)           { return 1, nil }
func (m *noMachine) Unbind(xen.Port) error                      { return nil }
func (m *noMachine) Map(xen.DomID) ([]byte, error)              { return m.page[:], nil }
func (m *noMachine) Unmap(xen.DomID, []byte) error              { return nil }
func (m *noMachine) Dom0Port() (xen.Port, error)                { return 1, nil }
func (m *noMachine) State(d xen.DomID) server.DomainState {
	if d == 0 {
		return server.Running
	}
	return server.Gone
}
