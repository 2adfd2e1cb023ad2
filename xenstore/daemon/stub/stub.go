// Package stub is the machine of a xenstore service that runs in a domain of its own, as Xen's init-xenstore-domain
// starts it. The rings of all domains, dom0's too, are their grants 1.
package stub

import (
	"errors"
	"fmt"

	"morgana/unikernel"
	"morgana/xen"
	"morgana/xen/devxen"
	"morgana/xenstore/daemon"
	"morgana/xenstore/server"
)

// Machine implements daemon.Machine.
type Machine struct {
	*devxen.Channels
	maps *devxen.Maps
	dom0 xen.Port
	open map[*byte]xen.Mapping
}

var _ daemon.Machine = (*Machine)(nil)

// Open opens the devices. The port is the one that dom0's kernel made.
func Open(dom0 xen.Port) (*Machine, error) {
	c, err := devxen.OpenChannels()
	if err != nil {
		return nil, err
	}
	return &Machine{Channels: c, maps: devxen.NewMaps(), dom0: dom0, open: make(map[*byte]xen.Mapping)}, nil
}

// Map implements daemon.Machine.
func (m *Machine) Map(d xen.DomID) ([]byte, error) {
	g, err := m.maps.Map(d, []xen.GrantRef{xen.GrantXenstore}, xen.ReadWrite)
	if err != nil {
		return nil, err
	}
	page := g.Bytes()
	m.open[&page[0]] = g
	return page, nil
}

// Unmap implements daemon.Machine.
func (m *Machine) Unmap(d xen.DomID, page []byte) error {
	g := m.open[&page[0]]
	if g == nil {
		return fmt.Errorf("the page of domain %d is not mapped", d)
	}
	delete(m.open, &page[0])
	return g.Close()
}

// State implements daemon.Machine.
func (m *Machine) State(d xen.DomID) server.DomainState {
	if d == 0 {
		return server.Running
	}
	n, err := unikernel.Domain(d)
	switch {
	case errors.Is(err, xen.ErrPeerGone), err == nil && n.Dying:
		return server.Gone
	case err == nil && n.Shutdown:
		return server.Shutdown
	}
	// Without an answer nobody is forgotten.
	return server.Running
}

// Dom0Port implements daemon.Machine.
func (m *Machine) Dom0Port() (xen.Port, error) { return m.dom0, nil }

// Close closes the devices.
func (m *Machine) Close() error { return errors.Join(m.maps.Close(), m.Channels.Close()) }
