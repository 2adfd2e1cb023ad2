package journal

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
	"sync"
)

// Arena keeps logs and snapshots in memory that outlives the program: pages of a unikernel that a restart in place
// leaves alone. It is blocks and a table with one word a block, which says what the block is of. A word is written
// whole, and has a checksum, so that the table makes sense whenever the program dies.
//
// Where memory is short, logs are smaller than asked for, and snapshots that were never finished make room.
type Arena struct {
	mu     sync.Mutex
	table  []byte // a word a block
	count  int    // of blocks
	blocks []byte
}

// A word of the table, from the low bits: kind, index of the block in its log or snapshot, the number of that, checksum.
const (
	arenaBlock = 32 << 10

	blockFree  = 0
	blockLog   = 1
	blockBegun = 2 // of a snapshot that is being written
	blockWhole = 3 // of one that is complete: what its first block says counts

	indexShift  = 2
	numberShift = 18
	sumShift    = 54
	indexMax    = 1<<(numberShift-indexShift) - 1
	numberMax   = 1<<(sumShift-numberShift) - 1
)

// ErrNoRoom says that an arena is full.
var ErrNoRoom = errors.New("the journal's memory is full; give it more")

// NewArena uses memory that is all zero or has what an arena left there. Its size must be the same each time.
func NewArena(mem []byte) (*Arena, error) {
	n := len(mem) / (arenaBlock + 8)
	if n < 16 || n > indexMax {
		return nil, fmt.Errorf("journal: an arena of %d bytes: want %d to %d", len(mem), 16*(arenaBlock+8), indexMax*(arenaBlock+8))
	}
	return &Arena{count: n, blocks: mem[:n*arenaBlock], table: mem[n*arenaBlock:][:8*n]}, nil
}

func checked(w uint64) uint64 {
	var b [8]byte
	w &= 1<<sumShift - 1
	binary.LittleEndian.PutUint64(b[:], w)
	return w | uint64(crc32.Checksum(b[:], castagnoli))<<sumShift
}

// block is what the table says of a block: free, if it is damaged.
func (a *Arena) block(i int) (kind int, index int, n uint64) {
	w := binary.LittleEndian.Uint64(a.table[8*i:])
	if w == 0 || w != checked(w) {
		return blockFree, 0, 0
	}
	return int(w & 3), int(w >> indexShift & indexMax), w >> numberShift & numberMax
}

func (a *Arena) set(i, kind, index int, n uint64) {
	w := checked(uint64(kind) | uint64(index)<<indexShift | n<<numberShift)
	if kind == blockFree {
		w = 0
	}
	binary.LittleEndian.PutUint64(a.table[8*i:], w)
}

func (a *Arena) bytes(i, n int) []byte {
	return a.blocks[i*arenaBlock : (i+n)*arenaBlock : (i+n)*arenaBlock]
}

// List implements Storage.
func (a *Arena) List() (logs, snapshots []uint64, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := range a.count {
		switch kind, index, n := a.block(i); {
		case index != 0:
		case kind == blockLog:
			logs = append(logs, n)
		case kind != blockFree:
			snapshots = append(snapshots, n)
		}
	}
	return logs, snapshots, nil
}

// find returns the blocks of a log or snapshot in their order; nil if one is missing.
func (a *Arena) find(n uint64, log bool) []int {
	var at []int
	for i := range a.count {
		if kind, index, m := a.block(i); kind != blockFree && m == n && (kind == blockLog) == log {
			for len(at) <= index {
				at = append(at, -1)
			}
			at[index] = i
		}
	}
	if slices.Contains(at, -1) {
		return nil
	}
	return at
}

func (a *Arena) free(keep func(kind int, n uint64) bool) {
	for i := range a.count {
		if kind, _, n := a.block(i); !keep(kind, n) {
			a.set(i, blockFree, 0, 0)
		}
	}
}

