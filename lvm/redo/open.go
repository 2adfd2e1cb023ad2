package redo

import (
	"errors"
	"fmt"

	"morgana/block"
)

// Open reads the log that is kept on the devices and writes nothing. Damage to one replica does no harm as long as
// another is whole. Then Lineage tells which records a text lacks, and Resume makes the log ready for appending.
func Open(devs ...block.Device) (*Log, error) {
	found := make([][2]half, len(devs))
	best := -1
	var firstErr error
	for i, d := range devs {
		hs, err := readReplica(d)
		switch {
		case errors.Is(err, ErrIncompatible):
			return nil, err
		case err != nil:
			if firstErr == nil || errors.Is(firstErr, ErrNoLog) {
				firstErr = err
			}
			continue
		}
		found[i] = hs
		if best < 0 || newer(&found[i], &found[best]) {
			best = i
		}
	}
	if best < 0 {
		if firstErr == nil {
			firstErr = ErrNoLog
		}
		return nil, firstErr
	}
	l := &Log{devs: devs, stale: make([]bool, len(devs)), halves: found[best]}
	if err := l.merge(found); err != nil {
		return nil, err
	}
	ages := l.byAge()
	l.cur = ages[len(ages)-1]
	l.folded = l.Position()
	return l, nil
}

// newest returns the newer of a replica's halves.
func newest(hs *[2]half) *half {
	if hs[1].valid && (!hs[0].valid || hs[1].Generation > hs[0].Generation) {
		return &hs[1]
	}
	return &hs[0]
}

// newer reports whether replica a has seen more than replica b.
func newer(a, b *[2]half) bool {
	x, y := newest(a), newest(b)
	switch {
	case x.Term != y.Term:
		return x.Term > y.Term
	case x.Generation != y.Generation:
		return x.Generation > y.Generation
	}
	return x.count > y.count
}

// merge takes from each replica of the same term the longest chain of each half, and finds those that lag.
func (l *Log) merge(found [][2]half) error {
	term := newest(&l.halves).Term
	for i := range found {
		if newest(&found[i]).Term != term {
			continue
		}
		for s := range l.halves {
			a, b := &l.halves[s], &found[i][s]
			if !a.valid && b.valid && b.Generation < newest(&l.halves).Generation {
				*a = *b // one header is damaged here
			}
			if !a.valid || !b.valid {
				continue
			}
			if a.Epoch != b.Epoch {
				if a.Generation == b.Generation {
					return fmt.Errorf("%w: epochs %v and %v", ErrDiverged, a.Epoch, b.Epoch)
				}
				continue
			}
			if n := min(len(a.recs), len(b.recs)); n > 0 && a.recs[n-1].sum != b.recs[n-1].sum {
				return fmt.Errorf("%w: record %d of epoch %v", ErrDiverged, n, a.Epoch)
			}
			if b.count > a.count {
				*a = *b
			}
		}
	}
	for i := range found {
		for s := range l.halves {
			a, b := &l.halves[s], &found[i][s]
			if a.valid && (!b.valid || a.Header != b.Header || a.count != b.count) {
				l.stale[i] = true
			}
		}
	}
	return nil
}

// readReplica reads both halves of one device.
func readReplica(d block.Device) ([2]half, error) {
	var hs [2]half
	if d.Size() < minSize {
		return hs, ErrNoLog
	}
	b := make([]byte, 2*headerStride)
	if _, err := d.ReadAt(b, 0); err != nil {
		return hs, fmt.Errorf("redo log: %w", err)
	}
	var firstErr error
	for slot := range hs {
		h, err := ParseHeader(b[slot*headerStride:])
		if err == nil && h.Size > uint64(d.Size()) {
			err = fmt.Errorf("header of the redo log: %w: it says %d bytes, the device has %d", ErrCorrupt, h.Size, d.Size())
		}
		if err == nil {
			hs[slot], err = readHalf(d, h, slot)
		}
		switch {
		case errors.Is(err, ErrIncompatible):
			return hs, err
		case err != nil && (firstErr == nil || errors.Is(firstErr, ErrNoLog)):
			firstErr = err
		}
	}
	if !hs[0].valid && !hs[1].valid {
		return hs, firstErr
	}
	return hs, nil
}

// readAhead is how much of a half is read at once.
const readAhead = 64 << 10

// readHalf reads the records of a half up to the first sector that does not continue the chain.
func readHalf(d block.Device, h Header, slot int) (half, error) {
	hf := emptyHalf(h, slot)
	start, end := h.span(slot)
	var buf []byte
	fetch := func(upTo int64) error { // makes buf reach to the offset upTo of the device
		have := start + int64(len(buf))
		if upTo <= have {
			return nil
		}
		upTo = min(end, max(upTo, have+readAhead))
		buf = append(buf, make([]byte, upTo-have)...)
		_, err := d.ReadAt(buf[have-start:], have)
		return err
	}
	for hf.next+recordHeader <= end {
		if err := fetch(hf.next + recordHeader); err != nil {
			return half{}, fmt.Errorf("redo log: %w", err)
		}
		n, ok := peekRecord(buf[hf.next-start:], h.Epoch, hf.count+1, h.Sector)
		if !ok || n > end-hf.next {
			break
		}
		if err := fetch(hf.next + n); err != nil {
			return half{}, fmt.Errorf("redo log: %w", err)
		}
		at := hf.next - start
		r, _, err := ParseRecord(buf[at:at+n:at+n], h.Epoch, hf.count+1, hf.last, h.Sector)
		if errors.Is(err, ErrIncompatible) {
			return half{}, err
		}
		if err != nil || r.Seqno != h.Base+r.Count {
			break
		}
		hf.recs = append(hf.recs, r)
		hf.count, hf.last, hf.next = hf.count+1, r.sum, hf.next+n
	}
	return hf, nil
}

