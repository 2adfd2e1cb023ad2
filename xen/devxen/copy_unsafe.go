package devxen

import (
	"runtime"
	"sync"
	"syscall"
	"unsafe"

	"morgana/xen"
)

// segment is struct gntdev_grant_copy_segment.
type segment struct {
	source, dest uint64 // an address, or foreign()
	size, flags  uint16
	status       int16
	_            uint16
}

// copyCall is struct ioctl_gntdev_grant_copy and what it points at.
type copyCall struct {
	segs  []segment
	local []unsafe.Pointer // keeps our side in the heap and alive while segs have its address as a number
}

var copyCalls = sync.Pool{New: func() any {
	return &copyCall{segs: make([]segment, 0, copyBatch), local: make([]unsafe.Pointer, 0, copyBatch)}
}}

func newCopyCall() *copyCall { return copyCalls.Get().(*copyCall) }

func (c *copyCall) release() {
	c.clear()
	copyCalls.Put(c)
}

func (c *copyCall) clear() {
	clear(c.local)
	c.segs, c.local = c.segs[:0], c.local[:0]
}

func (c *copyCall) full() bool { return len(c.segs) == copyBatch }

func (c *copyCall) add(op *xen.CopyOp) {
	p := unsafe.Pointer(unsafe.SliceData(op.Local))
	s := segment{source: foreign(op.Peer, op.Ref, op.Offset), dest: uint64(uintptr(p)), flags: copySourceRef, size: uint16(len(op.Local))}
	if op.ToPeer {
		s.source, s.dest, s.flags = s.dest, s.source, copyDestRef
	}
	c.segs = append(c.segs, s)
	c.local = append(c.local, p)
}

// run makes the call; the segments then have their statuses.
func (c *copyCall) run(fd int) error {
	if len(c.segs) == 0 {
		return nil
	}
	var arg struct {
		count uint32
		_     uint32
		segs  unsafe.Pointer
	}
	arg.count, arg.segs = uint32(len(c.segs)), unsafe.Pointer(&c.segs[0])
	// It takes microseconds and waits for nobody: see portFile.
	_, _, errno := syscall.RawSyscall(syscall.SYS_IOCTL, uintptr(fd), gntdevCopy, uintptr(unsafe.Pointer(&arg)))
	runtime.KeepAlive(c)
	if errno != 0 {
		return wrap(errno)
	}
	return nil
}

// collect gives each operation that add took its error, and starts anew.
func (c *copyCall) collect(ops []xen.CopyOp) {
	k := 0
	for i := range ops {
		op := &ops[i]
		if op.Err != nil || len(op.Local) == 0 {
			continue
		}
		if err := statusError(c.segs[k].status); err != nil && !defective("copy-unchecked") {
			op.Err = opError("copy", grantName(op.Peer, op.Ref), err)
		}
		k++
	}
	c.clear()
}
