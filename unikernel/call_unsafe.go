package unikernel

import (
	"syscall"
	"time"
	"unsafe"

	"morgana/unikernel/internal/abi"
)

// call makes one of the private system calls. On Linux all of them return ENOSYS.
//
//go:uintptrescapes
func call(nr, a1, a2, a3 uintptr) (uintptr, error) {
	r, _, errno := syscall.RawSyscall(nr, a1, a2, a3)
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}

// clock is the kernel's monotonic clock.
func clock() (time.Duration, error) {
	const monotonic = 1 // CLOCK_MONOTONIC
	var ts syscall.Timespec
	_, err := call(syscall.SYS_CLOCK_GETTIME, monotonic, uintptr(unsafe.Pointer(&ts)), 0)
	return time.Duration(ts.Nano()), err
}

func callInfo(in *abi.Info) (uintptr, error) {
	return call(abi.SysInfo, uintptr(unsafe.Pointer(in)), unsafe.Sizeof(*in), 0)
}

func callCounters(c *abi.Counters) (uintptr, error) {
	return call(abi.SysCounters, uintptr(unsafe.Pointer(c)), unsafe.Sizeof(*c), 0)
}

func callBytes(nr uintptr, b []byte) (uintptr, error) {
	r, _, errno := syscall.RawSyscall(nr, uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(len(b)), 0)
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}

func callArena(name string, pages int) (uintptr, error) {
	r, _, errno := syscall.RawSyscall(abi.SysArena, uintptr(unsafe.Pointer(unsafe.StringData(name))), uintptr(len(name)), uintptr(pages))
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}

// callShare shares the page at p.
func callShare(p []byte, domain, flags uintptr) (uintptr, error) {
	r, _, errno := syscall.RawSyscall(abi.SysArenaGrant, uintptr(unsafe.Pointer(unsafe.SliceData(p))), domain, flags)
	if errno != 0 {
		return 0, errno
	}
	return r, nil
}

// memory is the n bytes at an address outside of the Go heap.
func memory(address uintptr, n int) []byte { return unsafe.Slice((*byte)(pointer(address)), n) }

// pointer makes a pointer of an address. It is not inlined: with the address arithmetic in sight Go 1.26's compiler
// crashes on copy() ("disjointTypes: one of arguments is not a pointer").
//
//go:noinline
func pointer(address uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&address)) }
