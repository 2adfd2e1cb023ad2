package server

import (
	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore/store"
)

// Conn is a connection: a domain's, or a client's of the socket.
type Conn struct {
	// Data is the transport's own.
	Data any

	core    *Core
	id      uint32
	seq     uint64  // order among connections
	dom     *domain // nil for a client of the socket
	actor   store.Actor
	home    string // with a slash at the end; relative paths begin there
	port    xen.Port
	watches map[watchKey]*watch
	nextW   uint64
	txs     map[uint32]*openTx
	nextTx  uint32
	in      []byte // a request that is not complete
	out     queue
	ignored bool // it broke the protocol: served no more, but its death is still told
	closed  bool
	waits   bool // for the answer to a CONTROL command
	queued  bool // is in Core.ready
	touched bool // is in the journal's list
	remote  xen.Port
	taken   uint32 // see Consumed
	stats   ConnStats
}

// ConnStats counts what happened on a connection since the program began.
type ConnStats struct{ Requests, Errors, Events, Dropped uint64 }

// Stats are the connection's counters.
func (c *Conn) Stats() ConnStats { return c.stats }

type openTx struct {
	*store.Tx
	since int64
	ops   int
	lost  bool // the process was restarted: commits to EAGAIN
}

// ID names the connection, uniquely.
func (c *Conn) ID() uint32 { return c.id }

// Domain is whose connection it is; false for a client of the socket.
func (c *Conn) Domain() (xen.DomID, bool) {
	if c.dom == nil {
		return 0, false
	}
	return c.dom.id, true
}

// Port is our end of the domain's event channel, as Connected set it.
func (c *Conn) Port() xen.Port { return c.port }

// SetPort notes our end of the domain's event channel, when Host.Connect or Rebind bound it; 0 if there is none.
func (c *Conn) SetPort(p xen.Port) { c.port = p }

// Remote is the domain's end of its event channel, as INTRODUCE said.
func (c *Conn) Remote() xen.Port { return c.remote }

// Consumed notes how far a ring was read, for the journal: the index that is to be written to it.
func (c *Conn) Consumed(index uint32) {
	c.taken = index
	c.core.touch(c)
}

// LastConsumed is the index that Consumed noted.
func (c *Conn) LastConsumed() uint32 { return c.taken }

// Position is where in the stream of all that was ever sent Output begins.
func (c *Conn) Position() uint64 { return c.out.pos }

// SetPosition counts the stream from there: where a ring's index stands when it is attached.
func (c *Conn) SetPosition(pos uint64) {
	c.out.pos = pos
	c.out.whole = true
	c.core.touch(c)
}

// Ready returns the connections that got output since it was called last.
func (c *Core) Ready() []*Conn {
	r := c.ready
	for _, conn := range r {
		conn.queued = false
	}
	c.ready = c.ready[len(c.ready):]
	if cap(c.ready) < 16 {
		c.ready = make([]*Conn, 0, 64)
	}
	return r
}

// Ignored reports whether the connection broke the protocol: it is not to be read or written any more.
func (c *Conn) Ignored() bool { return c.ignored }

// Closed reports whether the connection is over.
func (c *Conn) Closed() bool { return c.closed }

// Buffered is the request that is not complete yet.
func (c *Conn) Buffered() []byte { return c.in }

// Output is what is to be sent, as far as it lies in one piece. It is valid until the next call of the core.
func (c *Conn) Output() []byte { return c.out.bytes() }

// Connect makes a connection of a client of the socket, which may do everything.
func (c *Core) Connect() *Conn {
	conn := c.connection()
	conn.actor = store.Actor{Privileged: true}
	conn.home = xs.DomainPath(0) + "/"
	c.traceObject(conn, true, "connection")
	return conn
}

func (c *Core) connection() *Conn {
	c.nextID++
	conn := &Conn{core: c, id: c.nextID, seq: uint64(c.nextID), nextTx: 1}
	c.conns = append(c.conns, conn)
	return conn
}

// Close ends a connection of a client of the socket, whose transport found it closed.
func (c *Core) Close(conn *Conn) {
	if conn.closed || conn.dom != nil {
		return
	}
	c.hangUp(conn)
}

// hangUp forgets a connection and all that it had.
func (c *Core) hangUp(conn *Conn) {
	c.drop(conn)
	c.traceObject(conn, false, "connection")
	conn.closed = true
	for i, x := range c.conns {
		if x == conn {
			c.conns = append(c.conns[:i], c.conns[i+1:]...)
			break
		}
	}
	c.logGone(conn)
}

