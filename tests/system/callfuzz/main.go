// Command callfuzz makes random system calls with hostile arguments: the kernel must refuse or serve each, and never
// fault. A call that blocks is left behind with its thread.
//
//	callfuzz SEED CALLS
package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"
	"unsafe"
)

// The calls play with memory of their own, far from Go's.
const (
	region     = 0x2000_0000_0000
	regionSize = 1 << 20
	threads    = 150 // how many may be left behind
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: callfuzz SEED CALLS")
		os.Exit(2)
	}
	seed, err1 := strconv.ParseUint(os.Args[1], 10, 64)
	calls, err2 := strconv.Atoi(os.Args[2])
	if err1 != nil || err2 != nil {
		fmt.Fprintln(os.Stderr, "callfuzz: SEED and CALLS are numbers")
		os.Exit(2)
	}
	f := fuzzer{rng: rand.New(rand.NewPCG(seed, 0))}
	if err := f.prepare(); err != nil {
		fmt.Println("callfuzz:", err)
		os.Exit(1)
	}
	served, left := 0, 0
	work, done := worker()
	for range calls {
		c := f.call()
		work <- c
		select {
		case ok := <-done:
			if ok {
				served++
			}
		case <-time.After(200 * time.Millisecond):
			if left++; left > threads {
				fmt.Printf("callfuzz: done, %d served, too many blocked\n", served)
				return
			}
			work, done = worker()
		}
	}
	fmt.Printf("callfuzz: done, %d calls, %d served, %d blocked\n", calls, served, left)
}

type call struct {
	nr   uintptr
	args [6]uintptr
}

// worker makes calls on a thread of its own.
func worker() (chan<- call, <-chan bool) {
	work, done := make(chan call), make(chan bool, 1)
	go func() {
		runtime.LockOSThread()
		for c := range work {
			_, _, e := syscall.Syscall6(c.nr, c.args[0], c.args[1], c.args[2], c.args[3], c.args[4], c.args[5])
			done <- e == 0
		}
	}()
	return work, done
}

type fuzzer struct {
	rng *rand.Rand
	fds []uintptr
}

// prepare maps the region, part of it without rights, and opens files of every kind.
func (f *fuzzer) prepare() error {
	if _, _, e := syscall.Syscall6(syscall.SYS_MMAP, region, regionSize, 3, 0x32, ^uintptr(0), 0); e != 0 {
		return e
	}
	b := unsafe.Slice((*byte)(pointer(region)), regionSize)
	for i := range b {
		b[i] = byte(f.rng.Uint32())
	}
	for i, name := range []string{"/tmp/fuzz", "/proc/self/maps", "/dev/zero", "/tmp", "/etc/hosts", "/dev/xen/evtchn"} {
		copy(b[i*64:], name+"\x00")
	}
	syscall.Syscall(syscall.SYS_MPROTECT, region+regionSize/2, 4096, 0)
	syscall.Syscall(syscall.SYS_MPROTECT, region+regionSize/2+4096, 4096, 1)
	for _, name := range []string{
		"/tmp/fuzz", "/tmp", "/dev/null", "/dev/zero", "/dev/urandom", "/proc/self/status", "/etc/hosts",
		"/dev/xen/evtchn", "/dev/xen/gntdev", "/dev/xen/gntalloc", "/dev/xen/xenbus",
	} {
		flags := syscall.O_RDWR | syscall.O_NONBLOCK | syscall.O_CREAT
		if fd, err := syscall.Open(name, flags, 0o644); err == nil {
			f.fds = append(f.fds, uintptr(fd))
		} else if fd, err := syscall.Open(name, syscall.O_RDONLY, 0); err == nil {
			f.fds = append(f.fds, uintptr(fd))
		}
	}
	var p [2]int
	if err := syscall.Pipe2(p[:], syscall.O_NONBLOCK); err != nil {
		return err
	}
	ep, err := syscall.EpollCreate1(0)
	if err != nil {
		return err
	}
	ev, _, _ := syscall.Syscall(290, 0, 0x800, 0) // eventfd2
	f.fds = append(f.fds, uintptr(p[0]), uintptr(p[1]), uintptr(ep), ev)
	return nil
}

