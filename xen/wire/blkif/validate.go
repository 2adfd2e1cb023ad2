package blkif

import "errors"

// Limits are what a backend offers on a disk: what a request may ask for.
type Limits struct {
	Sectors     uint64 // the disk's size in sectors of 512 bytes
	SectorSize  int    // of the disk itself, in bytes: a power of two of 512 or more
	ReadOnly    bool
	MaxIndirect int // most segments of an indirect request, at most 4096; 0 if none is offered
	Flush       bool
	Barrier     bool
	Discard     bool
}

// What is wrong with a request.
var (
	ErrOp       = errors.New("operation that is not offered")
	ErrInner    = errors.New("indirect request that neither reads nor writes")
	ErrReadOnly = errors.New("write to a read-only disk")
	ErrSegments = errors.New("number of segments out of range")
	ErrSegment  = errors.New("segment outside of its page")
	ErrAlign    = errors.New("not a multiple of the disk's sectors")
	ErrRange    = errors.New("beyond the end of the disk")
)

// Validate checks everything that a request tells by itself, against what was offered. It returns one of this package's
// errors, as it is, without allocating. An indirect request has CheckSegments still before it.
//
// A barrier or a flush without segments is one alone, whatever its sector, and allowed on a read-only disk: Linux sends
// a flush with sector 2^64-1. With segments it is a write as well, the flush first, as Linux's backend does it. Secure
// is not checked: a backend that does not offer it is to ignore it.
func (r *Request) Validate(l *Limits) error {
	writes, most := false, MaxSegments
	switch r.Op {
	case Read:
	case Write:
		writes = true
	case Barrier, Flush:
		if r.Op == Flush && !l.Flush || r.Op == Barrier && !l.Barrier {
			return ErrOp
		}
		if r.Segments == 0 {
			return nil
		}
		writes = true
	case Discard:
		if !l.Discard {
			return ErrOp
		}
		if l.ReadOnly {
			return ErrReadOnly
		}
		return l.check(r.Sector, r.Count)
	case Indirect:
		if l.MaxIndirect == 0 {
			return ErrOp
		}
		if r.Inner != Read && r.Inner != Write {
			return ErrInner
		}
		writes, most = r.Inner == Write, min(l.MaxIndirect, MaxIndirectPages*SegmentsPerPage)
	default:
		return ErrOp
	}
	if writes && l.ReadOnly {
		return ErrReadOnly
	}
	if r.Segments < 1 || r.Segments > most {
		return ErrSegments
	}
	if r.Op == Indirect {
		// Each segment has a sector at least: what begins beyond the end need not have its pages read.
		return l.check(r.Sector, 0)
	}
	_, err := r.CheckSegments(l, r.Direct[:r.Segments])
	return err
}

// CheckSegments checks the segments of a request of any kind against its place on the disk and gives their sum in
// sectors. Of a disk with large sectors the request as a whole must have whole ones; blkif.h wants it of each segment,
// which a guest with buffers at odd places does not hold to.
func (r *Request) CheckSegments(l *Limits, segs []Segment) (sectors uint64, err error) {
	for _, s := range segs {
		if s.First > s.Last || s.Last >= SectorsPerPage {
			return 0, ErrSegment
		}
		sectors += uint64(s.Last-s.First) + 1
	}
	return sectors, l.check(r.Sector, sectors)
}

// check checks a range of the disk.
func (l *Limits) check(sector, n uint64) error {
	if (sector|n)&(uint64(l.SectorSize)/SectorSize-1) != 0 {
		return ErrAlign
	}
	if sector > l.Sectors || n > l.Sectors-sector {
		return ErrRange
	}
	return nil
}

// StatusOf is the status of a response to a request that failed with err, of Validate or another's: OK for nil,
// NotSupported for ErrOp, else Failed.
func StatusOf(err error) Status {
	switch {
	case err == nil:
		return OK
	case errors.Is(err, ErrOp):
		return NotSupported
	}
	return Failed
}
