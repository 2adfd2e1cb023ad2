package server

import (
	"encoding/binary"
	"slices"
	"strings"

	"morgana/xen"
	"morgana/xenstore/migration"
	"morgana/xenstore/store"
)

// Records of a journal that no live update has. The layouts are those of package migration where one fits.
const (
	recNodeGone = migration.FirstPrivate + iota // path
	recConnGone                                 // connection
	recUnwatch                                  // as a watch
	recReset                                    // connection
	recTxEnd                                    // as a transaction
	recConnMore                                 // connection, remote port, flags, next transaction
	recIn                                       // connection, index consumed, bytes received and not handled
	recOut                                      // connection, flags, position of what waits, partial, bytes to be sent
	recDomain                                   // domain, flags
	recLimits                                   // ten limits
	recChain                                    // a node; in place of a connection, how many directories above it are the same but empty
)

const (
	connIgnored  = 1 << 0 // recConnMore
	outWhole     = 1 << 0 // recOut: the bytes are all that waits, not more of it
	domainIsDown = 1 << 0 // recDomain: that it shut down was told
	domainIsGone = 1 << 1
)

// journal collects records of what changed, if Config.Journal says so.
type journal struct {
	buf     []byte
	root    *store.Node // the tree that the records so far make
	version uint64      // of that tree
	touched []*Conn     // whose input or output changed
	chain   chain       // not in buf yet, only while records of the tree are made
}

func (c *Core) startLog() {
	if c.cfg.Journal {
		c.log.root, c.log.version = c.store.Root(), c.store.Version()
	}
}

// Logged is how many bytes of records have come together since TakeLog, but for those of what is received and sent.
func (c *Core) Logged() int {
	if !c.cfg.Journal {
		return 0
	}
	c.logTree()
	return len(c.log.buf)
}

// logTree logs what of the tree changed and is not logged.
func (c *Core) logTree() {
	if root := c.store.Current(); root != c.log.root {
		for _, e := range store.Diff(c.log.root, root) {
			if e.Is == nil {
				c.log.buf = migration.Append(c.log.buf, recNodeGone, []byte(e.Path))
			} else {
				c.logNode(e.Path, e.Is.Value(), e.Is.Perms())
			}
		}
		c.endChain()
		c.log.root = root
	}
	c.log.version = c.store.Version()
}

// TakeLog returns records of all that changed since it was called last: what Restorer needs, after a snapshot, to make
// the core again as it is now. They are valid until the core is called again.
func (c *Core) TakeLog() []byte {
	if !c.cfg.Journal {
		return nil
	}
	c.logTree()
	for _, conn := range c.log.touched {
		conn.touched = false
		if conn.closed {
			continue
		}
		c.log.buf = appendIn(c.log.buf, conn)
		if q := &conn.out; q.whole || q.fresh > len(q.bytes()) {
			c.log.buf = appendOut(c.log.buf, conn, outWhole, q.bytes())
		} else if q.fresh > 0 {
			c.log.buf = appendOut(c.log.buf, conn, 0, q.bytes()[len(q.bytes())-q.fresh:])
		}
		conn.out.whole, conn.out.fresh = false, 0
	}
	c.log.touched = c.log.touched[:0]
	b := c.log.buf
	c.log.buf = c.log.buf[:0]
	if cap(b) > 1<<20 {
		c.log.buf = nil
	}
	return b
}

// logChange appends records of a change of the tree, if all before it is logged: cheaper than to compare.
// before is the version before it.
// A change that is not logged here is compared later, and so must not have been made in place: whatever makes the versions
// differ (a commit, the death of a domain) begins a new age of the store.
func (c *Core) logChange(before uint64, ch *store.Change) {
	if c.log.version != before || !c.cfg.Journal {
		return
	}
	c.log.root, c.log.version = c.store.Current(), c.store.Version()
	if ch.Removed != nil {
		c.log.buf = migration.Append(c.log.buf, recNodeGone, []byte(ch.Path))
		return
	}
	if ch.Made != "" && ch.Made != ch.Path {
		n := c.log.root.Lookup(ch.Made)
		c.logNode(ch.Made, n.Value(), n.Perms())
		for at := len(ch.Made) + 1; ; at++ {
			i := strings.IndexByte(ch.Path[at:], '/')
			if i < 0 {
				break
			}
			n = n.Child(ch.Path[at : at+i])
			at += i
			c.logNode(ch.Path[:at], n.Value(), n.Perms())
		}
	}
	c.logNode(ch.Path, ch.Node.Value(), ch.Node.Perms())
	c.endChain()
}

// chain is a node to be logged and the directories above it that are as it is, and empty. A request may make hundreds of
// directories on the way to a node; with a record each, such a record would be longer than all the others of a second.
type chain struct {
	path, value string
	perms       *store.Perms // nil: there is no node
	above       uint32
}

// logNode logs a node, now or with those that follow, until endChain.
func (c *Core) logNode(path, value string, perms *store.Perms) {
	l := &c.log.chain
	if l.perms != nil && l.value == "" && (l.perms == perms || slices.Equal(l.perms.Entries(), perms.Entries()) && l.perms.Generation() == perms.Generation()) &&
		store.Parent(path) == l.path {
		l.path, l.value = path, value
		l.above++
		return
	}
	c.endChain()
	*l = chain{path: path, value: value, perms: perms}
}

