package attack

import (
	"encoding/binary"
	"math/rand/v2"

	"morgana/xen"
	"morgana/xen/wire/blkif"
)

// Frontend is what a hostile frontend has to make requests of.
type Frontend struct {
	ABI      blkif.ABI
	Sectors  uint64         // size of the disk in sectors of 512 bytes
	Refs     []xen.GrantRef // pages that are shared for reading and writing, four times as many as the ring has slots
	Data     []byte         // these pages
	ReadOnly []xen.GrantRef // pages that are shared for reading
	Revoked  []xen.GrantRef // references that once were good
	Frozen   bool           // the disk may only be read
	Rand     *rand.Rand

	turn int // page that last took segments
}

// Verdict is what a backend may answer to a request.
type Verdict uint8

const (
	// Either is for a request that may be right, or that depends on the disk.
	Either Verdict = iota
	// Refuse is for one that must not succeed.
	Refuse
)

// Way is a kind of misbehaviour in requests.
type Way struct {
	Name  string
	About string
	make  func(f *Frontend, r *blkif.Request) Verdict
}

// Ways are all kinds, the mildest first.
func Ways() []Way {
	return []Way{
		{"segments", "numbers of segments that there cannot be, and segments outside of their pages", (*Frontend).segments},
		{"sectors", "requests that begin or end beyond the disk, or overflow", (*Frontend).sectors},
		{"refs", "grant references that do not exist, are reserved, or allow too little", (*Frontend).references},
		{"revoked", "grant references that were taken back", (*Frontend).revoked},
		{"repeated", "one page many times in a request", (*Frontend).repeated},
		{"ops", "operations that do not exist, and indirect ones of what cannot be", (*Frontend).operations},
		{"discard", "discards of everything and of what is not there", (*Frontend).discards},
		{"writes", "writes in every form; all must be refused where the disk may only be read", (*Frontend).writes},
		{"indirect", "pages of segments that are wrong", (*Frontend).indirect},
		{"anything", "all of it mixed, and slots of random bytes", nil},
	}
}

// Slot fills a slot, of which it uses the layout's SlotSize, with a request that has an ID, and tells what may be
// answered.
func (w *Way) Slot(f *Frontend, slot []byte, id uint64) Verdict {
	if w.make == nil {
		return f.anything(slot, id)
	}
	r := blkif.Request{ID: id}
	v := w.make(f, &r)
	Encode(f.ABI, slot, &r)
	return v
}

// Encode writes a request into a slot, also one with more segments than there can be.
func Encode(abi blkif.ABI, slot []byte, r *blkif.Request) {
	n := r.Segments
	r.Segments = min(max(n, 0), blkif.MaxSegments)
	abi.PutRequest(slot, r)
	r.Segments = n
	switch r.Op {
	case blkif.Discard:
	case blkif.Indirect:
		binary.LittleEndian.PutUint16(slot[2:], uint16(n))
	default:
		slot[1] = byte(n)
	}
}

// good is a page for data: one of the first half, so that nothing is read over the segments of another request.
func (f *Frontend) good() xen.GrantRef { return f.Refs[f.Rand.IntN(len(f.Refs)/2)] }

// whole makes r a request for n whole pages, at most MaxSegments of them, on the disk.
func (f *Frontend) whole(r *blkif.Request, n int) {
	r.Op = blkif.Op(f.Rand.IntN(2)) // Read, Write
	r.Segments = n
	for i := range r.Direct {
		r.Direct[i] = blkif.Segment{Ref: f.good(), Last: blkif.SectorsPerPage - 1}
	}
	r.Sector = f.Rand.Uint64N(max(f.Sectors, 200)-100) &^ 7
}

// indirectOf makes r indirect, with n segments in a page of the second half, each in its turn.
func (f *Frontend) indirectOf(r *blkif.Request, n int, segment func(i int) blkif.Segment) {
	r.Inner, r.Op = r.Op, blkif.Indirect
	r.Segments = n
	var segs [blkif.SegmentsPerPage]blkif.Segment
	k := min(n, len(segs))
	for i := range k {
		segs[i] = segment(i)
	}
	half := len(f.Refs) / 2
	f.turn++
	page := half + f.turn%half
	blkif.PutSegments(f.Data[page*xen.PageSize:][:xen.PageSize], segs[:k])
	r.Pages[0] = f.Refs[page]
}

func (f *Frontend) page(int) blkif.Segment {
	return blkif.Segment{Ref: f.good(), Last: blkif.SectorsPerPage - 1}
}

