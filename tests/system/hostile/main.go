// Hostile is a guest that means harm to the xenstore service: in a Linux guest, beside the kernel's own driver, it writes
// into the ring's page what no honest kernel writes. It says what becomes of it.
//
//	hostile flood 30s    requests without a pause: nodes, watches, a tree 900 deep, more than any quota
//	hostile unread 15s   the same, while nobody reads the replies
//	hostile length       a request that says to be 4 GiB long
//	hostile index        an index that is impossible
//	hostile quota        nodes, watches and transactions, until they are refused, by the device as any program
//	hostile read PATH    no harm: print a node's value, or why it cannot be read
//	hostile compute 30s  no harm: keep the processor busy, to compare with
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

func main() {
	if err := run(append(os.Args[1:], "", "")); err != nil {
		fmt.Println("HOSTILE failed:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch args[0] {
	case "read":
		return read(args[1])
	case "quota":
		return quota()
	case "compute":
		return compute(args[1])
	}
	r, err := openRing()
	if err != nil {
		return err
	}
	switch args[0] {
	case "flood", "unread":
		length, err := time.ParseDuration(args[1])
		if err != nil {
			return err
		}
		fmt.Println("HOSTILE begins", args[0])
		n, err := r.flood(length, args[0] == "unread")
		fmt.Println("HOSTILE ends", args[0], n)
		return err
	case "length":
		b := xs.AppendHeader(nil, xs.Header{Op: xs.Write, Req: 7, Len: 1<<32 - 1})
		for len(b) > 0 {
			b = b[r.put(b):]
		}
	case "index":
		r.word(xs.RingReqProd).Add(5000)
	default:
		return fmt.Errorf("%q: flood, unread, length, index, quota, read or compute", args[0])
	}
	if err := r.notify(); err != nil {
		return err
	}
	for end := time.Now().Add(30 * time.Second); r.word(xs.RingError).Load() == 0 && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
	fmt.Println("HOSTILE error", r.word(xs.RingError).Load())
	return nil
}

func read(path string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	c, err := xenstore.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	v, err := c.Read(ctx, path)
	var e xs.Errno
	if errors.As(err, &e) {
		v, err = e.Name(), nil
	}
	fmt.Println(v)
	return err
}

// compute takes what processor there is.
func compute(length string) error {
	d, err := time.ParseDuration(length)
	if err != nil {
		return err
	}
	fmt.Println("HOSTILE begins compute")
	n := 0
	for end := time.Now().Add(d); time.Now().Before(end); n++ {
	}
	fmt.Println("HOSTILE ends compute", n)
	return nil
}

// quota asks for one thing more and more until that is refused.
func quota() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	c, err := xenstore.Dial(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	until := func(what string, more func(n int) error) {
		for n := 0; ; n++ {
			if err := more(n); err != nil {
				name := "failed"
				if e := xs.Errno(0); errors.As(err, &e) {
					name = e.Name()
				}
				fmt.Println("HOSTILE", what, n, name)
				return
			}
		}
	}
	until("transactions", func(int) error { _, err := c.Begin(ctx); return err })
	until("watches", func(n int) error { _, err := c.Watch(ctx, fmt.Sprint("data/w", n)); return err })
	// A node has no room for the names of a thousand.
	until("nodes", func(n int) error { return c.Mkdir(ctx, fmt.Sprintf("data/quota/%d/%d", n/100, n)) })
	return c.Remove(ctx, "data/quota")
}

type ring struct {
	page      []byte
	port      uint64
	hypercall func(op, a, b uint64) (int64, error)
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

// flood sends requests as fast as they are taken. Unread: the thread keeps the only processor for itself, so the kernel's
// own does not come to read the replies.
func (r *ring) flood(length time.Duration, unread bool) (sent int, err error) {
	if unread {
		runtime.LockOSThread()
		if err := os.WriteFile("/proc/sys/kernel/sched_rt_runtime_us", []byte("-1"), 0); err != nil {
			return 0, err
		}
		if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_FIFO, Priority: 99}, 0); err != nil {
			return 0, err
		}
	}
	deep := strings.Repeat("/a", 900)[1:]
	text := func(op xs.Op, parts ...string) []byte {
		return xs.AppendMessage(nil, xs.Header{Op: op, Req: 1<<30 + uint32(sent)}, []byte(strings.Join(parts, "\x00")))
	}
	var b []byte
	for end := time.Now().Add(length); time.Now().Before(end); {
		if len(b) == 0 {
			sent++
			switch k := fmt.Sprint(sent); sent % 8 {
			case 0:
				b = text(xs.Write, "data/n"+k, strings.Repeat("x", 1000))
			case 1:
				b = text(xs.Watch, "data/n"+k, "token"+k, "")
			case 2:
				b = text(xs.Mkdir, "data/"+deep, "")
			case 3:
				b = text(xs.TransactionStart, "", "")
			case 4:
				b = text(xs.Write, "/local/domain/0/name", "mine")
			case 5:
				b = text(xs.Read, "data/n"+k, "")
			case 6:
				b = text(xs.Directory, "data", "")
			case 7:
				b = text(xs.Remove, "data/a", "")
			}
		}
		b = b[r.put(b):]
		if err := r.notify(); err != nil {
			return sent, err
		}
	}
	if unread {
		if err := unix.SchedSetAttr(0, &unix.SchedAttr{Size: unix.SizeofSchedAttr, Policy: unix.SCHED_NORMAL}, 0); err != nil {
			return sent, err
		}
	}
	// The rest of a message would be taken for another's beginning.
	for stop := time.Now().Add(20 * time.Second); len(b) > 0 && time.Now().Before(stop); time.Sleep(time.Millisecond) {
		b = b[r.put(b):]
		if err := r.notify(); err != nil {
			return sent, err
		}
	}
	return sent, nil
}
