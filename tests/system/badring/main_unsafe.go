// Command badring does in dom0 what a hostile guest would do to its own console: it writes an impossible index into the
// page. badring DOMAIN FRAME, where the frame is the guest's node console/ring-ref.
package main

import (
	"fmt"
	"os"
	"strconv"
	"syscall"
	"unsafe"

	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/console"
)

// mmapBatch is IOCTL_PRIVCMD_MMAPBATCH_V2 of Linux, include/uapi/xen/privcmd.h: _IOC(_IOC_NONE, 'P', 4, 32).
const mmapBatch = 32<<16 | 'P'<<8 | 4

func main() {
	if err := spoil(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "badring:", err)
		os.Exit(1)
	}
}

func spoil(args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("usage: badring DOMAIN FRAME")
	}
	dom, err := strconv.ParseUint(args[0], 10, 15)
	if err != nil {
		return err
	}
	frame, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	fd, err := syscall.Open("/dev/xen/privcmd", syscall.O_RDWR, 0)
	if err != nil {
		return err
	}
	mem, err := syscall.Mmap(fd, 0, xen.PageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap: %w", err)
	}
	failed := int32(0)
	batch := struct {
		num  uint32
		dom  uint16
		_    uint16
		addr uint64
		arr  *uint64
		errs *int32
	}{num: 1, dom: uint16(dom), addr: uint64(uintptr(unsafe.Pointer(&mem[0]))), arr: &frame, errs: &failed}
	if _, _, errno := syscall.Syscall(syscall.SYS_IOCTL, uintptr(fd), mmapBatch, uintptr(unsafe.Pointer(&batch))); errno != 0 || failed != 0 {
		return fmt.Errorf("map frame %#x of domain %d: %w, %d", frame, dom, errno, failed)
	}
	prod, err := ring.Word(mem, console.OutProd)
	if err != nil {
		return err
	}
	prod.Store(prod.Load() + 0x4000_0000)
	return nil
}
