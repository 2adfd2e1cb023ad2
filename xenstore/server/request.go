package server

import (
	"bytes"
	"strconv"
	"strings"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore/store"
)

const ok = "OK\x00"

// answer is what a request comes to.
type answer struct {
	payload string
	errno   xs.Errno
	after   *watch // whose first event follows the reply
	later   bool   // the reply comes by Answer
}

func fails(e xs.Errno) answer { return answer{errno: e} }

// done acknowledges, unless there is an error.
func done(e xs.Errno) answer { return answer{payload: ok, errno: e} }

// traits of the requests that need some.
const (
	outside    = 1 << iota // takes no note of the transaction's number
	privileged             // dom0 only
	known
)

var traits = [...]uint8{
	xs.Control:            known | privileged,
	xs.Directory:          known,
	xs.Read:               known,
	xs.GetPerms:           known,
	xs.Watch:              known | outside,
	xs.Unwatch:            known | outside,
	xs.TransactionStart:   known,
	xs.TransactionEnd:     known,
	xs.Introduce:          known | privileged,
	xs.Release:            known | privileged,
	xs.GetDomainPath:      known,
	xs.Write:              known,
	xs.Mkdir:              known,
	xs.Remove:             known,
	xs.SetPerms:           known,
	xs.IsDomainIntroduced: known | privileged,
	xs.Resume:             known | privileged,
	xs.SetTarget:          known | privileged,
	xs.ResetWatches:       known,
	xs.DirectoryPart:      known,
}

// handle carries out a request and queues its reply.
func (c *Core) handle(conn *Conn, h xs.Header, b []byte) {
	c.stats.Requests++
	conn.stats.Requests++
	if c.tracer != nil {
		c.tracer.Message(conn, false, h.Op, b)
	}
	var why *cause
	a := c.do(conn, h, b, &why)
	if conn.closed || conn.ignored {
		return // RELEASE of its own domain
	}
	if a.later {
		conn.waits = true
		return
	}
	c.reply(conn, h, a, why)
	if w := a.after; w != nil {
		c.event(w, w.path, nil)
	}
}

func (c *Core) reply(conn *Conn, h xs.Header, a answer, why *cause) {
	if a.errno == 0 && len(a.payload) > xs.PayloadMax {
		a.errno = xs.E2BIG
	}
	if a.errno != 0 {
		c.stats.Errors++
		conn.stats.Errors++
		name := a.errno.Name()
		if name == "" {
			name = xs.EINVAL.Name()
		}
		h.Op, a.payload = xs.ErrorReply, name+"\x00"
	}
	conn.out.reply(conn, h, a.payload, why)
}

// Answer sends the reply to a deferred CONTROL command.
func (c *Core) Answer(conn *Conn, h xs.Header, payload string) {
	if conn.waits && !conn.closed {
		conn.waits = false
		c.reply(conn, h, answer{payload: payload}, nil)
	}
}

func (c *Core) do(conn *Conn, h xs.Header, b []byte, why **cause) answer {
	var tr uint8
	if int64(h.Op) < int64(len(traits)) {
		tr = traits[h.Op]
	}
	if tr&known == 0 {
		return fails(xs.ENOSYS)
	}
	c.stats.ByOp[h.Op]++
	if tr&privileged != 0 && !conn.actor.Privileged {
		return fails(xs.EACCES)
	}
	var tx *openTx
	if h.Tx != 0 && tr&outside == 0 {
		if tx = conn.txs[h.Tx]; tx == nil {
			return fails(xs.ENOENT)
		}
		tx.ops++
	}
	switch h.Op {
	case xs.Read, xs.Directory, xs.GetPerms, xs.DirectoryPart:
		return c.read(conn, tx, h.Op, b)
	case xs.Write, xs.Mkdir, xs.Remove, xs.SetPerms:
		return c.change(conn, tx, h, b, why)
	case xs.TransactionStart:
		return c.begin(conn, tx)
	case xs.TransactionEnd:
		return c.end(conn, tx, h, b, why)
	case xs.Watch, xs.Unwatch:
		return c.watching(conn, h.Op, b)
	case xs.ResetWatches:
		c.reset(conn)
		return done(0)
	case xs.GetDomainPath:
		s, e := one(b)
		if e != 0 {
			return fails(e)
		}
		return answer{payload: "/local/domain/" + strconv.FormatUint(uint64(uint32(number(s))), 10) + "\x00"}
	case xs.Control:
		return c.control(conn, h, b)
	}
	return c.domainRequest(conn, h.Op, b)
}

