package main

import (
	"errors"
	"fmt"
	"runtime"

	"morgana/unikernel"
	"morgana/xen"
	"morgana/xen/devxen"
	"morgana/xenstore/daemon"
	"morgana/xenstore/server"
)

// machine is Xen as a domain sees it that serves xenstore. The rings of all domains, dom0's too, are their grants 1.
type machine struct {
	*devxen.Channels
	maps *devxen.Maps
	dom0 xen.Port
	open map[*byte]xen.Mapping
}

var _ daemon.Machine = (*machine)(nil)

// openMachine opens the devices. The port is the one that dom0's kernel made.
func openMachine(dom0 xen.Port) (*machine, error) {
	c, err := devxen.OpenChannels()
	if err != nil {
		return nil, err
	}
	return &machine{Channels: c, maps: devxen.NewMaps(), dom0: dom0, open: make(map[*byte]xen.Mapping)}, nil
}

// Map implements daemon.Machine.
func (m *machine) Map(d xen.DomID) ([]byte, error) {
	g, err := m.maps.Map(d, []xen.GrantRef{xen.GrantXenstore}, xen.ReadWrite)
	if err != nil {
		return nil, err
	}
	page := g.Bytes()
	m.open[&page[0]] = g
	return page, nil
}

// Unmap implements daemon.Machine.
func (m *machine) Unmap(d xen.DomID, page []byte) error {
	g := m.open[&page[0]]
	if g == nil {
		return fmt.Errorf("the page of domain %d is not mapped", d)
	}
	delete(m.open, &page[0])
	return g.Close()
}

// State implements daemon.Machine.
func (m *machine) State(d xen.DomID) server.DomainState {
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
func (m *machine) Dom0Port() (xen.Port, error) { return m.dom0, nil }

// stats adds the kernel's counters, and what Go's collector took, to CONTROL stats.
func stats(b []byte) []byte {
	c := unikernel.Counters()
	var mem runtime.MemStats
	runtime.ReadMemStats(&mem)
	for _, v := range []struct {
		name string
		n    uint64
	}{
		{"hypercalls", c.Hypercalls},
		{"interrupts", c.Interrupts},
		{"notifications", c.Events},
		{"system-calls", c.Syscalls},
		{"thread-switches", c.Switches},
		{"page-faults", c.Faults},
		{"free-kib", c.FreePages * 4},
		{"least-free-kib", c.MinFreePages * 4},
		{"heap-kib", mem.HeapAlloc / 1024},
		{"allocated-kib", mem.TotalAlloc / 1024},
		{"collections", uint64(mem.NumGC)},
		{"collector-paused-us", mem.PauseTotalNs / 1000},
		{"uptime-ms", uint64(unikernel.Uptime().Milliseconds())},
	} {
		b = fmt.Appendf(b, "%s %d\n", v.name, v.n)
	}
	return b
}

// Close closes the devices.
func (m *machine) Close() error { return errors.Join(m.maps.Close(), m.Channels.Close()) }