//go:noinline
func pointer(a uintptr) unsafe.Pointer { return *(*unsafe.Pointer)(unsafe.Pointer(&a)) }

// deadly are the calls that end the program, as they should, or take its legs away: exit, signals, its own stacks and
// threads, giving memory away.
var deadly = map[uintptr]bool{
	13: true, 15: true, 56: true, 60: true, 62: true, 131: true, 158: true, 200: true, 231: true, 234: true, 38: true,
	0x10006: true, 0x10007: true, 0x1000b: true, 0x1000c: true,
	// The debug port, a hypervisor exit a byte: thousands a second trip the emulated SVM, which then puts Xen's own
	// registers into the guest (RIP in Xen, CS e008 in its dump).
	0x10008: true,
}

func (f *fuzzer) call() call {
	var c call
	for {
		switch f.rng.IntN(8) {
		case 0:
			c.nr = 0x10000 + uintptr(f.rng.IntN(20))
		case 1:
			c.nr = 16 // ioctl
		default:
			c.nr = uintptr(f.rng.IntN(470))
		}
		if !deadly[c.nr] {
			break
		}
	}
	for i := range c.args {
		c.args[i] = f.value()
	}
	switch c.nr {
	case 0, 1, 3, 5, 8, 16, 17, 18, 19, 20, 32, 33, 72, 74, 75, 77, 81, 91, 217, 232, 233, 281, 292: // a descriptor first
		c.args[0] = f.fd()
		if c.nr == 33 || c.nr == 292 {
			c.args[1] = f.fd()
		}
		if c.nr == 233 {
			c.args[2] = f.fd()
		}
		if c.nr == 16 {
			c.args[1] = f.request()
		}
	case 436: // close_range
		c.args[0] = 400
	case 9: // mmap: of files too, never over Go's memory
		c.args[4] = f.fd()
		if c.args[0] < region {
			c.args[3] &^= 0x10
		}
	case 10, 11, 28: // mprotect, munmap, madvise: of the region
		c.args[0] = region + uintptr(f.rng.IntN(regionSize))&^4095
		c.args[1] = uintptr(f.rng.IntN(regionSize))
	}
	return c
}

// fd is one of our own descriptors, or none: those of Go's runtime stay.
func (f *fuzzer) fd() uintptr {
	if f.rng.IntN(12) == 0 {
		return 100 + uintptr(f.rng.IntN(1000))
	}
	return f.fds[f.rng.IntN(len(f.fds))]
}

// request is a number of one of the Xen devices' ioctls, most with the right size.
func (f *fuzzer) request() uintptr {
	sizes := []uintptr{0, 4, 8, 16, 24}
	types := []uintptr{'E', 'G'}
	return sizes[f.rng.IntN(len(sizes))]<<16 | types[f.rng.IntN(2)]<<8 | uintptr(f.rng.IntN(10))
}

var edges = []uintptr{
	0, 1, 2, 3, 4, 7, 8, 16, 63, 64, 100, 511, 512, 4095, 4096, 4097, 1 << 16, 1 << 20, 1 << 30, 1<<31 - 1, 1 << 31, 1<<32 - 1,
	1 << 40, 1<<47 - 8, 1 << 47, 1<<63 - 1, 1 << 63, ^uintptr(0), ^uintptr(99), ^uintptr(4095),
	0x100000, 0xffff800000000000, 0xffff800000100000, 0xffff900000000000, 0xffffffff80001000, 0xffffffff80140000,
}

func (f *fuzzer) value() uintptr {
	switch f.rng.IntN(4) {
	case 0:
		return edges[f.rng.IntN(len(edges))]
	case 1:
		return uintptr(f.rng.IntN(300))
	case 2:
		return region + uintptr(f.rng.IntN(16))*64 // the names among them
	}
	// Anywhere in the region, often where a right ends.
	at := []uintptr{region, region + regionSize/2 - 8, region + regionSize/2, region + regionSize/2 + 4090, region + regionSize - 8}
	return at[f.rng.IntN(len(at))] + uintptr(f.rng.IntN(64))
}