func (c *Core) endChain() {
	l := c.log.chain
	c.log.chain = chain{}
	switch {
	case l.perms == nil:
	case l.above == 0:
		c.log.buf = migration.AppendNode(c.log.buf, l.path, l.value, c.valid(l.perms))
	default:
		c.log.buf = migration.AppendNodeAs(c.log.buf, recChain, l.above, l.path, l.value, c.valid(l.perms))
	}
}

// valid is the entries of permissions as they are to be restored: those about domains that came later are ignored for
// good.
func (c *Core) valid(p *store.Perms) []store.Entry {
	entries := p.Entries()
	for i := 1; i < len(entries); i++ {
		if c.stale(p, entries[i]) {
			entries = slices.Clone(entries)
			for ; i < len(entries); i++ {
				entries[i].Ignored = entries[i].Ignored || c.stale(p, entries[i])
			}
		}
	}
	return entries
}

func (c *Core) stale(p *store.Perms, e store.Entry) bool {
	if e.Ignored {
		return false
	}
	d := c.domains[e.Dom]
	return d == nil || d.born > p.Generation()
}

func (c *Core) touch(conn *Conn) {
	if c.cfg.Journal && conn.dom != nil && !conn.touched {
		conn.touched = true
		c.log.touched = append(c.log.touched, conn)
	}
}

func (c *Core) logs(conn *Conn) bool { return c.cfg.Journal && conn.dom != nil }

func words(w ...uint32) []byte {
	b := make([]byte, 0, 4*len(w))
	for _, x := range w {
		b = binary.LittleEndian.AppendUint32(b, x)
	}
	return b
}

func (c *Core) logConn(conn *Conn) {
	if c.logs(conn) {
		c.log.buf = appendConn(c.log.buf, conn)
	}
}

// appendConn appends what there is to say of a domain's connection but for what it received and is to be sent.
func appendConn(dst []byte, conn *Conn) []byte {
	r := migration.Conn{ID: conn.id, Dom: conn.dom.id, Target: migration.NoDomain, Port: conn.port}
	if conn.actor.HasTarget {
		r.Target = conn.actor.Target
	}
	flags := uint32(0)
	if conn.ignored {
		flags |= connIgnored
	}
	dst = migration.AppendConn(dst, r)
	return migration.Append(dst, recConnMore, words(conn.id, uint32(conn.remote), flags, conn.nextTx))
}

func appendIn(dst []byte, conn *Conn) []byte {
	return migration.Append(dst, recIn, words(conn.id, conn.taken, uint32(len(conn.in))), conn.in)
}

func appendOut(dst []byte, conn *Conn, flags uint32, b []byte) []byte {
	pos := conn.out.pos
	head := words(conn.id, flags, uint32(pos), uint32(pos>>32), uint32(conn.out.partial()), uint32(len(b)))
	return migration.Append(dst, recOut, head, b)
}

func (c *Core) logGone(conn *Conn) {
	if c.logs(conn) {
		c.log.buf = migration.Append(c.log.buf, recConnGone, words(conn.id))
	}
}

func (c *Core) logReset(conn *Conn) {
	if c.logs(conn) {
		c.log.buf = migration.Append(c.log.buf, recReset, words(conn.id))
	}
}

func (c *Core) logWatch(w *watch, on bool) {
	if !c.logs(w.conn) {
		return
	}
	t := migration.Type(recUnwatch)
	if on {
		t = migration.WatchType
	}
	c.log.buf = migration.AppendWatch(c.log.buf, t, migration.Watch{Conn: w.conn.id, Path: w.given(), Token: w.token})
}

func (c *Core) logTx(conn *Conn, id uint32, open bool) {
	if !c.logs(conn) {
		return
	}
	t := migration.Type(recTxEnd)
	if open {
		t = migration.TxType
	}
	c.log.buf = migration.AppendTx(c.log.buf, t, migration.Tx{Conn: conn.id, ID: id})
}

func (c *Core) logSpecial(path string, p *store.Perms) {
	if c.cfg.Journal {
		c.log.buf = migration.AppendNode(c.log.buf, path, "", c.valid(p))
	}
}

func (c *Core) logDomain(d *domain) {
	if c.cfg.Journal {
		c.log.buf = appendDomain(c.log.buf, d.id, d.shutdown)
	}
}

func (c *Core) logForgotten(d *domain) {
	if c.cfg.Journal {
		c.log.buf = migration.Append(c.log.buf, recDomain, words(uint32(d.id), domainIsGone))
	}
}

func appendDomain(dst []byte, d xen.DomID, down bool) []byte {
	flags := uint32(0)
	if down {
		flags = domainIsDown
	}
	return migration.Append(dst, recDomain, words(uint32(d), flags))
}

func (c *Core) logLimits() {
	if c.cfg.Journal {
		c.log.buf = appendLimits(c.log.buf, &c.store.Limits)
	}
}

// limits are the limits in the order of their record.
func limits(l *store.Limits) []*int {
	return []*int{
		&l.Nodes, &l.NodeSize, &l.Perms, &l.PathMax, &l.Memory, &l.TxNodes, &l.Tx, &l.Watches, &l.Outstanding, &l.SoftMemory,
	}
}

func appendLimits(dst []byte, l *store.Limits) []byte {
	var w []uint32
	for _, p := range limits(l) {
		w = append(w, uint32(*p))
	}
	return migration.Append(dst, recLimits, words(w...))
}
