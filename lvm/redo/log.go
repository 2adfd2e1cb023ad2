package redo

import (
	"fmt"

	"morgana/block"
)

// Log is a redo log on one or more devices. It is not safe for concurrent use.
type Log struct {
	devs    []block.Device
	stale   []bool // devs that Resume has to bring up
	halves  [2]half
	cur     int      // the half that records go to
	folded  Position // what a committed text includes
	resumed bool
	err     error // of a write; nothing is written after it
	buf     []byte
}

// half is what is known of a half. A half that holds no header is the zero value.
type half struct {
	Header
	valid bool
	recs  []Record // found when the log was opened; nil once they are folded
	count uint64   // how many records there are, with those since
	next  int64    // where the next record goes
	last  uint32   // the checksum of the last record, or the epoch's seed
}

func (h *half) position() Position { return Position{Epoch: h.Epoch, Count: h.count} }

// emptyHalf returns a half without records.
func emptyHalf(h Header, slot int) half {
	start, _ := h.span(slot)
	return half{Header: h, valid: true, next: start, last: h.seed()}
}

// MinSize is the least size of a log's region in bytes.
const MinSize = minSize

// Format makes an empty log on the devices, whose size is that of the smallest, and returns it ready for appending.
// base is the seqno of the metadata that it starts from. What the devices held is lost.
func Format(group [32]byte, epoch Epoch, base uint64, devs ...block.Device) (*Log, error) {
	h := Header{Group: group, Epoch: epoch, Generation: 1, Base: base, Replicas: uint32(len(devs))}
	for i, d := range devs {
		if n := uint64(d.Size()) &^ (headerStride - 1); i == 0 || n < h.Size {
			h.Size = n
		}
		h.Sector = max(h.Sector, uint32(d.SectorSize()))
	}
	if len(devs) == 0 || h.Size < minSize {
		return nil, fmt.Errorf("a redo log needs a region of %d bytes or more, %d found", minSize, h.Size)
	}
	l := &Log{devs: devs, stale: make([]bool, len(devs)), folded: Position{Epoch: epoch}, resumed: true}
	for _, d := range devs {
		// The other header goes first: should it be left from an earlier log, it must not be taken for the newer one.
		if err := block.WriteZeroes(d, headerStride, headerStride); err != nil {
			return nil, fmt.Errorf("redo log: %w", err)
		}
		if err := d.Flush(); err != nil {
			return nil, fmt.Errorf("redo log: %w", err)
		}
	}
	l.halves[0] = emptyHalf(h, 0)
	return l, l.writeHeader(0)
}

// Group returns the uuid of the volume group that the log belongs to.
func (l *Log) Group() [32]byte { return l.halves[l.cur].Group }

// Position returns where the log ends.
func (l *Log) Position() Position { return l.halves[l.cur].position() }

// Seqno returns the seqno of the metadata after the last record.
func (l *Log) Seqno() uint64 { h := &l.halves[l.cur]; return h.Base + h.count }

// Used returns how full the current half is: the bytes of its records, and how many there is room for.
func (l *Log) Used() (used, room int64) {
	start, end := l.halves[l.cur].span(l.cur)
	return l.halves[l.cur].next - start, end - start
}

// Pending returns how many records no text includes.
func (l *Log) Pending() uint64 {
	h, o := &l.halves[l.cur], &l.halves[1-l.cur]
	switch {
	case l.folded.Epoch == h.Epoch:
		return h.count - min(h.count, l.folded.Count)
	case o.valid && l.folded.Epoch == o.Epoch:
		return h.count + o.count - min(o.count, l.folded.Count)
	}
	return h.count
}

// Headers returns the headers that were found, the newer last.
func (l *Log) Headers() []Header {
	var hs []Header
	for _, i := range l.byAge() {
		hs = append(hs, l.halves[i].Header)
	}
	return hs
}

// byAge returns the slots of the valid halves, the newer last.
func (l *Log) byAge() []int {
	a, b := &l.halves[0], &l.halves[1]
	switch {
	case a.valid && b.valid && a.Generation < b.Generation:
		return []int{0, 1}
	case a.valid && b.valid:
		return []int{1, 0}
	case a.valid:
		return []int{0}
	case b.valid:
		return []int{1}
	}
	return nil
}

// Fits reports whether a payload of n bytes fits in what is left of the current half.
func (l *Log) Fits(n int) bool {
	h := &l.halves[l.cur]
	_, end := h.span(l.cur)
	return h.next+recordSize(n, h.Sector) <= end
}

