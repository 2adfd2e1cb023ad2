package server

import (
	"encoding/binary"
	"fmt"
	"strings"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore/migration"
	"morgana/xenstore/store"
)

// AppendHandover appends the records of a live update but for the first and the last: what a program that takes over
// needs, ours or xenstored. fd says by which file descriptor a client of the socket goes on, -1 to leave it out; extra
// is what a connection is to be sent besides.
func (c *Core) AppendHandover(dst []byte, fd func(*Conn) int32, extra func(*Conn) []byte) []byte {
	for i, conn := range c.conns {
		r := migration.Conn{ID: uint32(i + 1), Target: migration.NoDomain, In: conn.in, Partial: conn.out.partial()}
		r.Out = append(append([]byte(nil), conn.out.bytes()...), extra(conn)...)
		if conn.dom == nil {
			r.Socket, r.FD = true, fd(conn)
			if r.FD < 0 {
				continue
			}
		} else {
			r.Dom, r.Port = conn.dom.id, conn.port
			if conn.actor.HasTarget {
				r.Target = conn.actor.Target
			}
		}
		dst = migration.AppendConn(dst, r)
		for _, w := range conn.ordered() {
			dst = migration.AppendWatch(dst, migration.WatchType, migration.Watch{Conn: r.ID, Path: w.given(), Token: w.token})
		}
	}
	return c.appendTree(dst)
}

func (c *Core) appendTree(dst []byte) []byte {
	for _, p := range []string{xs.ReleaseDomain, xs.IntroduceDomain} {
		dst = migration.AppendNode(dst, p, "", c.valid(c.special[p]))
	}
	for p, n := range c.store.Root().All("/") {
		dst = migration.AppendNode(dst, p, n.Value(), c.valid(n.Perms()))
	}
	return dst
}

// Snapshot returns the records that a journal begins with, in pieces: those of connections and limits at once, and a
// function that appends some of the tree's to a buffer and reports whether more follow. That function may be called
// from another goroutine: it works on the tree as it was. What TakeLog returns from now on comes after it.
func (c *Core) Snapshot() (head []byte, more func(dst []byte) ([]byte, bool)) {
	c.TakeLog()
	head = appendLimits(nil, &c.store.Limits)
	// Which entries of permissions count is a matter of now.
	born := make(map[xen.DomID]uint64, len(c.domains))
	for d, dom := range c.domains {
		born[d] = dom.born
		head = appendDomain(head, d, dom.shutdown)
	}
	for _, conn := range c.conns {
		if conn.dom == nil {
			continue
		}
		head = appendConn(head, conn)
		head = appendIn(head, conn)
		head = appendOut(head, conn, outWhole, conn.out.bytes())
		for _, w := range conn.ordered() {
			head = migration.AppendWatch(head, migration.WatchType, migration.Watch{Conn: conn.id, Path: w.given(), Token: w.token})
		}
		for id := range conn.txs {
			head = migration.AppendTx(head, migration.TxType, migration.Tx{Conn: conn.id, ID: id})
		}
	}
	for p, perms := range c.special {
		head = migration.AppendNode(head, p, "", c.valid(perms))
	}
	type item struct {
		path string
		node *store.Node
	}
	todo := []item{{"/", c.store.Root()}}
	return head, func(dst []byte) ([]byte, bool) {
		for n := 0; n < 64 && len(todo) > 0; n++ {
			it := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			entries := append([]store.Entry(nil), it.node.Perms().Entries()...)
			for i := 1; i < len(entries); i++ {
				b, ok := born[entries[i].Dom]
				entries[i].Ignored = entries[i].Ignored || !ok || b > it.node.Perms().Generation()
			}
			dst = migration.AppendNode(dst, it.path, it.node.Value(), entries)
			below := it.node.Children()
			for i := len(below) - 1; i >= 0; i-- {
				todo = append(todo, item{store.Join(it.path, below[i].Name()), below[i]})
			}
		}
		return dst, len(todo) > 0
	}
}

// Restorer makes a core of records: those of a live update, or a snapshot and what followed it.
type Restorer struct {
	core    *Core
	conns   map[uint32]*Conn
	targets map[*Conn]xen.DomID
}

// NewRestorer begins with an empty store.
func NewRestorer(cfg Config) *Restorer {
	return &Restorer{core: newCore(cfg), conns: make(map[uint32]*Conn), targets: make(map[*Conn]xen.DomID)}
}

func damaged(format string, args ...any) error {
	return fmt.Errorf("%w: %s", migration.ErrFormat, fmt.Sprintf(format, args...))
}

