package store

import (
	"strings"

	"morgana/xen"
	"morgana/xen/wire/xs"
)

// Store is the tree and who owns how much of it. Outside of a transaction it keeps no path that it is given. Not safe for concurrent use; the roots that it had are.
type Store struct {
	Limits Limits

	root  *Node
	gen   uint64
	usage map[xen.DomID]Usage
	doms  Domains
	spine []*Node // scratch
	// age is another one whenever somebody gets hold of the root. What was made since is known to the store alone, so a new
	// value may be put into it in place. Transactions have ages of their own; none comes twice.
	age     uint64
	ages    uint64   // the last one that was given out
	trial   Node     // scratch
	changes []Change // scratch
	spare   []*Tx    // that are over
	version uint64   // counts the trees that the store had
}

// Domains is what a store asks about domains.
type Domains interface {
	// Exists reports whether there is a domain of that number.
	Exists(d xen.DomID) bool
	// Full reports whether a guest has no memory left for bytes more: nodes are not all that counts.
	Full(d xen.DomID, bytes int) bool
}

// boundless is where all domains exist and have memory.
type boundless struct{}

func (boundless) Exists(xen.DomID) bool    { return true }
func (boundless) Full(xen.DomID, int) bool { return false }

// Usage is what a domain owns of the tree.
type Usage struct {
	Nodes int
	Bytes int
}

func (u Usage) add(v Usage) Usage { return Usage{u.Nodes + v.Nodes, u.Bytes + v.Bytes} }

// New makes a store with a root that dom0 owns. Without domains, all exist and have memory.
func New(l Limits, doms Domains) *Store {
	s := &Store{Limits: l, usage: make(map[xen.DomID]Usage), doms: doms, age: 1, ages: 1}
	if doms == nil {
		s.doms = boundless{}
	}
	s.root = &Node{perms: NewPerms(0, Entry{Perm: xs.Perm{Access: xs.AccessNone}})}
	s.account(nil, 1, s.root, 1)
	return s
}

// Root is the tree as it is now: a value that never changes.
func (s *Store) Root() *Node {
	s.grow()
	return s.root
}

// grow begins a new age: nobody's nodes are changed in place any more.
func (s *Store) grow() {
	s.ages++
	s.age = s.ages
}

// Current is the tree for who only looks at it before the next change.
func (s *Store) Current() *Node { return s.root }

// Generation counts all changes; it never goes back.
func (s *Store) Generation() uint64 { return s.gen }

// Advance begins a generation that no change so far has, and returns it.
func (s *Store) Advance() uint64 {
	s.gen++
	return s.gen
}

// Version counts the trees that the store had: not what happens within transactions.
func (s *Store) Version() uint64 { return s.version }

// Usage is what a domain owns now.
func (s *Store) Usage(d xen.DomID) Usage { return s.usage[d] }

// Nodes is how many nodes there are.
func (s *Store) Nodes() int {
	n := 0
	for _, u := range s.usage {
		n += u.Nodes
	}
	return n
}

// account counts a node for its owner, or no longer (sign -1); in a transaction, for when it is committed.
func (s *Store) account(t *Tx, pathLen int, n *Node, sign int) {
	d, u := n.perms.entries[0].Dom, Usage{sign, sign * (n.size() + pathLen)}
	if t != nil {
		t.owe(d, u)
		return
	}
	s.own(d, u)
}

// own adds to what a domain owns.
func (s *Store) own(d xen.DomID, u Usage) {
	if u = s.usage[d].add(u); u == (Usage{}) {
		delete(s.usage, d)
		return
	}
	s.usage[d] = u
}

// swap accounts for a node that took the place of another one.
func (s *Store) swap(t *Tx, path string, old, n *Node) {
	if d := n.perms.entries[0].Dom; old.perms.entries[0].Dom == d {
		u := Usage{Bytes: n.size() - old.size()}
		switch {
		case u == Usage{}:
		case t != nil:
			t.owe(d, u)
		default:
			s.own(d, u)
		}
		return
	}
	s.account(t, len(path), old, -1)
	s.account(t, len(path), n, 1)
}

func (s *Store) stamp(a *Actor) stamp {
	s.gen++
	return stamp{gen: s.gen, age: s.age, by: a.Dom}
}

// stamp of a view of a transaction has the transaction's age.
func (v *view) stamp(a *Actor) stamp {
	st := v.s.stamp(a)
	if v.tx != nil {
		st.age = v.tx.age
	}
	return st
}

