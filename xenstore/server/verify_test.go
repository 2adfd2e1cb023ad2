package server

import (
	"maps"

	"morgana/xen"
)

// verify checks what must hold between any two requests.
func (m *machine) verify(t fataler) {
	t.Helper()
	type use struct{ nodes, bytes int }
	used := make(map[xen.DomID]use)
	for p, n := range m.Root().All("/") {
		d := n.Perms().Owner()
		u := used[d]
		u.nodes++
		u.bytes += 24 + 8*len(n.Perms().Entries()) + len(n.Value()) + len(n.Names()) + len(p)
		used[d] = u
		last := uint64(0)
		for _, c := range n.Children() {
			if c.Born() <= last && last != 0 {
				t.Fatalf("%s: children out of order", p)
			}
			last = c.Born()
			if n.Child(c.Name()) != c {
				t.Fatalf("%s: child %s is not found", p, c.Name())
			}
		}
		if d != 0 && m.domains[d] == nil {
			t.Fatalf("%s is owned by domain %d, which is gone", p, d)
		}
	}
	open, watches := 0, 0
	for _, c := range m.conns {
		open += len(c.txs)
		watches += len(c.watches)
		sum := 0
		events := make(map[uint64]int)
		for _, msg := range c.out.waiting() {
			sum += msg.size
			if msg.event {
				events[msg.hash]++
			}
			if msg.deadline != 0 && (m.due == 0 || m.due > msg.deadline) {
				t.Fatalf("an event is to be dropped at %d, Tick has something to do at %d", msg.deadline, m.due)
			}
		}
		if c.out.hashes != nil && !maps.Equal(c.out.hashes, events) {
			t.Fatalf("the events that wait are counted wrong")
		}
		if sum-c.out.part != len(c.out.bytes()) {
			t.Fatalf("connection %d: %d bytes wait, messages have %d", c.id, len(c.out.bytes()), sum-c.out.part)
		}
		if c.dom == nil {
			continue
		}
		memory := sum
		for _, w := range c.watches {
			memory += len(w.path) + len(w.token)
		}
		if c.guest() != nil {
			for _, x := range c.txs {
				memory += x.Bytes()
			}
			if c.dom.memory != memory {
				t.Fatalf("domain %d: counted %d bytes, has %d", c.dom.id, c.dom.memory, memory)
			}
		}
		if c.dom.watches != len(c.watches) || c.dom.outstanding < 0 {
			t.Fatalf("domain %d: counted %d watches of %d, %d outstanding", c.dom.id, c.dom.watches, len(c.watches), c.dom.outstanding)
		}
	}
	if open != m.open {
		t.Fatalf("%d transactions, counted %d", open, m.open)
	}
	if n := m.watches.count(); n != watches {
		t.Fatalf("%d watches in the trie, connections have %d", n, watches)
	}
	for d := range m.domains {
		if u := m.store.Usage(d); (use{u.Nodes, u.Bytes}) != used[d] {
			t.Fatalf("domain %d: counted %+v, owns %+v", d, u, used[d])
		}
	}
}

// count is how many watches there are; a place without any and without places below is an error.
func (t *trie) count() int {
	n := 0
	var walk func(p *place)
	walk = func(p *place) {
		n += len(p.watches)
		if p != &t.root && len(p.watches) == 0 && len(p.below) == 0 {
			n += 1 << 30
		}
		for _, b := range p.below {
			walk(b)
		}
	}
	walk(&t.root)
	for _, p := range t.special {
		n += len(p.watches)
	}
	return n
}
