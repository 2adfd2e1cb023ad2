package xenstore

import (
	"errors"
	"fmt"

	"morgana/xen/wire/xs"
)

// What callers can act on. Each is what the service answered; errors.Is matches ErrNotExist with fs.ErrNotExist
// too, ErrExist with fs.ErrExist, ErrPermission (EACCES and EPERM) with fs.ErrPermission.
var (
	ErrNotExist     error = xs.ENOENT
	ErrExist        error = xs.EEXIST
	ErrPermission   error = xs.EACCES
	ErrAgain        error = xs.EAGAIN // a transaction met a conflict: do it again
	ErrInvalid      error = xs.EINVAL
	ErrBusy         error = xs.EBUSY
	ErrTooBig       error = xs.E2BIG // also a watch quota, with xenstored
	ErrNotSupported error = xs.ENOSYS
	ErrQuota              = xs.ErrQuota // any quota: nodes, size, watches, transactions
)

// The connection's own errors.
var (
	// ErrClosed says that the connection was closed, here or by the service.
	ErrClosed = errors.New("xenstore connection is closed")
	// ErrDown says that there is no connection now, and nothing was sent; see Options.Lost.
	ErrDown = errors.New("no connection to xenstore now")
	// ErrLost says that the connection was lost before the answer came: what was asked for may have been done or not.
	ErrLost = errors.New("xenstore connection was lost, and with it the answer")
	// ErrProtocol says that the service sent what no service sends. The connection is over.
	ErrProtocol = errors.New("xenstore service broke the protocol")
)

// Error is an operation that failed.
type Error struct {
	Op   string // "read", "write", "list", …
	Path string // what it was done to; "" for the connection itself
	Err  error  // one of the sentinels, a context's error or a transport's
}

func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("xenstore %s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("xenstore %s %q: %v", e.Op, e.Path, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

func fail(op, path string, err error) error {
	if err == nil {
		return nil
	}
	return &Error{Op: op, Path: path, Err: err}
}
