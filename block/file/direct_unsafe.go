//go:build linux

package file

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Direct makes a block device be read and written past the page cache, as a kernel's backend does it, by calls that do
// not block a thread each: Linux's asynchronous I/O (io_submit(2)) with an eventfd. Go's poller waits for all of them, so
// a call costs no thread, no watching of it by Go's scheduler, and no copy. What is not aligned goes through the page
// cache as before; Linux keeps the two alike. It does nothing for a plain file, whose file system might block io_submit,
// and where O_DIRECT cannot be had.
func Direct() Option { return func(d *Device) { d.wantDirect = true } }

// directDepth is how many calls of a device are under way at a time. Others wait.
const directDepth = 128

// From include/uapi/linux/aio_abi.h.
const (
	aioPreadv  = 7
	aioPwritev = 8
	aioResFD   = 1
	aioMagic   = 0xa10a10a1
)

// iocb is struct iocb.
type iocb struct {
	data      uint64
	_, _      uint32 // aio_key, aio_rw_flags
	opcode    uint16
	_         int16 // aio_reqprio
	fd        uint32
	buf       uint64
	nbytes    uint64
	offset    int64
	_         uint64
	flags     uint32
	resultsFD uint32
}

// aioRing is the ring of results, in which the kernel writes at tail and we read at head (fs/aio.c, struct aio_ring).
type aioRing struct {
	id, nr           uint32
	head, tail       uint32
	magic            uint32
	compat, incompat uint32
	headerLength     uint32 // the results are behind
}

// aioResult is struct io_event.
type aioResult struct {
	data, obj uint64
	res, res2 int64
}

// directCall is a call under way. Calls are reused.
type directCall struct {
	index int
	cb    iocb
	iov   []unix.Iovec // keeps the caller's memory alive, and in the heap, where it does not move
	res   int64
	done  chan struct{}
}

// direct is the way past the page cache.
type direct struct {
	f      *os.File // opened with O_DIRECT
	ring   *aioRing // its address is what the kernel calls the context
	events *os.File // an eventfd: readable for the poller when a call has ended
	calls  [directDepth]directCall
	free   chan *directCall
	closed chan struct{}
	reaped chan struct{}
	off    atomic.Bool // it does not work with this device

	begun atomic.Uint64 // submissions: what a call's beginning and its end see of each other, beside the kernel

	mu        sync.Mutex
	gathering bool // somebody is about to submit
	next      []*iocb
	spare     []*iocb
}

// openDirect opens the device of f a second time.
func openDirect(f *os.File, flags int) (*direct, error) {
	g, err := os.OpenFile(f.Name(), flags|unix.O_DIRECT, 0)
	if err != nil {
		return nil, err
	}
	d := &direct{f: g, free: make(chan *directCall, directDepth), closed: make(chan struct{}), reaped: make(chan struct{})}
	if err := d.start(f); err != nil {
		return nil, errors.Join(err, g.Close())
	}
	return d, nil
}

func (d *direct) start(f *os.File) error {
	var a, b unix.Stat_t
	if err := errors.Join(control(f, func(fd int) error { return unix.Fstat(fd, &a) }),
		control(d.f, func(fd int) error { return unix.Fstat(fd, &b) })); err != nil {
		return err
	}
	if a.Rdev != b.Rdev {
		return fmt.Errorf("%s is another device than it was a moment ago", f.Name())
	}
	efd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return os.NewSyscallError("eventfd", err)
	}
	d.events = os.NewFile(uintptr(efd), "eventfd")
	raw, err := d.events.SyscallConn()
	if err != nil {
		return errors.Join(err, d.events.Close())
	}
	if _, _, e := syscall.Syscall(unix.SYS_IO_SETUP, directDepth, uintptr(unsafe.Pointer(&d.ring)), 0); e != 0 {
		return errors.Join(os.NewSyscallError("io_setup", e), d.events.Close())
	}
	if d.ring.magic != aioMagic || d.ring.incompat != 0 || d.ring.nr < directDepth {
		d.destroy()
		return errors.Join(fmt.Errorf("%s: a ring of results that is not known: %w", f.Name(), errors.ErrUnsupported), d.events.Close())
	}
	fd := 0
	_ = control(d.f, func(n int) error { fd = n; return nil }) // it is open
	for i := range d.calls {
		c := &d.calls[i]
		c.index, c.done = i, make(chan struct{}, 1)
		c.cb = iocb{data: uint64(i), fd: uint32(fd), flags: aioResFD, resultsFD: uint32(efd)}
		d.free <- c
	}
	go func() {
		defer close(d.reaped)
		// It stays in the poller: between two reads a notification would be lost.
		_ = raw.Read(func(uintptr) bool { d.reap(); return false })
	}()
	return nil
}

