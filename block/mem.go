package block

import (
	"maps"
	"sync"
)

// memChunk is how much of a Mem is allocated at once, so that a big and empty disk costs little.
const memChunk = 64 << 10

// Mem is a disk in memory. What was never written reads as zero and takes no room.
type Mem struct {
	size   int64
	sector int

	mu     sync.RWMutex
	chunks map[int64]*[memChunk]byte
	own    map[int64]bool // chunks that no clone has
}

// NewMem returns an empty disk of size bytes whose sectors have sector bytes.
func NewMem(size int64, sector int) *Mem {
	return &Mem{size: size, sector: sector, chunks: map[int64]*[memChunk]byte{}, own: map[int64]bool{}}
}

// Clone returns a copy. It costs little: what neither writes stays common.
func (m *Mem) Clone() *Mem {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.own)
	return &Mem{size: m.size, sector: m.sector, chunks: maps.Clone(m.chunks), own: map[int64]bool{}}
}

// chunkLocked returns a chunk for writing, nil if it is not there and need not be.
func (m *Mem) chunkLocked(i int64, need bool) *[memChunk]byte {
	c := m.chunks[i]
	if c == nil && !need {
		return nil
	}
	if c == nil || !m.own[i] {
		n := new([memChunk]byte)
		if c != nil {
			*n = *c
		}
		c = n
		m.chunks[i], m.own[i] = c, true
	}
	return c
}

// Size implements Device.
func (m *Mem) Size() int64 { return m.size }

// SectorSize implements Device.
func (m *Mem) SectorSize() int { return m.sector }

// Flush implements Device; memory is as stable as it gets.
func (m *Mem) Flush() error { return nil }

// ReadAt implements Device.
func (m *Mem) ReadAt(p []byte, off int64) (int, error) {
	if err := CheckRange(off, int64(len(p)), m.size); err != nil {
		return 0, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	for rest := p; len(rest) > 0; {
		at := off % memChunk
		n := min(int64(len(rest)), memChunk-at)
		if c := m.chunks[off/memChunk]; c != nil {
			copy(rest[:n], c[at:])
		} else {
			clear(rest[:n])
		}
		rest, off = rest[n:], off+n
	}
	return len(p), nil
}

// WriteAt implements Device.
func (m *Mem) WriteAt(p []byte, off int64) (int, error) {
	if err := CheckRange(off, int64(len(p)), m.size); err != nil {
		return 0, err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for rest := p; len(rest) > 0; {
		at := off % memChunk
		n := min(int64(len(rest)), memChunk-at)
		copy(m.chunkLocked(off/memChunk, true)[at:], rest[:n])
		rest, off = rest[n:], off+n
	}
	return len(p), nil
}

// WriteZeroes implements Zeroer; whole chunks are given back.
func (m *Mem) WriteZeroes(off, n int64) error {
	if err := CheckRange(off, n, m.size); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for n > 0 {
		at := off % memChunk
		k := min(n, memChunk-at)
		if k == memChunk {
			delete(m.chunks, off/memChunk)
			delete(m.own, off/memChunk)
		} else if c := m.chunkLocked(off/memChunk, false); c != nil {
			clear(c[at : at+k])
		}
		off, n = off+k, n-k
	}
	return nil
}

// Discard implements Discarder; what is forgotten reads as zero.
func (m *Mem) Discard(off, n int64) error { return m.WriteZeroes(off, n) }
