package xenconsoled

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"morgana/xen"
	"morgana/xen/ring"
)

// ErrPoolFull says that a pool has no memory for one more guest.
var ErrPoolFull = errors.New("no memory for one more console; give more")

// Pool is memory for the streams of many guests, out of one piece that outlives the process: an arena. Each guest has a
// place of the same size. Safe for concurrent use.
type Pool struct {
	places []byte
	size   int              // of a place
	owner  []*atomic.Uint32 // of each place: the domain's number and one, or 0
	mu     sync.Mutex
	open   map[int]bool // places that are in use
}

// The header: what the places are, and from poolOwners on whose each is, 32 bits for each.
const (
	poolMagic  = "morgpool"
	poolSize   = 8  // u32: bytes of a place
	poolCount  = 12 // u32: places
	poolOwners = 64
)

// NewPool makes a pool in mem, whose places have a scrollback of that many bytes, a power of two from 4096 to 2^26. If
// mem holds a pool of that shape it goes on, else it begins anew. mem is aligned to 8 bytes.
func NewPool(mem []byte, scrollback int) (*Pool, error) {
	p := &Pool{size: StreamHeader + scrollback, open: make(map[int]bool)}
	count := max(len(mem)-poolOwners, 0) / (p.size + 4)
	if scrollback < 4096 || scrollback > 1<<26 || scrollback&(scrollback-1) != 0 || count == 0 {
		return nil, fmt.Errorf("xenconsoled: a scrollback of %d bytes in memory of %d: want a power of two from 4096 to 2^26 that fits", scrollback, len(mem))
	}
	if string(mem[:8]) != poolMagic || binary.LittleEndian.Uint32(mem[poolSize:]) != uint32(p.size) || binary.LittleEndian.Uint32(mem[poolCount:]) != uint32(count) {
		clear(mem[:poolOwners+4*count])
		binary.LittleEndian.PutUint32(mem[poolSize:], uint32(p.size))
		binary.LittleEndian.PutUint32(mem[poolCount:], uint32(count))
		copy(mem, poolMagic)
	}
	for i := range count {
		w, err := ring.Word(mem, poolOwners+4*i)
		if err != nil {
			return nil, err
		}
		p.owner = append(p.owner, w)
	}
	p.places = mem[(poolOwners+4*count+7)&^7:]
	if len(p.places) < count*p.size { // the rounding
		p.owner = p.owner[:count-1]
	}
	return p, nil
}

// Places is how many guests there is memory for.
func (p *Pool) Places() int { return len(p.owner) }

func (p *Pool) place(i int) []byte { return p.places[i*p.size : (i+1)*p.size : (i+1)*p.size] }

// Memory is what Host.Memory wants. A guest finds the place that it had. All places have one size, whatever is asked for.
func (p *Pool) Memory(d xen.DomID, _ int) (Memory, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	free := -1
	for i, w := range p.owner {
		switch n := w.Load(); {
		case n == uint32(d)+1 && p.open[i]:
			return nil, fmt.Errorf("xenconsoled: the memory of domain %d is in use", d)
		case n == uint32(d)+1:
			p.open[i] = true
			return &pooled{p, i}, nil
		case n == 0 && free < 0:
			free = i
		}
	}
	if free < 0 {
		return nil, fmt.Errorf("xenconsoled: %d guests have all the memory: %w", len(p.owner), ErrPoolFull)
	}
	clear(p.place(free)[:StreamHeader])
	p.owner[free].Store(uint32(d) + 1)
	p.open[free] = true
	return &pooled{p, free}, nil
}

// Leave frees the places of guests for which keep is false and that are not in use; before, f has a look at each.
func (p *Pool) Leave(keep func(xen.DomID) bool, f func(mem []byte)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, w := range p.owner {
		if n := w.Load(); n != 0 && !p.open[i] && !keep(xen.DomID(n-1)) {
			f(p.place(i))
			w.Store(0)
		}
	}
}

// pooled is a guest's place.
type pooled struct {
	pool *Pool
	at   int
}

func (m *pooled) Bytes() []byte { return m.pool.place(m.at) }

func (m *pooled) Close(gone bool) error {
	m.pool.mu.Lock()
	defer m.pool.mu.Unlock()
	delete(m.pool.open, m.at)
	if gone {
		m.pool.owner[m.at].Store(0)
	}
	return nil
}
