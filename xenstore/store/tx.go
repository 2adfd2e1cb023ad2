package store

import (
	"slices"

	"morgana/xen"
	"morgana/xen/wire/xs"
)

// Tx is a transaction: a root of its own. Nothing of it is seen outside until it is committed.
type Tx struct {
	base, root *Node
	age        uint64  // as Store.age: of nodes that nobody else has seen, nor a request of its own has read
	usage      []usage // what its changes add to what domains own
	log        []request
	nodes      []looked       // in the order in which it came upon them, which is that of the events
	index      map[string]int // of nodes, once there are many
	again      bool           // its requests are made again: the nodes are known
	bytes      int            // of memory that the log takes
	writes     bool           // something in it may change the store
	created    bool           // it makes nodes: their number counts
	spoiled    bool           // cannot be committed any more
}

// usage is what a transaction adds to what a domain owns.
type usage struct {
	dom xen.DomID
	Usage
}

// few is how many nodes are found without an index.
const few = 16

// request is a request that was made of a transaction, and what it learned.
type request struct {
	op      xs.Op
	path    string
	value   string  // that was written
	entries []Entry // that were set
	node    *Node   // that was read
	had     bool    // the node was there
	errno   xs.Errno
}

// looked is a node that the transaction looked at or changed.
type looked struct {
	path  string
	perms *Perms // when it came upon it; nil if there was no node
	fires bool   // watches are to know
	exact bool
}

// logOverhead is about what the log takes for a request besides its strings.
const logOverhead = 128

// Begin starts a transaction.
func (s *Store) Begin() *Tx {
	s.grow()
	t := &Tx{}
	if n := len(s.spare); n > 0 {
		t, s.spare = s.spare[n-1], s.spare[:n-1]
	}
	s.ages++
	t.base, t.root, t.age = s.root, s.root, s.ages
	return t
}

// spareMax is how many transactions that are over are kept for those that come, and how long their lists may be.
const spareMax = 32

// End gives back a transaction that is over; nobody may use it any more. Not to call it costs an allocation.
func (s *Store) End(t *Tx) {
	if len(s.spare) == spareMax || cap(t.log) > spareMax || cap(t.nodes) > 2*spareMax {
		return
	}
	clear(t.log)
	clear(t.nodes)
	*t = Tx{usage: t.usage[:0], log: t.log[:0], nodes: t.nodes[:0]}
	s.spare = append(s.spare, t)
}

// owe adds to what a domain will own.
func (t *Tx) owe(d xen.DomID, u Usage) {
	for i := range t.usage {
		if x := &t.usage[i]; x.dom == d {
			x.Usage = x.add(u)
			t.usage[0], *x = *x, t.usage[0] // the next node is likely of the same domain
			return
		}
	}
	t.usage = append(t.usage, usage{d, u})
}

// find is the index of a node that was looked at.
func (t *Tx) find(path string) (int, bool) {
	if t.index != nil {
		i, ok := t.index[path]
		return i, ok
	}
	for i := range t.nodes {
		if t.nodes[i].path == path {
			return i, true
		}
	}
	return 0, false
}

// Bytes is how much memory the transaction's requests take.
func (t *Tx) Bytes() int { return t.bytes }

// Spoil makes the transaction fail when it is committed.
func (t *Tx) Spoil() {
	t.spoiled = true
	t.log, t.nodes, t.index, t.bytes = nil, nil, nil, 0
}

func (t *Tx) remember(a *Actor, r request) {
	if t.spoiled {
		return
	}
	switch r.op {
	case xs.Write, xs.Mkdir, xs.Remove, xs.SetPerms:
		t.writes = t.writes || r.errno == 0
	}
	t.log = append(t.log, r)
	t.bytes += len(r.path) + len(r.value) + logOverhead
}

// note adds a node to those that were looked at; false if a guest's transaction looks at too many.
func (t *Tx) note(a *Actor, limit int, path string, perms *Perms) bool {
	if t.again {
		return true
	}
	if _, ok := t.find(path); ok {
		return true
	}
	if a != nil && !a.Privileged && len(t.nodes) >= limit {
		t.spoiled = true
		return false
	}
	t.nodes = append(t.nodes, looked{path: path, perms: perms})
	switch n := len(t.nodes); {
	case t.index != nil:
		t.index[path] = n - 1
	case n > few:
		t.index = make(map[string]int, 2*few)
		for i := range t.nodes {
			t.index[t.nodes[i].path] = i
		}
	}
	return true
}

// look notes a node that was looked for: what of its path is missing, and the deepest one that is there.
func (t *Tx) look(a *Actor, v *view, path, rest string, perms *Perms) bool {
	for there := len(path) - len(rest) - 1; rest != "" && len(path) > max(there, 1); path = Parent(path) {
		if !t.note(a, v.s.Limits.TxNodes, path, nil) {
			return false
		}
	}
	return t.note(a, v.s.Limits.TxNodes, path, perms)
}

// fire notes that watches are to know. What concerns watches at and above a node stays so.
func (t *Tx) fire(path string, exact bool) {
	i, ok := t.find(path)
	if !ok {
		return
	}
	n := &t.nodes[i]
	n.exact = exact && (!n.fires || n.exact)
	n.fires = true
}

