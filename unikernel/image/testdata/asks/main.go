// Command asks makes system calls in each way that a Go program has.
package main

import (
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

func main() {
	viaSyscall()
	viaSyscall6()
	viaUnix()
	computed(len(os.Args))
}

//go:noinline
func viaSyscall() { syscall.RawSyscall(425, 0, 0, 0) }

//go:noinline
func viaSyscall6() { syscall.Syscall6(442, 1, 2, 3, 4, 5, 6) }

//go:noinline
func viaUnix() { unix.Syscall(461, 0, 0, 0) }

//go:noinline
func computed(n int) { syscall.Syscall(uintptr(n), 0, 0, 0) }
