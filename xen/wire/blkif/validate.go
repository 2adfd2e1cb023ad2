package blkif

import "errors"

// Limits are what a backend offers on a disk: what a request may ask for.
type Limits struct {
	Sectors     uint64 // the disk's size in sectors of 512 bytes
	SectorSize  int    // the disk's own sectors, 512 or 4096 bytes, of which everything must be a multiple
	ReadOnly    bool
	MaxIndirect int // most segments of an indirect request; 0 if none is offered
	Flush       bool
	Barrier     bool
	Discard     bool
}

// What is wrong with a request.
var (
	ErrOp       = errors.New("operation that is not offered")
	ErrReadOnly = errors.New("write to a read-only disk")
	ErrSegments = errors.New("number of segments out of range")
	ErrSegment  = errors.New("segment outside of its page")
	ErrAlign    = errors.New("not a multiple of the disk's sectors")
	ErrRange    = errors.New("beyond the end of the disk")
)

// Validate checks everything that a request tells by itself, against what was offered. It returns one of this package's
// errors, as it is, without allocating. An indirect request has CheckSegments still before it.
func (r *Request) Validate(l *Limits) error { panic("unimplemented") }

// CheckSegments checks the segments of a request of any kind against its place on the disk and gives their sum in
// sectors.
func (r *Request) CheckSegments(l *Limits, segs []Segment) (sectors uint64, err error) {
	panic("unimplemented")
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