// All returns every record that was found when the log was opened, folded or not, the oldest first.
func (l *Log) All() []Record {
	var rs []Record
	for _, i := range l.byAge() {
		rs = append(rs, l.halves[i].recs...)
	}
	return rs
}

// Lineage returns the records that a text lacks which carries the position at and the given seqno. armed says that the
// text is one beside which records may be appended; the records of a text that is not armed are all in it.
//
// It fails with ErrBrokenLineage where the text is not of this log's line, or is an older one, and records would be
// lost or replayed onto a stranger's metadata. Then All still returns what there is.
func (l *Log) Lineage(at Position, seqno uint64, armed bool) ([]Record, error) {
	s := -1
	for i := range l.halves {
		if l.halves[i].valid && l.halves[i].Epoch == at.Epoch {
			s = i
		}
	}
	if !armed {
		return nil, l.settled(s, at)
	}
	if s < 0 {
		return nil, fmt.Errorf("%w: the metadata is of epoch %v, which the log does not have", ErrBrokenLineage, at.Epoch)
	}
	h, o := &l.halves[s], &l.halves[1-s]
	if want := h.Base + at.Count; seqno != want {
		return nil, fmt.Errorf("%w: the metadata has seqno %d, the log expects %d", ErrBrokenLineage, seqno, want)
	}
	var pending []Record
	if at.Count < h.count {
		pending = append(pending, h.recs[at.Count:]...)
	}
	l.cur, l.folded = s, at
	if o.valid && o.Generation > h.Generation {
		end := o.Continues
		switch {
		case end.Epoch != h.Epoch && o.count > 0:
			return nil, fmt.Errorf("%w: epoch %v holds changes and continues another", ErrBrokenLineage, o.Epoch)
		case end.Epoch != h.Epoch:
			return pending, l.patch(at)
		case end.Count > at.Count && (end.Count != h.count || o.Chain != h.last):
			return nil, fmt.Errorf("%w: %d of the %d records of epoch %v are left", ErrBrokenLineage, h.count, end.Count, h.Epoch)
		case end.Count < max(h.count, at.Count) || o.Base != h.Base+end.Count:
			return nil, fmt.Errorf("%w: epoch %v does not begin where %v ends", ErrBrokenLineage, o.Epoch, h.Epoch)
		}
		l.cur = 1 - s
		pending = append(pending, o.recs...)
	}
	return pending, l.patch(at)
}

// patch makes up for records of the current half that are gone while the text has them: the half takes no more, and
// goes on at the right number in the other one.
func (l *Log) patch(at Position) error {
	h := &l.halves[l.cur]
	if h.Epoch == at.Epoch && h.count < at.Count {
		_, end := h.span(l.cur)
		h.count, h.next = at.Count, end
	}
	return nil
}

// settled checks that nothing is pending beside a text that is not armed. s is the half with the text's epoch, or -1.
func (l *Log) settled(s int, at Position) error {
	for i := range l.halves {
		h := &l.halves[i]
		lost := h.valid && h.count > 0 && (s < 0 || h.Generation > l.halves[s].Generation)
		if i == s {
			lost = h.count > at.Count
		}
		if lost {
			return fmt.Errorf("%w: %d changes of epoch %v were made after it", ErrBrokenLineage, h.count, h.Epoch)
		}
	}
	if s >= 0 {
		l.cur = s
	}
	l.folded = l.Position()
	return nil
}

// Resume makes the log ready for appending: it brings up the replicas that lag and makes sure that what Open has read is
// on stable storage.
func (l *Log) Resume() error {
	h := &l.halves[l.cur]
	if u := h.Features.ROCompat &^ knownROCompat; u != 0 {
		return fmt.Errorf("%w: features %#x", ErrIncompatible, u)
	}
	if l.resumed || l.err != nil {
		return l.err
	}
	for i, d := range l.devs {
		if !l.stale[i] {
			continue
		}
		if err := l.heal(d); err != nil {
			return l.fail(err)
		}
		l.stale[i] = false
	}
	if len(l.devs) < int(h.Replicas) {
		// The replicas that are missing may come back. Then they must not be taken for as good as these.
		h.Term++
		if err := l.writeHeader(l.cur); err != nil {
			return err
		}
	}
	for _, d := range l.devs {
		if err := d.Flush(); err != nil {
			return l.fail(err)
		}
	}
	l.resumed = true
	return nil
}

// heal writes to a replica what the others have: records first, headers after them.
func (l *Log) heal(d block.Device) error {
	for _, slot := range l.byAge() {
		h := &l.halves[slot]
		off, _ := h.span(slot)
		prev := h.seed()
		for _, r := range h.recs {
			l.buf, prev = AppendRecord(l.buf[:0], r, prev, h.Sector)
			if _, err := d.WriteAt(l.buf, off); err != nil {
				return err
			}
			off += int64(len(l.buf))
		}
	}
	if err := d.Flush(); err != nil {
		return err
	}
	for _, slot := range l.byAge() {
		h := l.halves[slot].Header
		b := AppendHeader(l.buf[:0], h)
		for len(b) < int(h.Sector) {
			b = append(b, padding[:]...)
		}
		l.buf = b
		if _, err := d.WriteAt(b, int64(slot)*headerStride); err != nil {
			return err
		}
	}
	return d.Flush()
}