func (f *Frontend) segments(r *blkif.Request) Verdict {
	f.whole(r, 1+f.Rand.IntN(blkif.MaxSegments))
	s := &r.Direct[f.Rand.IntN(r.Segments)]
	switch f.Rand.IntN(6) {
	case 0:
		r.Segments = 0
	case 1:
		r.Segments = blkif.MaxSegments + 1 + f.Rand.IntN(255-blkif.MaxSegments)
	case 2:
		s.First, s.Last = 5, uint8(f.Rand.IntN(5))
	case 3:
		s.Last = uint8(blkif.SectorsPerPage + f.Rand.IntN(256-blkif.SectorsPerPage))
	case 4:
		f.indirectOf(r, 0, f.page)
	case 5:
		f.indirectOf(r, 257+f.Rand.IntN(1<<16-257), f.page)
		return Either // a backend may allow more than 256
	}
	return Refuse
}

func (f *Frontend) sectors(r *blkif.Request) Verdict {
	f.whole(r, 1+f.Rand.IntN(4))
	n := uint64(r.Segments) * blkif.SectorsPerPage
	switch f.Rand.IntN(5) {
	case 0:
		r.Sector = f.Sectors + f.Rand.Uint64N(1<<40)&^7
	case 1:
		r.Sector = f.Sectors - n + 8
	case 2:
		r.Sector = -(8 + 8*f.Rand.Uint64N(8)) // wraps round to the disk's beginning
	case 3:
		r.Sector = 1<<55 + f.Rand.Uint64N(8)*8 // as bytes it wraps round
	case 4:
		r.Sector = 1 << 63 >> f.Rand.IntN(20)
	}
	return Refuse
}

func (f *Frontend) references(r *blkif.Request) Verdict {
	f.whole(r, 1+f.Rand.IntN(4))
	s := &r.Direct[f.Rand.IntN(r.Segments)]
	switch f.Rand.IntN(4) {
	case 0:
		s.Ref = 1<<31 + xen.GrantRef(f.Rand.Uint32N(1<<31))
	case 1:
		s.Ref = 1<<20 + xen.GrantRef(f.Rand.Uint32N(1<<20))
	case 2:
		s.Ref = xen.GrantRef(f.Rand.IntN(8)) // the console's and xenstore's are for dom0, which may be the backend
		return Either
	case 3:
		if len(f.ReadOnly) > 0 {
			s.Ref = f.ReadOnly[f.Rand.IntN(len(f.ReadOnly))]
			r.Op = blkif.Read
		}
		return Either // where there is none, or the backend kept it mapped
	}
	return Refuse
}

func (f *Frontend) revoked(r *blkif.Request) Verdict {
	f.whole(r, 1+f.Rand.IntN(4))
	if len(f.Revoked) == 0 {
		return Either
	}
	r.Direct[f.Rand.IntN(r.Segments)].Ref = f.Revoked[f.Rand.IntN(len(f.Revoked))]
	return Either // it may have been given to another page since
}

func (f *Frontend) repeated(r *blkif.Request) Verdict {
	f.whole(r, blkif.MaxSegments)
	for i := range r.Direct {
		r.Direct[i].Ref = r.Direct[0].Ref
	}
	if f.Rand.IntN(2) == 0 {
		ref := f.good()
		f.indirectOf(r, 1+f.Rand.IntN(100), func(int) blkif.Segment {
			return blkif.Segment{Ref: ref, Last: blkif.SectorsPerPage - 1}
		})
		r.Sector = 0
		if f.Rand.IntN(2) == 0 {
			r.Pages[0] = ref // a read overwrites its own segments
		}
	}
	return Either
}

func (f *Frontend) operations(r *blkif.Request) Verdict {
	f.whole(r, 1+f.Rand.IntN(4))
	if f.Rand.IntN(2) == 0 {
		r.Op = blkif.Reserved
		if f.Rand.IntN(2) == 0 {
			r.Op = blkif.Op(7 + f.Rand.IntN(249))
		}
		return Refuse
	}
	r.Op = blkif.Op(2 + f.Rand.IntN(254))
	f.indirectOf(r, 1+f.Rand.IntN(20), f.page)
	return Refuse
}

func (f *Frontend) discards(r *blkif.Request) Verdict {
	r.Op, r.Secure = blkif.Discard, f.Rand.IntN(2) == 0
	switch f.Rand.IntN(4) {
	case 0:
		r.Sector, r.Count = 8, 1<<64-8
	case 1:
		r.Sector, r.Count = f.Sectors, 8
	case 2:
		r.Sector, r.Count = 1<<55, f.Sectors
	case 3:
		r.Count = f.Rand.Uint64N(f.Sectors + 1)
		return Either
	}
	return Refuse
}

