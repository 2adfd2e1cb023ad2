package sim

import (
	"errors"
	"strconv"

	"morgana/xen"
	"morgana/xen/wire/xs"
)

// Quotas of xenstored that have no field in Limits.
const (
	permsMax    = 5
	nodeSizeMax = 2048
)

func errno(err error) (xs.Errno, bool) {
	if err == nil {
		return 0, false
	}
	var e xs.Errno
	if !errors.As(err, &e) {
		e = xs.EINVAL
	}
	return e, true
}

var ack = []byte("OK\x00")

// do carries out a request.
func (c *storeConn) do(h xs.Header, b []byte) ([]byte, error) {
	var t *transaction
	switch h.Op {
	case xs.Read, xs.Directory, xs.DirectoryPart, xs.GetPerms, xs.Write, xs.Mkdir, xs.Remove, xs.SetPerms, xs.TransactionEnd:
		if t = c.txs[h.Tx]; h.Tx != 0 && t == nil {
			return nil, xs.ENOENT
		}
	}
	switch h.Op {
	case xs.Read, xs.Directory, xs.GetPerms, xs.Mkdir, xs.Remove:
		p, err := xs.ParseString(b)
		if err != nil {
			return nil, err
		}
		if p, err = c.path(p); err != nil {
			return nil, err
		}
		return c.byPath(h.Op, t, p)
	case xs.DirectoryPart:
		return c.directoryPart(t, b)
	case xs.Write:
		p, value, err := xs.ParseWrite(b)
		if err != nil {
			return nil, err
		}
		if p, err = c.path(p); err != nil {
			return nil, err
		}
		return c.writeValue(t, p, value)
	case xs.SetPerms:
		return c.setPerms(t, b)
	case xs.Watch, xs.Unwatch:
		return c.watch(h.Op, b)
	case xs.TransactionStart:
		return c.begin(h)
	case xs.TransactionEnd:
		commit, err := xs.ParseTransactionEnd(b)
		if err != nil {
			return nil, err
		}
		if t == nil {
			return nil, xs.ENOENT
		}
		delete(c.txs, t.id)
		if commit {
			err = c.s.commit(c, t)
		}
		return ack, err
	case xs.ResetWatches:
		c.watches = nil
		clear(c.txs)
		return ack, nil
	case xs.GetDomainPath:
		d, err := xs.ParseDomID(b)
		return xs.AppendString(nil, xs.DomainPath(d)), err
	}
	return c.forDom0(h.Op, b)
}

// path makes a path absolute and checks it.
func (c *storeConn) path(p string) (string, error) {
	if err := xs.CheckPath(p); err != nil {
		return "", err
	}
	if xs.Special(p) {
		return "", xs.EINVAL
	}
	return xs.Absolute(p, c.dom), nil
}

// find returns a node that the connection may use as wanted. Who may not read the parent does not learn whether
// the node exists.
func (c *storeConn) find(t *transaction, p string, want func(xs.Access) bool) (*node, error) {
	n := c.s.get(t, p)
	if n != nil {
		if !want(c.allowed(n)) {
			return nil, xs.EACCES
		}
		return n, nil
	}
	for up := p; up != "/"; {
		up = xs.Parent(up)
		if above := c.s.get(t, up); above != nil {
			if !c.allowed(above).CanRead() {
				return nil, xs.EACCES
			}
			break
		}
	}
	return nil, xs.ENOENT
}

func (c *storeConn) byPath(op xs.Op, t *transaction, p string) ([]byte, error) {
	switch op {
	case xs.Mkdir:
		n, err := c.find(t, p, xs.Access.CanWrite)
		if n != nil {
			return ack, nil
		}
		if err == xs.ENOENT || err == xs.EACCES && c.s.get(t, p) == nil {
			return c.create(t, p, nil)
		}
		return nil, err
	case xs.Remove:
		return c.remove(t, p)
	}
	n, err := c.find(t, p, xs.Access.CanRead)
	if err != nil {
		return nil, err
	}
	switch op {
	case xs.Read:
		return n.value, nil
	case xs.GetPerms:
		return xs.AppendPerms(nil, n.perms), nil
	}
	return xs.AppendStrings(nil, c.s.visible(n.children)...), nil
}

func (s *store) visible(children []string) []string {
	if s.host.defects[ListTruncated] && len(children) > 100 {
		return children[:100]
	}
	return children
}