// Append makes a record of the payload and returns when it is on stable storage on every replica. Where the record does
// not fit it fails with ErrFull, and Switch makes room. After an error of a device the log takes nothing more
// (ErrInDoubt). Append allocates nothing once its buffer has grown.
func (l *Log) Append(payload []byte) (Position, error) {
	if err := l.writable(); err != nil {
		return Position{}, err
	}
	h := &l.halves[l.cur]
	start, end := h.span(l.cur)
	switch n := recordSize(len(payload), h.Sector); {
	case n > end-start:
		return Position{}, fmt.Errorf("%w: %d bytes, where an empty half takes %d", ErrTooBig, n, end-start)
	case h.next+n > end:
		return Position{}, ErrFull
	}
	r := Record{Position: Position{Epoch: h.Epoch, Count: h.count + 1}, Seqno: h.Base + h.count + 1, Payload: payload}
	var sum uint32
	l.buf, sum = AppendRecord(l.buf[:0], r, h.last, h.Sector)
	if err := l.write(l.buf, h.next); err != nil {
		return Position{}, err
	}
	h.next += int64(len(l.buf))
	h.count++
	h.last = sum
	return r.Position, nil
}

// Switch opens the other half under a new epoch, which continues the current one. It fails with ErrFull while the other
// half holds records that no text includes.
func (l *Log) Switch(epoch Epoch) error {
	h := &l.halves[l.cur]
	if l.halves[1-l.cur].valid && l.folded.Epoch != h.Epoch {
		return fmt.Errorf("%w: both halves hold changes that are not folded", ErrFull)
	}
	n := Header{Base: h.Base + h.count, Continues: h.position(), Chain: h.last}
	return l.open(epoch, n)
}

// Restart opens the other half under a new epoch that continues nothing: what the log holds must be folded, or else it
// is forgotten. base is the seqno of the text that will include the log's new Position.
func (l *Log) Restart(epoch Epoch, base uint64) error {
	if err := l.open(epoch, Header{Base: base}); err != nil {
		return err
	}
	l.folded = l.Position()
	return nil
}

// Clear forgets all records, which a text must have that is committed and not armed. base is that text's seqno.
func (l *Log) Clear(epoch Epoch, base uint64) error {
	old := l.cur
	if err := l.Restart(epoch, base); err != nil {
		return err
	}
	l.halves[old] = half{}
	l.buf = append(l.buf[:0], make([]byte, l.halves[l.cur].Sector)...)
	return l.write(l.buf, int64(old)*headerStride)
}

// open writes the header h, completed, to the half that is not the current one and makes that the current one.
func (l *Log) open(epoch Epoch, h Header) error {
	if err := l.writable(); err != nil {
		return err
	}
	c := &l.halves[l.cur]
	h.Features, h.Group, h.Epoch = c.Features, c.Group, epoch
	h.Generation, h.Term = max(c.Generation, l.halves[1-l.cur].Generation)+1, c.Term
	h.Size, h.Sector, h.Replicas = c.Size, c.Sector, c.Replicas
	slot := 1 - l.cur
	l.halves[slot] = emptyHalf(h, slot)
	if err := l.writeHeader(slot); err != nil {
		return err
	}
	l.cur = slot
	return nil
}

// Folded says that a text which includes p is committed.
func (l *Log) Folded(p Position) {
	l.folded = p
	for i := range l.halves {
		h := &l.halves[i]
		switch {
		case h.Epoch == p.Epoch && p.Count >= uint64(len(h.recs)), i != l.cur && p.Epoch == l.halves[l.cur].Epoch:
			h.recs = nil
		}
	}
}

// writable reports why nothing may be written.
func (l *Log) writable() error {
	switch {
	case l.err != nil:
		return fmt.Errorf("%w: %w", ErrInDoubt, l.err)
	case !l.resumed:
		return ErrNotResumed
	}
	return nil
}

// writeHeader writes the header of a half.
func (l *Log) writeHeader(slot int) error {
	h := l.halves[slot].Header
	b := AppendHeader(l.buf[:0], h)
	for len(b) < int(h.Sector) {
		b = append(b, padding[:]...)
	}
	l.buf = b
	return l.write(b, int64(slot)*headerStride)
}

// write writes b to every replica and flushes. After an error nothing more is written.
func (l *Log) write(b []byte, off int64) error {
	for _, d := range l.devs {
		if _, err := d.WriteAt(b, off); err != nil {
			return l.fail(err)
		}
	}
	for _, d := range l.devs {
		if err := d.Flush(); err != nil {
			return l.fail(err)
		}
	}
	return nil
}

func (l *Log) fail(err error) error {
	l.err = err
	return fmt.Errorf("%w: %w", ErrInDoubt, err)
}
