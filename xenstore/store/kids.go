package store

import (
	"slices"
	"strings"
	"sync/atomic"
)

// fan is the most entries of one branch of a B+tree.
const fan = 32

// kids is the children of a node: a persistent B+tree by name. A nil *kids has none.
type kids struct {
	root  branch
	count int
	bytes int                    // of the names with a NUL each, as DIRECTORY lists them
	list  atomic.Pointer[string] // the names in the order of creation, once somebody asked; shared by versions with the same names
}

// branch is a leaf with nodes, or an inner one with branches. Never empty.
type branch struct {
	min   string // the first name
	nodes []kid
	subs  []sub
}

// kid is a node with the beginning of its name, so that a search seldom looks at nodes that it does not want: those are
// spread over all of memory.
type kid struct {
	key  uint64
	node *Node
}

// sub is a branch with the beginning of its first name.
type sub struct {
	key uint64
	*branch
}

// keyOf is the first eight bytes of a name as a number, which orders as names do as far as it goes. Names hold no NUL.
func keyOf(name string) uint64 {
	if len(name) >= 8 {
		return uint64(name[7]) | uint64(name[6])<<8 | uint64(name[5])<<16 | uint64(name[4])<<24 |
			uint64(name[3])<<32 | uint64(name[2])<<40 | uint64(name[1])<<48 | uint64(name[0])<<56
	}
	k := uint64(0)
	for i := range len(name) {
		k |= uint64(name[i]) << (56 - 8*i)
	}
	return k
}

func kidOf(n *Node) kid { return kid{keyOf(n.name), n} }

func leaf(nodes []kid) branch { return branch{min: nodes[0].node.name, nodes: nodes} }

func inner(subs []sub) branch { return branch{min: subs[0].min, subs: subs} }

func (b *branch) len() int { return len(b.nodes) + len(b.subs) }

// sub is the index of the branch where a name is, if it is.
func (b *branch) sub(key uint64, name string) int {
	lo, hi := 1, len(b.subs) // the last one whose first name is not after name, at least the first one
	for lo < hi {
		m := int(uint(lo+hi) / 2)
		if s := &b.subs[m]; s.key < key || s.key == key && s.min <= name {
			lo = m + 1
		} else {
			hi = m
		}
	}
	return lo - 1
}

// search finds the place of a name in a leaf.
func (b *branch) search(key uint64, name string) (int, bool) {
	lo, hi := 0, len(b.nodes)
	for lo < hi {
		m := int(uint(lo+hi) / 2)
		k := &b.nodes[m]
		if k.key != key {
			if k.key < key {
				lo = m + 1
			} else {
				hi = m
			}
			continue
		}
		switch c := strings.Compare(k.node.name, name); {
		case c == 0:
			return m, true
		case c < 0:
			lo = m + 1
		default:
			hi = m
		}
	}
	return lo, false
}

func (k *kids) find(name string) *Node {
	if k == nil {
		return nil
	}
	b, key := &k.root, keyOf(name)
	for b.subs != nil {
		b = b.subs[b.sub(key, name)].branch
	}
	if i, ok := b.search(key, name); ok {
		return b.nodes[i].node
	}
	return nil
}

// with is k with a node put in or replaced.
func (k *kids) with(n *Node) *kids {
	if k == nil {
		return &kids{root: leaf([]kid{kidOf(n)}), count: 1, bytes: len(n.name) + 1}
	}
	left, right, added := k.root.with(kidOf(n))
	c := &kids{root: left, count: k.count, bytes: k.bytes}
	if right.len() > 0 {
		c.root = inner([]sub{keep(left), keep(right)})
	}
	if added {
		c.count++
		c.bytes += len(n.name) + 1
	} else {
		c.list.Store(k.list.Load())
	}
	return c
}

