package xenconsoled

import (
	"errors"
	"fmt"
	"sync/atomic"

	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/console"
)

// errIndex says that a guest wrote an index that no honest one writes.
var errIndex = errors.New("impossible index in the console ring")

// page is a guest's console page as the service sees it.
//
// Unlike the rings of package ring it keeps no index of its own: whoever builds or resets a domain may write the page
// anew while it is mapped, and a service that starts again finds its place there. A guest that changes the service's
// index finds its own bytes twice or misses some; it cannot make more than a ring's worth be copied.
type page struct {
	in, out                          []byte
	inCons, inProd, outCons, outProd *atomic.Uint32
}

func newPage(mem []byte) (*page, error) {
	if len(mem) != xen.PageSize {
		return nil, fmt.Errorf("xenconsoled: a console page of %d bytes, want %d", len(mem), xen.PageSize)
	}
	p := &page{
		in:  mem[console.In : console.In+console.InSize],
		out: mem[console.Out : console.Out+console.OutSize],
	}
	for off, w := range map[int]**atomic.Uint32{
		console.InCons: &p.inCons, console.InProd: &p.inProd, console.OutCons: &p.outCons, console.OutProd: &p.outProd,
	} {
		var err error
		if *w, err = ring.Word(mem, off); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// output is what the guest wrote and the service has not taken: how many bytes, from which index on.
func (p *page) output() (cons uint32, n int, err error) {
	cons = p.outCons.Load()
	used := p.outProd.Load() - cons
	if used > console.OutSize {
		return cons, 0, errIndex
	}
	return cons, int(used), nil
}

// bytes are n ≤ OutSize bytes of the output from index cons on, in two parts. The guest may still change them: they are
// to be copied, once.
func (p *page) bytes(cons uint32, n int) (a, b []byte) {
	at := int(cons & (console.OutSize - 1))
	a = p.out[at:min(at+n, console.OutSize)]
	return a, p.out[:n-len(a)]
}

// put writes what there is room for of b to the guest and returns how much that was.
func (p *page) put(b []byte) (int, error) {
	prod := p.inProd.Load()
	used := prod - p.inCons.Load()
	if used > console.InSize {
		return 0, errIndex
	}
	n := min(len(b), console.InSize-int(used))
	if n == 0 {
		return 0, nil
	}
	at := int(prod & (console.InSize - 1))
	copy(p.in, b[copy(p.in[at:], b[:n]):n])
	p.inProd.Store(prod + uint32(n))
	return n, nil
}