// one is the only string of a payload. It is gone with the request: who keeps it copies it.
func one(b []byte) (string, xs.Errno) {
	if i := bytes.IndexByte(b, 0); i < 0 || i != len(b)-1 {
		return "", xs.EINVAL
	}
	return view(b[:len(b)-1]), 0
}

// split returns the first n strings of a payload and how many there are; what follows the last NUL does not count.
func split(b []byte, n int) ([]string, int) {
	f := make([]string, 0, n)
	count := 0
	for {
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			return f, count
		}
		if count++; len(f) < n {
			f = append(f, string(b[:i]))
		}
		b = b[i+1:]
	}
}

// number is C's atoi: what digits there are at the beginning, 0 if none.
func number(s string) int64 {
	s = strings.TrimLeft(s, " \t\n\v\f\r")
	end := 0
	if end < len(s) && (s[0] == '-' || s[0] == '+') {
		end++
	}
	for end < len(s) && s[end] >= '0' && s[end] <= '9' {
		end++
	}
	n, err := strconv.ParseInt(strings.TrimPrefix(s[:end], "+"), 10, 64)
	if err != nil && n == 0 {
		return 0
	}
	return n
}

// domID is the number of a domain, if it can be one.
func domID(s string) (xen.DomID, bool) {
	n := number(s)
	return xen.DomID(n), n >= 0 && n <= 0xffff
}

// absolute is the path that a connection means.
func (c *Conn) absolute(p string) string {
	if p != "" && (p[0] == '/' || p[0] == '@') {
		return p
	}
	return c.home + p
}

// inner is the transaction as the store knows it.
func (t *openTx) inner() *store.Tx {
	if t == nil {
		return nil
	}
	return t.Tx
}

func (c *Core) read(conn *Conn, tx *openTx, op xs.Op, b []byte) answer {
	var path string
	off := 0
	if op == xs.DirectoryPart {
		f, n := split(b, 2)
		if n != 2 {
			return fails(xs.EINVAL)
		}
		path, off = f[0], int(uint32(number(f[1])))
	} else {
		var e xs.Errno
		if path, e = one(b); e != 0 {
			return fails(e)
		}
	}
	if path = conn.absolute(path); tx != nil {
		path = strings.Clone(path)
	}
	defer c.charge(conn, tx)()
	n, e := c.store.Read(&conn.actor, tx.inner(), op, path)
	if e != 0 {
		return fails(e)
	}
	switch op {
	case xs.Read:
		return answer{payload: n.Value()}
	case xs.Directory:
		return answer{payload: n.Names()}
	case xs.GetPerms:
		return answer{payload: string(n.Perms().Append(nil))}
	}
	return answer{payload: part(n, off)}
}

// part is the piece of a list of children that begins at an offset, as much as fits into a reply.
func part(n *store.Node, off int) string {
	gen := strconv.FormatUint(n.Generation(), 10) + "\x00"
	names := n.Names()
	if off >= len(names) {
		return gen + "\x00"
	}
	names = names[off:]
	if room := xs.PayloadMax - len(gen) - 1; len(names) > room {
		// Whole names only; xenstored wants one byte to spare.
		return gen + names[:strings.LastIndexByte(names[:room], 0)+1]
	}
	return gen + names + "\x00"
}

// charge returns a function that accounts for what a request added to a transaction.
func (c *Core) charge(conn *Conn, tx *openTx) func() {
	d := conn.guest()
	if tx == nil || d == nil {
		return func() {}
	}
	before := tx.Bytes()
	return func() {
		d.memory += tx.Bytes() - before
		if c.full(d, 0) {
			d.memory -= tx.Bytes()
			tx.Spoil()
		}
	}
}

