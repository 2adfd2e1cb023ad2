package server

import (
	"slices"
	"strings"

	"morgana/xen/wire/xs"
	"morgana/xenstore/store"
)

// watch is one watch of a connection.
type watch struct {
	conn  *Conn
	seq   uint64 // order among the connection's watches
	path  string // absolute, or special
	token string
	strip int // how much of the path an event leaves out, because the watch is relative
	at    *place
}

type watchKey struct{ path, token string }

// trie holds all watches by their paths, so that what a change costs follows the depth of its path and the watches
// that it concerns, and not how many there are.
type trie struct {
	root    place
	special map[string]*place
}

// place is a path's watches, and the paths below it that have some.
type place struct {
	name    string
	up      *place
	below   map[string]*place
	watches []*watch
}

// match is a watch that an event is for.
type match struct {
	watch *watch
	path  string
}

func (t *trie) place(path string) *place {
	if xs.Special(path) {
		if t.special == nil {
			t.special = make(map[string]*place)
		}
		p := t.special[path]
		if p == nil {
			p = &place{name: path}
			t.special[path] = p
		}
		return p
	}
	p := &t.root
	for rest := path[1:]; rest != ""; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		next := p.below[name]
		if next == nil {
			next = &place{name: strings.Clone(name), up: p}
			if p.below == nil {
				p.below = make(map[string]*place)
			}
			p.below[next.name] = next
		}
		p = next
	}
	return p
}

func (t *trie) add(w *watch) {
	w.at = t.place(w.path)
	w.at.watches = append(w.at.watches, w)
}

func (t *trie) remove(w *watch) {
	p := w.at
	i := slices.Index(p.watches, w)
	p.watches = slices.Delete(p.watches, i, i+1)
	if len(p.watches) > 0 {
		return
	}
	p.watches = nil
	if p.up == nil && p != &t.root {
		delete(t.special, p.name)
		return
	}
	for p.up != nil && len(p.watches) == 0 && len(p.below) == 0 {
		delete(p.up.below, p.name)
		p = p.up
	}
}

// matches appends the watches of a path and of those above it; exact leaves the latter out.
func (t *trie) matches(dst []match, path string, exact bool) []match {
	p := &t.root
	for rest := path[1:]; ; {
		if !exact || rest == "" {
			for _, w := range p.watches {
				dst = append(dst, match{w, path})
			}
		}
		if rest == "" {
			return dst
		}
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		if p = p.below[name]; p == nil {
			return dst
		}
	}
}

// find is the place of a path, nil if nothing at or below it is watched.
func (t *trie) find(path string) *place {
	p := &t.root
	for rest := path[1:]; rest != "" && p != nil; {
		var name string
		name, rest, _ = strings.Cut(rest, "/")
		p = p.below[name]
	}
	return p
}

// inOrder sorts matches as xenstored sends events: by connection, then by watch.
func inOrder(m []match) {
	if len(m) > 1 {
		slices.SortStableFunc(m, func(a, b match) int {
			switch x, y := a.watch, b.watch; {
			case x.conn.seq != y.conn.seq:
				return order(x.conn.seq, y.conn.seq)
			default:
				return order(x.seq, y.seq)
			}
		})
	}
}

func order(a, b uint64) int {
	if a < b {
		return -1
	}
	if a > b {
		return 1
	}
	return 0
}

// fire sends the events of a change.
func (c *Core) fire(ch *store.Change, why *cause) {
	if ch.Removed != nil {
		if p := c.watches.find(ch.Path); p != nil && len(p.below) > 0 {
			c.fireBelow(p, ch.Path, ch.Removed, why)
		}
	}
	c.matches = c.watches.matches(c.matches[:0], ch.Path, ch.Exact)
	c.send(ch, why)
}

// fireBelow tells watches of exactly what was removed with a node: children first, as they were made.
func (c *Core) fireBelow(p *place, path string, n *store.Node, why *cause) {
	type hit struct {
		place *place
		node  *store.Node
	}
	var hits []hit
	for name, b := range p.below {
		if child := n.Child(name); child != nil {
			hits = append(hits, hit{b, child})
		}
	}
	slices.SortFunc(hits, func(a, b hit) int { return order(a.node.Born(), b.node.Born()) })
	for _, h := range hits {
		at := store.Join(path, h.place.name)
		c.fireBelow(h.place, at, h.node, why)
		c.matches = c.matches[:0]
		for _, w := range h.place.watches {
			c.matches = append(c.matches, match{w, at})
		}
		c.send(&store.Change{Path: at, Node: h.node, Parent: n}, why)
	}
}

// send sends the events of a change to the watches in c.matches whose owners may know.
func (c *Core) send(ch *store.Change, why *cause) {
	inOrder(c.matches)
	var last *Conn
	may := false
	for _, m := range c.matches {
		if m.watch.conn != last {
			last = m.watch.conn
			may = permitted(ch, &last.actor)
		}
		if may {
			c.event(m.watch, ch.Path, why)
		}
	}
}

// permitted says whether an actor may know of a change: it may read the node, or the one above, or could before.
func permitted(ch *store.Change, a *store.Actor) bool {
	return a.Privileged && (ch.Node != nil || ch.Old != nil) || ch.Old != nil && ch.Old.CanRead(a) ||
		ch.Node != nil && ch.Node.Perms().CanRead(a) || ch.Node != nil && ch.Parent != nil && ch.Parent.Perms().CanRead(a)
}

// fireSpecial tells of a domain's coming or going.
func (c *Core) fireSpecial(path string) {
	p := c.watches.special[path]
	if p == nil {
		return
	}
	c.matches = c.matches[:0]
	for _, w := range p.watches {
		if c.special[path].CanRead(&w.conn.actor) {
			c.matches = append(c.matches, match{w, path})
		}
	}
	inOrder(c.matches)
	for _, m := range c.matches {
		c.event(m.watch, path, nil)
	}
}

func (c *Core) event(w *watch, path string, why *cause) {
	if w.conn.out.event(w.conn, path[w.strip:], w.token, c.now, c.cfg.EventTimeout, why) {
		c.stats.Events++
		w.conn.stats.Events++
	} else {
		c.stats.Dropped++
		w.conn.stats.Dropped++
	}
}

// watch adds a watch; it was checked.
func (c *Core) watch(conn *Conn, path, token string, relative bool) *watch {
	w := &watch{conn: conn, path: path, token: token, seq: conn.nextW}
	conn.nextW++
	if relative {
		w.strip = len(conn.home)
	}
	if conn.watches == nil {
		conn.watches = make(map[watchKey]*watch)
	}
	conn.watches[watchKey{path, token}] = w
	c.traceObject(conn, true, "watch")
	c.watches.add(w)
	if conn.dom != nil {
		conn.dom.watches++
		conn.dom.memory += len(path) + len(token)
	}
	return w
}

func (c *Core) unwatch(w *watch) {
	c.watches.remove(w)
	c.traceObject(w.conn, false, "watch")
	delete(w.conn.watches, watchKey{w.path, w.token})
	if d := w.conn.dom; d != nil {
		d.watches--
		d.memory -= len(w.path) + len(w.token)
	}
}

// given is the watch's path as its owner gave it.
func (w *watch) given() string { return w.path[w.strip:] }

// ordered returns a connection's watches in the order of their making.
func (c *Conn) ordered() []*watch {
	all := make([]*watch, 0, len(c.watches))
	for _, w := range c.watches {
		all = append(all, w)
	}
	slices.SortFunc(all, func(a, b *watch) int { return order(a.seq, b.seq) })
	return all
}
