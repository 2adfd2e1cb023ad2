package metadata

import (
	"encoding/binary"
	"fmt"
	"slices"

	"morgana/lvm/text"
)

// The encoding begins with its version. Numbers are unsigned varints, texts have their length before them. Volumes and
// the group's keys are in the text's own grammar, so that a dump can be read, and what a newer version knows is kept.
//
//	version, seqno, name, text of the head ("" if unchanged),
//	number of PVs: key, number of former uuids (0 or 1), those, text; number of uuids that go: 32 bytes each;
//	number of LVs: seq, stanza; number of uuids that go: 32 bytes each
const operationVersion = 1

// Append appends the encoding.
func (op Operation) Append(dst []byte) []byte {
	dst = append(dst, operationVersion)
	dst = binary.AppendUvarint(dst, uint64(op.Seqno))
	dst = appendBytes(dst, op.Name)
	dst = appendBytes(dst, string(text.Printer{}.Append(nil, op.Head, text.Elsewhere, 1)))
	dst = binary.AppendUvarint(dst, uint64(len(op.PutPVs)))
	for _, p := range op.PutPVs {
		dst = appendBytes(dst, p.Key)
		var was []UUID
		if !p.Was.IsZero() {
			was = []UUID{p.Was}
		}
		dst = appendUUIDs(dst, was)
		dst = appendBytes(dst, string(text.Printer{}.Append(nil, p.Section, text.Elsewhere, 1)))
	}
	dst = appendUUIDs(dst, op.DelPVs)
	dst = binary.AppendUvarint(dst, uint64(len(op.PutLVs)))
	for _, p := range op.PutLVs {
		dst = binary.AppendUvarint(dst, p.Seq)
		dst = appendBytes(dst, p.Text())
	}
	return appendUUIDs(dst, op.DelLVs)
}

func appendBytes[T string | []byte](dst []byte, s T) []byte {
	return append(binary.AppendUvarint(dst, uint64(len(s))), s...)
}

func appendUUIDs(dst []byte, ids []UUID) []byte {
	dst = binary.AppendUvarint(dst, uint64(len(ids)))
	for _, id := range ids {
		dst = append(dst, id[:]...)
	}
	return dst
}

// ParseOperation reads the encoding, all of it. Errors wrap ErrFormat and say at which byte.
func ParseOperation(b []byte) (Operation, error) {
	d := decoder{all: b, b: b}
	var op Operation
	if len(b) == 0 || b[0] != operationVersion {
		return op, fmt.Errorf("%w: operation of a version that is not known", ErrFormat)
	}
	d.b = b[1:]
	n := d.number()
	if op.Seqno = uint32(n); uint64(op.Seqno) != n {
		d.fail("seqno %d", n)
	}
	op.Name = string(d.bytes())
	if d.err == nil && !ValidName(op.Name) {
		d.fail("group name %q", op.Name)
	}
	if s := d.section(); len(s.Entries) > 0 {
		op.Head = s
	}
	for range d.count() {
		key := string(d.bytes())
		was := d.uuids()
		if len(was) > 1 {
			d.fail("%d former uuids", len(was))
		}
		s := d.section()
		r := reader{}
		if readPV(&r, op.Name, key, s); d.err == nil && r.err != nil {
			d.fail("%v", r.err)
		}
		p := PutPV{Key: key, Section: s}
		if len(was) == 1 {
			p.Was = was[0]
		}
		op.PutPVs = append(op.PutPVs, p)
	}
	op.DelPVs = d.uuids()
	for range d.count() {
		p := PutLV{Seq: d.number()}
		s := d.section()
		if d.err != nil {
			break
		}
		if len(s.Entries) != 1 || s.Entries[0].Section == nil || p.Seq == 0 {
			d.fail("a stanza that is not one")
			break
		}
		lv, err := readLV(op.Name, s.Entries[0].Key, s.Entries[0].Section)
		if err != nil {
			d.fail("%v", err)
			break
		}
		if !ValidName(lv.Name) {
			d.fail("logical volume name %q", lv.Name)
			break
		}
		lv.place.seq = p.Seq
		p.ID, p.Name, p.lv = lv.ID, lv.Name, lv
		op.PutLVs = append(op.PutLVs, p)
	}
	op.DelLVs = d.uuids()
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes too many", len(d.b))
	}
	return op, d.err
}

// decoder keeps the first error, after which it gives zeros.
type decoder struct {
	all, b []byte
	err    error
}

func (d *decoder) fail(format string, a ...any) {
	if d.err == nil {
		d.err = fmt.Errorf("%w: operation at byte %d: %s", ErrFormat, len(d.all)-len(d.b), fmt.Sprintf(format, a...))
	}
	d.b = nil
}

func (d *decoder) number() uint64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || n != len(binary.AppendUvarint(nil, v)) {
		d.fail("a number that is cut off or not in its shortest form")
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count reads how many entries follow; each has a byte at least.
func (d *decoder) count() int {
	n := d.number()
	if n > uint64(len(d.b)) {
		d.fail("%d entries in %d bytes", n, len(d.b))
		return 0
	}
	return int(n)
}

func (d *decoder) bytes() []byte {
	n := d.count()
	b := d.b[:n]
	d.b = d.b[n:]
	return b
}

func (d *decoder) section() *text.Section {
	b := d.bytes()
	if slices.Contains(b, 0) {
		d.fail("a text with a NUL")
	}
	s, err := text.Parse(b)
	if err != nil {
		d.fail("%v", err)
		return &text.Section{}
	}
	return s
}

func (d *decoder) uuids() []UUID {
	var ids []UUID
	for range d.count() {
		if len(d.b) < len(UUID{}) {
			d.fail("a uuid that is cut off")
			return nil
		}
		id := UUID(d.b[:32])
		for _, c := range id {
			if !uuidChar(c) {
				d.fail("a uuid with %q", c)
				return nil
			}
		}
		ids = append(ids, id)
		d.b = d.b[32:]
	}
	return ids
}