func (c *Core) change(conn *Conn, tx *openTx, h xs.Header, b []byte, why **cause) answer {
	var (
		path, value string
		perms       []store.Entry
		e           xs.Errno
	)
	switch h.Op {
	case xs.Write:
		i := bytes.IndexByte(b, 0)
		if i < 0 {
			return fails(xs.EINVAL)
		}
		path, value = view(b[:i]), string(b[i+1:])
	case xs.SetPerms:
		if path, perms, e = c.permissions(conn, b); e != 0 {
			return fails(e)
		}
		if xs.Special(path) {
			return done(c.setSpecial(conn, path, perms))
		}
	default:
		if path, e = one(b); e != 0 {
			return fails(e)
		}
	}
	path = conn.absolute(path)
	if tx != nil || c.cfg.History != nil {
		path = strings.Clone(path)
	}
	defer c.charge(conn, tx)()
	before := c.store.Version()
	var (
		ch  store.Change
		did = true
	)
	switch h.Op {
	case xs.Write:
		ch, e = c.store.Write(&conn.actor, tx.inner(), path, value)
	case xs.Mkdir:
		ch, did, e = c.store.Mkdir(&conn.actor, tx.inner(), path)
	case xs.Remove:
		ch, did, e = c.store.Remove(&conn.actor, tx.inner(), path)
	case xs.SetPerms:
		ch, e = c.store.SetPerms(&conn.actor, tx.inner(), path, perms)
	}
	if e == 0 && did && tx == nil {
		*why = conn.cause()
		c.fire(&ch, *why)
		c.logChange(before, &ch)
		c.commit(conn, h.Op, 0, path, 1)
	}
	return done(e)
}

// cause is what the events of a guest's request refer to.
func (c *Conn) cause() *cause {
	if d := c.guest(); d != nil {
		return &cause{dom: d}
	}
	return nil
}

// permissions decodes SET_PERMS. Entries about domains that are not there are kept and never apply (XSA-322).
func (c *Core) permissions(conn *Conn, b []byte) (string, []store.Entry, xs.Errno) {
	n := bytes.Count(b, []byte{0})
	if n < 2 {
		return "", nil, xs.EINVAL
	}
	if !conn.actor.Privileged && n-1 > c.store.Limits.Perms {
		return "", nil, xs.ENOSPC
	}
	f, _ := split(b, n)
	entries := make([]store.Entry, n-1)
	for i, s := range f[1:] {
		p, err := xs.ParsePerm(s)
		if err != nil {
			return "", nil, xs.EINVAL
		}
		entries[i].Perm = p
	}
	for i := range entries {
		entries[i].Ignored = c.find(entries[i].Dom) == nil
	}
	if entries[0].Ignored {
		return "", nil, xs.ENOENT
	}
	return f[0], entries, 0
}

// setSpecial says who may know of domains that come and go.
func (c *Core) setSpecial(conn *Conn, path string, entries []store.Entry) xs.Errno {
	p := c.special[path]
	switch {
	case p == nil:
		return xs.EINVAL
	case !p.CanSet(&conn.actor):
		return xs.EACCES
	}
	p = store.NewPerms(c.store.Generation(), entries...)
	c.special[path] = p
	c.logSpecial(path, p)
	return 0
}

func (c *Core) begin(conn *Conn, tx *openTx) answer {
	switch {
	case tx != nil:
		return fails(xs.EBUSY)
	case !conn.actor.Privileged && len(conn.txs) > c.store.Limits.Tx:
		return fails(xs.ENOSPC)
	}
	for conn.txs[conn.nextTx] != nil || conn.nextTx == 0 {
		conn.nextTx++
	}
	id := conn.nextTx
	conn.nextTx++
	c.openTx(conn, id, &openTx{Tx: c.store.Begin(), since: c.now})
	c.logTx(conn, id, true)
	return answer{payload: strconv.FormatUint(uint64(id), 10) + "\x00"}
}

func (c *Core) openTx(conn *Conn, id uint32, t *openTx) {
	if conn.txs == nil {
		conn.txs = make(map[uint32]*openTx)
	}
	conn.txs[id] = t
	c.open++
	c.traceObject(conn, true, "transaction")
}

// endTx forgets a transaction.
func (c *Core) endTx(conn *Conn, id uint32, t *openTx) {
	delete(conn.txs, id)
	c.open--
	c.traceObject(conn, false, "transaction")
	if d := conn.guest(); d != nil {
		d.memory -= t.Bytes()
	}
}

