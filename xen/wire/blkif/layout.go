//go:generate go run morgana/xen/wire/blkif/mklayout /usr/include testdata/layout.txt

package blkif

import (
	"encoding/binary"
	"fmt"

	"morgana/xen"
)

// Where a slot's fields are (io/blkif.h, struct blkif_request and those that a discard and an indirect request are cast
// to). In all layouts the operation is byte 0 and a segment has eight bytes; the rest follows from where id is.
const (
	offCount8  = 1 // nr_segments, or the flag of a discard, or indirect_op
	offHandle  = 2 // handle, but of an indirect request
	offCount16 = 2 // nr_segments of an indirect request

	flagSecure = 1 // BLKIF_DISCARD_SECURE
)

// offID is where id is. sector_number follows it, and then what the operation has of its own.
func (a ABI) offID() int {
	if a == ABI32 {
		return 4
	}
	return 8
}

// DecodeRequest reads a request from a copy of a slot, of which it uses SlotSize bytes; fewer is a panic. It takes what
// the slot says: Validate it before use. An operation that is not known is read as if it were a write.
func (a ABI) DecodeRequest(dst *Request, slot []byte) {
	b := slot[:a.SlotSize()]
	le, at := binary.LittleEndian, a.offID()
	*dst = Request{Op: Op(b[0]), ID: le.Uint64(b[at:]), Sector: le.Uint64(b[at+8:])}
	rest := b[at+16:]
	switch dst.Op {
	case Indirect:
		dst.Inner = Op(b[offCount8])
		dst.Segments = int(le.Uint16(b[offCount16:]))
		dst.Handle = le.Uint16(rest)
		for i := range dst.Pages {
			dst.Pages[i] = xen.GrantRef(le.Uint32(rest[4+4*i:]))
		}
	case Discard:
		dst.Secure = b[offCount8]&flagSecure != 0
		dst.Handle = le.Uint16(b[offHandle:])
		dst.Count = le.Uint64(rest)
	default:
		dst.Segments = int(b[offCount8])
		dst.Handle = le.Uint16(b[offHandle:])
		for i := range min(dst.Segments, MaxSegments) {
			dst.Direct[i] = decodeSegment(rest[i*SegmentSize:])
		}
	}
}

// PutRequest writes a request into a slot, of which it sets all SlotSize bytes; fewer is a panic. So is a request with
// more segments than one of its kind can have.
func (a ABI) PutRequest(slot []byte, r *Request) {
	b := slot[:a.SlotSize()]
	clear(b)
	le, at := binary.LittleEndian, a.offID()
	b[0] = byte(r.Op)
	le.PutUint64(b[at:], r.ID)
	le.PutUint64(b[at+8:], r.Sector)
	rest := b[at+16:]
	switch r.Op {
	case Indirect:
		if r.Segments > MaxIndirectPages*SegmentsPerPage {
			panic(fmt.Sprintf("blkif: indirect request of %d segments", r.Segments))
		}
		b[offCount8] = byte(r.Inner)
		le.PutUint16(b[offCount16:], uint16(r.Segments))
		le.PutUint16(rest, r.Handle)
		for i, ref := range r.Pages {
			le.PutUint32(rest[4+4*i:], uint32(ref))
		}
	case Discard:
		if r.Secure {
			b[offCount8] = flagSecure
		}
		le.PutUint16(b[offHandle:], r.Handle)
		le.PutUint64(rest, r.Count)
	default:
		b[offCount8] = byte(r.Segments)
		le.PutUint16(b[offHandle:], r.Handle)
		for i, s := range r.Direct[:r.Segments] {
			putSegment(rest[i*SegmentSize:], s)
		}
	}
}

func decodeSegment(b []byte) Segment {
	_ = b[5]
	return Segment{Ref: xen.GrantRef(binary.LittleEndian.Uint32(b)), First: b[4], Last: b[5]}
}

func putSegment(b []byte, s Segment) {
	binary.LittleEndian.PutUint64(b, uint64(s.Ref)|uint64(s.First)<<32|uint64(s.Last)<<40)
}

// DecodeSegments reads len(dst) segments, at most SegmentsPerPage, from a copy of an indirect request's page. A page
// that is too short is a panic.
func DecodeSegments(dst []Segment, page []byte) {
	page = page[:len(dst)*SegmentSize]
	for i := range dst {
		dst[i] = decodeSegment(page[i*SegmentSize:])
	}
}

// PutSegments writes segments, at most SegmentsPerPage, into an indirect request's page. A page that is too short is a
// panic.
func PutSegments(page []byte, segs []Segment) {
	page = page[:len(segs)*SegmentSize]
	for i, s := range segs {
		putSegment(page[i*SegmentSize:], s)
	}
}

// Where a response's fields are, in all layouts (struct blkif_response).
const (
	offRspOp     = 8
	offRspStatus = 10
)

// PutResponse writes a response into a slot, of which it sets all ResponseSize bytes; fewer is a panic.
func (a ABI) PutResponse(slot []byte, r Response) {
	b := slot[:a.ResponseSize()]
	clear(b)
	binary.LittleEndian.PutUint64(b, r.ID)
	b[offRspOp] = byte(r.Op)
	binary.LittleEndian.PutUint16(b[offRspStatus:], uint16(r.Status))
}

// DecodeResponse reads a response from a copy of a slot, of which it uses ResponseSize bytes; fewer is a panic.
func (a ABI) DecodeResponse(slot []byte) Response {
	b := slot[:a.ResponseSize()]
	return Response{
		ID:     binary.LittleEndian.Uint64(b),
		Op:     Op(b[offRspOp]),
		Status: Status(binary.LittleEndian.Uint16(b[offRspStatus:])),
	}
}
