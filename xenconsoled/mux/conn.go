package mux

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"
)

// Conn is a connection of a session: an io.ReadWriteCloser. Safe for concurrent use.
type Conn struct {
	s      *Session
	number uint32

	mu      sync.Mutex
	changed sync.Cond
	buf     []byte // received and not read
	at      int    // where in buf the next byte is
	ungiven int    // read, and the other side does not know
	credit  int    // how much the other side has room for
	gone    bool   // the other side has closed it
	closed  bool   // we have
	failed  bool   // the session is over
}

func newConn(s *Session, number uint32) *Conn {
	c := &Conn{s: s, number: number, credit: window}
	c.changed.L = &c.mu
	return c
}

// received takes bytes.
func (c *Conn) received(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed || c.gone { // it was closed while somebody wrote
		return nil
	}
	if len(c.buf)-c.at+c.ungiven+len(b) > window {
		return fmt.Errorf("%w: connection %d has more than its window", ErrProtocol, c.number)
	}
	if c.at > 0 && len(c.buf)+len(b) > cap(c.buf) {
		c.buf = c.buf[:copy(c.buf, c.buf[c.at:])]
		c.at = 0
	}
	c.buf = append(c.buf, b...)
	c.changed.Broadcast()
	return nil
}

// granted takes what the other side has room for.
func (c *Conn) granted(n uint32) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > window || c.credit+int(n) > window {
		return fmt.Errorf("%w: a window of %d bytes and %d more", ErrProtocol, c.credit, n)
	}
	c.credit += int(n)
	c.changed.Broadcast()
	return nil
}

// left says that the other side has closed it.
func (c *Conn) left() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	c.changed.Broadcast()
}

// fail says that the session is over.
func (c *Conn) fail() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.failed = true
	c.changed.Broadcast()
}

// Read implements io.Reader. io.EOF says that the other side has closed the connection.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	c.mu.Lock()
	for c.at == len(c.buf) && !c.closed && !c.gone && !c.failed {
		c.changed.Wait()
	}
	switch {
	case c.closed:
		c.mu.Unlock()
		return 0, io.ErrClosedPipe
	case c.at == len(c.buf) && c.gone:
		c.mu.Unlock()
		return 0, io.EOF
	case c.at == len(c.buf):
		c.mu.Unlock()
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, c.buf[c.at:])
	if c.at += n; c.at == len(c.buf) {
		c.buf, c.at = c.buf[:0], 0
	}
	c.ungiven += n
	give := 0
	if c.ungiven >= window/2 && !c.gone && !c.failed {
		give, c.ungiven = c.ungiven, 0
	}
	c.mu.Unlock()
	if give > 0 {
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], uint32(give))
		_ = c.s.send(head{conn: c.number, kind: kindWindow, size: len(b)}, b[:])
	}
	return n, nil
}

// Write implements io.Writer. It waits until the other side has room for all of p.
func (c *Conn) Write(p []byte) (n int, err error) {
	for n < len(p) {
		m, err := c.take(len(p) - n)
		if err != nil {
			return n, err
		}
		if err := c.s.send(head{conn: c.number, kind: kindData, size: m}, p[n:n+m]); err != nil {
			return n, err
		}
		n += m
	}
	return n, nil
}

// take takes at most n bytes of the window, and waits until there is one.
func (c *Conn) take(n int) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for c.credit == 0 && !c.closed && !c.gone && !c.failed {
		c.changed.Wait()
	}
	if c.closed || c.gone || c.failed {
		return 0, io.ErrClosedPipe
	}
	n = min(n, c.credit, dataMax)
	c.credit -= n
	return n, nil
}

// Close implements io.Closer: the other side reads what was written, and then io.EOF. Idempotent.
func (c *Conn) Close() error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil
	}
	c.closed = true
	tell := !c.failed
	c.buf, c.at = nil, 0
	c.changed.Broadcast()
	c.mu.Unlock()
	if !tell {
		return nil
	}
	c.s.forget(c.number)
	return c.s.send(head{conn: c.number, kind: kindClose}, nil)
}
