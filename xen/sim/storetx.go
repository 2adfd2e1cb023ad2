package sim

import "morgana/xen/wire/xs"

// transaction is what a connection did and saw since TRANSACTION_START. A nil transaction is the tree itself.
type transaction struct {
	id      uint32
	seen    map[string]*touched
	order   []string // paths in the order of their first touch
	created int
}

// touched is a node that a transaction read or changed.
type touched struct {
	gen     uint64 // its generation when first touched; 0: it did not exist
	existed bool
	before  *node
	now     *node
	changed bool
	named   bool // changed by name, not only as a parent: its watches fire
}

// get returns a node as the transaction sees it, nil if it does not exist.
func (s *store) get(t *transaction, path string) *node {
	if t == nil {
		return s.nodes[path]
	}
	return t.touch(s, path).now
}

func (t *transaction) touch(s *store, path string) *touched {
	x := t.seen[path]
	if x == nil {
		n := s.nodes[path]
		x = &touched{now: n, before: n, existed: n != nil}
		if n != nil {
			x.gen = n.gen
		}
		t.seen[path] = x
		t.order = append(t.order, path)
	}
	return x
}

// put changes a node; nil removes it. named says that the request named it.
func (s *store) put(t *transaction, path string, n *node, named bool) {
	s.gen++
	if n != nil {
		n.gen = s.gen
	}
	if t == nil || s.host.defects[TransactionLeaks] {
		s.setLocked(path, n)
	}
	if t == nil {
		return
	}
	x := t.touch(s, path)
	x.now, x.changed = n, true
	x.named = x.named || named
}

// commit puts a transaction's changes in, or reports that others changed what it touched.
func (s *store) commit(c *storeConn, t *transaction) error {
	if !s.host.defects[ConflictMissed] && !s.host.defects[TransactionLeaks] {
		for p, x := range t.seen {
			n := s.nodes[p]
			if (n != nil) != x.existed || n != nil && n.gen != x.gen {
				return xs.EAGAIN
			}
		}
	}
	var changed []string
	for _, p := range t.order {
		x := t.seen[p]
		if !x.changed {
			continue
		}
		s.gen++
		if x.now != nil {
			n := *x.now
			n.gen = s.gen
			s.setLocked(p, &n)
		} else {
			s.setLocked(p, nil)
		}
		if x.named && (x.existed || x.now != nil) {
			changed = append(changed, p)
		}
	}
	for _, p := range changed {
		s.fireLocked(p, t.seen[p].before, false)
	}
	return nil
}