func (d *direct) destroy() {
	_, _, _ = syscall.Syscall(unix.SYS_IO_DESTROY, uintptr(unsafe.Pointer(d.ring)), 0, 0)
}

// close waits for what is under way.
func (d *direct) close() error {
	close(d.closed)
	for range d.calls {
		<-d.free
	}
	err := d.events.Close()
	<-d.reaped
	d.destroy()
	return errors.Join(err, d.f.Close())
}

// reap ends the calls whose results are there.
func (d *direct) reap() {
	r := d.ring
	results := unsafe.Slice((*aioResult)(unsafe.Add(unsafe.Pointer(r), r.headerLength)), r.nr)
	head := atomic.LoadUint32(&r.head)
	for head != atomic.LoadUint32(&r.tail) {
		d.begun.Load()
		e := results[head]
		head = (head + 1) % r.nr
		atomic.StoreUint32(&r.head, head)
		c := &d.calls[e.data]
		c.res = e.res
		c.done <- struct{}{}
	}
}

// aligned reports whether memory can be moved past the page cache: its parts begin and end at sectors.
func aligned(b []byte, sector int) bool {
	return len(b) > 0 && len(b)%sector == 0 && uintptr(unsafe.Pointer(&b[0]))%512 == 0
}

// one is move for one buffer.
func (d *direct) one(b []byte, off int64, sector int, write bool) (bool, error) {
	bufs := [1][]byte{b}
	return d.move(bufs[:], off, sector, write)
}

// move reads or writes bufs at off, and reports whether it could be done this way.
func (d *direct) move(bufs [][]byte, off int64, sector int, write bool) (bool, error) {
	if d.off.Load() || off%int64(sector) != 0 || len(bufs) == 0 || len(bufs) > maxVec {
		return false, nil
	}
	for _, b := range bufs {
		if !aligned(b, sector) {
			return false, nil
		}
	}
	var c *directCall
	select {
	case c = <-d.free:
	case <-d.closed:
		return true, os.ErrClosed
	}
	n := int64(0)
	for _, b := range bufs {
		c.iov = append(c.iov, unix.Iovec{Base: &b[0], Len: uint64(len(b))})
		n += int64(len(b))
	}
	c.cb.opcode, c.cb.offset = aioPreadv, off
	if write {
		c.cb.opcode = aioPwritev
	}
	c.cb.buf, c.cb.nbytes = uint64(uintptr(unsafe.Pointer(&c.iov[0]))), uint64(len(c.iov))
	d.submit(&c.cb)
	<-c.done
	res := c.res
	clear(c.iov)
	c.iov = c.iov[:0]
	d.free <- c
	switch e := syscall.Errno(-res); {
	case res == n:
		return true, nil
	case res >= 0, e == unix.EAGAIN, e == unix.EINTR:
		return false, nil // all of it once more, the other way
	case e == unix.EINVAL, e == unix.EFAULT, e == unix.EOPNOTSUPP, e == unix.ENOSYS:
		d.off.Store(true)
		return false, nil
	default:
		return true, &os.PathError{Op: "direct", Path: d.f.Name(), Err: e}
	}
}

// submit begins a call, together with those of others who come at the same time.
func (d *direct) submit(cb *iocb) {
	d.mu.Lock()
	d.next = append(d.next, cb)
	lead := !d.gathering
	d.gathering = true
	d.mu.Unlock()
	if !lead {
		return
	}
	runtime.Gosched()
	d.mu.Lock()
	batch := d.next
	d.next, d.gathering = d.spare[:0], false
	d.spare = nil
	d.mu.Unlock()
	d.begun.Add(1)
	rest := batch
	for len(rest) > 0 {
		// It waits for nobody, and is made without the scheduler's hand-over of the processor.
		n, _, e := syscall.RawSyscall(unix.SYS_IO_SUBMIT, uintptr(unsafe.Pointer(d.ring)), uintptr(len(rest)), uintptr(unsafe.Pointer(&rest[0])))
		if e != 0 { // the first one's fault
			c := &d.calls[rest[0].data]
			c.res = -int64(e)
			c.done <- struct{}{}
			n = 1
		}
		rest = rest[n:]
	}
	runtime.KeepAlive(batch)
	clear(batch)
	d.mu.Lock()
	d.spare = batch[:0]
	d.mu.Unlock()
}
