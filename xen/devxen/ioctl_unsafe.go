package devxen

import (
	"syscall"
	"unsafe"
)

// ioctl passes a structure, at least as long as the request says.
func ioctl(fd int, request uintptr, arg []byte) (int, error) {
	r, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&arg[0])))
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// ioctlWord passes a structure of one word. It is for calls that never block, and takes the runtime no hand-over.
func ioctlWord(fd int, request uintptr, arg uint32) (int, error) {
	r, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&arg)))
	if errno != 0 {
		return 0, errno
	}
	return int(r), nil
}

// read and write are for descriptors that do not block.
func read(fd int, b []byte) (int, error) { return transfer(syscall.SYS_READ, fd, b) }

func write(fd int, b []byte) (int, error) { return transfer(syscall.SYS_WRITE, fd, b) }

func transfer(call uintptr, fd int, b []byte) (int, error) {
	n, _, errno := syscall.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
