package nbd

import (
	"errors"
	"syscall"
)

// isTemporary reports whether accepting may work again later: the machine lacks descriptors or memory, or the client
// hung up first.
func isTemporary(err error) bool {
	for _, e := range []error{syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.ECONNABORTED, syscall.EINTR} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}
