package sim

import (
	"strconv"
	"sync"

	"morgana/xen"
	"morgana/xen/wire/xs"
)

// node is a node of the tree. Nodes are immutable: a change puts a new one in its place.
type node struct {
	value    []byte
	perms    []xs.Perm
	children []string // in the order of their creation
	gen      uint64   // when it was changed last
}

// store is the host's xenstore: the semantics of xenstored 4.17.
type store struct {
	host *Host
	wg   sync.WaitGroup

	mu     sync.Mutex
	nodes  map[string]*node
	gen    uint64
	owned  map[xen.DomID]int // nodes by owner
	known  map[xen.DomID]bool
	target map[xen.DomID]xen.DomID
	conns  []*storeConn // in the order of their connection
	events int          // for the defects
}

func newStore(h *Host) *store {
	s := &store{
		host:   h,
		nodes:  make(map[string]*node),
		owned:  make(map[xen.DomID]int),
		known:  make(map[xen.DomID]bool),
		target: make(map[xen.DomID]xen.DomID),
	}
	root := []xs.Perm{{Access: xs.AccessNone, Dom: 0}}
	s.nodes["/"] = &node{perms: root}
	for _, p := range []string{"/tool", "/local", "/local/domain", "/vm"} {
		s.mkdirLocked(p, root)
	}
	return s
}

// mkdirLocked makes one node with permissions of its own, whatever the rules say.
func (s *store) mkdirLocked(path string, perms []xs.Perm) {
	s.gen++
	parent := *s.nodes[xs.Parent(path)]
	parent.children = append(parent.children[:len(parent.children):len(parent.children)], xs.Base(path))
	parent.gen = s.gen
	s.nodes[xs.Parent(path)] = &parent
	s.setLocked(path, &node{perms: perms, gen: s.gen})
}

// setLocked puts, replaces or (nil) removes a node and counts it for its owner.
func (s *store) setLocked(path string, n *node) {
	if old := s.nodes[path]; old != nil {
		s.owned[old.perms[0].Dom]--
	}
	if n == nil {
		delete(s.nodes, path)
		return
	}
	s.nodes[path] = n
	s.owned[n.perms[0].Dom]++
}

// addDomain makes a domain known and gives it a home as libxl does: readable to it, with some places of its own.
func (s *store) addDomain(d xen.DomID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.known[d] = true
	home := xs.DomainPath(d)
	ro := []xs.Perm{{Access: xs.AccessNone, Dom: 0}, {Access: xs.AccessRead, Dom: d}}
	own := []xs.Perm{{Access: xs.AccessNone, Dom: d}}
	s.mkdirLocked(home, ro)
	for _, p := range []string{"/control", "/device", "/memory"} {
		s.mkdirLocked(home+p, ro)
	}
	for _, p := range []string{"/data", "/drivers", "/attr", "/error", "/feature", "/backend", "/control/shutdown"} {
		s.mkdirLocked(home+p, own)
	}
	id := &node{value: strconv.AppendUint(nil, uint64(d), 10), perms: ro, gen: s.gen}
	s.mkdirLocked(home+"/domid", ro)
	s.setLocked(home+"/domid", id)
	s.fireLocked(xs.IntroduceDomain, nil, false)
}

// removeDomain is the death of a domain: its connections end, @releaseDomain fires, what it owned goes, and the
// tool stack removes its home.
func (s *store) removeDomain(d xen.DomID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.known, d)
	delete(s.target, d)
	for _, c := range append([]*storeConn(nil), s.conns...) {
		if c.dom == d && !c.socket {
			c.hangUpLocked()
		}
	}
	s.fireLocked(xs.ReleaseDomain, nil, false)
	if d == 0 {
		return
	}
	var orphans []string
	for p, n := range s.nodes {
		if n.perms[0].Dom == d {
			orphans = append(orphans, p)
			continue
		}
		s.forgetPermsLocked(p, n, d)
	}
	for _, p := range orphans {
		if s.nodes[p] != nil {
			s.removeTreeLocked(p)
		}
	}
	if home := xs.DomainPath(d); s.nodes[home] != nil {
		root := &storeConn{s: s, socket: true}
		_, _ = root.remove(nil, home)
	}
}

// forgetPermsLocked drops a dead domain from a node's permissions: its number may come again (XSA-322).
func (s *store) forgetPermsLocked(path string, n *node, d xen.DomID) {
	for i := 1; i < len(n.perms); i++ {
		if n.perms[i].Dom != d {
			continue
		}
		c := *n
		c.perms = nil
		for j, p := range n.perms {
			if j == 0 || p.Dom != d {
				c.perms = append(c.perms, p)
			}
		}
		s.nodes[path] = &c
		return
	}
}

// removeTreeLocked removes a node and all below it, without events.
func (s *store) removeTreeLocked(path string) {
	s.gen++
	up := xs.Parent(path)
	if parent := s.nodes[up]; parent != nil {
		c := *parent
		c.children = without(c.children, xs.Base(path))
		c.gen = s.gen
		s.nodes[up] = &c
	}
	todo := []string{path}
	for len(todo) > 0 {
		p := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		n := s.nodes[p]
		if n == nil {
			continue
		}
		for _, c := range n.children {
			todo = append(todo, child(p, c))
		}
		s.setLocked(p, nil)
	}
}

func (s *store) close() {
	s.mu.Lock()
	for _, c := range append([]*storeConn(nil), s.conns...) {
		c.hangUpLocked()
	}
	s.mu.Unlock()
	s.wg.Wait()
}

func child(path, name string) string {
	if path == "/" {
		return "/" + name
	}
	return path + "/" + name
}

func without(names []string, name string) []string {
	kept := make([]string, 0, len(names))
	for _, n := range names {
		if n != name {
			kept = append(kept, n)
		}
	}
	return kept
}