// Change is something that watches want to know.
type Change struct {
	Path    string
	Exact   bool   // only for watches of this very path: it was removed with what was above it
	Node    *Node  // as it is now, or as it was before it was removed; nil if a transaction removed it
	Parent  *Node  // of Node
	Removed *Node  // the node, if it was removed outside of a transaction: whoever watches something below wants to know
	Old     *Perms // permissions before the change, if they count too
	Made    string // the path of the highest node that was made on the way, "" if none was
}

// view is what a request works on: the store itself, or a transaction's root.
type view struct {
	s    *Store
	tx   *Tx // nil for the store itself
	root *Node
	// spine is the nodes on the way to the path that get was last called with, as far as they are there.
	spine []*Node
}

func (s *Store) view(t *Tx) view {
	if t != nil {
		return view{s: s, tx: t, root: t.root}
	}
	return view{s: s, root: s.root}
}

// set makes a root the present one.
func (v *view) set(root *Node) {
	v.root = root
	if v.tx != nil {
		v.tx.root = root
	} else {
		v.s.root = root
		v.s.version++
	}
}

// get finds a node that an actor needs rights to. Without them, and if the node is not there but nothing says that the
// actor may know that, the error is EACCES. errno is 0 if the node was found.
func (v *view) get(a *Actor, path string, need access) (*Node, xs.Errno) {
	if !ValidPath(path, v.s.Limits.PathMax) {
		return nil, xs.EINVAL
	}
	spine, rest := v.root.descend(v.s.spine[:0], path)
	v.spine, v.s.spine = spine, spine
	n := spine[len(spine)-1]
	if v.tx != nil && !v.tx.look(a, v, path, rest, n.perms) {
		return nil, xs.ENOSPC
	}
	have := n.perms.of(a)
	switch {
	case rest == "" && have&need == need:
		return n, 0
	case rest == "" || have&need == 0:
		return nil, xs.EACCES
	}
	return nil, xs.ENOENT
}

// Read returns the node of a path if the actor may read it; t is nil outside of a transaction.
func (s *Store) Read(a *Actor, t *Tx, op xs.Op, path string) (*Node, xs.Errno) {
	v := s.view(t)
	n, e := v.get(a, path, mayRead)
	if t != nil {
		t.remember(a, request{op: op, path: path, node: n, errno: e})
		if e == 0 && n.age == t.age { // it was read as it is: not to be changed in place
			s.ages++
			t.age = s.ages
		}
	}
	return n, e
}

// Write sets a node's value and makes it, and what is missing above it.
func (s *Store) Write(a *Actor, t *Tx, path, value string) (Change, xs.Errno) {
	v := s.view(t)
	c, had, e := v.write(a, path, value)
	if t != nil {
		t.remember(a, request{op: xs.Write, path: path, value: value, had: had, errno: e})
	}
	return c, e
}

func (v *view) write(a *Actor, path, value string) (c Change, had bool, e xs.Errno) {
	old, e := v.get(a, path, mayWrite)
	switch e {
	case 0:
	case xs.ENOENT:
		c, e = v.create(a, path, value)
		return c, false, e
	default:
		return c, false, e
	}
	n := &v.s.trial
	*n = *old
	n.value = value
	if e := v.fits(a, path, old, n); e != 0 {
		return c, true, v.spoil(e)
	}
	st := v.stamp(a)
	if old.age == st.age {
		v.s.swap(v.tx, path, old, n)
		old.value, old.gen, old.by = value, st.gen, st.by
		if v.tx == nil {
			v.s.version++
		}
		return v.changed(path, old, v.spine[max(len(v.spine)-2, 0)], nil), true, 0
	}
	m := *old
	m.value, m.gen, m.by, m.age = value, st.gen, st.by, st.age
	return v.replace(path, old, &m, nil, st), true, 0
}

// replace puts a node in the place of the one that get found.
func (v *view) replace(path string, old, n *Node, perms *Perms, st stamp) Change {
	v.s.swap(v.tx, path, old, n)
	root, parent := climb(v.spine[:len(v.spine)-1], n, st)
	v.set(root)
	return v.changed(path, n, parent, perms)
}

// fits says whether a guest may let a node become this large.
func (v *view) fits(a *Actor, path string, old, n *Node) xs.Errno {
	if a.Privileged {
		return 0
	}
	size := n.size()
	if size >= v.s.Limits.NodeSize {
		return xs.ENOSPC
	}
	if old != nil && old.perms.entries[0].Dom == n.perms.entries[0].Dom {
		size -= old.size() + len(path)
	}
	if size += len(path); size > 0 && v.s.doms.Full(n.perms.entries[0].Dom, size) {
		return xs.ENOMEM
	}
	return 0
}