// drop forgets watches, transactions and what is half received or not sent.
func (c *Core) drop(conn *Conn) {
	c.reset(conn)
	conn.in = nil
	conn.out.clear(conn)
}

// reset forgets watches and transactions.
func (c *Core) reset(conn *Conn) {
	for _, w := range conn.watches {
		c.unwatch(w)
	}
	conn.watches = nil
	for id, t := range conn.txs {
		c.endTx(conn, id, t)
		c.store.End(t.Tx)
	}
	c.logReset(conn)
}

// Fail ends the service for a connection that broke the protocol; reason is one of xs.RingError…. A domain's stays, so
// that its death is told.
func (c *Core) Fail(conn *Conn, reason uint32) {
	if conn.ignored || conn.closed {
		return
	}
	conn.ignored = true
	if conn.dom == nil {
		c.hangUp(conn)
		c.cfg.Host.Failed(conn, reason)
		return
	}
	c.drop(conn)
	c.logConn(conn)
	c.cfg.Host.Failed(conn, reason)
}

// CanRead reports whether requests of a connection are taken now: a guest that has too much under way, or spoilt the
// transactions of others, waits.
func (c *Core) CanRead(conn *Conn) bool {
	if conn.ignored || conn.closed || conn.waits {
		return false
	}
	d := conn.dom
	if d == nil || d.id == 0 {
		return true
	}
	switch {
	case d.outstanding >= c.store.Limits.Outstanding:
		return false
	case c.full(d, 0):
		return false
	case d.credit < 0:
		c.credit.update(c, d)
		return d.credit >= 0
	}
	return true
}

// Input takes bytes that a connection received and handles the requests that they complete, as long as CanRead. It
// returns how many bytes it took: the others are to come again. Incomplete requests are taken.
func (c *Core) Input(conn *Conn, b []byte) int {
	taken := 0
	c.touch(conn)
	for c.CanRead(conn) {
		var rest []byte
		msg := b[taken:]
		if len(conn.in) > 0 {
			n := c.fill(conn, msg)
			taken += n
			if msg = conn.in; len(msg) < xs.HeaderSize {
				return taken
			}
		} else if len(msg) < xs.HeaderSize {
			conn.in = append(conn.in, msg...)
			return len(b)
		}
		h, err := xs.ParseHeader(msg)
		if err != nil || h.Len > xs.PayloadMax {
			c.Fail(conn, xs.RingErrorProto)
			return taken
		}
		end := xs.HeaderSize + int(h.Len)
		switch {
		case len(msg) >= end:
		case len(conn.in) > 0:
			return taken
		default:
			conn.in = append(conn.in, msg...)
			return len(b)
		}
		rest = msg[end:]
		if len(conn.in) == 0 {
			taken = len(b) - len(rest)
		}
		was := conn.in
		conn.in = nil
		c.handle(conn, h, msg[xs.HeaderSize:end:end])
		if was != nil && conn.in == nil && cap(was) <= 4*xs.PayloadMax {
			conn.in = was[:0]
		}
		if taken == len(b) {
			break
		}
	}
	return taken
}

// Lacks is how many of the bytes b that a connection received belong to the request that is next; all, if it is not whole.
func (c *Core) Lacks(conn *Conn, b []byte) int {
	var head [xs.HeaderSize]byte
	if n := copy(head[:], conn.in); n+copy(head[n:], b) < len(head) {
		return len(b)
	}
	h, err := xs.ParseHeader(head[:])
	if err != nil || h.Len > xs.PayloadMax {
		return len(b)
	}
	return min(max(xs.HeaderSize+int(h.Len)-len(conn.in), 0), len(b))
}

// fill appends to an incomplete request what it lacks, at most; it returns how many bytes that was.
func (c *Core) fill(conn *Conn, b []byte) int {
	took := 0
	if lack := xs.HeaderSize - len(conn.in); lack > 0 {
		n := min(lack, len(b))
		conn.in = append(conn.in, b[:n]...)
		took = n
		if n < lack {
			return took
		}
	}
	h, _ := xs.ParseHeader(conn.in)
	if h.Len > xs.PayloadMax {
		return took
	}
	if lack := xs.HeaderSize + int(h.Len) - len(conn.in); lack > 0 {
		n := min(lack, len(b)-took)
		conn.in = append(conn.in, b[took:took+n]...)
		took += n
	}
	return took
}

// Sent says that n bytes of Output were sent.
func (c *Core) Sent(conn *Conn, n int) { conn.out.sent(conn, n) }

// guest is the connection's domain if it is one whose use is bounded.
func (c *Conn) guest() *domain {
	if c.dom == nil || c.dom.id == 0 {
		return nil
	}
	return c.dom
}
