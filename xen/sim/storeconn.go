package sim

import (
	"io"
	"net"

	"morgana/xen"
	"morgana/xen/wire/xs"
)

// storeConn is a connection to the store. Its fields are guarded by store.mu.
type storeConn struct {
	s       *store
	dom     xen.DomID
	socket  bool // of no domain: may do everything
	conn    io.ReadWriteCloser
	out     []byte
	wake    chan struct{} // the writer has something; capacity 1
	over    bool
	watches []*storeWatch
	txs     map[uint32]*transaction
	lastTx  uint32
	special map[string]bool // special paths that dom0 let it see
	held    []byte          // an event, for the defect WatchReordered
}

// connect makes a connection of a domain in memory.
func (s *store) connect(d xen.DomID) io.ReadWriteCloser {
	ours, theirs := net.Pipe()
	s.serve(d, ours)
	return theirs
}

// OpenStore makes a connection to xenstore: a stream that speaks its protocol. It is over with the domain.
func (d *Domain) OpenStore() io.ReadWriteCloser { return d.host.store.connect(d.id) }

// ServeStore serves xenstore to domain d over a stream, such as a ring (xenstore.NewServiceRing), until the stream
// or the domain ends.
func (h *Host) ServeStore(d xen.DomID, conn io.ReadWriteCloser) { h.store.serve(d, conn) }

func (s *store) serve(d xen.DomID, conn io.ReadWriteCloser) {
	c := &storeConn{s: s, dom: d, conn: conn, wake: make(chan struct{}, 1), txs: make(map[uint32]*transaction), special: make(map[string]bool)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.known[d] {
		conn.Close()
		return
	}
	s.conns = append(s.conns, c)
	s.wg.Add(2)
	go c.read()
	go c.write()
}

func (c *storeConn) privileged() bool { return c.socket || c.dom == 0 }

func (c *storeConn) home() string { return xs.DomainPath(c.dom) }

// allowed is what the connection may do with a node.
func (c *storeConn) allowed(n *node) xs.Access {
	me := []xen.DomID{c.dom}
	if t, ok := c.s.target[c.dom]; ok {
		me = append(me, t)
	}
	if c.privileged() || c.s.host.defects[PermissionsIgnored] {
		return xs.AccessBoth
	}
	for _, d := range me {
		if n.perms[0].Dom == d {
			return xs.AccessBoth
		}
	}
	for _, d := range me {
		for _, p := range n.perms[1:] {
			if p.Dom == d {
				return p.Access
			}
		}
	}
	return n.perms[0].Access
}

func (c *storeConn) hangUpLocked() {
	if c.over {
		return
	}
	c.over = true
	for i, x := range c.s.conns {
		if x == c {
			c.s.conns = append(c.s.conns[:i:i], c.s.conns[i+1:]...)
			break
		}
	}
	c.watches, c.txs = nil, nil
	close(c.wake)
	c.conn.Close()
}

func (c *storeConn) sendLocked(b []byte) {
	if c.over {
		return
	}
	c.out = append(c.out, b...)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *storeConn) write() {
	defer c.s.wg.Done()
	var buf []byte
	for range c.wake {
		c.s.mu.Lock()
		buf, c.out = c.out, buf[:0]
		c.s.mu.Unlock()
		if len(buf) == 0 {
			continue
		}
		if _, err := c.conn.Write(buf); err != nil {
			return
		}
	}
}

func (c *storeConn) read() {
	defer c.s.wg.Done()
	var (
		hb  [xs.HeaderSize]byte
		buf [xs.PayloadMax]byte
	)
	for {
		_, err := io.ReadFull(c.conn, hb[:])
		h, perr := xs.ParseHeader(hb[:])
		if err == nil && perr == nil && h.Len <= xs.PayloadMax {
			_, err = io.ReadFull(c.conn, buf[:h.Len])
		}
		c.s.mu.Lock()
		if err != nil || perr != nil || h.Len > xs.PayloadMax || c.over {
			c.hangUpLocked()
			c.s.mu.Unlock()
			return
		}
		c.handleLocked(h, buf[:h.Len])
		c.s.mu.Unlock()
	}
}

// handleLocked answers one request: events that it fires for this very connection go first.
func (c *storeConn) handleLocked(h xs.Header, payload []byte) {
	reply, err := c.do(h, payload)
	if e, ok := errno(err); ok {
		h.Op, reply = xs.ErrorReply, xs.AppendError(nil, e)
	} else if len(reply) > xs.PayloadMax {
		h.Op, reply = xs.ErrorReply, xs.AppendError(nil, xs.E2BIG)
	}
	c.sendLocked(xs.AppendMessage(nil, h, reply))
	if h.Op == xs.Watch && !c.s.host.defects[NoInitialEvent] {
		w := c.watches[len(c.watches)-1]
		b := xs.AppendWatch(nil, w.given, w.token)
		c.sendLocked(xs.AppendMessage(nil, xs.Header{Op: xs.WatchEvent}, b))
	}
}
