package blkback

import (
	"math/bits"
	"time"

	"morgana/xen"
)

// buffers is memory for calls whose data is copied: pieces of 1, 2, 4 … callPages pages, reused. Whoever uses a piece
// has reserved as many pages before, so that all pieces together never exceed the bound.
type buffers struct {
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
	for i := len(b.free) - 1; i >= 0 && b.held+size > b.limit; i-- {
		b.dropClass(i)
	}
	b.held += size
	return make([]byte, size*xen.PageSize)
}

func (b *buffers) give(p []byte) {
	c := class(len(p) / xen.PageSize)
	b.free[c] = append(b.free[c], p)
}

func (b *buffers) dropClass(c int) {
	b.held -= len(b.free[c]) << c
	clear(b.free[c])
	b.free[c] = b.free[c][:0]
}

// trim gives memory back that was long not used.
func (b *buffers) trim(now time.Duration) {
	if b.held == 0 || now-b.used < keptIdle {
		return
	}
	for i := range b.free {
		b.dropClass(i)
	}
}
