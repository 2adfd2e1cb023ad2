package ring

import (
	"errors"
	"fmt"
	"math/bits"
	"sync/atomic"
)

// ErrBadIndex says that the peer wrote an index that no honest peer writes. The session is over.
var ErrBadIndex = errors.New("ring: peer wrote an impossible index")

// Producer is the writing side of a byte ring.
type Producer struct {
	data       []byte
	prod, cons *atomic.Uint32
	next       uint32 // our own copy of prod
	err        error
}

// NewProducer makes the writing side of a byte ring over data, whose length is a power of two up to 2^30. prod is
// ours, cons the peer's. It goes on from where prod stands, so that a restarted side finds its place; what it finds
// is validated.
func NewProducer(data []byte, prod, cons *atomic.Uint32) (*Producer, error) {
	if err := checkSize(data); err != nil {
		return nil, err
	}
	p := &Producer{data: data, prod: prod, cons: cons, next: prod.Load()}
	if _, err := p.Free(); err != nil {
		return nil, err
	}
	return p, nil
}

// Free is how many bytes Write would take now.
func (p *Producer) Free() (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	used := p.next - p.cons.Load()
	if used > uint32(len(p.data)) {
		p.err = fmt.Errorf("%w: consumer %d bytes behind in a ring of %d", ErrBadIndex, used, len(p.data))
		return 0, p.err
	}
	return len(p.data) - int(used), nil
}

// Write copies as much of b as there is room for, publishes it and returns how much that was: 0 if the ring is
// full. The caller notifies the peer if it was not 0.
func (p *Producer) Write(b []byte) (int, error) {
	free, err := p.Free()
	if err != nil {
		return 0, err
	}
	n := min(free, len(b))
	if n == 0 {
		return 0, nil
	}
	at := int(p.next) & (len(p.data) - 1)
	copy(p.data, b[copy(p.data[at:], b[:n]):n])
	p.next += uint32(n)
	p.prod.Store(p.next)
	return n, nil
}

// Pending is how many bytes the peer has yet to read.
func (p *Producer) Pending() (int, error) {
	free, err := p.Free()
	return len(p.data) - free, err
}

// Consumer is the reading side of a byte ring.
type Consumer struct {
	data       []byte
	prod, cons *atomic.Uint32
	next       uint32 // our own copy of cons
	err        error
}

// NewConsumer makes the reading side of a byte ring over data, whose length is a power of two up to 2^30. prod is
// the peer's, cons ours.
func NewConsumer(data []byte, prod, cons *atomic.Uint32) (*Consumer, error) {
	if err := checkSize(data); err != nil {
		return nil, err
	}
	c := &Consumer{data: data, prod: prod, cons: cons, next: cons.Load()}
	if _, err := c.Len(); err != nil {
		return nil, err
	}
	return c, nil
}

// Len is how many bytes Read would find now.
func (c *Consumer) Len() (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n := c.prod.Load() - c.next
	if n > uint32(len(c.data)) {
		c.err = fmt.Errorf("%w: producer %d bytes ahead in a ring of %d", ErrBadIndex, n, len(c.data))
		return 0, c.err
	}
	return int(n), nil
}

// Read copies what is there, at most len(b), gives the room back and returns how much that was: 0 if the ring is
// empty. The caller notifies the peer if it was not 0 and the peer may wait for room.
func (c *Consumer) Read(b []byte) (int, error) {
	have, err := c.Len()
	if err != nil {
		return 0, err
	}
	n := min(have, len(b))
	if n == 0 {
		return 0, nil
	}
	at := int(c.next) & (len(c.data) - 1)
	m := copy(b[:n], c.data[at:])
	copy(b[m:n], c.data)
	c.next += uint32(n)
	c.cons.Store(c.next)
	return n, nil
}

func checkSize(data []byte) error {
	if n := len(data); bits.OnesCount(uint(n)) != 1 || n > 1<<30 {
		return fmt.Errorf("ring: %d bytes: not a power of two from 1 to 2^30", n)
	}
	return nil
}