func (c *Core) end(conn *Conn, tx *openTx, h xs.Header, b []byte, why **cause) answer {
	commit := string(b) == "T\x00"
	switch {
	case !commit && string(b) != "F\x00":
		return fails(xs.EINVAL)
	case tx == nil:
		return fails(xs.ENOENT)
	}
	c.endTx(conn, h.Tx, tx)
	defer c.store.End(tx.Tx)
	c.logTx(conn, h.Tx, false)
	switch {
	case !commit:
		return done(0)
	case tx.lost:
		return fails(xs.EAGAIN)
	}
	o := c.store.Commit(&conn.actor, tx.Tx)
	if o.Errno == xs.EAGAIN {
		c.stats.Conflicts++
		if d := c.introduced(o.Culprit); d != nil && d.id != 0 && d.id != conn.actor.Dom {
			c.credit.charge(c, d)
		}
		return fails(o.Errno)
	}
	if o.Merged {
		c.stats.Merges++
	}
	*why = conn.cause()
	for i := range o.Changes {
		c.fire(&o.Changes[i], *why)
	}
	if o.Changed {
		path := ""
		if len(o.Changes) > 0 {
			path = o.Changes[0].Path
		}
		c.commit(conn, h.Op, h.Tx, path, tx.ops-1)
	}
	return done(o.Errno)
}

func (c *Core) watching(conn *Conn, op xs.Op, b []byte) answer {
	f, n := split(b, 2)
	if n != 2 {
		return fails(xs.EINVAL)
	}
	path, token := conn.absolute(f[0]), f[1]
	w := conn.watches[watchKey{path, token}]
	if op == xs.Unwatch {
		if w == nil {
			return fails(xs.ENOENT)
		}
		c.unwatch(w)
		c.logWatch(w, false)
		return done(0)
	}
	special := xs.Special(path)
	switch {
	case special && len(path) > xs.RelPathMax, !special && !store.ValidPath(path, c.store.Limits.PathMax):
		return fails(xs.EINVAL)
	case w != nil:
		return fails(xs.EEXIST)
	}
	if d := conn.guest(); d != nil {
		if d.watches > c.store.Limits.Watches {
			return fails(xs.E2BIG)
		}
		if c.full(d, len(path)+len(token)) {
			return fails(xs.ENOMEM)
		}
	}
	w = c.watch(conn, path, token, len(path) != len(f[0]))
	c.logWatch(w, true)
	return answer{payload: ok, after: w}
}

// domainRequest handles what the tool stack says of domains.
func (c *Core) domainRequest(conn *Conn, op xs.Op, b []byte) answer {
	switch op {
	case xs.Introduce:
		f, n := split(b, 3)
		if n < 3 {
			return fails(xs.EINVAL)
		}
		d, valid := domID(f[0])
		port := uint32(number(f[2])) // the frame, f[1], is not needed: the ring is granted
		switch {
		case port == 0:
			return fails(xs.EINVAL)
		case !valid:
			return fails(xs.ENOENT)
		}
		return done(c.Introduce(d, xen.Port(port)))
	case xs.SetTarget:
		f, n := split(b, 2)
		if n < 2 {
			return fails(xs.EINVAL)
		}
		d, v1 := domID(f[0])
		t, v2 := domID(f[1])
		dom, target := c.introduced(d), c.introduced(t)
		if !v1 || !v2 || dom == nil || target == nil {
			return fails(xs.ENOENT)
		}
		a := &dom.conn.actor
		a.HasTarget, a.Target, a.TargetBorn = true, t, target.born
		c.logConn(dom.conn)
		return done(0)
	}
	s, e := one(b)
	if e != 0 {
		return fails(e)
	}
	d, valid := domID(s)
	if op == xs.IsDomainIntroduced {
		if valid && (d == xen.DomSelf || c.introduced(d) != nil) {
			return answer{payload: "T\x00"}
		}
		return answer{payload: "F\x00"}
	}
	if d == 0 && valid {
		return fails(xs.EINVAL)
	}
	dom := c.introduced(d)
	if !valid || dom == nil {
		return fails(xs.ENOENT)
	}
	if op == xs.Release {
		c.release(dom)
		return done(0)
	}
	dom.shutdown = false
	c.logDomain(dom)
	return done(0)
}