// with returns two branches if one does not hold them all.
func (b *branch) with(n kid) (left, right branch, added bool) {
	if b.subs == nil {
		i, found := b.search(n.key, n.node.name)
		if found {
			nodes := slices.Clone(b.nodes)
			nodes[i] = n
			return leaf(nodes), branch{}, false
		}
		nodes := insert(b.nodes, i, n)
		if len(nodes) <= fan {
			return leaf(nodes), branch{}, true
		}
		m := cut(i, len(nodes))
		return leaf(slices.Clone(nodes[:m])), leaf(slices.Clone(nodes[m:])), true
	}
	i := b.sub(n.key, n.node.name)
	first, second, added := b.subs[i].with(n)
	if second.len() == 0 {
		subs := slices.Clone(b.subs)
		subs[i] = keep(first)
		return inner(subs), branch{}, added
	}
	subs := insert(b.subs, i+1, keep(second))
	subs[i] = keep(first)
	if len(subs) <= fan {
		return inner(subs), branch{}, added
	}
	m := cut(i+1, len(subs))
	return inner(slices.Clone(subs[:m])), inner(slices.Clone(subs[m:])), added
}

// keep puts a branch where others may point to it.
func keep(b branch) sub { return sub{keyOf(b.min), &b} }

// cut is where to split a full branch: in the middle, or near the end where names come in their order, so that
// branches stay full.
func cut(at, n int) int {
	if at == n-1 {
		return n - 2
	}
	return n / 2
}

func insert[T any](s []T, i int, x T) []T {
	c := make([]T, len(s)+1)
	copy(c, s[:i])
	c[i] = x
	copy(c[i+1:], s[i:])
	return c
}

// without is k without a node; k itself if there is none of that name.
func (k *kids) without(name string) *kids {
	if k == nil {
		return nil
	}
	root, gone := k.root.without(keyOf(name), name)
	if !gone {
		return k
	}
	if root.len() == 0 {
		return nil
	}
	for len(root.subs) == 1 {
		root = *root.subs[0].branch
	}
	return &kids{root: root, count: k.count - 1, bytes: k.bytes - len(name) - 1}
}

func (b *branch) without(key uint64, name string) (branch, bool) {
	if b.subs == nil {
		i, found := b.search(key, name)
		if !found {
			return branch{}, false
		}
		if len(b.nodes) == 1 {
			return branch{}, true
		}
		return leaf(slices.Concat(b.nodes[:i], b.nodes[i+1:])), true
	}
	i := b.sub(key, name)
	s, gone := b.subs[i].without(key, name)
	switch {
	case !gone:
		return branch{}, false
	case s.len() == 0 && len(b.subs) == 1:
		return branch{}, true
	case s.len() == 0:
		return inner(slices.Concat(b.subs[:i], b.subs[i+1:])), true
	}
	subs := slices.Clone(b.subs)
	subs[i] = keep(s)
	// A branch that became small joins a neighbour, so that a tree that shrinks becomes shallow again.
	if s.len() < fan/4 && len(subs) > 1 {
		j := max(i-1, 0)
		if l, r := subs[j], subs[j+1]; l.len()+r.len() <= fan*3/4 {
			if l.subs == nil {
				subs[j] = keep(leaf(slices.Concat(l.nodes, r.nodes)))
			} else {
				subs[j] = keep(inner(slices.Concat(l.subs, r.subs)))
			}
			subs = slices.Delete(subs, j+1, j+2)
		}
	}
	return inner(subs), true
}

// each calls f with each node, by name, until it returns false.
func (k *kids) each(f func(*Node) bool) {
	if k != nil {
		k.root.each(f)
	}
}

func (b *branch) each(f func(*Node) bool) bool {
	for _, n := range b.nodes {
		if !f(n.node) {
			return false
		}
	}
	for _, s := range b.subs {
		if !s.each(f) {
			return false
		}
	}
	return true
}

// created returns the nodes in the order of their creation.
func (k *kids) created() []*Node {
	if k == nil {
		return nil
	}
	nodes := make([]*Node, 0, k.count)
	k.each(func(n *Node) bool {
		nodes = append(nodes, n)
		return true
	})
	slices.SortFunc(nodes, func(a, b *Node) int {
		if a.born < b.born {
			return -1
		}
		return 1
	})
	return nodes
}

// names is what DIRECTORY answers: each name with a NUL, in the order of creation.
func (k *kids) names() string {
	if k == nil {
		return ""
	}
	if l := k.list.Load(); l != nil {
		return *l
	}
	var b strings.Builder
	b.Grow(k.bytes)
	for _, n := range k.created() {
		b.WriteString(n.name)
		b.WriteByte(0)
	}
	l := b.String()
	k.list.Store(&l)
	return l
}
