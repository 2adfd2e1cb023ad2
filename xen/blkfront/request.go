package blkfront

import (
	"fmt"

	"morgana/block"
	"morgana/xen"
	"morgana/xen/wire/blkif"
)

// Op is what a Request does.
type Op uint8

const (
	Read        Op = iota // fill Bufs from Off on
	Write                 // write Bufs from Off on
	WriteZeroes           // write N zeroes from Off on
	Discard               // forget N bytes from Off on, as far as the backend can; elsewhere do nothing
	Flush                 // make everything stable whose write has returned
)

var opNames = [...]string{"read", "write", "write zeroes", "discard", "flush"}

func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return fmt.Sprintf("operation %d", uint8(o))
}

// Request is one part of a batch for Disk.Do.
type Request struct {
	Op     Op
	Secure bool     // Discard: no copy may be readable afterwards; ErrNotSupported where the backend cannot
	Off    int64    // in bytes; any
	Bufs   [][]byte // Read, Write: of any length; they are the Disk's until Do returns
	N      int64    // WriteZeroes, Discard: how many bytes
	Err    error    // set by Do

	n        int64 // length in bytes
	off, end int64 // whole sectors around it
	left     int64 // of end-off, what is not done
	patched  bool  // a write that begins or ends within a sector, which is done after the others
	hold     rangeHold
	held     bool
}

// piece is a part of a request that one request of the backend's does.
type piece struct {
	req     int
	off, n  int64 // on the disk, in bytes: whole sectors
	seq     uint64
	changes bool // the disk
}

// prepare checks a request and finds the sectors that it touches.
func (d *Disk) prepare(r *Request) error {
	r.Err, r.patched = nil, false
	size, sector := d.size.Load(), int64(d.sector)
	switch r.Op {
	case Read, Write:
		r.n = total(r.Bufs)
	case WriteZeroes, Discard:
		r.n = r.N
	case Flush:
		r.off, r.end, r.left = 0, 1, 1
		return nil
	default:
		return fmt.Errorf("%v: %w", r.Op, ErrNotSupported)
	}
	if err := block.CheckRange(r.Off, r.n, size); err != nil {
		return err
	}
	if r.Op != Read && d.readOnly.Load() {
		return block.ErrReadOnly
	}
	r.off, r.end = r.Off/sector*sector, (r.Off+r.n+sector-1)/sector*sector
	switch {
	case r.n == 0:
		r.end = r.off
	case r.Op == Discard:
		// What is not whole is not forgotten.
		r.off, r.end = (r.Off+sector-1)/sector*sector, (r.Off+r.n)/sector*sector
		r.end = max(r.end, r.off)
	case r.Op != Read && r.n != r.end-r.off:
		r.patched = true
	}
	r.left = r.end - r.off
	return nil
}

// changes reports whether a request writes.
func (o Op) changes() bool { return o == Write || o == WriteZeroes || o == Discard }

// compose makes the backend's request for a piece in a slot that has the pages for it, and copies the data of a write.
func (s *slot) compose(r *Request, p piece, op blkif.Op) {
	s.piece = p
	s.req = blkif.Request{Op: op, Handle: s.q.s.d.handle, Sector: uint64(p.off) / blkif.SectorSize}
	switch op {
	case blkif.Flush, blkif.Barrier:
		s.req.Sector = 0
		return
	case blkif.Discard:
		off, n := s.q.s.whole(p)
		s.req.Sector, s.req.Count, s.req.Secure = uint64(off)/blkif.SectorSize, uint64(n)/blkif.SectorSize, r.Secure
		return
	}
	s.req.Segments = s.data
	var table []byte
	if len(s.pages) > s.data {
		t := s.pages[s.data]
		s.req.Op, s.req.Inner, s.req.Pages[0], table = blkif.Indirect, op, t.ref, t.bytes
	}
	var from cursor
	if r.Op == Write {
		from = seek(r.Bufs, p.off-r.off)
	}
	left := p.n
	for i, g := range s.pages[:s.data] {
		n := min(left, xen.PageSize)
		left -= n
		switch r.Op {
		case Write:
			from.read(g.bytes[:n])
		case WriteZeroes:
			clear(g.bytes[:n])
		}
		seg := [1]blkif.Segment{{Ref: g.ref, Last: uint8(n/blkif.SectorSize) - 1}}
		if table != nil {
			blkif.PutSegments(table[i*blkif.SegmentSize:], seg[:])
		} else {
			s.req.Direct[i] = seg[0]
		}
	}
}

// deliver copies the data of a read that was answered to where the caller wants it, once.
func (s *slot) deliver(r *Request) {
	p := s.piece
	begin, end := max(p.off, r.Off), min(p.off+p.n, r.Off+r.n)
	to := seek(r.Bufs, begin-r.Off)
	for at := begin; at < end; {
		i, in := (at-p.off)/xen.PageSize, (at-p.off)%xen.PageSize
		n := min(end-at, xen.PageSize-in)
		to.write(s.pages[i].bytes[in : in+n])
		at += n
	}
}
