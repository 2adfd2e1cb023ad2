package xenstore

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"morgana/xen/wire/xs"
)

// listMax bounds a DIRECTORY reply. The protocol says 4096, but oxenstored sends large directories in one piece.
const listMax = 1 << 20

// link is one connection of a client. What changes is guarded by Client.mu.
type link struct {
	conn   io.ReadWriteCloser
	number uint64
	one    bool          // each request in a write of its own
	wake   chan struct{} // the writer has something to do; capacity 1
	done   chan struct{} // closed when the connection is over

	out     []byte  // requests to be written
	ends    []int   // where each request in out ends, if one
	fresh   []*call // the requests in out
	nextReq uint32
	calls   map[uint32]*call

	// Of requests but those for watches, if one: how many were written and are not answered yet. See alone.
	unanswered int
	answered   chan struct{} // one was; capacity 1
}

// attach makes a stream the client's connection, sets the watches again, and sends what waited.
func (c *Client) attach(conn io.ReadWriteCloser) bool {
	l := &link{
		conn: conn, one: true, wake: make(chan struct{}, 1), done: make(chan struct{}), calls: make(map[uint32]*call),
		answered: make(chan struct{}, 1),
	}
	switch conn.(type) {
	case net.Conn, *Ring:
		l.one = false
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		conn.Close()
		return false
	}
	c.links++
	l.number, c.link = c.links, l
	c.watchAgain(l)
	for _, k := range c.waiting {
		if !k.gone {
			l.queue(k)
		}
	}
	c.waiting = nil
	c.wg.Add(2)
	go func() {
		defer c.wg.Done()
		c.over(l, c.readLoop(l))
	}()
	go func() {
		defer c.wg.Done()
		if err := c.writeLoop(l); err != nil {
			c.over(l, err)
		}
	}()
	return true
}

// queue adds a request to those to be written.
func (l *link) queue(k *call) {
	for l.nextReq++; ; l.nextReq++ {
		if _, used := l.calls[l.nextReq]; !used && l.nextReq != 0 {
			break
		}
	}
	l.calls[l.nextReq] = k
	k.sent = false
	l.out = xs.AppendMessage(l.out, xs.Header{Op: k.op, Req: l.nextReq, Tx: k.tx}, k.payload)
	l.fresh = append(l.fresh, k)
	if l.one {
		l.ends = append(l.ends, len(l.out))
	}
	select {
	case l.wake <- struct{}{}:
	default:
	}
}

func (c *Client) writeLoop(l *link) error {
	var (
		buf  []byte
		ends []int
	)
	for {
		select {
		case <-l.wake:
		case <-l.done:
			return nil
		}
		c.mu.Lock()
		buf, l.out = l.out, buf[:0]
		ends, l.ends = l.ends, ends[:0]
		for i, k := range l.fresh {
			k.sent, l.fresh[i] = true, nil
		}
		l.fresh = l.fresh[:0]
		c.mu.Unlock()
		if !l.one && len(buf) > 0 {
			ends = append(ends[:0], len(buf))
		}
		start := 0
		for _, end := range ends {
			if l.one && !c.alone(l, buf[start:end]) {
				return nil
			}
			if _, err := l.conn.Write(buf[start:end]); err != nil && !c.refused(l, buf[start:end], err) {
				return fmt.Errorf("%w: write: %w", ErrClosed, err)
			}
			start = end
		}
	}
}

// isWatch reports whether an operation is about a watch.
func isWatch(op xs.Op) bool { return op == xs.Watch || op == xs.Unwatch }

// alone waits, before a request about a watch is written, until all others are answered; false if the connection is over.
// Linux's device carries such a request out within the write, with a lock held that handing out the reply to any other
// takes: one that is under way would stop the kernel's thread that reads the ring, and so xenstore for all of the domain
// (drivers/xen/xenbus/xenbus_dev_frontend.c of Linux 4.11 and later, xenbus_file_write and xenbus_dev_queue_reply).
func (c *Client) alone(l *link, message []byte) bool {
	h, err := xs.ParseHeader(message)
	if err != nil {
		return true // the write tells
	}
	for {
		c.mu.Lock()
		wait := isWatch(h.Op) && l.unanswered > 0
		if !isWatch(h.Op) {
			l.unanswered++
		}
		c.mu.Unlock()
		if !wait {
			return true
		}
		select {
		case <-l.answered:
		case <-l.done:
			return false
		}
	}
}

// refused reports whether a write failed because a watch was refused: Linux's device answers that one request by the
// write's own error (drivers/xen/xenbus/xenbus_dev_frontend.c, xenbus_write_watch), and the connection goes on.
func (c *Client) refused(l *link, message []byte, err error) bool {
	var no syscall.Errno
	if !l.one || !errors.As(err, &no) {
		return false
	}
	h, herr := xs.ParseHeader(message)
	if herr != nil || h.Op != xs.Watch || xs.Errno(no).Name() == "" {
		return false
	}
	return c.reply(l, xs.Header{Op: xs.ErrorReply, Req: h.Req}, xs.AppendError(nil, xs.Errno(no))) == nil
}

func (c *Client) readLoop(l *link) error {
	r := bufio.NewReaderSize(l.conn, 2*(xs.HeaderSize+xs.PayloadMax))
	for {
		if err := c.readOne(l, r); err != nil {
			return err
		}
	}
}

// readOne reads and handles one message. Its error is why the connection is over.
func (c *Client) readOne(l *link, r io.Reader) error {
	var hb [xs.HeaderSize]byte
	if _, err := io.ReadFull(r, hb[:]); err != nil {
		return hungUp(err)
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
		return hungUp(err)
	}
	if h.Op == xs.WatchEvent {
		return c.event(l, payload)
	}
	return c.reply(l, h, payload)
}

// hungUp is the reason when a read failed. A service that dies may do so within a message.
func hungUp(err error) error {
	switch {
	case malformed(err): // a Ring says so
		return err
	case errors.Is(err, io.ErrUnexpectedEOF):
		return fmt.Errorf("%w: it hung up within a message", ErrClosed)
	}
	return fmt.Errorf("%w: read: %w", ErrClosed, err)
}
