// Package background runs a daemon as a process of its own, apart from the terminal that started it:
//
//	if !foreground && !background.Child() {
//		served, err := background.Start(os.Args)
//		…
//	}
//	… begin to serve; then, in the child:
//	err := background.Ready()  // whoever started it goes on
//	err = background.Detach()  // nothing is printed any more
//
// The daemon is the same program, started again: a Go process cannot fork. Not safe for concurrent use.
package background

import (
	"errors"
	"io"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"
)

const (
	// childEnv says to a process that Start started it.
	childEnv = "MORGANA_IN_BACKGROUND"
	// readyFD is where it says that it serves.
	readyFD = 3
)

// Child reports whether this process is one that Start started, once: what it starts itself, by a live update too, is
// not.
func Child() bool {
	is := os.Getenv(childEnv) != ""
	os.Unsetenv(childEnv)
	return is
}

// Start starts the program again with the arguments, the program's name first, and waits until it serves. It reports
// false if the program ended before; it has said why then.
func Start(args []string) (served bool, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return false, err
	}
	defer r.Close()
	self, err := os.Executable()
	if err != nil {
		self = args[0]
	}
	c := exec.Command(self, args[1:]...)
	c.Args[0] = args[0]
	c.Env = append(os.Environ(), childEnv+"=1")
	c.ExtraFiles = []*os.File{w} // the first of them is readyFD
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Dir = "/"
	c.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	err = c.Start()
	w.Close()
	if err != nil {
		return false, err
	}
	b, _ := io.ReadAll(r)
	return len(b) > 0, nil
}

// Ready says that the daemon serves.
func Ready() error {
	f := os.NewFile(readyFD, "ready")
	_, err := f.WriteString("1")
	return errors.Join(err, f.Close())
}

// Detach gives up the terminal, or whoever waits for the end of what we print waits for ever.
func Detach() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for fd := range 3 {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return nil
}
