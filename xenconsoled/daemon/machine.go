package daemon

import "morgana/xen"

// Machine is what the daemon needs of Xen. One that is a xen.Granter too can have a console domain. Safe for concurrent use.
type Machine interface {
	xen.Mapper
	xen.Events
	// Alive reports whether a domain exists and is not being destroyed.
	Alive(xen.DomID) bool
	// ReadLog copies Xen's own log from index on, which it moves on, and returns how much that was. What was overwritten
	// meanwhile is left out.
	ReadLog(p []byte, index *uint32) (int, error)
}
