package xen

import (
	"context"
	"errors"
	"fmt"
)

// DomID names a domain on this host: 0 (dom0) to 0x7fef. Xen reuses the number of a domain that is gone.
type DomID uint16

// DomSelf means "the calling domain" in hypercalls (DOMID_SELF).
const DomSelf DomID = 0x7ff0

// DomFirstReserved is the first number that no ordinary domain has (DOMID_FIRST_RESERVED).
const DomFirstReserved DomID = 0x7ff0

// GrantRef is an index into the grant table of the domain that shares a page. 0 is the console's, 1 xenstore's;
// up to 7 is reserved.
type GrantRef uint32

// Grant references that the tool stack sets up in every domain (GNTTAB_RESERVED_*).
const (
	GrantConsole  GrantRef = 0
	GrantXenstore GrantRef = 1
)

// Port is a local event channel port: 1 to 4095 in the two-level ABI.
type Port uint32

// VIRQ names a virtual interrupt (xen.h, VIRQ_*).
type VIRQ uint32

// VIRQs that services bind.
const (
	VIRQTimer   VIRQ = 0
	VIRQDebug   VIRQ = 1
	VIRQConsole VIRQ = 2 // dom0: Xen's console has input
	VIRQDomExc  VIRQ = 3 // a domain died or was shut down; for the xenstore service
	VIRQConRing VIRQ = 8 // Xen's log has something new
)

// PageSize is the size of a page that can be shared, in bytes.
const PageSize = 4096

// Access says what the other side may do with a shared page.
type Access uint8

const (
	// ReadWrite lets the peer read and write.
	ReadWrite Access = iota
	// ReadOnly lets the peer read.
	ReadOnly
)

func (a Access) String() string {
	if a == ReadOnly {
		return "read-only"
	}
	return "read-write"
}

// Granter shares pages of this domain with another one (a frontend's side). Safe for concurrent use.
type Granter interface {
	// Share makes `pages` new zeroed pages that domain peer may map or copy: 1 to 1024 in one call. It fails with
	// ErrNoGrants when the grant table is full and ErrNoMemory when memory is.
	Share(peer DomID, pages int, access Access) (Grant, error)
}

// Grant is pages shared by Granter.Share.
type Grant interface {
	// Refs are the grant references, one a page, in the order of the pages. Read-only.
	Refs() []GrantRef
	// Bytes is the memory, page by page, contiguous here. Both sides see it change at any moment. Not to be used
	// after Close.
	Bytes() []byte
	// Close ends the peer's right. A page that the peer still maps stays out of use until it is unmapped: Close
	// returns an error matching ErrInUse then, the reference and the page are reclaimed later without further
	// action, and the peer keeps its view of the old content. Idempotent.
	Close() error
}

// Mapper maps pages that another domain shared (a backend's side). Safe for concurrent use.
type Mapper interface {
	// Map maps 1 to 1024 pages, contiguous here, in one batch: all or none. A reference that does not exist, is
	// not for us, or allows less than access wants fails with ErrBadGrant and names it.
	Map(peer DomID, refs []GrantRef, access Access) (Mapping, error)
}

// Mapping is pages mapped by Mapper.Map.
type Mapping interface {
	// Bytes is the memory. A store into a read-only mapping faults. Not to be used after Close.
	Bytes() []byte
	// Close unmaps. Idempotent.
	Close() error
}

// Copier copies between a page of a peer and our memory without mapping it. Safe for concurrent use.
type Copier interface {
	// Copy does every operation of the batch and sets each one's Err. It returns nil if all succeeded, else an
	// error for the first that failed; the others are done all the same.
	Copy(ops []CopyOp) error
}

// CopyOp is one copy inside one page of the peer.
type CopyOp struct {
	Peer   DomID
	Ref    GrantRef
	Offset int    // in the peer's page; Offset+len(Local) ≤ PageSize
	Local  []byte // our side, anywhere in memory; it may cross pages
	ToPeer bool   // direction: true writes to the peer, false reads from it
	Err    error  // set by Copy
}

// Events makes event channels: one bit of notification between two domains. Safe for concurrent use.
type Events interface {
	// Listen makes a port that domain peer may connect to (EVTCHNOP_alloc_unbound).
	Listen(peer DomID) (Event, error)
	// Connect binds to a port that domain peer made for us (EVTCHNOP_bind_interdomain). As Xen does, the new port
	// is pending once: the first Wait returns at once.
	Connect(peer DomID, port Port) (Event, error)
	// BindVIRQ binds a virtual interrupt.
	BindVIRQ(virq VIRQ) (Event, error)
}

// Event is this domain's end of an event channel. Safe for concurrent use; one goroutine at a time in Wait.
type Event interface {
	// Port is our port, which the peer needs to connect.
	Port() Port
	// Notify makes the peer's port pending. It succeeds when nobody is bound yet; the notification is lost then.
	Notify() error
	// Wait returns nil when the port was notified since Wait last returned nil: once for any number of
	// notifications. It returns ctx's error or ErrClosed otherwise.
	Wait(ctx context.Context) error
	// Close closes the port. The peer's port stays, unbound. Idempotent; a Wait under way returns ErrClosed.
	Close() error
}

// Domain is what a program has: the pieces that a driver takes one by one.
type Domain interface {
	Granter
	Mapper
	Copier
	Events
	// ID is our own number. It changes over a migration or a restore.
	ID() DomID
	// Close closes what the domain's devices hold. Grants and events still open are closed.
	Close() error
}

// What callers can act on. Errors of the driver layer wrap one of these.
var (
	ErrClosed     = errors.New("closed")
	ErrPeerGone   = errors.New("peer domain is gone")
	ErrBadGrant   = errors.New("bad grant reference")
	ErrInUse      = errors.New("still in use by the peer")
	ErrNoGrants   = errors.New("no free grant references")
	ErrNoPorts    = errors.New("no free event channel ports")
	ErrNoMemory   = errors.New("out of memory")
	ErrPermission = errors.New("permission denied")
	ErrInvalid    = errors.New("invalid argument")
)

// Error is an operation of the driver layer that failed.
type Error struct {
	Op     string // "share", "map", "copy", "listen", "connect", "notify", …
	Object string // what it was done to: "domain 3 grant 12"
	Err    error  // wraps one of the sentinels or a system error
}

func (e *Error) Error() string { return fmt.Sprintf("xen: %s %s: %v", e.Op, e.Object, e.Err) }
func (e *Error) Unwrap() error { return e.Err }
