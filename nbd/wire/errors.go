package wire

import (
	"errors"
	"fmt"
)

// Errors of parsing, wrapped with what was wrong.
var (
	ErrMagic  = errors.New("bad magic number") // the peer speaks no NBD or has lost its place in the stream
	ErrLength = errors.New("bad length")       // a message is shorter or longer than what it says it holds
	ErrString = errors.New("bad string")       // a name is too long or no UTF-8
)

// An Errno is the error number of a reply. It is an error itself, but for OK.
type Errno uint32

// The numbers that the protocol allows in replies.
const (
	OK        Errno = 0
	EPERM     Errno = 1
	EIO       Errno = 5
	ENOMEM    Errno = 12
	EINVAL    Errno = 22
	ENOSPC    Errno = 28
	EOVERFLOW Errno = 75
	ENOTSUP   Errno = 95
	ESHUTDOWN Errno = 108
)

var errnoText = map[Errno]string{
	OK: "no error", EPERM: "operation not permitted", EIO: "input/output error", ENOMEM: "out of memory", EINVAL: "invalid request",
	ENOSPC: "no space, or beyond the end of the export", EOVERFLOW: "value too large", ENOTSUP: "operation not supported",
	ESHUTDOWN: "server is shutting down",
}

func (e Errno) Error() string {
	if s, ok := errnoText[e]; ok {
		return "nbd: " + s
	}
	return fmt.Sprintf("nbd: error %d", uint32(e))
}
