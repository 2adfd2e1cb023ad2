// Hostile is a guest that means harm to the xenstore service: in a Linux guest, beside the kernel's own driver, it writes
// into the ring's page what no honest kernel writes. It says what the page's error field is in the end.
//
//	hostile flood    ten seconds of requests without a pause: nodes, watches, a tree 900 deep, more than any quota
//	hostile length   a request that says to be 4 GiB long
//	hostile index    an index that is impossible
package main

import (
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"morgana/xen/wire/xs"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Println("HOSTILE failed:", err)
		os.Exit(1)
	}
}

type ring struct {
	page      []byte
	port      uint64
	hypercall func(op, a, b uint64) (int64, error)
}

func run(args []string) error {
	r, err := openRing()
	if err != nil {
		return err
	}
	for _, a := range args {
		switch a {
		case "flood":
			fmt.Println("HOSTILE begins")
			n, err := r.flood(10 * time.Second)
			if err != nil {
				return err
			}
			fmt.Println("HOSTILE sent", n)
		case "length":
			b := xs.AppendHeader(nil, xs.Header{Op: xs.Write, Req: 7, Len: 1<<32 - 1})
			for len(b) > 0 {
				b = b[r.put(b):]
			}
		case "index":
			r.word(xs.RingReqProd).Add(5000)
		default:
			return fmt.Errorf("%q: flood, length or index", a)
		}
		if err := r.notify(); err != nil {
			return err
		}
	}
	for end := time.Now().Add(20 * time.Second); r.word(xs.RingError).Load() == 0 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	fmt.Println("HOSTILE error", r.word(xs.RingError).Load())
	return nil
}

// openRing finds the ring: a page of Xen's that is no RAM, and so can be mapped.
func openRing() (*ring, error) {
	const (
		hvmOp, getParam, storePFN, storePort, domSelf = 34, 1, 1, 2, 0x7ff0
	)
	privcmd, err := os.OpenFile("/dev/xen/privcmd", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	r := &ring{}
	// struct privcmd_hypercall (Linux, include/uapi/xen/privcmd.h)
	var c struct{ op, arg0, arg1, arg2, arg3, arg4 uint64 }
	r.hypercall = func(op, a, b uint64) (int64, error) {
		c.op, c.arg0, c.arg1 = op, a, b
		n, _, e := syscall.Syscall(syscall.SYS_IOCTL, privcmd.Fd(), unsafe.Sizeof(c)<<16|'P'<<8, uintptr(unsafe.Pointer(&c)))
		if e != 0 {
			return 0, e
		}
		return int64(n), nil
	}
	param := func(i uint64) (uint64, error) {
		p := &[2]uint64{domSelf | i<<32, 0}
		_, err := r.hypercall(hvmOp, getParam, uint64(uintptr(unsafe.Pointer(p))))
		return p[1], err
	}
	pfn, err := param(storePFN)
	if err != nil {
		return nil, fmt.Errorf("ask for the page: %w", err)
	}
	if r.port, err = param(storePort); err != nil {
		return nil, fmt.Errorf("ask for the port: %w", err)
	}
	mem, err := os.OpenFile("/dev/mem", os.O_RDWR, 0)
	if err != nil {
		return nil, err
	}
	r.page, err = unix.Mmap(int(mem.Fd()), int64(pfn)<<12, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("map page %#x: %w", pfn, err)
	}
	return r, nil
}

func (r *ring) word(off int) *atomic.Uint32 { return (*atomic.Uint32)(unsafe.Pointer(&r.page[off])) }

func (r *ring) notify() error {
	const eventOp, send = 32, 4
	p := &[1]uint64{r.port}
	_, err := r.hypercall(eventOp, send, uint64(uintptr(unsafe.Pointer(p))))
	return err
}

// put writes what there is room for.
func (r *ring) put(b []byte) int {
	prod, cons := r.word(xs.RingReqProd).Load(), r.word(xs.RingReqCons).Load()
	n := min(len(b), int(xs.RingSize-(prod-cons)))
	for i := range n {
		r.page[xs.RingReq+int(prod+uint32(i))%xs.RingSize] = b[i]
	}
	r.word(xs.RingReqProd).Store(prod + uint32(n))
	return n
}

// flood sends requests as fast as they are taken.
func (r *ring) flood(length time.Duration) (sent int, err error) {
	deep := strings.Repeat("/a", 900)[1:]
	text := func(op xs.Op, parts ...string) []byte {
		return xs.AppendMessage(nil, xs.Header{Op: op, Req: 1<<30 + uint32(sent)}, []byte(strings.Join(parts, "\x00")))
	}
	for end := time.Now().Add(length); time.Now().Before(end); sent++ {
		var b []byte
		switch k := fmt.Sprint(sent); sent % 6 {
		case 0:
			b = text(xs.Write, "data/n"+k, strings.Repeat("x", 1000))
		case 1:
			b = text(xs.Watch, "data/n"+k, "token"+k, "")
		case 2:
			b = text(xs.Mkdir, deep, "")
		case 3:
			b = text(xs.TransactionStart, "", "")
		case 4:
			b = text(xs.Write, "/local/domain/0/name", "mine")
		case 5:
			b = text(xs.Read, "data/n"+k, "")
		}
		for len(b) > 0 && time.Now().Before(end) {
			b = b[r.put(b):]
			if err := r.notify(); err != nil {
				return sent, err
			}
		}
		if len(b) > 0 { // the rest of a message would be taken for another's beginning
			for stop := time.Now().Add(20 * time.Second); len(b) > 0 && time.Now().Before(stop); {
				b = b[r.put(b):]
			}
		}
	}
	return sent, nil
}
