package ring

import (
	"fmt"
	"math/bits"
	"sync/atomic"
)

// Layout of struct TYPE_sring (io/ring.h, DEFINE_RING_TYPES): byte offsets. Slots follow the header.
const (
	offReqProd  = 0
	offReqEvent = 4
	offRspProd  = 8
	offRspEvent = 12
	HeaderSize  = 64
	// In the header's padding, which frontends clear and nobody uses: Publish's note.
	offNote      = 32
	offNoteIndex = 36
	offAnswer    = 40
	answerMax    = HeaderSize - offAnswer
)

// noteValid says that there is a note.
const noteValid = 0x6d6f7267

// Slots is how many slots of the given size a ring in mem bytes has (__RING_SIZE): a power of two, 0 if none fits.
func Slots(mem, slot int) int {
	if slot <= 0 || mem < HeaderSize+slot {
		return 0
	}
	return 1 << (bits.Len(uint((mem-HeaderSize)/slot)) - 1)
}

// shared is a slot ring as both sides see it.
type shared struct {
	reqProd, reqEvent, rspProd, rspEvent *atomic.Uint32
	slots                                []byte
	slot                                 int
	size                                 uint32
}

func newShared(mem []byte, slot int) (shared, error) {
	n := Slots(len(mem), slot)
	if n == 0 {
		return shared{}, fmt.Errorf("ring: %d bytes hold no slot of %d bytes and the header", len(mem), slot)
	}
	s := shared{slots: mem[HeaderSize : HeaderSize+n*slot], slot: slot, size: uint32(n)}
	for _, w := range []struct {
		p   **atomic.Uint32
		off int
	}{{&s.reqProd, offReqProd}, {&s.reqEvent, offReqEvent}, {&s.rspProd, offRspProd}, {&s.rspEvent, offRspEvent}} {
		var err error
		if *w.p, err = Word(mem, w.off); err != nil {
			return shared{}, err
		}
	}
	return s, nil
}

// at is the slot of index i.
func (s *shared) at(i uint32) []byte {
	off := int(i&(s.size-1)) * s.slot
	return s.slots[off : off+s.slot : off+s.slot]
}

// Front is the frontend's side of a slot ring: it puts requests in and takes responses out.
type Front struct {
	shared
	reqPut  uint32 // requests put in, published or not (req_prod_pvt)
	reqSent uint32 // requests published
	rspGot  uint32 // responses taken (rsp_cons)
	err     error
}

// NewFront makes the frontend's side of a ring over shared memory of whole pages and initialises it
// (SHARED_RING_INIT). slot is the size of the larger of request and response, in bytes.
func NewFront(mem []byte, slot int) (*Front, error) {
	s, err := newShared(mem, slot)
	if err != nil {
		return nil, err
	}
	clear(mem)
	s.reqEvent.Store(1)
	s.rspEvent.Store(1)
	return &Front{shared: s}, nil
}

// Size is how many slots the ring has.
func (f *Front) Size() int { return int(f.size) }

// Free is how many requests Put would take now (RING_FREE_REQUESTS). A slot is free again when its response was
// taken.
func (f *Front) Free() int { return int(f.size - (f.reqPut - f.rspGot)) }

// Put puts a request, at most a slot long, into the next free slot. It reports whether there was one. The peer sees
// it after Push.
func (f *Front) Put(req []byte) bool {
	if f.err != nil || f.Free() == 0 {
		return false
	}
	copy(f.at(f.reqPut), req)
	f.reqPut++
	return true
}

// Push publishes what was put and reports whether the peer wants to be notified
// (RING_PUSH_REQUESTS_AND_CHECK_NOTIFY).
func (f *Front) Push() (notify bool) {
	old := f.reqSent
	f.reqSent = f.reqPut
	f.reqProd.Store(f.reqSent)
	return f.reqSent-f.reqEvent.Load() < f.reqSent-old
}

// ready is how many responses wait. A peer that answers more than it was asked breaks the ring.
func (f *Front) ready() (uint32, error) {
	if f.err != nil {
		return 0, f.err
	}
	n := f.rspProd.Load() - f.rspGot
	if asked := f.reqSent - f.rspGot; n > asked {
		f.err = fmt.Errorf("%w: %d responses to %d requests", ErrBadIndex, n, asked)
		return 0, f.err
	}
	return n, nil
}

// Take copies the next response into rsp, as much as fits, and reports whether there was one.
func (f *Front) Take(rsp []byte) (bool, error) {
	n, err := f.ready()
	if n == 0 {
		return false, err
	}
	copy(rsp, f.at(f.rspGot))
	f.rspGot++
	return true, nil
}