// Log implements Storage. A log is a sixteenth of the arena at most.
func (a *Arena) Log(n uint64, size int) (Log, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free(func(kind int, m uint64) bool { return kind != blockLog || m != n })
	want := max(min((size+arenaBlock-1)/arenaBlock, a.count/16), 1)
	for ; want > 0; want /= 2 {
		run := 0
		for i := range a.count {
			if kind, _, _ := a.block(i); kind != blockFree {
				run = 0
				continue
			}
			if run++; run < want {
				continue
			}
			first := i - want + 1
			clear(a.bytes(first, want))
			for k := range want {
				a.set(first+k, blockLog, k, n)
			}
			return arenaLog(a.bytes(first, want)), nil
		}
	}
	return nil, fmt.Errorf("journal: log %d: %w", n, ErrNoRoom)
}

// ReadLog implements Storage.
func (a *Arena) ReadLog(n uint64) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.find(n, true)
	if len(at) == 0 || at[len(at)-1]-at[0] != len(at)-1 {
		return nil, fmt.Errorf("journal: log %d is damaged", n)
	}
	return a.bytes(at[0], len(at)), nil
}

// arenaLog is the memory of a log.
type arenaLog []byte

// Size is how much there is room for.
func (l arenaLog) Size() int { return len(l) }

// WriteAt implements Log. The first word, without which there is no frame, goes last.
func (l arenaLog) WriteAt(b []byte, off int64) (int, error) {
	if off < 0 || off > int64(len(l)) || len(b) > len(l)-int(off) {
		return 0, ErrFull
	}
	head := min(4, len(b))
	copy(l[int(off)+head:], b[head:])
	copy(l[off:], b[:head])
	return len(b), nil
}

// Close implements Log.
func (arenaLog) Close() error { return nil }

// Write implements Storage.
func (a *Arena) Write(n uint64) (io.WriteCloser, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	whole := make(map[uint64]bool)
	for i := range a.count {
		if kind, index, m := a.block(i); kind == blockWhole && index == 0 && m != n {
			whole[m] = true
		}
	}
	a.free(func(kind int, m uint64) bool { return kind == blockLog || whole[m] })
	return &arenaSnapshot{arena: a, n: n}, nil
}

// Read implements Storage.
func (a *Arena) Read(n uint64) ([]byte, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := a.find(n, false)
	if len(at) > 0 && at[len(at)-1]-at[0] == len(at)-1 && slices.IsSorted(at) {
		return a.bytes(at[0], len(at)), nil
	}
	var b []byte
	for _, i := range at {
		b = append(b, a.bytes(i, 1)...)
	}
	return b, nil // what is missing shows in the frames
}

// Remove implements Storage.
func (a *Arena) Remove(n uint64) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.free(func(_ int, m uint64) bool { return m >= n })
	return nil
}

// Free is how many bytes logs and snapshots do not use.
func (a *Arena) Free() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	n := 0
	for i := range a.count {
		if kind, _, _ := a.block(i); kind == blockFree {
			n += arenaBlock
		}
	}
	return n
}

// arenaSnapshot is a snapshot that is being written.
type arenaSnapshot struct {
	arena *Arena
	n     uint64
	first int    // block
	next  int    // index of the next block
	room  []byte // of the last block
	err   error
}

func (s *arenaSnapshot) Write(b []byte) (int, error) {
	done := 0
	for done < len(b) {
		if len(s.room) == 0 {
			if s.err = s.grow(); s.err != nil {
				return done, s.err
			}
		}
		k := copy(s.room, b[done:])
		s.room = s.room[k:]
		done += k
	}
	return done, nil
}

func (s *arenaSnapshot) grow() error {
	a := s.arena
	a.mu.Lock()
	defer a.mu.Unlock()
	for i := a.count - 1; i >= 0; i-- { // from above: logs, which are in one piece, come from below
		if kind, _, _ := a.block(i); kind != blockFree {
			continue
		}
		if s.next == 0 {
			s.first = i
		}
		a.set(i, blockBegun, s.next, s.n)
		s.next++
		s.room = a.bytes(i, 1)
		return nil
	}
	return fmt.Errorf("journal: snapshot %d: %w", s.n, ErrNoRoom)
}

// Close says that the snapshot is whole, unless it is not. Idempotent.
func (s *arenaSnapshot) Close() error {
	a := s.arena
	a.mu.Lock()
	defer a.mu.Unlock()
	if kind, index, n := a.block(s.first); s.err == nil && s.next > 0 && kind == blockBegun && index == 0 && n == s.n {
		a.set(s.first, blockWhole, 0, s.n)
	}
	return nil
}
