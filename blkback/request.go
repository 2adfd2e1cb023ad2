package blkback

import (
	"time"

	"morgana/xen"
	"morgana/xen/wire/blkif"
)

// request is one request of the frontend while it is served. Requests are reused.
type request struct {
	blkif.Request // our copy, validated

	segs    []blkif.Segment // of Direct, or of spare
	sectors int64
	taken   time.Duration
	err     error
	next    *request // in the list that it is in

	answered bool // Resumable: with status, as soon as those before it are
	status   blkif.Status
	later    *request // the one taken from the ring after it

	from, to int // its part of the call's buffers in the frontend's memory (call.bufs)

	// An indirect request's segments, and the copy of the page that they come from; kept for the next one.
	spare []blkif.Segment
	page  []byte
}

func (r *request) off() int64 { return int64(r.Sector) * blkif.SectorSize }
func (r *request) len() int64 { return r.sectors * blkif.SectorSize }

// kind is what a call of the device does.
type kind uint8

const (
	reading kind = iota
	writing
	fencing // a barrier, or a flush that carries data: flush, write, flush, and nothing beside it
	flushing
	discarding
	kinds
)

// kindOf is what kind of call serves a request.
func kindOf(r *request) kind {
	switch r.Moves() {
	case blkif.Read:
		return reading
	case blkif.Write:
		return writing
	case blkif.Discard:
		return discarding
	case blkif.Flush:
		if len(r.segs) == 0 {
			return flushing
		}
	}
	return fencing
}

// memory is where the data of a call is.
type memory uint8

const (
	copied memory = iota // in buf, copied by Xen
	held                 // in pages that stay mapped
	mapped               // in pages that are mapped for this call
)

// call is one call of the device, which serves one request or several that follow each other on the disk. Calls are
// reused.
type call struct {
	kind        kind
	secure      bool
	first, last *request
	count       int
	off         int64
	sectors     int64
	pages       int // that were reserved
	segments    int

	memory  memory
	buf     []byte       // copied, or held and mapped where the device wants one buffer
	bufs    [][]byte     // held, mapped: the frontend's memory, in order
	groups  []*keptGroup // held: what bufs lie in
	mapping xen.Mapping  // mapped

	inline      bool
	took, ended time.Duration // handed out: how long it was made, and when it had returned
	next        *call         // in the list that it is in
}

// accepts reports whether r can be served together with what the call has already.
func (c *call) accepts(r *request, k kind) bool {
	if c.kind != k {
		return false
	}
	switch k {
	case flushing:
		return true
	case reading, writing:
		return c.off+c.sectors*blkif.SectorSize == r.off() && c.segments+len(r.segs) <= callPages
	}
	return false
}

func (c *call) add(r *request) {
	r.next = nil
	if c.first == nil {
		c.first, c.off, c.secure = r, r.off(), r.Secure
	} else {
		c.last.next = r
	}
	c.last = r
	c.count++
	c.sectors += r.sectors
	c.segments += len(r.segs)
}

// len is how many bytes the call moves.
func (c *call) len() int64 { return c.sectors * blkif.SectorSize }

// run makes the call and sets the errors of its requests. If a call for several requests fails, each is tried alone, so
// that the error meets the one whose it is. Requests that failed before are left out.
func (c *call) run(d *disk) {
	v := d.use()
	defer v.done()
	switch c.kind {
	case flushing:
		err := d.flush(v)
		for r := c.first; r != nil; r = r.next {
			r.err = err
		}
	case discarding:
		c.first.err = d.discard(v, c.first.off(), int64(c.first.Count)*blkif.SectorSize, c.secure && d.secure)
	case fencing:
		r := c.first
		if r.err != nil {
			return
		}
		if r.err = d.flush(v); r.err == nil && c.sectors > 0 {
			if r.err = c.move(v, 0, c.len(), 0, len(c.bufs)); r.err == nil {
				r.err = d.flush(v)
			}
		}
	default:
		whole := true
		for r := c.first; r != nil; r = r.next {
			whole = whole && r.err == nil
		}
		if whole {
			err := c.move(v, 0, c.len(), 0, len(c.bufs))
			if err == nil {
				return
			}
			if c.count == 1 {
				c.first.err = err
				return
			}
		}
		at := int64(0)
		for r := c.first; r != nil; r = r.next {
			if r.err == nil {
				r.err = c.move(v, at, at+r.len(), r.from, r.to)
			}
			at += r.len()
		}
	}
}

// move reads or writes the bytes from to end of the call, which lie in the buffers first to last.
func (c *call) move(v *volume, from, end int64, first, last int) error {
	var err error
	off := c.off + from
	switch {
	case c.buf != nil:
		if b := c.buf[from:end]; c.kind == reading {
			_, err = v.dev.ReadAt(b, off)
		} else {
			_, err = v.dev.WriteAt(b, off)
		}
	case last-first == 1:
		if b := c.bufs[first]; c.kind == reading {
			_, err = v.dev.ReadAt(b, off)
		} else {
			_, err = v.dev.WriteAt(b, off)
		}
	case v.vector == nil: // the volume was replaced since the buffers were made
		for _, b := range c.bufs[first:last] {
			if c.kind == reading {
				_, err = v.dev.ReadAt(b, off)
			} else {
				_, err = v.dev.WriteAt(b, off)
			}
			if err != nil {
				return err
			}
			off += int64(len(b))
		}
	case c.kind == reading:
		err = v.vector.ReadVec(c.bufs[first:last], off)
	default:
		err = v.vector.WriteVec(c.bufs[first:last], off)
	}
	return err
}
