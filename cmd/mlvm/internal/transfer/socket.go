package transfer

import (
	"net"
	"syscall"
)

// listenPrivate listens on a unix socket that only its owner can connect to, from its first moment on.
func listenPrivate(path string) (net.Listener, error) {
	old := syscall.Umask(0o077)
	defer syscall.Umask(old)
	return net.Listen("unix", path)
}