// spoil marks a transaction: after a change that did not fit, as with xenstored, it cannot be committed.
func (v *view) spoil(e xs.Errno) xs.Errno {
	if v.tx != nil {
		v.tx.spoiled = true
	}
	return e
}

// Mkdir makes a node, and what is missing above it; made says that it was not there.
func (s *Store) Mkdir(a *Actor, t *Tx, path string) (c Change, made bool, e xs.Errno) {
	v := s.view(t)
	_, e = v.get(a, path, mayWrite)
	made = e == xs.ENOENT
	if made {
		c, e = v.create(a, path, "")
	}
	if t != nil {
		t.remember(a, request{op: xs.Mkdir, path: path, had: !made, errno: e})
	}
	return c, made && e == 0, e
}

// create makes a node that is not there. Permissions are those of the node above; a guest owns what it makes.
func (v *view) create(a *Actor, path, value string) (Change, xs.Errno) {
	if v.tx != nil {
		v.tx.created = true
	}
	above := v.spine[len(v.spine)-1]
	rest := path[1:]
	for range len(v.spine) - 1 {
		_, rest = next(rest)
	}
	perms := above.perms
	if !a.Privileged {
		perms = perms.ownedBy(a.Dom)
	}
	if e := v.room(a, path, rest, value, above, perms); e != 0 {
		return Change{}, v.spoil(e)
	}
	st := v.stamp(a)
	// From the bottom up: each new node under the next one.
	var n, last, holder *Node // holder is the parent of the last one, if it is new too
	at := path
	for {
		up := Node{name: strings.Clone(Base(at)), perms: perms, gen: st.gen, born: st.gen, age: st.age, by: st.by}
		if n == nil {
			up.value = value
			last = &up
		} else {
			up.kids = up.kids.with(n)
			if n == last {
				holder = &up
			}
		}
		n = &up
		v.s.account(v.tx, len(at), n, 1)
		if len(at) == len(path)-len(rest)+len(n.name) {
			break
		}
		at = Parent(at)
	}
	dir := len(Parent(at))
	v.s.account(v.tx, dir, above, -1) // before it is changed, maybe in place
	root, parent := adopt(v.spine, n, st)
	v.set(root)
	v.s.account(v.tx, dir, parent, 1)
	if holder != nil {
		parent = holder
	}
	c := v.changed(path, last, parent, nil)
	c.Made = at
	return c, 0
}

// room says whether a guest may make the missing nodes.
func (v *view) room(a *Actor, path, rest, value string, above *Node, perms *Perms) xs.Errno {
	if a.Privileged {
		return 0
	}
	l := &v.s.Limits
	own := v.s.usage[a.Dom].Nodes
	bytes, name, first := 0, "", ""
	for more := rest; more != ""; {
		name, more = next(more)
		if first == "" {
			first = name
		}
		size := sizeHeader + sizePerm*len(perms.entries)
		if more == "" {
			size += len(value)
		} else {
			below, _ := next(more)
			size += len(below) + 1
		}
		if own >= l.Nodes || size >= l.NodeSize {
			return xs.ENOSPC
		}
		bytes += size + len(path) - len(more)
		if v.tx == nil { // a transaction is held to the limit when it is committed
			own++
		}
	}
	if above.size()+len(first)+1 >= l.NodeSize {
		return xs.ENOSPC
	}
	if v.s.doms.Full(a.Dom, bytes) {
		return xs.ENOMEM
	}
	return 0
}

// changed notes a change of a node that is there.
func (v *view) changed(path string, n, parent *Node, old *Perms) Change {
	if v.tx != nil {
		v.tx.fire(path, false)
		return Change{}
	}
	return Change{Path: path, Node: n, Parent: parent, Old: old}
}

// Remove removes a node with everything below it. gone says that it was there: it is no error if it was not but the
// node above it is.
func (s *Store) Remove(a *Actor, t *Tx, path string) (c Change, gone bool, e xs.Errno) {
	v := s.view(t)
	n, e := v.get(a, path, mayWrite)
	gone = e == 0
	switch {
	case e == xs.ENOENT && v.root.Lookup(Parent(path)) != nil:
		e = 0
	case e == 0 && path == "/":
		gone, e = false, xs.EINVAL
	case e == 0:
		c = v.remove(a, path, n)
	}
	if t != nil {
		t.remember(a, request{op: xs.Remove, path: path, had: gone, errno: e})
	}
	return c, gone, e
}

