package ondisk

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// HeaderSize is the size of a metadata area's header; the ring of texts follows.
	HeaderSize = 512
	// Ignored is the flag of a slot that says that the area holds no metadata, whatever else the slot says.
	Ignored uint32 = 1

	headerMagic   = " LVM2 x[5A%r0N*>"
	headerVersion = 1
	headerSlots   = 40 // where the slots begin
	slotSize      = 24
)

// What may be wrong with a header; a HeaderError matches each that applies.
var (
	ErrHeader         = errors.New("damaged metadata area header")
	ErrHeaderChecksum = errors.New("wrong checksum")
	ErrHeaderMagic    = errors.New("wrong magic number")
	ErrHeaderVersion  = errors.New("wrong version")
	ErrHeaderStart    = errors.New("wrong start")
	ErrHeaderSize     = errors.New("wrong size")
)

// Header is the first sector of a metadata area.
type Header struct {
	Start uint64 // where the header is, in bytes from the beginning of the disk
	Size  uint64 // of the area, header included, in bytes
	// Slots tell where the text is: that which is committed, and that which is about to be.
	Slots [2]Slot

	// further is what follows the slots, zeroes so far, and is kept.
	further [HeaderSize - headerSlots - 2*slotSize]byte
}

// Slot tells where in a metadata area a text lies. The zero Slot has none.
type Slot struct {
	Offset uint64 // from the beginning of the area, in bytes
	Size   uint64 // of the text with its final NUL, in bytes
	CRC    uint32 // of these bytes
	Flags  uint32
}

// Ignored reports whether the slot says that its area is not in use.
func (s Slot) Ignored() bool { return s.Flags&Ignored != 0 }

// Empty reports whether the slot has no text.
func (s Slot) Empty() bool { return s.Offset == 0 && s.Size == 0 }

// Ignored reports whether the area is not in use.
func (h *Header) Ignored() bool { return h.Slots[0].Ignored() }

// Empty reports whether the area has no text, be it unused or that of a disk in no group.
func (h *Header) Empty() bool { return h.Ignored() || h.Slots[0].Empty() }

// HeaderError says what is wrong with the header of a metadata area. It matches ErrHeader and each of Bad.
type HeaderError struct {
	Start uint64 // where the header was read
	Bad   []error
}

func (e *HeaderError) Error() string {
	return fmt.Sprintf("metadata area header at byte %d: %v", e.Start, errors.Join(e.Bad...))
}

// Unwrap returns ErrHeader and all of Bad.
func (e *HeaderError) Unwrap() []error { return append([]error{ErrHeader}, e.Bad...) }

// ParseHeader reads the header of the area that begins at byte start of the disk. Where something is wrong it returns
// a *HeaderError, and beside it what the bytes say, for whoever repairs.
func ParseHeader(start uint64, b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%d bytes are no header", len(b))
	}
	le := binary.LittleEndian
	h := Header{Start: le.Uint64(b[24:]), Size: le.Uint64(b[32:])}
	for i := range h.Slots {
		s := b[headerSlots+i*slotSize:]
		h.Slots[i] = Slot{le.Uint64(s), le.Uint64(s[8:]), le.Uint32(s[16:]), le.Uint32(s[20:])}
	}
	copy(h.further[:], b[headerSlots+2*slotSize:])
	var bad []error
	check := func(ok bool, err error) {
		if !ok {
			bad = append(bad, err)
		}
	}
	check(le.Uint32(b) == CRC(CRCInit, b[4:HeaderSize]), ErrHeaderChecksum)
	check(string(b[4:20]) == headerMagic, ErrHeaderMagic)
	check(le.Uint32(b[20:]) == headerVersion, ErrHeaderVersion)
	check(h.Start == start, ErrHeaderStart)
	check(h.Size >= HeaderSize, ErrHeaderSize)
	if bad != nil {
		return h, &HeaderError{start, bad}
	}
	return h, nil
}

// AppendHeader appends the sector of a header.
func AppendHeader(dst []byte, h Header) []byte {
	n := len(dst)
	le := binary.LittleEndian
	dst = append(le.AppendUint32(dst, 0), headerMagic...)
	dst = le.AppendUint32(dst, headerVersion)
	dst = le.AppendUint64(dst, h.Start)
	dst = le.AppendUint64(dst, h.Size)
	for _, s := range h.Slots {
		dst = le.AppendUint64(dst, s.Offset)
		dst = le.AppendUint64(dst, s.Size)
		dst = le.AppendUint32(dst, s.CRC)
		dst = le.AppendUint32(dst, s.Flags)
	}
	dst = append(dst, h.further[:]...)
	le.PutUint32(dst[n:], CRC(CRCInit, dst[n+4:]))
	return dst
}

// NewHeader returns the header of an empty metadata area.
func NewHeader(a Area, ignored bool) Header {
	h := Header{Start: a.Offset, Size: a.Size}
	if ignored {
		h.Slots[0].Flags = Ignored
	}
	return h
}
