package mux

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync"
)

// ErrFull says that there are as many connections as there may be.
var ErrFull = errors.New("too many connections")

// Session is one side of the one connection. Safe for concurrent use.
type Session struct {
	conn    io.ReadWriteCloser
	accepts bool
	accept  chan *Conn  // has room for all there may be
	refuse  chan uint32 // numbers of connections that were not taken
	ended   chan struct{}
	parts   sync.WaitGroup

	writing sync.Mutex // held by who writes to conn
	frame   []byte

	mu    sync.Mutex
	conns map[uint32]*Conn
	last  uint32 // the number of the last connection
	err   error  // why it ended
}

// Dialer makes the side that dials of a connection, which becomes the session's.
func Dialer(conn io.ReadWriteCloser) *Session { return newSession(conn, false) }

// Acceptor makes the side that accepts.
func Acceptor(conn io.ReadWriteCloser) *Session { return newSession(conn, true) }

func newSession(conn io.ReadWriteCloser, accepts bool) *Session {
	s := &Session{
		conn: conn, accepts: accepts, accept: make(chan *Conn, Connections), refuse: make(chan uint32, Connections),
		ended: make(chan struct{}), conns: make(map[uint32]*Conn),
	}
	s.parts.Go(func() { s.end(s.receive()) })
	s.parts.Go(s.refuseSome)
	return s
}

// Done is closed when the session is over.
func (s *Session) Done() <-chan struct{} { return s.ended }

// Err is why it is over, nil while it is not.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Close ends the session and its connections, and waits for them to see it. Idempotent.
func (s *Session) Close() error {
	s.end(io.ErrClosedPipe)
	s.parts.Wait()
	return nil
}

// end ends everything.
func (s *Session) end(err error) {
	s.mu.Lock()
	if s.err != nil {
		s.mu.Unlock()
		return
	}
	s.err = err
	all := s.conns
	s.conns = nil
	close(s.ended)
	s.mu.Unlock()
	s.conn.Close()
	for _, c := range all {
		c.fail()
	}
}

// Dial makes a connection. It fails with ErrFull, or when the session is over.
func (s *Session) Dial() (*Conn, error) {
	// Numbers have to reach the other side in their order.
	s.writing.Lock()
	defer s.writing.Unlock()
	s.mu.Lock()
	switch {
	case s.err != nil:
		s.mu.Unlock()
		return nil, s.err
	case s.accepts:
		s.mu.Unlock()
		return nil, errors.New("mux: the other side dials")
	case len(s.conns) >= Connections || s.last == 1<<32-1:
		s.mu.Unlock()
		return nil, ErrFull
	}
	s.last++
	c := newConn(s, s.last)
	s.conns[c.number] = c
	s.mu.Unlock()
	if err := s.sendLocked(head{conn: c.number, kind: kindOpen}, nil); err != nil {
		return nil, err
	}
	return c, nil
}

// Accept waits for a connection.
func (s *Session) Accept(ctx context.Context) (*Conn, error) {
	select {
	case c := <-s.accept:
		return c, nil
	case <-s.ended:
		return nil, s.Err()
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// send sends a frame.
func (s *Session) send(h head, body []byte) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	return s.sendLocked(h, body)
}

// sendLocked sends a frame; s.writing is held.
func (s *Session) sendLocked(h head, body []byte) error {
	s.frame = append(appendHead(s.frame[:0], h), body...)
	if _, err := s.conn.Write(s.frame); err != nil {
		s.end(err)
		return err
	}
	return nil
}

func (s *Session) refuseSome() {
	for {
		select {
		case n := <-s.refuse:
			_ = s.send(head{conn: n, kind: kindClose}, nil)
		case <-s.ended:
			return
		}
	}
}

// receive takes frames until the end. It never waits for anything but the next frame, or two sides could wait for each
// other.
func (s *Session) receive() error {
	r := bufio.NewReaderSize(s.conn, headSize+dataMax)
	var body [dataMax]byte
	for {
		if _, err := io.ReadFull(r, body[:headSize]); err != nil {
			return err
		}
		h, err := parseHead(body[:headSize])
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(r, body[:h.size]); err != nil {
			return err
		}
		if err := s.take(h, body[:h.size]); err != nil {
			return err
		}
	}
}

func (s *Session) take(h head, body []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return s.err
	}
	if h.kind == kindOpen {
		if !s.accepts || h.conn <= s.last {
			return fmt.Errorf("%w: connection %d after %d", ErrProtocol, h.conn, s.last)
		}
		s.last = h.conn
		c := newConn(s, h.conn)
		if len(s.conns) < Connections {
			select {
			case s.accept <- c:
				s.conns[h.conn] = c
				return nil
			default:
			}
		}
		select {
		case s.refuse <- h.conn:
			return nil
		default:
			return fmt.Errorf("%w: %d connections beyond what is allowed", ErrProtocol, len(s.refuse))
		}
	}
	c := s.conns[h.conn]
	switch {
	case c == nil && h.conn > s.last:
		return fmt.Errorf("%w: connection %d, which nobody opened", ErrProtocol, h.conn)
	case c == nil: // we have closed it
		return nil
	case h.kind == kindData:
		return c.received(body)
	case h.kind == kindWindow:
		return c.granted(binary.LittleEndian.Uint32(body))
	}
	c.left()
	return nil
}

// forget forgets a connection that we have closed.
func (s *Session) forget(number uint32) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, number)
}