// Record takes the next record. Clients of the socket are restored with Conn.Data set to their file descriptor, an int32.
func (r *Restorer) Record(t migration.Type, body []byte) error {
	switch t {
	case migration.ConnType:
		c, err := migration.ParseConn(body)
		if err != nil {
			return err
		}
		return r.conn(c)
	case migration.WatchType, recUnwatch:
		w, err := migration.ParseWatch(body)
		if err != nil {
			return err
		}
		return r.watch(w, t == migration.WatchType)
	case migration.TxType, recTxEnd:
		tx, err := migration.ParseTx(body)
		if err != nil {
			return err
		}
		return r.tx(tx, t == migration.TxType)
	case migration.NodeType:
		n, err := migration.ParseNode(body)
		if err != nil {
			return err
		}
		return r.node(n)
	case recNodeGone:
		p := strings.TrimRight(string(body), "\x00")
		if p == "" || p[0] != '/' || !r.core.store.Delete(p) {
			return damaged("removal of node %q, which is not there", p)
		}
		return nil
	case recChain:
		return r.chain(body)
	case migration.GlobalType:
		return nil
	}
	return r.private(t, body)
}

// chain restores a node, and before it the directories above it that it tells of.
func (r *Restorer) chain(body []byte) error {
	n, err := migration.ParseNode(body)
	if err != nil {
		return err
	}
	depth := uint32(strings.Count(n.Path, "/"))
	if len(n.Path) > xs.AbsPathMax || n.Conn >= depth {
		return damaged("node %q and %d directories above it", n.Path, n.Conn)
	}
	first := int(depth - n.Conn)
	for i, k := 1, 1; i < len(n.Path); i++ {
		if n.Path[i] != '/' {
			continue
		}
		if k >= first {
			d := n
			d.Path, d.Value = n.Path[:i], ""
			if err := r.node(d); err != nil {
				return err
			}
		}
		k++
	}
	return r.node(n)
}

func (r *Restorer) conn(c migration.Conn) error {
	conn := r.conns[c.ID]
	known := conn != nil
	switch {
	case conn == nil && c.Socket:
		conn = r.core.Connect()
		conn.Data = c.FD
	case conn == nil:
		if r.core.introduced(c.Dom) != nil {
			return damaged("domain %d has two connections", c.Dom)
		}
		dom := r.core.domains[c.Dom]
		if dom == nil {
			dom = r.core.learn(c.Dom)
		}
		down := dom.shutdown
		conn = r.core.attach(dom)
		dom.shutdown = down
	}
	r.conns[c.ID] = conn
	if !c.Socket {
		conn.port = c.Port
		r.targets[conn] = c.Target
	}
	if known {
		return nil // a journal tells of what it received and is to be sent in records of their own
	}
	conn.in = append([]byte(nil), c.In...)
	if err := conn.out.restore(conn, c.Out, c.Partial, r.core.now+r.core.cfg.EventTimeout); err != nil {
		return damaged("output of connection %d: %v", c.ID, err)
	}
	return nil
}

func (r *Restorer) find(id uint32) (*Conn, error) {
	if c := r.conns[id]; c != nil {
		return c, nil
	}
	return nil, damaged("no connection %d", id)
}

func (r *Restorer) watch(w migration.Watch, on bool) error {
	conn, err := r.find(w.Conn)
	if err != nil {
		return err
	}
	path := conn.absolute(w.Path)
	have := conn.watches[watchKey{path, w.Token}]
	switch {
	case on && have == nil:
		if !xs.Special(path) && !store.ValidPath(path, xs.AbsPathMax) {
			return damaged("watch of %q", path)
		}
		r.core.watch(conn, path, w.Token, path != w.Path)
	case !on && have != nil:
		r.core.unwatch(have)
	}
	return nil
}

// tx opens a transaction that can only fail: what was in it is lost.
func (r *Restorer) tx(tx migration.Tx, open bool) error {
	conn, err := r.find(tx.Conn)
	if err != nil {
		return err
	}
	have := conn.txs[tx.ID]
	switch {
	case open && have == nil:
		r.core.openTx(conn, tx.ID, &openTx{Tx: r.core.store.Begin(), lost: true})
		conn.nextTx = max(conn.nextTx, tx.ID+1)
	case !open && have != nil:
		delete(conn.txs, tx.ID)
		r.core.open--
	}
	return nil
}

func (r *Restorer) node(n migration.Node) error {
	if len(n.Perms) == 0 || n.Tx != 0 {
		return nil // of a transaction
	}
	// Entries that count are about domains that are there: as the records come, so does the generation count.
	p := store.NewPerms(r.core.store.Generation()+1, n.Perms...)
	if xs.Special(n.Path) {
		if r.core.special[n.Path] != nil {
			r.core.special[n.Path] = p
		}
		return nil
	}
	s := r.core.store
	if !store.ValidPath(n.Path, xs.AbsPathMax) || s.Current().Lookup(store.Parent(n.Path)) == nil {
		return damaged("node %q", n.Path)
	}
	s.Put(n.Path, n.Value, p)
	return nil
}