func (v *view) remove(a *Actor, path string, n *Node) Change {
	dir := Parent(path)
	spine, _ := v.root.descend(v.s.spine[:0], path)
	v.s.spine = spine
	above := spine[len(spine)-2]
	if v.tx == nil {
		v.s.forget(nil, len(path), n)
	} else {
		v.tx.note(nil, 0, dir, above.perms)
		for p, below := range n.All(path) {
			v.s.account(v.tx, len(p), below, -1)
			v.tx.note(a, v.s.Limits.TxNodes, p, below.perms)
			v.tx.fire(p, p != path)
		}
	}
	v.s.account(v.tx, len(dir), above, -1)
	root, parent := prune(spine, v.stamp(a))
	v.set(root)
	v.s.account(v.tx, len(dir), parent, 1)
	return Change{Path: path, Node: n, Parent: parent, Removed: n}
}

// SetPerms sets a node's permissions. Only its owner may, and only who is privileged may give it to another one.
func (s *Store) SetPerms(a *Actor, t *Tx, path string, entries []Entry) (Change, xs.Errno) {
	v := s.view(t)
	c, e := v.setPerms(a, path, entries)
	if t != nil {
		t.remember(a, request{op: xs.SetPerms, path: path, entries: entries, had: e == 0, errno: e})
	}
	return c, e
}

func (v *view) setPerms(a *Actor, path string, entries []Entry) (Change, xs.Errno) {
	old, e := v.get(a, path, mayWrite|mayOwn)
	if e != 0 {
		return Change{}, e
	}
	if !a.Privileged && entries[0].Dom != old.perms.Owner() {
		return Change{}, xs.EPERM
	}
	n := *old
	n.perms = &Perms{entries: entries}
	if e := v.fits(a, path, old, &n); e != 0 {
		return Change{}, v.spoil(e)
	}
	st := v.stamp(a)
	n.gen, n.by, n.age, n.perms.gen = st.gen, st.by, st.age, st.gen
	return v.replace(path, old, &n, old.perms, st), 0
}

// forget accounts for the removal of a node and of all below it.
func (s *Store) forget(t *Tx, pathLen int, n *Node) {
	s.account(t, pathLen, n, -1)
	n.kids.each(func(c *Node) bool {
		s.forget(t, pathLen+1+len(c.name), c)
		return true
	})
}

// Drop removes all nodes that a dead domain owned, with what is below them, and returns the changes. keep gives them to
// dom0 instead.
func (s *Store) Drop(d xen.DomID, keep bool) []Change {
	if s.usage[d].Nodes == 0 {
		return nil
	}
	s.grow()
	var paths []string
	s.root.owned(d, "", keep, &paths)
	dom0 := &Actor{Privileged: true}
	all := make([]Change, 0, len(paths))
	for _, p := range paths {
		if keep {
			s.Put(p, s.root.Lookup(p).value, s.root.Lookup(p).perms.Without(d))
			continue
		}
		c, _, _ := s.Remove(dom0, nil, p)
		all = append(all, c)
	}
	return all
}

// owned collects the paths of the highest nodes below n that a domain owns,
// or all of them.
func (n *Node) owned(d xen.DomID, path string, all bool, paths *[]string) {
	n.kids.each(func(c *Node) bool {
		mine := c.perms.Owner() == d
		if mine {
			*paths = append(*paths, path+"/"+c.name)
		}
		if c.kids != nil && (all || !mine) {
			c.owned(d, path+"/"+c.name, all, paths)
		}
		return true
	})
}

// Put makes or replaces a node whatever the rules say; the nodes above it are there. It restores what a State holds.
func (s *Store) Put(path, value string, perms *Perms) {
	s.version++
	st := s.stamp(&Actor{})
	spine, rest := s.root.descend(s.spine[:0], path)
	s.spine = spine
	old := spine[len(spine)-1]
	n := Node{value: value, perms: perms, gen: st.gen, born: st.gen, age: st.age}
	if path != "/" {
		n.name = strings.Clone(Base(path))
	}
	if rest == "" {
		n.kids, n.born = old.kids, old.born
		s.swap(nil, path, old, &n)
		s.root, _ = climb(spine[:len(spine)-1], &n, st)
		return
	}
	s.account(nil, len(path), &n, 1)
	s.account(nil, len(Parent(path)), old, -1)
	var parent *Node
	s.root, parent = adopt(spine, &n, st)
	s.account(nil, len(Parent(path)), parent, 1)
}

// Delete removes a node that is there, whatever the rules say.
func (s *Store) Delete(path string) bool {
	if path == "/" || !ValidPath(path, xs.AbsPathMax+len(path)) || s.root.Lookup(path) == nil {
		return false
	}
	v := s.view(nil)
	v.remove(&Actor{Privileged: true}, path, s.root.Lookup(path))
	return true
}
