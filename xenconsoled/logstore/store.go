package logstore

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"morgana/block"
)

// Options are how a store is made.
type Options struct {
	// Segment is the size of a segment in bytes, a multiple of 4096 from 16384 to 2^30: 1 MiB if it is 0, or less on a
	// small disk. The oldest are dropped a segment at a time, and one is begun each time the store is opened.
	Segment int
	// ID makes the store another one than any that was on the disk before. Draw it.
	ID uint64
}

// segmentLeast is how small a segment may be: half of it is for names, and a record has to fit.
const segmentLeast = 4 * blockSize

// Format makes an empty store of a whole disk. What was there is lost.
func Format(d block.Device, o Options) error {
	room := d.Size() - blockSize
	if o.Segment == 0 {
		for o.Segment = 1 << 20; o.Segment > segmentLeast && room/int64(o.Segment) < 16; {
			o.Segment /= 2
		}
	}
	if o.Segment < segmentLeast || o.Segment > 1<<30 || o.Segment%blockSize != 0 {
		return fmt.Errorf("segments of %d bytes: want a multiple of %d from %d to %d", o.Segment, blockSize, segmentLeast, 1<<30)
	}
	s := super{id: o.ID, segment: uint32(o.Segment), count: uint32(min(room/int64(o.Segment), 1<<31))}
	if s.count < 2 {
		return fmt.Errorf("a disk of %d bytes is too small for two segments of %d", d.Size(), o.Segment)
	}
	if _, err := d.WriteAt(s.append(nil), 0); err != nil {
		return err
	}
	return d.Flush()
}

// Store is an open store. Safe for concurrent use.
type Store struct {
	dev block.Device
	super

	mu       sync.Mutex
	sequence uint64            // of the segment that is written; 0: none yet
	at       int64             // where in it the next byte goes
	buf      []byte            // what is to be written from start on, which is where a sector begins
	start    int64             // where buf begins, in the segment
	numbers  map[string]uint32 // the sources that this segment names, by name and key
	next     map[string]uint64 // the number of the byte after the last of each source, until it is forgotten
	lost     error             // the disk failed: the next record begins a new segment
}