func (c *storeConn) directoryPart(t *transaction, b []byte) ([]byte, error) {
	p, off, err := xs.ParseDirectoryPart(b)
	if err != nil {
		return nil, err
	}
	if p, err = c.path(p); err != nil {
		return nil, err
	}
	n, err := c.find(t, p, xs.Access.CanRead)
	if err != nil {
		return nil, err
	}
	part := xs.Part{Generation: strconv.FormatUint(n.gen, 10), Last: true}
	room := xs.PayloadMax - len(part.Generation) - 2
	at := 0
	for _, name := range c.s.visible(n.children) {
		if at += len(name) + 1; at <= off {
			continue
		}
		if room -= len(name) + 1; room < 0 {
			part.Last = false
			break
		}
		part.Names = append(part.Names, name)
	}
	return xs.AppendPart(nil, part), nil
}

func (c *storeConn) writeValue(t *transaction, p string, value []byte) ([]byte, error) {
	value = append([]byte(nil), value...)
	n, err := c.find(t, p, xs.Access.CanWrite)
	if n == nil {
		if err == xs.ENOENT || err == xs.EACCES && c.s.get(t, p) == nil {
			return c.create(t, p, value)
		}
		return nil, err
	}
	if !c.privileged() && nodeSize(n, value) > nodeSizeMax {
		return nil, xs.ENOSPC
	}
	changed := *n
	changed.value = value
	c.s.put(t, p, &changed, true)
	c.fire(t, p, n)
	return ack, nil
}

// fire tells watchers at once, outside of a transaction.
func (c *storeConn) fire(t *transaction, p string, before *node) {
	if t == nil {
		c.s.fireLocked(p, before, false)
	}
}

func nodeSize(n *node, value []byte) int {
	size := 24 + 8*len(n.perms) + len(value)
	for _, name := range n.children {
		size += len(name) + 1
	}
	return size
}

// create makes a node and those above it that are missing. It needs write permission on the deepest that exists,
// takes permissions from there, and makes an unprivileged creator the owner.
func (c *storeConn) create(t *transaction, p string, value []byte) ([]byte, error) {
	missing := []string{p}
	up := xs.Parent(p)
	for c.s.get(t, up) == nil {
		missing = append(missing, up)
		up = xs.Parent(up)
	}
	above := c.s.get(t, up)
	if !c.allowed(above).CanWrite() {
		return nil, xs.EACCES
	}
	perms := append([]xs.Perm(nil), above.perms...)
	if !c.privileged() {
		perms[0].Dom = c.dom
		created := 0
		if t != nil {
			created = t.created
		}
		if c.s.owned[c.dom]+created+len(missing) > c.s.host.limits.Nodes {
			return nil, xs.ENOSPC
		}
		if nodeSize(&node{perms: perms}, value) > nodeSizeMax || nodeSize(above, above.value)+len(xs.Base(missing[len(missing)-1]))+1 > nodeSizeMax {
			return nil, xs.ENOSPC
		}
	}
	for i := len(missing) - 1; i >= 0; i-- {
		q := missing[i]
		parent := *c.s.get(t, xs.Parent(q))
		parent.children = append(parent.children[:len(parent.children):len(parent.children)], xs.Base(q))
		c.s.put(t, xs.Parent(q), &parent, false)
		n := &node{perms: perms}
		if i == 0 {
			n.value = value
		}
		c.s.put(t, q, n, i == 0)
	}
	if t != nil {
		t.created += len(missing)
	}
	c.fire(t, p, nil)
	return ack, nil
}

// remove removes a subtree. Watches at or above its root get one event, those exactly on a removed node below get
// their own, children first.
func (c *storeConn) remove(t *transaction, p string) ([]byte, error) {
	if p == "/" {
		return nil, xs.EINVAL
	}
	n, err := c.find(t, p, xs.Access.CanWrite)
	if err == xs.ENOENT && c.s.get(t, xs.Parent(p)) != nil {
		return ack, nil
	}
	if err != nil {
		return nil, err
	}
	parent := *c.s.get(t, xs.Parent(p))
	parent.children = without(parent.children, xs.Base(p))
	c.s.put(t, xs.Parent(p), &parent, false)
	var below func(string, *node)
	below = func(q string, m *node) {
		for _, name := range m.children {
			if sub := c.s.get(t, child(q, name)); sub != nil {
				below(child(q, name), sub)
			}
		}
		c.s.put(t, q, nil, q == p)
		if t == nil && q != p {
			c.s.fireLocked(q, m, true)
		}
	}
	below(p, n)
	c.fire(t, p, n)
	return ack, nil
}

