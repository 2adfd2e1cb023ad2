package blkfront

import "context"

// single runs one request. It returns when the disk has done it; without a backend it waits for one.
func (d *Disk) single(r Request) error {
	c := calls.Get().(*call)
	c.d, c.one[0] = d, r
	c.reqs = c.one[:]
	err := c.do(context.Background())
	c.free()
	return err
}

// buffer runs one request with one buffer.
func (d *Disk) buffer(op Op, p []byte, off int64) (int, error) {
	c := calls.Get().(*call)
	c.vec[0] = p
	c.d, c.one[0] = d, Request{Op: op, Off: off, Bufs: c.vec[:]}
	c.reqs = c.one[:]
	err := c.do(context.Background())
	c.free()
	if err != nil {
		return 0, err
	}
	return len(p), nil
}

// ReadAt implements block.Device.
func (d *Disk) ReadAt(p []byte, off int64) (int, error) { return d.buffer(Read, p, off) }

// WriteAt implements block.Device.
func (d *Disk) WriteAt(p []byte, off int64) (int, error) { return d.buffer(Write, p, off) }

// Flush implements block.Device. Calls at the same time share requests. Where the backend offers neither flush nor
// barrier it has no cache to flush.
func (d *Disk) Flush() error { return d.flushes.do(d.flush) }

func (d *Disk) flush() error { return d.single(Request{Op: Flush}) }

// Discard implements block.Discarder. Sectors of which only a part is in the range, or units of the backend's of which
// only a part is, stay; where the backend offers no discard all do.
func (d *Disk) Discard(off, n int64) error { return d.single(Request{Op: Discard, Off: off, N: n}) }

// WriteZeroes implements block.Zeroer. The protocol knows only writes.
func (d *Disk) WriteZeroes(off, n int64) error {
	return d.single(Request{Op: WriteZeroes, Off: off, N: n})
}

// ReadVec implements block.Vectored.
func (d *Disk) ReadVec(bufs [][]byte, off int64) error {
	return d.single(Request{Op: Read, Off: off, Bufs: bufs})
}

// WriteVec implements block.Vectored.
func (d *Disk) WriteVec(bufs [][]byte, off int64) error {
	return d.single(Request{Op: Write, Off: off, Bufs: bufs})
}
