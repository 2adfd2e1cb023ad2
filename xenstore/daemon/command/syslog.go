package command

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// logSocket is where the system's log listens (man 3 syslog).
const logSocket = "/dev/log"

// systemLog sends lines to the system's log, as a daemon in the background does. Who does not listen hears nothing.
type systemLog struct {
	fd int
	to string
}

// noticeOfDaemon is the priority: facility LOG_DAEMON, severity LOG_NOTICE.
const noticeOfDaemon = 3<<3 | 5

func newSystemLog(to string) (*systemLog, error) {
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	return &systemLog{fd, to}, os.NewSyscallError("socket", err)
}

// Write sends one line.
func (l *systemLog) Write(line []byte) (int, error) {
	msg := fmt.Appendf(nil, "<%d>xenstored[%d]: %s", noticeOfDaemon, os.Getpid(), line)
	// The log that is full is not waited for.
	_ = unix.Sendto(l.fd, msg, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT, &unix.SockaddrUnix{Name: l.to})
	return len(line), nil
}

// Close closes the socket.
func (l *systemLog) Close() error { return unix.Close(l.fd) }
