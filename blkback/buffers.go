package blkback

import (
	"math/bits"
	"sync/atomic"
	"time"

	"morgana/xen"
)

// pool bounds the buffers of all rings together, in pages. Where there is no more, a ring has one call at a time.
type pool struct {
	limit int64
	held  atomic.Int64
}

// buffers is memory for calls whose data is copied: pieces of 1, 2, 4 … callPages pages, reused. Whoever uses a piece
// has reserved as many pages before, so that all pieces together never exceed the bound.
type buffers struct {
	pool     *pool
	limit    int // pages
	reserved int // pages that calls have reserved
	held     int // pages of all pieces, in use or free
	free     [9][][]byte
	used     time.Duration // when one was last taken
}

// class is which size of piece holds n pages: 1<<class(n) pages.
func class(pages int) int { return bits.Len(uint(pages - 1)) }

// reserve sets pages aside for a call, and reports whether there were enough.
func (b *buffers) reserve(pages int) bool {
	n := 1 << class(pages)
	if b.reserved+n > b.limit {
		return false
	}
	// What is held and not reserved is there for the taking. The first call always gets what it needs.
	if more := b.reserved + n - b.held; b.reserved > 0 && more > 0 && b.pool.held.Load()+int64(more) > b.pool.limit {
		return false
	}
	b.reserved += n
	return true
}

func (b *buffers) release(pages int) { b.reserved -= 1 << class(pages) }

// take gives memory for as many pages as were reserved. What is in it is left from others.
func (b *buffers) take(pages int, now time.Duration) []byte {
	c := class(pages)
	b.used = now
	if n := len(b.free[c]); n > 0 {
		p := b.free[c][n-1]
		b.free[c] = b.free[c][:n-1]
		return p
	}
	size := 1 << c
	for i := len(b.free) - 1; i >= 0 && (b.held+size > b.limit || b.pool.held.Load()+int64(size) > b.pool.limit); i-- {
		b.dropClass(i)
	}
	b.hold(size)
	return make([]byte, size*xen.PageSize)
}

func (b *buffers) give(p []byte) {
	if b.pool.held.Load() > b.pool.limit {
		b.hold(-len(p) / xen.PageSize)
		return
	}
	c := class(len(p) / xen.PageSize)
	b.free[c] = append(b.free[c], p)
}

func (b *buffers) hold(pages int) {
	b.held += pages
	b.pool.held.Add(int64(pages))
}

func (b *buffers) dropClass(c int) {
	b.hold(-len(b.free[c]) << c)
	clear(b.free[c])
	b.free[c] = b.free[c][:0]
}

// trim gives memory back that was long not used.
func (b *buffers) trim(now time.Duration) {
	if b.held == 0 || now-b.used < keptIdle {
		return
	}
	b.dropAll()
}

// dropAll gives back everything that no call uses.
func (b *buffers) dropAll() {
	for i := range b.free {
		b.dropClass(i)
	}
}