// Idle asks for a notification at the next response and reports whether there is none yet; if it is false, take
// again (RING_FINAL_CHECK_FOR_RESPONSES). Wait for an event only after it reported true.
func (f *Front) Idle() (bool, error) {
	n, err := f.ready()
	if n > 0 || err != nil {
		return false, err
	}
	f.rspEvent.Store(f.rspGot + 1)
	n, err = f.ready()
	return n == 0, err
}

// Back is the backend's side of a slot ring: it takes requests out and puts responses in.
type Back struct {
	shared
	reqGot  uint32 // requests taken (req_cons)
	rspPut  uint32 // responses put in, published or not (rsp_prod_pvt)
	rspSent uint32 // responses published
	err     error

	note, noteIndex *atomic.Uint32
	noted           []byte
}

// NewBack makes the backend's side of a ring that the frontend initialised. It begins where the response producer
// stands (BACK_RING_ATTACH), so that a backend that starts again finds the requests nobody answered.
func NewBack(mem []byte, slot int) (*Back, error) {
	s, err := newShared(mem, slot)
	if err != nil {
		return nil, err
	}
	at := s.rspProd.Load()
	b := &Back{shared: s, reqGot: at, rspPut: at, rspSent: at, noted: mem[offAnswer:HeaderSize:HeaderSize]}
	if b.note, err = Word(mem, offNote); err != nil {
		return nil, err
	}
	if b.noteIndex, err = Word(mem, offNoteIndex); err != nil {
		return nil, err
	}
	if _, err := b.ready(); err != nil {
		return nil, err
	}
	return b, nil
}

// Size is how many slots the ring has.
func (b *Back) Size() int { return int(b.size) }

// ready is how many requests wait (RING_REQUEST_PROD_OVERFLOW).
func (b *Back) ready() (uint32, error) {
	if b.err != nil {
		return 0, b.err
	}
	prod := b.reqProd.Load()
	n := prod - b.reqGot
	if n > b.size || prod-b.rspPut > b.size {
		b.err = fmt.Errorf("%w: %d requests ahead in a ring of %d slots", ErrBadIndex, prod-b.rspPut, b.size)
		return 0, b.err
	}
	return n, nil
}

// Take copies the next request into req, as much as fits, and reports whether there was one. The copy is what to
// validate and to use: the slot may change at any moment.
func (b *Back) Take(req []byte) (bool, error) {
	n, err := b.ready()
	if n == 0 {
		return false, err
	}
	copy(req, b.at(b.reqGot))
	b.reqGot++
	return true, nil
}

// Idle asks for a notification at the next request and reports whether there is none yet; if it is false, take
// again (RING_FINAL_CHECK_FOR_REQUESTS). Wait for an event only after it reported true.
func (b *Back) Idle() (bool, error) {
	n, err := b.ready()
	if n > 0 || err != nil {
		return false, err
	}
	b.reqEvent.Store(b.reqGot + 1)
	n, err = b.ready()
	return n == 0, err
}

// Put puts a response, at most a slot long, into the next slot. It reports whether a request is open to be
// answered. The peer sees it after Push.
func (b *Back) Put(rsp []byte) bool {
	if b.err != nil || b.rspPut == b.reqGot {
		return false
	}
	copy(b.at(b.rspPut), rsp)
	b.rspPut++
	return true
}

// Push publishes what was put and reports whether the peer wants to be notified
// (RING_PUSH_RESPONSES_AND_CHECK_NOTIFY).
func (b *Back) Push() (notify bool) {
	old := b.rspSent
	b.rspSent = b.rspPut
	b.rspProd.Store(b.rspSent)
	return b.rspSent-b.rspEvent.Load() < b.rspSent-old
}

// Publish puts a response of at most 24 bytes, and publishes it together with all before it. A backend that is killed
// meanwhile, at whatever moment, leaves a ring that the next one can take up: an answer is written over its request, and
// published after that, so it is noted in the ring's header before. notify and ok are Push's and Put's.
func (b *Back) Publish(rsp []byte) (notify, ok bool) {
	if b.err != nil || b.rspPut == b.reqGot || len(rsp) > answerMax {
		return false, false
	}
	b.note.Store(0)
	copy(b.noted, rsp)
	b.noteIndex.Store(b.rspPut)
	b.note.Store(noteValid)
	b.Put(rsp)
	return b.Push(), true
}

// Redo publishes the response, rsp bytes long, that a backend was killed at while it published it. To be called before
// anything is taken from a ring of which such a backend may have been. A frontend that writes the note itself answers
// itself.
func (b *Back) Redo(rsp int) (notify, done bool, err error) {
	n, err := b.ready()
	if n == 0 || b.note.Load() != noteValid || b.noteIndex.Load() != b.rspPut || b.reqGot != b.rspPut || rsp > answerMax {
		return false, false, err
	}
	b.reqGot++
	b.Put(b.noted[:rsp])
	return b.Push(), true, nil
}
