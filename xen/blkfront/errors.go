package blkfront

import (
	"errors"
	"fmt"

	"morgana/xen/xenbus"
)

// What callers can act on. Errors of this package match one of these, block.ErrOutOfRange, block.ErrReadOnly or a
// context's error.
var (
	// ErrIO: the backend answered that the request failed.
	ErrIO = errors.New("the backend reports an I/O error")
	// ErrNotSupported: the backend answered that it does not do this.
	ErrNotSupported = fmt.Errorf("the backend does not do this: %w", errors.ErrUnsupported)
	// ErrBackend: the backend broke the protocol. The device is over; Close it.
	ErrBackend = errors.New("the backend broke the protocol")
	// ErrRemoved: the tool stack detached the device. It is over; Close it.
	ErrRemoved = xenbus.ErrRemoved
	// ErrClosed: the device was closed here.
	ErrClosed = errors.New("the device is closed")
)

// Error is an operation that failed.
type Error struct {
	Op   string // "read", "write", "flush", "discard", "write zeroes", "open"
	Disk string // Config.Path
	Off  int64  // where, in bytes; -1 if it has no place
	Err  error
}

func (e *Error) Error() string {
	if e.Off < 0 {
		return fmt.Sprintf("%s: %s: %v", e.Disk, e.Op, e.Err)
	}
	return fmt.Sprintf("%s: %s at byte %d: %v", e.Disk, e.Op, e.Off, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }
