package xenconsoled

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"sync"
	"sync/atomic"

	"morgana/xen/ring"
)

// StreamHeader is what a stream's memory has before the bytes.
const StreamHeader = 4096

// Where the fields of the header are. Those that change are words of their own, so that each is whole at any instant.
const (
	headMagic = 0   // 8 bytes
	headSize  = 8   // u32: bytes of the scrollback
	headBase  = 12  // u32: the ring's index of the stream's byte 0
	headEnd   = 16  // u64: how many bytes the stream has had
	headKey   = 32  // 32 bytes: whose stream it is
	headMark  = 64  // the sink's Mark
	headSeen  = 192 // u64: how much of it a terminal has been given
	headLines = 200 // u64: how many of its bytes end a line
	headLabel = 256 // u32 length and bytes: what the console is called
	headEnds  = 1024
)

// labelMax is how long a label may be.
const labelMax = headEnds - headLabel - 4

const magic = "morgcon1"

// Stream is everything that a console said: bytes numbered from 0, the newest of which are kept in memory. One
// goroutine appends; any number of Readers read. Safe for concurrent use.
type Stream struct {
	data  []byte
	head  []byte
	base  *atomic.Uint32
	endAt *atomic.Uint64
	seen  *atomic.Uint64
	lines *atomic.Uint64
	mark  *Mark

	dropped atomic.Uint64 // bytes that readers missed

	mu      sync.Mutex
	end     uint64 // what endAt says; the number of the next byte
	readers []*Reader
	room    chan struct{} // somebody who holds the writer up has read; capacity 1
	closed  bool
	left    bool // closed, and the guest goes on
}

// NewStream makes a stream in mem: StreamHeader bytes and a scrollback, whose size is a power of two from 4096 to 2^26.
// mem is aligned to 8 bytes. If it holds a stream of the same key, the stream goes on; else it begins anew. key says
// whose console it is, so that a domain does not find what another one of the same number left.
func NewStream(mem []byte, key string) (*Stream, error) {
	size := len(mem) - StreamHeader
	if size < 4096 || size > 1<<26 || bits.OnesCount(uint(size)) != 1 {
		return nil, fmt.Errorf("xenconsoled: memory of %d bytes for a console, want %d and a power of two from 4096 to 2^26", len(mem), StreamHeader)
	}
	s := &Stream{room: make(chan struct{}, 1)}
	if err := s.bind(mem); err != nil {
		return nil, err
	}
	s.end = s.endAt.Load()
	if !s.sound() || !s.Is(key) {
		clear(mem[:StreamHeader])
		s.end = 0
		binary.LittleEndian.PutUint32(mem[headSize:], uint32(size))
		sum := sha256.Sum256([]byte(key))
		copy(mem[headKey:], sum[:])
		copy(mem, magic)
	}
	return s, nil
}

// bind has the stream lie in mem.
func (s *Stream) bind(mem []byte) (err error) {
	s.head, s.data = mem[:StreamHeader], mem[StreamHeader:]
	if s.base, err = ring.Word(mem, headBase); err != nil {
		return err
	}
	for off, w := range map[int]**atomic.Uint64{headEnd: &s.endAt, headSeen: &s.seen, headLines: &s.lines} {
		if *w, err = ring.Word64(mem, off); err != nil {
			return err
		}
	}
	s.mark, err = newMark(mem[headMark:headSeen])
	return err
}

// Detach moves the stream out of its memory, which may go then: readers still read what there is. The stream's Mark is not
// to be used any more, and nothing is appended.
func (s *Stream) Detach() {
	s.mu.Lock()
	defer s.mu.Unlock()
	mem := make([]byte, len(s.head)+len(s.data))
	copy(mem[copy(mem, s.head):], s.data)
	_ = s.bind(mem) // it lies as the old memory did
}

// OpenStream opens the stream that mem holds, whoever's it is: what a process before this one left of a guest that is
// gone. ok is false if there is none.
func OpenStream(mem []byte) (s *Stream, ok bool) {
	if len(mem) < StreamHeader {
		return nil, false
	}
	was := [StreamHeader]byte(mem[:StreamHeader])
	s, err := NewStream(mem, "")
	if err != nil {
		return nil, false
	}
	copy(mem, was[:])
	s.end = s.endAt.Load()
	return s, s.sound()
}

// Is reports whether the stream was made with that key.
func (s *Stream) Is(key string) bool {
	sum := sha256.Sum256([]byte(key))
	return bytes.Equal(s.head[headKey:headKey+len(sum)], sum[:])
}

// Key is what tells this stream from others: 16 hexadecimal digits that follow from the key that it was made with.
func (s *Stream) Key() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return fmt.Sprintf("%x", s.head[headKey:][:8])
}

// Seen is what SetSeen left: how much of the stream a terminal has been given.
func (s *Stream) Seen() uint64        { return s.seen.Load() }
func (s *Stream) SetSeen(upTo uint64) { s.seen.Store(upTo) }

// sound reports whether the header makes sense.
func (s *Stream) sound() bool {
	note, pending := s.mark.Pending()
	return string(s.head[:8]) == magic && binary.LittleEndian.Uint32(s.head[headSize:]) == uint32(len(s.data)) &&
		s.mark.Position() <= s.end && (!pending || note.Next <= s.end)
}

// Label is what SetLabel left.
func (s *Stream) Label() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := min(binary.LittleEndian.Uint32(s.head[headLabel:]), labelMax)
	return string(s.head[headLabel+4:][:n])
}

// SetLabel keeps with the stream what its console is called, for whoever finds the memory when the guest is gone. It is
// cut where there is no room for it.
func (s *Stream) SetLabel(label string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	binary.LittleEndian.PutUint32(s.head[headLabel:], 0)
	n := copy(s.head[headLabel+4:][:labelMax], label)
	binary.LittleEndian.PutUint32(s.head[headLabel:], uint32(n))
}

// Mark is how far the sink got, for the sink. It lies in the stream's memory.
func (s *Stream) Mark() *Mark { return s.mark }

// Logged is how many bytes are in the log, and how many could not be written there and are not told of yet.
func (s *Stream) Logged() (n, lost uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mark.Position(), s.mark.Lost()
}

// End is how many bytes the stream has had.
func (s *Stream) End() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.end
}

// Start is the number of the oldest byte that is kept.
func (s *Stream) Start() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.startLocked()
}

func (s *Stream) startLocked() uint64 { return s.end - min(s.end, uint64(len(s.data))) }

// next is the ring's index of the next byte.
func (s *Stream) next() uint32 { return s.base.Load() + uint32(s.endAt.Load()) }

// resync says that the next byte is at another index of the ring.
func (s *Stream) resync(cons uint32) { s.base.Store(cons - uint32(s.endAt.Load())) }

// Free is how many bytes may be appended without overtaking a reader that has to have them all: 0 if the writer has to
// wait (Room).
func (s *Stream) Free() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.freeLocked()
}

func (s *Stream) freeLocked() int {
	free := len(s.data)
	for _, r := range s.readers {
		if r.policy == Every {
			free = min(free, r.limit-int(min(s.end-r.pos, uint64(r.limit))))
		}
	}
	return free
}

// Room tells that Free may have grown.
func (s *Stream) Room() <-chan struct{} { return s.room }

// Append appends the bytes of a and b, together at most Free.
func (s *Stream) Append(a, b []byte) {
	s.mu.Lock()
	end := s.end + uint64(len(a)+len(b))
	for _, r := range s.readers {
		r.beforeLocked(end)
	}
	at := int(s.end) & (len(s.data) - 1)
	for _, part := range [2][]byte{a, b} {
		for len(part) > 0 {
			n := copy(s.data[at:], part)
			part, at = part[n:], (at+n)&(len(s.data)-1)
		}
	}
	s.end = end
	s.endAt.Store(end)
	s.lines.Add(uint64(bytes.Count(a, newline) + bytes.Count(b, newline)))
	for _, r := range s.readers {
		r.pokeLocked()
	}
	s.mu.Unlock()
}

var newline = []byte{'\n'}

// Lines is how many lines the stream has had that have an end.
func (s *Stream) Lines() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lines.Load()
}

// Dropped is how many bytes readers missed that lagged, each reader's counted, since this process serves the stream.
func (s *Stream) Dropped() uint64 { return s.dropped.Load() }

// Close lets readers read what there is, and then io.EOF.
func (s *Stream) Close() { s.close(false) }

// Leave is Close where the guest goes on, and another process will serve it: readers then get io.ErrUnexpectedEOF.
func (s *Stream) Leave() { s.close(true) }

func (s *Stream) close(left bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	s.closed, s.left = true, left
	for _, r := range s.readers {
		r.pokeLocked()
	}
}

// Copy copies what there is from byte number from on, at most len(p), or from the oldest that is kept if that one is gone:
// the number of the first byte that was copied says.
func (s *Stream) Copy(p []byte, from uint64) (n int, first uint64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first = min(max(from, s.startLocked()), s.end)
	return s.copyLocked(p, first), first
}

// copyLocked copies bytes from number from on, as many as there are and fit.
func (s *Stream) copyLocked(p []byte, from uint64) int {
	n := min(len(p), int(s.end-from))
	at := int(from) & (len(s.data) - 1)
	copy(p[copy(p[:n], s.data[at:]):n], s.data)
	return n
}

// Screen is where the last lines begin: at most lines of them, and most bytes.
func (s *Stream) Screen(lines, most int) uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	start := s.end - min(uint64(most), s.end-s.startLocked())
	for at := s.end; at > start; at-- {
		// The newest line may be unfinished: the end of the line before it is the first that counts.
		if at < s.end && s.data[int(at-1)&(len(s.data)-1)] == '\n' {
			if lines--; lines <= 0 {
				return at
			}
		}
	}
	return start
}
