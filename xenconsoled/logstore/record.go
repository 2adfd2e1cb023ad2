package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"time"
)

// blockSize is the size of the blocks at the beginnings of the disk and of segments: a sector of any disk.
const blockSize = 4096

// recordHead is the size of a record without its data.
const recordHead = 32

// Kinds of records.
const (
	kindName  = 1 // the data is a source's name and key; what it says goes on with byte `from`
	kindData  = 2 // what it said
	kindNote  = 3 // what is to be said about it, none of its bytes
	kindKnown = 4 // all sources there are were named before: older segments need not be read to know them
)

var (
	le         = binary.LittleEndian
	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// ErrFormat says that a disk holds no store, or a damaged one.
var ErrFormat = errors.New("no log store")

// super is what the first block says.
type super struct {
	id      uint64 // of this store: segments of another one that was on the disk before do not count
	segment uint32 // bytes of a segment, its first block included
	count   uint32
}

const superMagic = "morglog1"

func (s super) append(b []byte) []byte {
	at := len(b)
	b = append(b, superMagic...)
	b = le.AppendUint64(b, s.id)
	b = le.AppendUint32(b, s.segment)
	b = le.AppendUint32(b, s.count)
	b = le.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
	return append(b, make([]byte, blockSize-(len(b)-at))...)
}

func parseSuper(b []byte, size int64) (s super, err error) {
	if len(b) < blockSize || string(b[:8]) != superMagic || le.Uint32(b[24:]) != crc32.Checksum(b[:24], castagnoli) {
		return s, fmt.Errorf("%w on this disk; format it first", ErrFormat)
	}
	s = super{id: le.Uint64(b[8:]), segment: le.Uint32(b[16:]), count: le.Uint32(b[20:])}
	if s.segment < segmentLeast || s.segment%blockSize != 0 || s.count < 2 || blockSize+int64(s.segment)*int64(s.count) > size {
		return s, fmt.Errorf("%w that fits this disk of %d bytes: %d segments of %d", ErrFormat, size, s.count, s.segment)
	}
	return s, nil
}

const segmentMagic = "morgseg1"

// appendSegment appends the first block of a segment.
func appendSegment(b []byte, id, sequence uint64) []byte {
	at := len(b)
	b = append(b, segmentMagic...)
	b = le.AppendUint64(b, id)
	b = le.AppendUint64(b, sequence)
	b = le.AppendUint32(b, crc32.Checksum(b[at:], castagnoli))
	return append(b, make([]byte, blockSize-(len(b)-at))...)
}

// parseSegment reads the first block of a segment; ok is false if it is none of this store's.
func parseSegment(b []byte, id uint64) (sequence uint64, ok bool) {
	if len(b) < 28 || string(b[:8]) != segmentMagic || le.Uint64(b[8:]) != id || le.Uint32(b[24:]) != crc32.Checksum(b[:24], castagnoli) {
		return 0, false
	}
	return le.Uint64(b[16:]), true
}

// record is a record as it is on the disk.
type record struct {
	source, kind uint32
	from         uint64
	at           int64
	data         []byte
}

func padded(n int) int { return (n + 7) &^ 7 }

func checksum(sequence uint64, b []byte) uint32 {
	var s [8]byte
	le.PutUint64(s[:], sequence)
	return crc32.Update(crc32.Checksum(s[:], castagnoli), castagnoli, b)
}

func appendRecord(b []byte, sequence uint64, r record) []byte {
	at := len(b)
	b = append(b, 0, 0, 0, 0)
	b = le.AppendUint32(b, uint32(len(r.data)))
	b = le.AppendUint32(b, r.source)
	b = le.AppendUint32(b, r.kind)
	b = le.AppendUint64(b, r.from)
	b = le.AppendUint64(b, uint64(r.at))
	b = append(b, r.data...)
	le.PutUint32(b[at:], checksum(sequence, b[at+4:]))
	for (len(b)-at)%8 != 0 {
		b = append(b, 0)
	}
	return b
}

// parseRecord reads a record of a segment; ok is false where the log ends. size is how many bytes it has there.
func parseRecord(b []byte, sequence uint64) (r record, size int, ok bool) {
	if len(b) < recordHead {
		return r, 0, false
	}
	n := le.Uint32(b[4:])
	if int64(n) > int64(len(b)-recordHead) || le.Uint32(b) != checksum(sequence, b[4:recordHead+int(n)]) {
		return r, 0, false
	}
	r = record{source: le.Uint32(b[8:]), kind: le.Uint32(b[12:]), from: le.Uint64(b[16:]), at: int64(le.Uint64(b[24:]))}
	r.data = b[recordHead : recordHead+int(n)]
	return r, min(padded(recordHead+int(n)), len(b)), true
}

// appendName and parseName are the data of a record that names a source.
func appendName(b []byte, name, key string) []byte {
	b = le.AppendUint32(b, uint32(len(name)))
	return append(append(b, name...), key...)
}

func parseName(b []byte) (name, key string, ok bool) {
	if len(b) < 4 || uint64(le.Uint32(b)) > uint64(len(b)-4) {
		return "", "", false
	}
	n := 4 + int(le.Uint32(b))
	return string(b[4:n]), string(b[n:]), true
}

// Entry is something that a console said.
type Entry struct {
	Name string // the guest's
	Key  string // which guest of that name: what Source was given
	From uint64 // the number of the first byte
	At   time.Time
	Data []byte
	Note bool // the data is about the console, none of its bytes
}
