package duplex

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"morgana/xen"
	"morgana/xen/ring"
)

// Where things are in the first page.
const (
	downProd, downCons = 0, 64    // from the listener
	upProd, upCons     = 128, 192 // to it
	downPages, upPages = 256, 260
)

// Conn is a connection. One goroutine at a time may Read and one may Write; Close may be called by anybody.
type Conn struct {
	event  xen.Event
	memory io.Closer
	ctx    context.Context
	cancel context.CancelFunc
	pumped chan struct{}

	readable, writable chan struct{} // the peer has told; capacity 1

	reading sync.Mutex // held while the ring is looked at
	in      *ring.Consumer
	writing sync.Mutex
	out     *ring.Producer
	close   func() error
}

// Sharer is what Listen needs of a domain.
type Sharer interface {
	xen.Granter
	xen.Events
}

// Mapper is what Connect needs of a domain.
type Mapper interface {
	xen.Mapper
	xen.Events
}

// Listen shares pages with a peer. The connection is good at once: what is written waits for the peer.
func Listen(dom Sharer, peer xen.DomID, s Sizes) (*Conn, Offer, error) {
	if err := s.valid(); err != nil {
		return nil, Offer{}, err
	}
	g, err := dom.Share(peer, 1+s.In+s.Out, xen.ReadWrite)
	if err != nil {
		return nil, Offer{}, err
	}
	event, err := dom.Listen(peer)
	if err != nil {
		return nil, Offer{}, errors.Join(err, g.Close())
	}
	mem := g.Bytes()
	for off, n := range map[int]int{downPages: s.Out, upPages: s.In} {
		w, err := ring.Word(mem, off)
		if err != nil {
			return nil, Offer{}, errors.Join(err, event.Close(), g.Close())
		}
		w.Store(uint32(n))
	}
	c, err := newConn(mem, event, g, s.Out, s.In, true)
	return c, Offer{Port: event.Port(), Refs: g.Refs()}, err
}

// Connect maps the pages that a peer offers. What the peer wrote before is there to be read.
func Connect(dom Mapper, peer xen.DomID, o Offer) (*Conn, error) {
	m, err := dom.Map(peer, o.Refs, xen.ReadWrite)
	if err != nil {
		return nil, err
	}
	mem := m.Bytes()
	var pages [2]int
	for i, off := range []int{downPages, upPages} {
		w, err := ring.Word(mem, off)
		if err != nil {
			return nil, errors.Join(err, m.Close())
		}
		pages[i] = int(w.Load())
	}
	if err := (Sizes{In: pages[1], Out: pages[0]}).valid(); err != nil || 1+pages[0]+pages[1] != len(o.Refs) {
		err = fmt.Errorf("duplex: domain %d says rings of %d and %d pages in %d: %w", peer, pages[0], pages[1], len(o.Refs), xen.ErrInvalid)
		return nil, errors.Join(err, m.Close())
	}
	event, err := dom.Connect(peer, o.Port)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	return newConn(mem, event, m, pages[0], pages[1], false)
}

// newConn makes a connection; down and up are how many pages the rings have. On error it closes what it was given.
func newConn(mem []byte, event xen.Event, memory io.Closer, down, up int, listener bool) (*Conn, error) {
	c := &Conn{
		event: event, memory: memory, pumped: make(chan struct{}), readable: make(chan struct{}, 1), writable: make(chan struct{}, 1),
	}
	outAt, outLen, outProd, outCons := xen.PageSize, down*xen.PageSize, downProd, downCons
	inAt, inLen, inProd, inCons := outAt+outLen, up*xen.PageSize, upProd, upCons
	if !listener {
		outAt, outLen, outProd, outCons, inAt, inLen, inProd, inCons = inAt, inLen, inProd, inCons, outAt, outLen, outProd, outCons
	}
	var err error
	if c.out, err = producer(mem, outAt, outLen, outProd, outCons); err == nil {
		c.in, err = consumer(mem, inAt, inLen, inProd, inCons)
	}
	if err != nil {
		return nil, errors.Join(err, event.Close(), memory.Close())
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.close = sync.OnceValue(c.end)
	go c.pump()
	return c, nil
}

func producer(mem []byte, at, size, prod, cons int) (*ring.Producer, error) {
	p, err1 := ring.Word(mem, prod)
	q, err2 := ring.Word(mem, cons)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return ring.NewProducer(mem[at:at+size:at+size], p, q)
}

func consumer(mem []byte, at, size, prod, cons int) (*ring.Consumer, error) {
	p, err1 := ring.Word(mem, prod)
	q, err2 := ring.Word(mem, cons)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	return ring.NewConsumer(mem[at:at+size:at+size], p, q)
}

// pump passes on what the peer tells.
func (c *Conn) pump() {
	defer close(c.pumped)
	for c.event.Wait(c.ctx) == nil {
		poke(c.readable)
		poke(c.writable)
	}
	c.cancel() // whoever waits ends
}

func poke(ch chan struct{}) {
	select {
	case ch <- struct{}{}:
	default:
	}
}

// Read implements io.Reader. It waits until there is something, and fails with io.ErrClosedPipe after Close.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for {
		n, err := c.tryRead(p)
		if n > 0 || err != nil {
			return n, err
		}
		select {
		case <-c.readable:
		case <-c.ctx.Done():
			return 0, io.ErrClosedPipe
		}
	}
}

func (c *Conn) tryRead(p []byte) (int, error) {
	c.reading.Lock()
	defer c.reading.Unlock()
	if c.ctx.Err() != nil {
		return 0, io.ErrClosedPipe
	}
	n, err := c.in.Read(p)
	if n > 0 {
		err = c.event.Notify() // it may wait for room
	}
	if err != nil {
		return 0, err
	}
	return n, nil
}

// Write implements io.Writer. It waits until all of p is in the ring.
func (c *Conn) Write(p []byte) (n int, err error) {
	for {
		m, err := c.tryWrite(p[n:])
		if n += m; n == len(p) || err != nil {
			return n, err
		}
		if m > 0 {
			continue
		}
		select {
		case <-c.writable:
		case <-c.ctx.Done():
			return n, io.ErrClosedPipe
		}
	}
}

func (c *Conn) tryWrite(p []byte) (int, error) {
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.ctx.Err() != nil {
		return 0, io.ErrClosedPipe
	}
	n, err := c.out.Write(p)
	if n > 0 {
		err = c.event.Notify()
	}
	return n, err
}

// Close ends Read and Write under way and gives the memory back. The peer is not told: what tells it is whatever told it
// of the connection. Idempotent.
func (c *Conn) Close() error { return c.close() }

func (c *Conn) end() error {
	c.cancel()
	err := c.event.Close()
	<-c.pumped
	c.reading.Lock()
	defer c.reading.Unlock()
	c.writing.Lock()
	defer c.writing.Unlock()
	if merr := c.memory.Close(); !errors.Is(merr, xen.ErrInUse) { // the peer still maps it
		err = errors.Join(err, merr)
	}
	return err
}