// private handles what only a journal has.
func (r *Restorer) private(t migration.Type, body []byte) error {
	word := func(i int) uint32 {
		if len(body) < 4*i+4 {
			return 0
		}
		return binary.LittleEndian.Uint32(body[4*i:])
	}
	data := func(head int, n uint32) ([]byte, error) {
		if uint64(head)+uint64(n) > uint64(len(body)) {
			return nil, damaged("record %#x has %d bytes, says %d", t, len(body), n)
		}
		return body[head : head+int(n)], nil
	}
	switch t {
	case recDomain:
		d := xen.DomID(word(0))
		if word(1)&domainIsGone != 0 {
			delete(r.core.domains, d)
			return nil
		}
		dom := r.core.domains[d]
		if dom == nil {
			dom = r.core.learn(d)
		}
		dom.shutdown = word(1)&domainIsDown != 0
		return nil
	case recLimits:
		for i, p := range limits(&r.core.store.Limits) {
			*p = int(word(i))
		}
		return nil
	}
	conn, err := r.find(word(0))
	if err != nil {
		return err
	}
	switch t {
	case recConnGone:
		r.gone(word(0), conn)
	case recReset:
		for _, w := range conn.watches {
			r.core.unwatch(w)
		}
		r.core.open -= len(conn.txs)
		conn.txs = nil
	case recConnMore:
		conn.remote, conn.nextTx = xen.Port(word(1)), max(word(3), 1)
		conn.ignored = word(2)&connIgnored != 0
	case recIn:
		b, err := data(12, word(2))
		if err != nil {
			return err
		}
		conn.taken = word(1)
		conn.in = append(conn.in[:0], b...)
	case recOut:
		b, err := data(24, word(5))
		if err != nil {
			return err
		}
		return r.out(conn, word(1), uint64(word(2))|uint64(word(3))<<32, int(word(4)), b)
	}
	return nil
}

// out restores what waits: all of it, or more.
func (r *Restorer) out(conn *Conn, flags uint32, pos uint64, partial int, b []byte) error {
	q := &conn.out
	if flags&outWhole != 0 {
		q.clear(conn)
		q.pos = pos
	} else {
		// What was sent before this was written.
		n := pos - q.pos
		if n > uint64(len(q.bytes())) {
			return damaged("output of connection %d at %d, %d bytes wait at %d", conn.id, pos, len(q.bytes()), q.pos)
		}
		q.sent(conn, int(n))
		partial = 0
	}
	if err := q.restore(conn, b, partial, r.core.now+r.core.cfg.EventTimeout); err != nil {
		return damaged("output of connection %d: %v", conn.id, err)
	}
	return nil
}

// gone forgets a connection as release does; what its domain owned was removed by records of its own.
func (r *Restorer) gone(id uint32, conn *Conn) {
	delete(r.conns, id)
	delete(r.targets, conn)
	for _, w := range conn.watches {
		r.core.unwatch(w)
	}
	r.core.open -= len(conn.txs)
	conn.out.clear(conn)
	conn.closed = true
	for i, x := range r.core.conns {
		if x == conn {
			r.core.conns = append(r.core.conns[:i], r.core.conns[i+1:]...)
			break
		}
	}
	if conn.dom != nil {
		delete(r.core.domains, conn.dom.id)
	}
}

// Finish returns the core. Its transport attaches the rings next (Conn.Port, Conn.Remote, Conn.Position), then calls
// CheckDomains, because some may have died meanwhile, and Input without bytes for what was received before.
func (r *Restorer) Finish() *Core {
	c := r.core
	for conn, target := range r.targets {
		if dom := c.introduced(target); dom != nil {
			conn.actor.HasTarget, conn.actor.Target, conn.actor.TargetBorn = true, target, dom.born
		}
	}
	for _, conn := range c.conns {
		if conn.dom != nil {
			c.credit.join(c, conn.dom)
		}
		for _, t := range conn.txs {
			t.Tx = c.store.Begin()
		}
	}
	// Owners of nodes that nothing was said of.
	for d := range c.owners() {
		if c.domains[d] == nil {
			c.learn(d)
		}
	}
	if c.cfg.Journal {
		c.log = journal{root: c.store.Root(), version: c.store.Version()}
		for _, conn := range c.conns {
			conn.touched = false
		}
	}
	return c
}

// owners are the domains that own nodes.
func (c *Core) owners() map[xen.DomID]bool {
	all := make(map[xen.DomID]bool)
	for _, n := range c.store.Root().All("/") {
		all[n.Perms().Owner()] = true
	}
	return all
}
