package xenstore

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"

	"morgana/xen/wire/xs"
)

// listMax bounds a DIRECTORY reply. The protocol says 4096, but oxenstored sends large directories in one piece.
const listMax = 1 << 20

// Client is a connection to xenstore. Safe for concurrent use.
type Client struct {
	Tree
	conn io.ReadWriteCloser
	one  bool // each request in a write of its own

	wake chan struct{} // the writer has something to do; capacity 1
	done chan struct{} // closed when the connection is over
	wg   sync.WaitGroup

	mu      sync.Mutex
	err     error  // why the connection is over
	out     []byte // requests to be written
	ends    []int  // where each request in out ends, if one
	nextReq uint32
	calls   map[uint32]*call
	nextTok uint64
	tokens  map[string]*watched
	watches map[*Watch]struct{}
}

type call struct {
	op    xs.Op
	tx    uint32
	reply chan result // capacity 1
	// abandoned, if set, undoes a reply for which nobody waits any more. gone says that nobody does.
	abandoned func(reply []byte)
	gone      bool
}

type result struct {
	payload []byte
	err     error
}

// NewClient makes a client of a stream and owns it from then on. It starts the goroutines that read and write it;
// Close ends them. Over a network connection or a Ring, requests that wait are written together; on anything else
// each request is one Write, which /dev/xen/xenbus wants.
func NewClient(conn io.ReadWriteCloser) *Client {
	c := &Client{
		conn:    conn,
		one:     true,
		wake:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		calls:   make(map[uint32]*call),
		tokens:  make(map[string]*watched),
		watches: make(map[*Watch]struct{}),
	}
	switch conn.(type) {
	case net.Conn, *Ring:
		c.one = false
	}
	c.Tree = Tree{c: c}
	c.wg.Add(2)
	go c.readLoop()
	go c.writeLoop()
	return c
}

// Close ends the connection and waits for its goroutines. Calls under way return an error matching ErrClosed; the
// channels of watches are closed. Idempotent.
func (c *Client) Close() error {
	c.end(ErrClosed)
	c.wg.Wait()
	return nil
}

// Done is closed when the connection is over.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the connection is over: nil as long as it is not, an error matching ErrClosed after Close or when
// the service hung up, ErrProtocol after a malformed reply.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// end ends the connection once, for the reason given, and returns the reason of the first time.
func (c *Client) end(reason error) error {
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	c.err = reason
	for id, k := range c.calls {
		delete(c.calls, id)
		k.reply <- result{err: reason}
	}
	for w := range c.watches {
		w.finish(reason)
	}
	close(c.done)
	c.mu.Unlock()
	c.conn.Close()
	return reason
}

// broken ends the connection because the service sent something malformed.
func (c *Client) broken(err error) error { return c.end(fmt.Errorf("%w: %w", ErrProtocol, err)) }

// do sends a request and waits for its reply. If ctx ends first the reply is dropped when it comes, after a call
// of abandoned with it.
func (c *Client) do(ctx context.Context, op xs.Op, tx uint32, payload []byte, abandoned func([]byte)) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	k := &call{op: op, tx: tx, reply: make(chan result, 1), abandoned: abandoned}
	if err := c.send(k, payload); err != nil {
		return nil, err
	}
	select {
	case r := <-k.reply:
		return r.payload, r.err
	case <-ctx.Done():
	}
	c.mu.Lock()
	k.gone = true
	c.mu.Unlock()
	select {
	case r := <-k.reply: // it came in the meantime
		return r.payload, r.err
	default:
		return nil, context.Cause(ctx)
	}
}

// forget sends a request whose reply does not matter.
func (c *Client) forget(op xs.Op, tx uint32, payload []byte) {
	_ = c.send(&call{op: op, tx: tx, reply: make(chan result, 1), gone: true}, payload)
}

// send queues a request.
func (c *Client) send(k *call, payload []byte) error {
	if len(payload) > xs.PayloadMax {
		return fmt.Errorf("%w: request of %d bytes, at most %d allowed", ErrTooBig, len(payload), xs.PayloadMax)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	for c.nextReq++; ; c.nextReq++ {
		if _, used := c.calls[c.nextReq]; !used && c.nextReq != 0 {
			break
		}
	}
	c.calls[c.nextReq] = k
	c.out = xs.AppendMessage(c.out, xs.Header{Op: k.op, Req: c.nextReq, Tx: k.tx}, payload)
	if c.one {
		c.ends = append(c.ends, len(c.out))
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
	return nil
}

func (c *Client) writeLoop() {
	defer c.wg.Done()
	var (
		buf  []byte
		ends []int
	)
	for {
		select {
		case <-c.wake:
		case <-c.done:
			return
		}
		c.mu.Lock()
		buf, c.out = c.out, buf[:0]
		ends, c.ends = c.ends, ends[:0]
		c.mu.Unlock()
		if !c.one && len(buf) > 0 {
			ends = append(ends[:0], len(buf))
		}
		start := 0
		for _, end := range ends {
			if _, err := c.conn.Write(buf[start:end]); err != nil {
				c.end(fmt.Errorf("%w: write: %w", ErrClosed, err))
				return
			}
			start = end
		}
	}
}

func (c *Client) readLoop() {
	defer c.wg.Done()
	r := bufio.NewReaderSize(c.conn, 2*(xs.HeaderSize+xs.PayloadMax))
	for {
		if err := c.readOne(r); err != nil {
			c.end(err)
			return
		}
	}
}

// readOne reads and handles one message. Its error is why the connection is over.
func (c *Client) readOne(r io.Reader) error {
	var hb [xs.HeaderSize]byte
	if _, err := io.ReadFull(r, hb[:]); err != nil {
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return fmt.Errorf("%w: it hung up within a message", ErrProtocol)
		}
		return fmt.Errorf("%w: read: %w", ErrClosed, err)
	}
	h, err := xs.ParseHeader(hb[:])
	if err != nil {
		return fmt.Errorf("%w: %w", ErrProtocol, err)
	}
	most := uint32(xs.PayloadMax)
	if h.Op == xs.Directory {
		most = listMax
	}
	if h.Len > most {
		return fmt.Errorf("%w: %v reply of %d bytes, at most %d allowed", ErrProtocol, h.Op, h.Len, most)
	}
	payload := make([]byte, h.Len)
	if _, err := io.ReadFull(r, payload); err != nil {
		return fmt.Errorf("%w: it hung up within a message: %w", ErrProtocol, err)
	}
	if h.Op == xs.WatchEvent {
		return c.event(payload)
	}
	return c.reply(h, payload)
}

func (c *Client) reply(h xs.Header, payload []byte) error {
	c.mu.Lock()
	k := c.calls[h.Req]
	switch {
	case k == nil:
		c.mu.Unlock()
		return fmt.Errorf("%w: %v reply to request %d, which is not under way", ErrProtocol, h.Op, h.Req)
	case h.Op != k.op && h.Op != xs.ErrorReply:
		c.mu.Unlock()
		return fmt.Errorf("%w: %v reply to a %v request", ErrProtocol, h.Op, k.op)
	}
	r := result{payload: payload}
	if h.Op == xs.ErrorReply {
		e, err := xs.ParseError(payload)
		if err != nil {
			c.mu.Unlock()
			return fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		r = result{err: e}
	}
	delete(c.calls, h.Req)
	gone := k.gone
	if !gone {
		k.reply <- r
	}
	c.mu.Unlock()
	if gone && k.abandoned != nil && r.err == nil {
		k.abandoned(payload)
	}
	return nil
}
