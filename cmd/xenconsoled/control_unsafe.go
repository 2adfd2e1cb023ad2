package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"morgana/xen"
)

const (
	privcmdDevice    = "/dev/xen/privcmd"
	privcmdHypercall = 48<<16 | 'P'<<8 // number 0
	hypervisorSysctl = 35
	hypervisorDomctl = 36

	domctlInfo    = 5 // XEN_DOMCTL_getdomaininfo
	sysctlConsole = 1 // XEN_SYSCTL_readconsole
	argSize       = 16 + 128
	flagDying     = 1 << 0

	logOffset = 4096 // in the memory: what Xen copies its log to
	logSize   = 16 << 10
)

var le = binary.LittleEndian

// control asks Xen about domains, and for its log. Safe for concurrent use.
//
// Sources: Linux, include/uapi/xen/privcmd.h; xen/include/public/{domctl,sysctl}.h of Xen 4.17.
type control struct {
	dev *os.File

	mu             sync.Mutex
	mem            []byte // locked: Xen reads and writes it
	domctl, sysctl uint32 // the versions of Xen's interfaces
}

func openControl() (*control, error) {
	f, err := os.OpenFile(privcmdDevice, os.O_RDWR, 0)
	if err != nil {
		return nil, fmt.Errorf("%w; is this dom0, with the module xen-privcmd?", err)
	}
	mem, err := unix.Mmap(-1, 0, logOffset+logSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_LOCKED)
	if err != nil {
		f.Close()
		return nil, os.NewSyscallError("mmap", err)
	}
	c := &control{dev: f, mem: mem}
	// The numbers of the interfaces change with Xen's releases, these calls have not. EACCES says that it is another.
	probe := func(version *uint32, call func() error) error {
		err := error(unix.EACCES)
		for *version = 0x0e; errors.Is(err, unix.EACCES) && *version < 0x40; {
			*version++
			err = call()
		}
		return err
	}
	if err = probe(&c.domctl, func() error { return c.info(0) }); err == nil {
		err = probe(&c.sysctl, func() error { _, err := c.read(0, new(uint32)); return err })
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("ask Xen about dom0: %w", err), c.close())
	}
	return c, nil
}

func (c *control) close() error {
	return errors.Join(c.dev.Close(), os.NewSyscallError("munmap", unix.Munmap(c.mem)))
}

// call makes a hypercall whose argument is at the beginning of the memory.
func (c *control) call(number uint64) error {
	arg := struct {
		op uint64
		a  [5]uint64
	}{op: number}
	arg.a[0] = uint64(uintptr(unsafe.Pointer(&c.mem[0])))
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, c.dev.Fd(), privcmdHypercall, uintptr(unsafe.Pointer(&arg)))
	runtime.KeepAlive(c)
	if errno != 0 {
		return errno
	}
	return nil
}

// info has Xen write what it knows of a domain into the memory.
func (c *control) info(d xen.DomID) error {
	clear(c.mem[:argSize])
	le.PutUint32(c.mem[0:], domctlInfo)
	le.PutUint32(c.mem[4:], c.domctl)
	le.PutUint16(c.mem[8:], uint16(d))
	return c.call(hypervisorDomctl)
}

// Alive implements daemon.Machine. Xen answers with the next domain if there is none of that number.
func (c *control) Alive(d xen.DomID) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.info(d) == nil && le.Uint16(c.mem[16:]) == uint16(d) && le.Uint32(c.mem[20:])&flagDying == 0
}

// read has Xen copy at most n bytes of its log to logOffset.
func (c *control) read(n int, index *uint32) (int, error) {
	clear(c.mem[:argSize])
	le.PutUint32(c.mem[0:], sysctlConsole)
	le.PutUint32(c.mem[4:], c.sysctl)
	c.mem[9] = 1 // incremental
	le.PutUint32(c.mem[12:], *index)
	le.PutUint64(c.mem[16:], uint64(uintptr(unsafe.Pointer(&c.mem[logOffset]))))
	le.PutUint32(c.mem[24:], uint32(n))
	if err := c.call(hypervisorSysctl); err != nil {
		return 0, err
	}
	*index = le.Uint32(c.mem[12:])
	return min(int(le.Uint32(c.mem[24:])), n), nil
}

// ReadLog implements daemon.Machine.
func (c *control) ReadLog(p []byte, index *uint32) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n, err := c.read(min(len(p), logSize), index)
	return copy(p, c.mem[logOffset:logOffset+n]), err
}
