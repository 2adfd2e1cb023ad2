package dom0

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"

	"morgana/xen"
	"morgana/xenstore/server"
)

// ioctl passes an argument block, which must not be empty.
func ioctl(fd int, request uintptr, arg []byte) (int, error) {
	r, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(unsafe.Pointer(&arg[0])))
	if errno != 0 {
		return 0, os.NewSyscallError("ioctl", errno)
	}
	return int(r), nil
}

// control asks Xen about domains.
type control struct {
	dev     *os.File
	page    []byte // locked: Xen reads and writes it
	version uint32 // XEN_DOMCTL_INTERFACE_VERSION of this Xen
}

const (
	privcmdHypercall = 48<<16 | 'P'<<8 // number 0
	hypervisorDomctl = 36
	domctlInfo       = 5 // XEN_DOMCTL_getdomaininfo
	domctlSize       = 16 + 128

	flagDying    = 1 << 0
	flagShutdown = 1 << 2
)

func openControl() (*control, error) {
	f, err := os.OpenFile(privcmdDevice, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w; is this dom0, with the module xen-privcmd?", err)
	}
	page, err := unix.Mmap(-1, 0, xen.PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_LOCKED)
	if err != nil {
		f.Close()
		return nil, os.NewSyscallError("mmap", err)
	}
	c := &control{dev: f, page: page}
	// The number of the interface changes with Xen's releases, this call has not. EACCES says that it is another one.
	for c.version = 0x0e; c.version < 0x40; c.version++ {
		if err = c.info(0); !errors.Is(err, unix.EACCES) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("ask Xen about dom0: %w", err)
	}
	return c, nil
}

// info has Xen write what it knows of a domain into the page.
func (c *control) info(d xen.DomID) error {
	clear(c.page[:domctlSize])
	le.PutUint32(c.page[0:], domctlInfo)
	le.PutUint32(c.page[4:], c.version)
	le.PutUint16(c.page[8:], uint16(d))
	arg := struct {
		op uint64
		a  [5]uint64
	}{op: hypervisorDomctl}
	arg.a[0] = uint64(uintptr(unsafe.Pointer(&c.page[0])))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, c.dev.Fd(), privcmdHypercall, uintptr(unsafe.Pointer(&arg)))
	runtime.KeepAlive(c)
	if errno != 0 {
		return errno
	}
	return nil
}

// state is what Xen says of a domain. It answers with the next one if there is none of that number.
func (c *control) state(d xen.DomID) server.DomainState {
	if c.info(d) != nil || le.Uint16(c.page[16:]) != uint16(d) {
		return server.Gone
	}
	switch flags := le.Uint32(c.page[20:]); {
	case flags&flagDying != 0:
		return server.Gone
	case flags&flagShutdown != 0:
		return server.Shutdown
	}
	return server.Running
}
