package blkif

import (
	"strconv"

	"morgana/xen"
)

// SectorSize is the unit of sector numbers, in bytes, on every disk.
const SectorSize = 512

// Limits of the protocol.
const (
	// MaxSegments is the most segments of a request that is not indirect (BLKIF_MAX_SEGMENTS_PER_REQUEST).
	MaxSegments = 11
	// MaxIndirectPages is the most pages of segments of an indirect request (BLKIF_MAX_INDIRECT_PAGES_PER_REQUEST).
	MaxIndirectPages = 8
	// SegmentsPerPage is how many segments a page of an indirect request holds.
	SegmentsPerPage = xen.PageSize / SegmentSize
	// SegmentSize is the size of a segment in bytes, in a slot and in a page, in every layout.
	SegmentSize = 8
	// SectorsPerPage is how many sectors of 512 bytes a page holds.
	SectorsPerPage = xen.PageSize / SectorSize
	// MaxRingOrder is the largest ring that Linux offers: 1<<4 pages.
	MaxRingOrder = 4
)

// Op is what a request asks for (BLKIF_OP_*).
type Op uint8

const (
	Read     Op = 0
	Write    Op = 1
	Barrier  Op = 2 // a write before which all earlier ones, and after which no later one, are done
	Flush    Op = 3 // FLUSH_DISKCACHE: what was answered before is stable after
	Reserved Op = 4 // SLES's packet commands; nobody serves them
	Discard  Op = 5
	Indirect Op = 6 // a read or write (Inner) with its segments in pages of their own
)

var opNames = [...]string{"read", "write", "barrier", "flush", "reserved", "discard", "indirect"}

func (o Op) String() string {
	if int(o) < len(opNames) {
		return opNames[o]
	}
	return "operation " + strconv.Itoa(int(o))
}

// Segment is a part of one page of the frontend.
type Segment struct {
	Ref         xen.GrantRef
	First, Last uint8 // sectors of 512 bytes in the page, both inclusive
}

// Sectors is the segment's length in sectors; meaningful after it was checked.
func (s Segment) Sectors() int { return int(s.Last) - int(s.First) + 1 }

// Offset is where the segment begins in its page, in bytes.
func (s Segment) Offset() int { return int(s.First) * SectorSize }

// Len is the segment's length in bytes; meaningful after it was checked.
func (s Segment) Len() int { return s.Sectors() * SectorSize }

// Request is a request of any kind. Requests compare with ==.
type Request struct {
	Op     Op
	Inner  Op     // Indirect: Read or Write
	Secure bool   // Discard: all copies are to be made unreadable
	Handle uint16 // the frontend's number of the disk; backends do not look at it
	ID     uint64 // comes back in the response
	Sector uint64 // where the request begins
	Count  uint64 // Discard: how many sectors

	// Segments is how many segments the request says it has, right or not. At most MaxSegments of them are in
	// Direct; those of an indirect request lie in the pages of Pages, SegmentsPerPage in each.
	Segments int
	Direct   [MaxSegments]Segment
	Pages    [MaxIndirectPages]xen.GrantRef
}

// Moves is the operation on data: Inner of an indirect request, else Op. It is what the response carries.
func (r *Request) Moves() Op {
	if r.Op == Indirect {
		return r.Inner
	}
	return r.Op
}

// IndirectPages is how many of Pages an indirect request of valid length uses.
func (r *Request) IndirectPages() int {
	if r.Op != Indirect {
		return 0
	}
	return (r.Segments + SegmentsPerPage - 1) / SegmentsPerPage
}
