package ondisk

import (
	"errors"
	"fmt"
)

// Errors about texts in a ring.
var (
	// ErrTooBig tells that a text is longer than its area may hold beside the old one.
	ErrTooBig = errors.New("exceeds maximum metadata size")
	// ErrRingFull tells that no place in the ring is clear of the old text.
	ErrRingFull = errors.New("too large for circular buffer")
	// ErrSlot tells that a slot points outside of its area.
	ErrSlot = errors.New("metadata location out of bounds")
)

// TextLimit is the size of the longest text, with its NUL, in an area of size bytes: two of them fit, one of them at
// any sector.
func TextLimit(size uint64) uint64 {
	if size < HeaderSize+2*SectorSize {
		return 0
	}
	return (size-HeaderSize)/2 - SectorSize
}

// Piece is a part of a text: N bytes at a byte of the disk.
type Piece struct{ Offset, N uint64 }

// Pieces tells where on the disk the text of a slot lies, in its order. There are two pieces where it goes beyond the
// area's end and on at the beginning of the ring.
func (h *Header) Pieces(s Slot) ([]Piece, error) {
	if s.Size == 0 || s.Offset < HeaderSize || s.Offset >= h.Size || s.Size > h.Size-HeaderSize ||
		h.Start+h.Size < h.Start {
		return nil, fmt.Errorf("%w (offset %d, size %d, area of %d bytes at byte %d)",
			ErrSlot, s.Offset, s.Size, h.Size, h.Start)
	}
	if first := h.Size - s.Offset; s.Size > first {
		return []Piece{{h.Start + s.Offset, first}, {h.Start + HeaderSize, s.Size - first}}, nil
	}
	return []Piece{{h.Start + s.Offset, s.Size}}, nil
}

// Place finds where in the ring a new text of n bytes, with its NUL, goes: behind the one in slot 0, clear of it. The
// CRC of the result is not set.
//
// Block is the size of what the disk stores whole. A new text begins at a multiple of it, and does not go around the
// end, wherever that is possible: so that it shares a block neither with the text that counts nor with the header, and
// writing the one cannot damage the other. With blocks of 512 bytes that is where LVM2 puts it.
func (h *Header) Place(n, block uint64) (Slot, error) {
	if limit := TextLimit(h.Size); n > limit {
		return Slot{}, fmt.Errorf("metadata of %d bytes %w (%d bytes)", n, ErrTooBig, limit)
	}
	if n == 0 {
		return Slot{}, errors.New("an empty text")
	}
	old := h.Slots[0]
	if h.Empty() || old.Offset < HeaderSize || old.Offset >= h.Size || old.Size > h.Size-HeaderSize {
		return Slot{Offset: max(HeaderSize, min(block, h.Size-n)), Size: n}, nil
	}
	behind := old.Offset + old.Size // the byte behind the old text
	if behind > h.Size {
		behind -= h.Size - HeaderSize
	}
	var candidates []uint64
	if block > SectorSize {
		candidates = append(candidates, roundUp(behind, block), block)
	}
	next := roundUp(behind, SectorSize)
	if h.Size-(behind-1) < SectorSize || next > h.Size-SectorSize {
		next = HeaderSize
	}
	for _, c := range candidates {
		if s := (Slot{Offset: c, Size: n}); c+n <= h.Size && !h.overlap(s, old) {
			return s, nil
		}
	}
	s := Slot{Offset: next, Size: n}
	if h.overlap(s, old) {
		return Slot{}, fmt.Errorf("metadata of %d bytes are %w (%d bytes with %d used)",
			n, ErrRingFull, h.Size-HeaderSize, old.Size)
	}
	return s, nil
}

// overlap reports whether two texts share a byte, counting whole sectors.
func (h *Header) overlap(a, b Slot) bool {
	pa, errA := h.Pieces(a)
	pb, errB := h.Pieces(b)
	if errA != nil || errB != nil {
		return true
	}
	for _, p := range pa {
		for _, q := range pb {
			if p.Offset < roundUp(q.Offset+q.N, SectorSize) && q.Offset < roundUp(p.Offset+p.N, SectorSize) {
				return true
			}
		}
	}
	return false
}

func roundUp(n, to uint64) uint64 { return (n + to - 1) / to * to }
