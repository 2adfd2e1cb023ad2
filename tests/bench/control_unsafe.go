package bench

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"syscall"
	"unsafe"
)

// control makes the two calls of Xen's domain control that measuring a life needs (xen/include/public/domctl.h): xl
// takes longer to start than a small domain lives. Not safe for concurrent use.
type control struct {
	dev     *os.File
	page    []byte // locked: Xen reads and writes it
	version uint32 // XEN_DOMCTL_INTERFACE_VERSION of this Xen
}

const (
	privcmdHypercall = 48<<16 | 'P'<<8 // number 0; Linux, include/uapi/xen/privcmd.h
	hypervisorDomctl = 36
	domctlUnpause    = 4
	domctlInfo       = 5
	domctlSize       = 16 + 128

	flagDying    = 1 << 0
	flagShutdown = 1 << 2
)

func openControl() (*control, error) {
	f, err := os.OpenFile("/dev/xen/privcmd", os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w; is this dom0, with the module xen-privcmd?", err)
	}
	page, err := syscall.Mmap(-1, 0, os.Getpagesize(), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE|syscall.MAP_LOCKED)
	if err != nil {
		f.Close()
		return nil, err
	}
	c := &control{dev: f, page: page}
	// The interface has a number that changes with Xen's releases and is checked first; these two calls have not
	// changed. EACCES says that it is another one.
	for c.version = 0x0e; c.version < 0x40; c.version++ {
		if err = c.call(domctlInfo, 0); !errors.Is(err, syscall.EACCES) {
			break
		}
	}
	if err != nil {
		c.close()
		return nil, fmt.Errorf("ask Xen about dom0: %w", err)
	}
	return c, nil
}

func (c *control) close() {
	c.dev.Close()
	syscall.Munmap(c.page)
}

// call does a domctl of a domain; what Xen answers is in c.page.
func (c *control) call(cmd uint32, domain int) error {
	clear(c.page[:domctlSize])
	*(*uint32)(unsafe.Pointer(&c.page[0])) = cmd
	*(*uint32)(unsafe.Pointer(&c.page[4])) = c.version
	*(*uint16)(unsafe.Pointer(&c.page[8])) = uint16(domain)
	arg := struct {
		op uint64
		a  [5]uint64
	}{op: hypervisorDomctl}
	arg.a[0] = uint64(uintptr(unsafe.Pointer(&c.page[0])))
	_, _, errno := syscall.Syscall(syscall.SYS_IOCTL, c.dev.Fd(), privcmdHypercall, uintptr(unsafe.Pointer(&arg)))
	runtime.KeepAlive(c)
	if errno != 0 {
		return errno
	}
	return nil
}

func (c *control) unpause(domain int) error { return c.call(domctlUnpause, domain) }

// ended reports whether a domain has shut down or is gone.
func (c *control) ended(domain int) (bool, error) {
	err := c.call(domctlInfo, domain)
	if errors.Is(err, syscall.ESRCH) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	// struct xen_domctl_getdomaininfo; Xen answers with the next domain if there is none of that number.
	number, flags := *(*uint16)(unsafe.Pointer(&c.page[16])), *(*uint32)(unsafe.Pointer(&c.page[20]))
	return int(number) != domain || flags&(flagDying|flagShutdown) != 0, nil
}
