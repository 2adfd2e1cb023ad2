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
