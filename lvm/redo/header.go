package redo

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
)

// Epoch names one use of a half. The zero Epoch names none.
type Epoch [16]byte

// String returns 32 hexadecimal digits.
func (e Epoch) String() string { return hex.EncodeToString(e[:]) }

// IsZero reports whether e names no epoch.
func (e Epoch) IsZero() bool { return e == Epoch{} }

// Position says how much of a log something includes: the first Count records of Epoch, and all of what Epoch
// continues.
type Position struct {
	Epoch Epoch
	Count uint64
}

// positionLen is the length of a Position's text, which is always the same so that texts don't change in size.
const positionLen = 32 + 1 + 16

// String returns the form that ParsePosition reads, 49 characters that are legal in a tag.
func (p Position) String() string { return fmt.Sprintf("%s:%016x", p.Epoch, p.Count) }

// ParsePosition parses what Position.String printed.
func ParsePosition(s string) (Position, error) {
	var p Position
	var count [8]byte
	if len(s) != positionLen || s[32] != ':' {
		return Position{}, fmt.Errorf("position %q: %w: want 32 hexadecimal digits, a colon and 16", s, ErrCorrupt)
	}
	if _, err := hex.Decode(p.Epoch[:], []byte(s[:32])); err != nil {
		return Position{}, fmt.Errorf("position %q: %w: %v", s, ErrCorrupt, err)
	}
	if _, err := hex.Decode(count[:], []byte(s[33:])); err != nil {
		return Position{}, fmt.Errorf("position %q: %w: %v", s, ErrCorrupt, err)
	}
	p.Count = binary.BigEndian.Uint64(count[:])
	return p, nil
}

// Features tells versions of the format apart. A log with an unknown bit in Incompat must not be read, with one in
// ROCompat not be written; unknown bits in Compat don't matter.
type Features struct{ Compat, ROCompat, Incompat uint32 }

// What this version knows: nothing beyond the format's first form.
const (
	knownROCompat = 0
	knownIncompat = 0
)

// Header begins a half.
type Header struct {
	Features   Features
	Group      [32]byte // the uuid of the volume group, without dashes
	Epoch      Epoch
	Generation uint64   // one more with each Switch; the half with the higher one is the newer
	Term       uint64   // one more each time that the log was resumed with replicas missing
	Base       uint64   // the seqno of the metadata before the first record
	Continues  Position // where the records before the first are; zero if a text holds all of them
	Chain      uint32   // the checksum of the last record of Continues, zero if there is none
	Size       uint64   // of the region, in bytes
	Sector     uint32   // records are padded to a multiple of it: 512 or 4096
	Replicas   uint32   // on how many devices the log is kept
}

const (
	headerMagic  = "mlvm redo log\x1a\r\n"
	headerLen    = 512
	headerStride = 4096 // the distance of the headers, so that no sector holds both
	recordsAt    = 2 * headerStride
	minSize      = recordsAt + 2*headerStride
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// AppendHeader appends the 512 bytes of h.
func AppendHeader(dst []byte, h Header) []byte {
	start := len(dst)
	le := binary.LittleEndian
	dst = append(dst, headerMagic...)
	dst = le.AppendUint32(dst, 0) // the checksum, below
	dst = le.AppendUint32(dst, headerLen)
	dst = le.AppendUint32(dst, h.Features.Compat)
	dst = le.AppendUint32(dst, h.Features.ROCompat)
	dst = le.AppendUint32(dst, h.Features.Incompat)
	dst = le.AppendUint32(dst, h.Sector)
	dst = le.AppendUint32(dst, h.Replicas)
	dst = le.AppendUint32(dst, h.Chain)
	dst = append(dst, h.Group[:]...)
	dst = append(dst, h.Epoch[:]...)
	dst = append(dst, h.Continues.Epoch[:]...)
	for _, v := range [...]uint64{h.Continues.Count, h.Generation, h.Term, h.Base, h.Size} {
		dst = le.AppendUint64(dst, v)
	}
	dst = append(dst, make([]byte, headerLen-(len(dst)-start))...)
	b := dst[start:]
	le.PutUint32(b[16:], crc32.Checksum(b[20:], castagnoli))
	return dst
}

// ParseHeader parses the 512 bytes at the start of b. Bytes that are no header at all give ErrNoLog, a header that is
// damaged ErrCorrupt, one with features that this version must not ignore ErrIncompatible.
func ParseHeader(b []byte) (Header, error) {
	le := binary.LittleEndian
	if len(b) < headerLen || !bytes.HasPrefix(b, []byte(headerMagic)) {
		return Header{}, ErrNoLog
	}
	b = b[:headerLen]
	if got, want := crc32.Checksum(b[20:], castagnoli), le.Uint32(b[16:]); got != want {
		return Header{}, fmt.Errorf("header of the redo log: %w: checksum %08x, computed %08x", ErrCorrupt, want, got)
	}
	h := Header{
		Features: Features{Compat: le.Uint32(b[24:]), ROCompat: le.Uint32(b[28:]), Incompat: le.Uint32(b[32:])},
		Sector:   le.Uint32(b[36:]),
		Replicas: le.Uint32(b[40:]),
		Chain:    le.Uint32(b[44:]),
		Continues: Position{
			Count: le.Uint64(b[112:]),
		},
		Generation: le.Uint64(b[120:]),
		Term:       le.Uint64(b[128:]),
		Base:       le.Uint64(b[136:]),
		Size:       le.Uint64(b[144:]),
	}
	copy(h.Group[:], b[48:])
	copy(h.Epoch[:], b[80:])
	copy(h.Continues.Epoch[:], b[96:])
	if u := h.Features.Incompat &^ knownIncompat; u != 0 {
		return h, fmt.Errorf("%w: incompatible features %#x", ErrIncompatible, u)
	}
	switch {
	case le.Uint32(b[20:]) != headerLen:
		return h, fmt.Errorf("header of the redo log: %w: length %d", ErrCorrupt, le.Uint32(b[20:]))
	case h.Sector != 512 && h.Sector != 4096:
		return h, fmt.Errorf("header of the redo log: %w: sectors of %d bytes", ErrCorrupt, h.Sector)
	case h.Size < minSize || h.Size > 1<<62:
		return h, fmt.Errorf("header of the redo log: %w: size %d", ErrCorrupt, h.Size)
	case h.Epoch.IsZero():
		return h, fmt.Errorf("header of the redo log: %w: no epoch", ErrCorrupt)
	}
	return h, nil
}

// span returns where the records of a half lie.
func (h Header) span(half int) (start, end int64) {
	mid := (recordsAt + (int64(h.Size)-recordsAt)/2) &^ (headerStride - 1)
	if half == 0 {
		return recordsAt, mid
	}
	return mid, int64(h.Size) &^ (headerStride - 1)
}

// seed is what stands for the checksum of the record before the first of an epoch.
func (h Header) seed() uint32 { return crc32.Checksum(h.Epoch[:], castagnoli) }