func (f *Frontend) writes(r *blkif.Request) Verdict {
	f.whole(r, 1+f.Rand.IntN(4))
	switch r.Op = blkif.Write; f.Rand.IntN(5) {
	case 0:
		r.Op = blkif.Barrier
	case 1:
		r.Op = blkif.Flush // with data
	case 2:
		f.indirectOf(r, 1+f.Rand.IntN(20), f.page)
	case 3:
		*r = blkif.Request{ID: r.ID, Op: blkif.Discard, Sector: r.Sector, Count: 8, Secure: f.Rand.IntN(2) == 0}
	}
	if f.Frozen {
		return Refuse
	}
	return Either
}

func (f *Frontend) indirect(r *blkif.Request) Verdict {
	f.whole(r, 1)
	bad := f.Rand.IntN(20)
	kind := f.Rand.IntN(4)
	n := 20
	f.indirectOf(r, n, func(i int) blkif.Segment {
		s := f.page(i)
		if i != bad {
			return s
		}
		switch kind {
		case 0:
			s.Last = 255
		case 1:
			s.First, s.Last = 7, 0
		case 2:
			s.Ref = 1<<31 + 5
		}
		return s
	})
	if kind == 3 {
		r.Pages[0] = 1<<30 + xen.GrantRef(f.Rand.Uint32N(1000))
	}
	return Refuse
}

// near is a number that is often close to a limit.
func (f *Frontend) near(limit uint64) uint64 {
	switch f.Rand.IntN(24) {
	case 0:
		return f.Rand.Uint64()
	case 1:
		return limit - uint64(f.Rand.IntN(20)) + uint64(f.Rand.IntN(20))
	case 2:
		return -uint64(f.Rand.IntN(20))
	}
	return f.Rand.Uint64N(limit)
}

// any is a reference of any kind, mostly a good one.
func (f *Frontend) any() xen.GrantRef {
	switch n := f.Rand.IntN(120); {
	case n == 0 && len(f.Revoked) > 0:
		return f.Revoked[f.Rand.IntN(len(f.Revoked))]
	case n == 1 && len(f.ReadOnly) > 0:
		return f.ReadOnly[f.Rand.IntN(len(f.ReadOnly))]
	case n == 2:
		return xen.GrantRef(f.Rand.Uint32())
	case n == 3:
		return xen.GrantRef(f.Rand.IntN(8))
	}
	return f.good()
}

func (f *Frontend) segment(int) blkif.Segment {
	s := blkif.Segment{Ref: f.any(), Last: blkif.SectorsPerPage - 1}
	switch f.Rand.IntN(60) {
	case 0:
		s.First, s.Last = uint8(f.Rand.Uint32()), uint8(f.Rand.Uint32())
	case 1:
		s.First, s.Last = uint8(f.Rand.IntN(9)), uint8(f.Rand.IntN(9))
	}
	return s
}

// anything is at times random bytes, mostly a request that is wrong in a place or two, often one that is right.
func (f *Frontend) anything(slot []byte, id uint64) Verdict {
	slot = slot[:f.ABI.SlotSize()]
	if f.Rand.IntN(30) == 0 {
		for i := 0; i+4 <= len(slot); i += 4 {
			binary.LittleEndian.PutUint32(slot[i:], f.Rand.Uint32())
		}
		slot[0] %= 8
		return Either
	}
	r := blkif.Request{Op: blkif.Op(f.Rand.IntN(8)), ID: id, Sector: f.near(f.Sectors), Segments: 1 + f.Rand.IntN(4)}
	if f.Rand.IntN(20) == 0 {
		r.Segments = f.Rand.IntN(12)
	}
	for i := range min(r.Segments, blkif.MaxSegments) {
		r.Direct[i] = f.segment(i)
	}
	switch r.Op {
	case blkif.Discard:
		r.Count, r.Secure = f.near(max(f.Sectors/64, 1)), f.Rand.IntN(8) == 0
	case blkif.Indirect:
		n := 1 + f.Rand.IntN(16)
		if f.Rand.IntN(30) == 0 {
			n = f.Rand.IntN(300)
		}
		r.Op = blkif.Op(f.Rand.IntN(2))
		if f.Rand.IntN(10) == 0 {
			r.Op = blkif.Op(f.Rand.Uint32())
		}
		f.indirectOf(&r, n, f.segment)
		if f.Rand.IntN(20) == 0 {
			r.Pages[0] = f.any()
		}
	}
	if f.Rand.IntN(40) == 0 {
		r.Segments = f.Rand.IntN(1 << 16)
	}
	Encode(f.ABI, slot, &r)
	return Either
}
