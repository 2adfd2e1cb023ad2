package redo

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
)

// Record is one appended change.
type Record struct {
	Position        // the epoch, and the number of the record in it, from 1
	Seqno    uint64 // of the metadata after the change
	Payload  []byte
	sum      uint32
}

const (
	recordMagic  = 0x6f646572 // "redo"
	recordHeader = 64
	kindChange   = 1
)

// recordSize returns how much room a payload takes with sectors of the given size.
func recordSize(payload int, sector uint32) int64 {
	n := int64(recordHeader) + int64(payload)
	return (n + int64(sector) - 1) &^ (int64(sector) - 1)
}

// AppendRecord appends r, which follows a record with the checksum prev, padded to whole sectors, and returns its own
// checksum too.
func AppendRecord(dst []byte, r Record, prev, sector uint32) ([]byte, uint32) {
	start := len(dst)
	le := binary.LittleEndian
	dst = le.AppendUint32(dst, recordMagic)
	dst = le.AppendUint32(dst, 0) // the checksum, below
	dst = le.AppendUint32(dst, uint32(len(r.Payload)))
	dst = le.AppendUint32(dst, prev)
	dst = append(dst, r.Epoch[:]...)
	dst = le.AppendUint64(dst, r.Count)
	dst = le.AppendUint64(dst, r.Seqno)
	dst = le.AppendUint32(dst, kindChange)
	dst = append(dst, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0) // up to recordHeader
	dst = append(dst, r.Payload...)
	sum := crc32.Checksum(dst[start+8:], castagnoli)
	le.PutUint32(dst[start+4:], sum)
	for pad := int(recordSize(len(r.Payload), sector)) - (len(dst) - start); pad > 0; {
		n := min(pad, len(padding))
		dst = append(dst, padding[:n]...)
		pad -= n
	}
	return dst, sum
}

var padding [512]byte

// ParseRecord parses the record at the start of b and returns how many bytes it takes. It fails with ErrCorrupt unless
// the record is whole, belongs to epoch, has the given number and follows a record with the checksum prev. The payload
// is a part of b.
func ParseRecord(b []byte, epoch Epoch, number uint64, prev, sector uint32) (Record, int64, error) {
	le := binary.LittleEndian
	if len(b) < recordHeader || le.Uint32(b) != recordMagic {
		return Record{}, 0, fmt.Errorf("record %d: %w: no record", number, ErrCorrupt)
	}
	n := int64(le.Uint32(b[8:]))
	switch {
	case n > int64(len(b))-recordHeader:
		return Record{}, 0, fmt.Errorf("record %d: %w: %d bytes, where %d are left", number, ErrCorrupt, n, len(b)-recordHeader)
	case Epoch(b[16:32]) != epoch:
		return Record{}, 0, fmt.Errorf("record %d: %w: of another epoch", number, ErrCorrupt)
	case le.Uint64(b[32:]) != number:
		return Record{}, 0, fmt.Errorf("record %d: %w: says that it is %d", number, ErrCorrupt, le.Uint64(b[32:]))
	case le.Uint32(b[12:]) != prev:
		return Record{}, 0, fmt.Errorf("record %d: %w: does not follow the one before", number, ErrCorrupt)
	}
	sum := crc32.Checksum(b[8:recordHeader+n], castagnoli)
	if sum != le.Uint32(b[4:]) {
		return Record{}, 0, fmt.Errorf("record %d: %w: checksum %08x, computed %08x", number, ErrCorrupt, le.Uint32(b[4:]), sum)
	}
	if k := le.Uint32(b[48:]); k != kindChange {
		return Record{}, 0, fmt.Errorf("record %d: %w: kind %d", number, ErrIncompatible, k)
	}
	r := Record{
		Position: Position{Epoch: epoch, Count: number},
		Seqno:    le.Uint64(b[40:]),
		Payload:  b[recordHeader : recordHeader+n : recordHeader+n],
		sum:      sum,
	}
	return r, recordSize(int(n), sector), nil
}

// peekRecord returns how many bytes the record at the start of b takes if it may be number of epoch, so that a reader
// knows how much to fetch before it parses.
func peekRecord(b []byte, epoch Epoch, number uint64, sector uint32) (int64, bool) {
	le := binary.LittleEndian
	if len(b) < recordHeader || le.Uint32(b) != recordMagic || Epoch(b[16:32]) != epoch || le.Uint64(b[32:]) != number {
		return 0, false
	}
	n := le.Uint32(b[8:])
	if n > 1<<31 {
		return 0, false
	}
	return recordSize(int(n), sector), true
}