// Open opens the store of a disk. The next record begins a new segment.
func Open(d block.Device) (*Store, error) {
	b := make([]byte, blockSize)
	if d.Size() < blockSize {
		return nil, fmt.Errorf("%w: a disk of %d bytes", ErrFormat, d.Size())
	}
	if _, err := d.ReadAt(b, 0); err != nil {
		return nil, err
	}
	sup, err := parseSuper(b, d.Size())
	if err != nil {
		return nil, err
	}
	s := &Store{dev: d, super: sup, next: make(map[string]uint64)}
	segments, err := s.segments()
	if err != nil {
		return nil, err
	}
	// Back to a segment that names all sources; and from there on.
	first := len(segments)
	for known := false; first > 0 && !known; {
		first--
		err := s.records(segments[first], func(_ string, r record) error {
			known = known || r.kind == kindKnown
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	for _, seq := range segments[first:] {
		err := s.records(seq, func(id string, r record) error {
			switch r.kind {
			case kindName:
				s.next[id] = max(s.next[id], r.from)
			case kindData:
				s.next[id] = r.from + uint64(len(r.data))
			}
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	if len(segments) > 0 {
		s.sequence = segments[len(segments)-1]
	}
	s.at = int64(s.segment) // full
	return s, nil
}

// place is where on the disk a segment is.
func (s *Store) place(sequence uint64) int64 {
	return blockSize + int64(sequence%uint64(s.count))*int64(s.segment)
}

// lookers is how many segments are looked at at once: a disk that is far away answers them together.
const lookers = 16

// segments are the sequence numbers of the segments there are, the oldest first.
func (s *Store) segments() ([]uint64, error) {
	var (
		mu   sync.Mutex
		all  []uint64
		errs error
		next atomic.Uint32
		wg   sync.WaitGroup
	)
	for range min(lookers, s.count) {
		wg.Go(func() {
			b := make([]byte, blockSize)
			for i := next.Add(1) - 1; i < s.count; i = next.Add(1) - 1 {
				_, err := s.dev.ReadAt(b, s.place(uint64(i)))
				seq, ok := parseSegment(b, s.id)
				mu.Lock()
				if err != nil {
					errs = errors.Join(errs, err)
				} else if ok && seq%uint64(s.count) == uint64(i) && seq > 0 {
					all = append(all, seq)
				}
				mu.Unlock()
				if err != nil {
					return
				}
			}
		})
	}
	wg.Wait()
	slices.Sort(all)
	return all, errs
}

// records calls f with the records of a segment, and the id of their source. Data is valid during the call.
func (s *Store) records(sequence uint64, f func(id string, r record) error) error {
	b := make([]byte, s.segment)
	if _, err := s.dev.ReadAt(b, s.place(sequence)); err != nil {
		return err
	}
	if seq, ok := parseSegment(b, s.id); !ok || seq != sequence {
		return nil // overwritten meanwhile
	}
	sources := make(map[uint32]string)
	for b = b[blockSize:]; ; {
		r, n, ok := parseRecord(b, sequence)
		if !ok {
			return nil
		}
		b = b[n:]
		if r.kind == kindName {
			name, key, ok := parseName(r.data)
			if !ok {
				continue
			}
			sources[r.source] = id(name, key)
		}
		src, ok := sources[r.source]
		if !ok && r.kind != kindKnown {
			continue
		}
		if err := f(src, r); err != nil {
			return err
		}
	}
}

func id(name, key string) string { return name + "\x00" + key }

// most is how many bytes one record may have: what fits behind the names of a segment, and is quick to write.
func (s *Store) most() int { return min(int(s.segment)/2-blockSize, 64<<10) }

// nameMax is how long a name with its key may be.
const nameMax = 1024

// append appends a record of a source. It is on the disk when append returns, and stays there after Sync.
func (s *Store) append(id string, r record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	room := padded(recordHead+len(r.data)) + padded(recordHead+4+len(id))
	if s.lost != nil || s.at+int64(room) > int64(s.segment) {
		if err := s.beginLocked(); err != nil {
			return err
		}
	}
	number, named := s.numbers[id]
	if !named {
		number = s.nameLocked(id, s.next[id])
	}
	r.source = number
	s.putLocked(r)
	if err := s.writeLocked(); err != nil {
		return err
	}
	if r.kind == kindData {
		s.next[id] = r.from + uint64(len(r.data))
	}
	return nil
}

// nameLocked names a source in the segment that is written.
func (s *Store) nameLocked(id string, next uint64) uint32 {
	number := uint32(len(s.numbers))
	s.numbers[id] = number
	name, key, _ := strings.Cut(id, "\x00")
	s.putLocked(record{source: number, kind: kindName, from: next, data: appendName(nil, name, key)})
	return number
}

func (s *Store) putLocked(r record) {
	before := len(s.buf)
	s.buf = appendRecord(s.buf, s.sequence, r)
	s.at += int64(len(s.buf) - before)
}

// beginLocked begins a new segment, in the place of the oldest. The one before is made stable first, or a power cut could
// leave what came later without what came before. So is its first block, before its records overwrite the oldest's: these
// are there all, or none of them.
func (s *Store) beginLocked() error {
	if err := s.dev.Flush(); err != nil {
		return fmt.Errorf("log store: %w", err)
	}
	s.sequence++
	s.lost = nil
	s.numbers = make(map[string]uint32)
	s.buf = appendSegment(s.buf[:0], s.id, s.sequence)
	s.start, s.at = 0, blockSize
	if err := s.writeLocked(); err != nil {
		return err
	}
	if err := s.dev.Flush(); err != nil {
		s.lost = fmt.Errorf("log store: %w", err)
		return s.lost
	}
	for id, next := range s.next {
		if s.at > int64(s.segment)/2-nameMax-2*recordHead {
			return nil // too many for so small a segment: who opens the store has to look further back
		}
		s.nameLocked(id, next)
	}
	s.putLocked(record{kind: kindKnown})
	return nil
}

// writeLocked writes what is not on the disk yet: whole sectors, the last one to be written again as it fills.
func (s *Store) writeLocked() error {
	sector := s.dev.SectorSize()
	n := len(s.buf)
	whole := (n + sector - 1) / sector * sector
	s.buf = append(s.buf, make([]byte, whole-n)...)
	if _, err := s.dev.WriteAt(s.buf, s.place(s.sequence)+s.start); err != nil {
		// What the disk has is not known: the segment ends where it was synced.
		s.lost = fmt.Errorf("log store: segment %d: %w", s.sequence, err)
		return s.lost
	}
	tail := n / sector * sector
	s.start += int64(tail)
	s.buf = s.buf[:copy(s.buf, s.buf[tail:n])]
	return nil
}

// Sync returns when everything that was appended is on stable storage.
func (s *Store) Sync() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.dev.Flush(); err != nil {
		s.lost = fmt.Errorf("log store: %w", err)
		return s.lost
	}
	return nil
}

// nextOf is the number of the byte after the last that the store has of a source, 0 if it has none.
func (s *Store) nextOf(id string) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next[id]
}

// Retain forgets the sources for which keep is false: guests that went while nobody wrote. What they said stays.
func (s *Store) Retain(keep func(name, key string) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for id := range s.next {
		if name, key, _ := strings.Cut(id, "\x00"); !keep(name, key) {
			delete(s.next, id)
		}
	}
}

// forget drops a source that will not be continued.
func (s *Store) forget(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.next, id)
}
