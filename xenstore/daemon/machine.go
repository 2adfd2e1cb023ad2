package daemon

import (
	"morgana/xen"
	"morgana/xenstore/server"
)

// Machine is what the daemon needs of Xen. Its methods are called by one goroutine.
type Machine interface {
	Events
	// Map maps the page of a domain's ring: the one that dom0's kernel made for its own, else grant 1.
	Map(d xen.DomID) ([]byte, error)
	Unmap(d xen.DomID, page []byte) error
	// State is what Xen says of a domain.
	State(d xen.DomID) server.DomainState
	// Dom0Port is the port that dom0's kernel made for the daemon.
	Dom0Port() (xen.Port, error)
}

// Events are event channels as one file.
type Events interface {
	// FD is readable while a port is pending. It stays the same, and may be handed to another program.
	FD() int
	// Take returns a port that was notified, false if there is none. It is not notified again until Unmask.
	Take() (xen.Port, bool, error)
	// Unmask lets ports be notified again; what came for them meanwhile comes now.
	Unmask(ports []xen.Port) error
	Notify(p xen.Port) error
	// Bind connects to a port that a domain made for us.
	Bind(d xen.DomID, remote xen.Port) (xen.Port, error)
	// BindException makes the port that is notified when a domain shuts down or dies (VIRQ_DOM_EXC).
	BindException() (xen.Port, error)
	Unbind(p xen.Port) error
}
