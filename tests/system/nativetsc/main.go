// Nativetsc lets a domain that runs read the TSC itself, as tsc_mode="native" does for one that xl starts. Where Xen does
// not trust the TSC, as in an emulated machine, it emulates each read otherwise, and init-xenstore-domain has no option.
//
//	nativetsc DOMAIN
package main

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: nativetsc DOMAIN")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "nativetsc:", err)
		os.Exit(1)
	}
}

func run(domain string) error {
	id, err := strconv.ParseUint(domain, 10, 16)
	if err != nil {
		return err
	}
	f, err := os.OpenFile("/dev/xen/privcmd", os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	// Xen reads and writes it: it must not be swapped out, or moved.
	page, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE|unix.MAP_LOCKED)
	if err != nil {
		return err
	}
	// struct xen_domctl with xen_domctl_tsc_info: the mode "never emulate" is 2
	const setTSC, neverEmulate, domctl, privcmdHypercall = 60, 2, 36, 48<<16 | 'P'<<8
	op := (*struct {
		cmd, version, domain, pad uint32
		mode, khz, incarnation, _ uint32
		elapsed                   uint64
	})(unsafe.Pointer(&page[0]))
	call := struct{ op, arg0, arg1, arg2, arg3, arg4 uint64 }{op: domctl, arg0: uint64(uintptr(unsafe.Pointer(&page[0])))}
	for version := uint32(0x0e); version < 0x40; version++ {
		op.cmd, op.version, op.domain, op.mode = setTSC, version, uint32(id), neverEmulate
		_, _, e := unix.Syscall(unix.SYS_IOCTL, f.Fd(), privcmdHypercall, uintptr(unsafe.Pointer(&call)))
		switch {
		case e == 0:
			return nil
		case !errors.Is(e, syscall.EACCES): // that says that it is another version of Xen
			return fmt.Errorf("domain %d: %w", id, e)
		}
	}
	return fmt.Errorf("domain %d: %w", id, unix.EACCES)
}