func (c *storeConn) setPerms(t *transaction, b []byte) ([]byte, error) {
	p, perms, err := xs.ParseSetPerms(b)
	if err != nil {
		return nil, err
	}
	if xs.Special(p) {
		if !c.privileged() {
			return nil, xs.EACCES
		}
		for _, other := range c.s.conns {
			other.special[p] = false
			for _, x := range perms {
				if x.Dom == other.dom && x.Access.CanRead() {
					other.special[p] = true
				}
			}
		}
		return ack, nil
	}
	if p, err = c.path(p); err != nil {
		return nil, err
	}
	n, err := c.find(t, p, xs.Access.CanWrite)
	if err != nil {
		return nil, err
	}
	if !c.privileged() {
		owner := n.perms[0].Dom
		if target, ok := c.s.target[c.dom]; owner != c.dom && !(ok && owner == target) {
			return nil, xs.EACCES
		}
		if perms[0].Dom != owner {
			return nil, xs.EPERM
		}
		if len(perms) > permsMax {
			return nil, xs.ENOSPC
		}
	}
	if !c.s.known[perms[0].Dom] {
		return nil, xs.ENOENT
	}
	changed := *n
	changed.perms = perms
	c.s.put(t, p, &changed, true)
	c.fire(t, p, n)
	return ack, nil
}

func (c *storeConn) watch(op xs.Op, b []byte) ([]byte, error) {
	given, token, err := xs.ParseWatch(b)
	if err != nil {
		return nil, err
	}
	if err := xs.CheckPath(given); err != nil {
		return nil, err
	}
	p := xs.Absolute(given, c.dom)
	for i, w := range c.watches {
		if w.path != p || w.token != token {
			continue
		}
		if op == xs.Watch {
			return nil, xs.EEXIST
		}
		c.watches = append(c.watches[:i:i], c.watches[i+1:]...)
		return ack, nil
	}
	if op == xs.Unwatch {
		return nil, xs.ENOENT
	}
	if !c.privileged() && len(c.watches) >= c.s.host.limits.Watch {
		return nil, xs.E2BIG
	}
	c.watches = append(c.watches, &storeWatch{path: p, given: given, token: token})
	return ack, nil
}

func (c *storeConn) begin(h xs.Header) ([]byte, error) {
	if h.Tx != 0 {
		return nil, xs.EBUSY
	}
	if !c.privileged() && len(c.txs) >= c.s.host.limits.Tx {
		return nil, xs.ENOSPC
	}
	for c.lastTx++; c.lastTx == 0 || c.txs[c.lastTx] != nil; c.lastTx++ {
	}
	c.txs[c.lastTx] = &transaction{id: c.lastTx, seen: make(map[string]*touched)}
	return xs.AppendTxID(nil, c.lastTx), nil
}

// forDom0 is the operations that only dom0 may ask for.
func (c *storeConn) forDom0(op xs.Op, b []byte) ([]byte, error) {
	if !op.Known() || op == xs.WatchEvent || op == xs.ErrorReply {
		return nil, xs.ENOSYS
	}
	if !c.privileged() {
		return nil, xs.EACCES
	}
	switch op {
	case xs.Introduce:
		d, _, _, err := xs.ParseIntroduce(b)
		if err == nil && !c.s.known[d] {
			err = xs.ENOENT
		}
		return ack, err
	case xs.SetTarget:
		d, target, err := xs.ParseSetTarget(b)
		if err == nil && !(c.s.known[d] && c.s.known[target]) {
			err = xs.ENOENT
		}
		if err == nil {
			c.s.target[d] = target
		}
		return ack, err
	case xs.Control:
		f, err := xs.ParseStrings(b)
		if err == nil && (len(f) == 0 || f[0] != "check") {
			err = xs.EINVAL
		}
		return ack, err
	}
	d, err := xs.ParseDomID(b)
	if err != nil {
		return nil, err
	}
	switch known := c.s.known[d]; {
	case op == xs.IsDomainIntroduced && known:
		return []byte("T\x00"), nil
	case op == xs.IsDomainIntroduced:
		return []byte("F\x00"), nil
	case d == xen.DomID(0):
		return nil, xs.EINVAL
	case !known:
		return nil, xs.ENOENT
	}
	return ack, nil // RELEASE and RESUME: domains end by Domain.Destroy
}
