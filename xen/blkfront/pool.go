package blkfront

import (
	"errors"

	"morgana/xen"
)

// poolStep is how many pages a pool grows by.
const poolStep = 64

// patience is after how many requests a pool that got no more pages asks again.
const patience = 1000

// page is a page that the backend may map, reading and writing.
type page struct {
	ref   xen.GrantRef
	bytes []byte // xen.PageSize
}

// pool is the pages of one queue that carry data. It is guarded by the queue's lock. What was given back last is given
// out first, so that a backend which keeps few pages mapped meets those (blkif.h, "feature-persistent").
type pool struct {
	free    []page
	total   int // pages there are, given out or not
	limit   int // pages there may be
	growing bool
	full    bool // no more can be had, for a while
	returns int  // of pages since then
	chunks  []xen.Grant
}

// take moves n pages to dst, which has room for them.
func (p *pool) take(dst []page, n int) []page {
	k := len(p.free) - n
	dst = append(dst, p.free[k:]...)
	p.free = p.free[:k]
	return dst
}

// put takes pages back.
func (p *pool) put(pages []page) {
	p.free = append(p.free, pages...)
	if p.full {
		if p.returns++; p.returns == patience {
			p.full = false
		}
	}
}

// mayGrow reports whether it is worth asking for more.
func (p *pool) mayGrow() bool { return !p.full && !p.growing && p.total < p.limit }

// step is how many pages to ask for.
func (p *pool) step() int { return min(poolStep, p.limit-p.total) }

// add takes new pages in. g is nil if there were none to be had.
func (p *pool) add(g xen.Grant) {
	p.growing = false
	if g == nil {
		p.full, p.returns = true, 0
		return
	}
	p.chunks = append(p.chunks, g)
	b := g.Bytes()
	for i, r := range g.Refs() {
		p.free = append(p.free, page{r, b[i*xen.PageSize : (i+1)*xen.PageSize : (i+1)*xen.PageSize]})
	}
	p.total += len(g.Refs())
}

// close ends the backend's access and returns how many pages it still maps, at most.
func (p *pool) close() (parked int) {
	for _, g := range p.chunks {
		if errors.Is(g.Close(), xen.ErrInUse) {
			parked += len(g.Refs())
		}
	}
	p.chunks, p.free = nil, nil
	return parked
}