// Outcome is what came of a commit.
type Outcome struct {
	Changes []Change // until the next commit
	Errno   xs.Errno
	// Culprit is who changed what the transaction conflicts with, for EAGAIN.
	Culprit xen.DomID
	Path    string // where it conflicts
	Changed bool   // the store is another one now
	Merged  bool   // the store had changed meanwhile, and the transaction fitted all the same
}

// Commit ends a transaction and puts its changes in. It fails with EAGAIN if others changed what it learned, with
// ENOSPC if a guest would own too many nodes, and with ENOMEM if one of its requests went too far. The transaction is
// over in any case.
func (s *Store) Commit(a *Actor, t *Tx) Outcome {
	switch {
	case t.spoiled:
		return Outcome{Errno: xs.ENOMEM}
	case t.created && !a.Privileged && s.tooMany(t):
		return Outcome{Errno: xs.ENOSPC}
	case !t.writes:
		return Outcome{}
	case s.ownerGone(t):
		return Outcome{Errno: xs.ENOMEM}
	}
	var o Outcome
	if s.root != t.base {
		m := s.Begin()
		m.again = true
		at, ok := s.replay(a, t, m)
		if ok {
			t.root, t.usage, m.usage = m.root, m.usage, t.usage
		}
		s.End(m)
		if !ok {
			o.Errno, o.Path, o.Culprit = xs.EAGAIN, at, s.culprit(at)
			return o
		}
		o.Merged = true
	}
	before := s.root
	s.grow()
	s.version++
	s.root, o.Changed = t.root, true
	for _, u := range t.usage {
		s.own(u.dom, u.Usage)
	}
	o.Changes = t.changes(s.changes[:0], before, s.root)
	if s.changes = o.Changes; cap(s.changes) > 1<<10 {
		s.changes = nil
	}
	return o
}

func (s *Store) tooMany(t *Tx) bool {
	for _, u := range t.usage {
		if d := u.dom; d != 0 && u.Nodes != 0 && s.usage[d].Nodes+u.Nodes >= s.Limits.Nodes {
			return true
		}
	}
	return false
}

// ownerGone reports whether a domain that is gone would own nodes.
func (s *Store) ownerGone(t *Tx) bool {
	for _, u := range t.usage {
		if d := u.dom; d != 0 && u.Nodes > 0 && !s.doms.Exists(d) {
			return true
		}
	}
	return false
}

// changes appends what watches are to know.
func (t *Tx) changes(all []Change, before, after *Node) []Change {
	for i := range t.nodes {
		l := &t.nodes[i]
		if !l.fires {
			continue
		}
		c := Change{Path: l.path, Exact: l.exact, Node: after.Lookup(l.path), Old: l.perms}
		switch {
		case c.Node != nil:
			c.Parent = after.Lookup(Parent(l.path))
		case before.Lookup(l.path) == nil:
			continue // made and removed again
		}
		all = append(all, c)
	}
	return all
}

// replay makes the requests of t again in m. It reports whether each learned what it learned, else where not.
func (s *Store) replay(a *Actor, t, m *Tx) (string, bool) {
	v := view{s: s, tx: m, root: m.root}
	for i := range t.log {
		r := &t.log[i]
		same := false
		switch r.op {
		case xs.Write:
			_, had, e := v.write(a, r.path, r.value)
			same = e == r.errno && had == r.had
		case xs.Mkdir:
			_, e := v.get(a, r.path, mayWrite)
			had := e != xs.ENOENT
			if !had {
				_, e = v.create(a, r.path, "")
			}
			same = e == r.errno && had == r.had
		case xs.Remove:
			n, e := v.get(a, r.path, mayWrite)
			had := e == 0
			switch {
			case e == xs.ENOENT && v.root.Lookup(Parent(r.path)) != nil:
				e = 0
			case had && r.path == "/":
				had, e = false, xs.EINVAL
			}
			same = e == r.errno && had == r.had && (!had || t.base.Lookup(r.path) == s.root.Lookup(r.path))
			if same && had {
				v.remove(a, r.path, n)
			}
		case xs.SetPerms:
			_, e := v.setPerms(a, r.path, r.entries)
			same = e == r.errno
		default:
			n, e := v.get(a, r.path, mayRead)
			same = e == r.errno && (e != 0 || r.alike(n))
		}
		if !same {
			return r.path, false
		}
	}
	return "", true
}

// alike reports whether a node says what the request read.
func (r *request) alike(n *Node) bool {
	switch r.op {
	case xs.Directory, xs.DirectoryPart:
		return n.kids == r.node.kids || n.Names() == r.node.Names()
	case xs.GetPerms:
		return n.perms.equal(r.node.perms)
	}
	return n.value == r.node.value
}

// culprit is who last changed what is at a path, or the deepest node above it.
func (s *Store) culprit(path string) xen.DomID {
	n, _ := s.root.nearest(path)
	return n.by
}

// Looked are the paths that the transaction looked at or changed, in order.
func (t *Tx) Looked() []string {
	paths := make([]string, len(t.nodes))
	for i := range t.nodes {
		paths[i] = t.nodes[i].path
	}
	return slices.Clip(paths)
}
