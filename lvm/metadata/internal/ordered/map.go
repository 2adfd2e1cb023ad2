package ordered

import (
	"iter"
	"slices"
)

// fanout is the most entries of a node. Nodes other than the root are at least a third full.
const (
	fanout  = 32
	minimum = fanout / 3
)

// Map is an immutable map from K to V, sorted by the function it was made with. New and FromSorted make one.
type Map[K, V any] struct {
	cmp  func(a, b K) int
	root *node[K, V]
	n    int
}

// node is a leaf if it has no children. An inner node has a key for each child: a lower bound of the keys below it, and
// greater than every key below the children to its left.
type node[K, V any] struct {
	keys []K
	vals []V
	kids []*node[K, V]
}

// New returns an empty map that is sorted by cmp.
func New[K, V any](cmp func(a, b K) int) Map[K, V] { return Map[K, V]{cmp: cmp} }

// FromSorted returns a map of keys that are sorted by cmp already, without equals. It keeps the slices.
func FromSorted[K, V any](cmp func(a, b K) int, keys []K, vals []V) Map[K, V] {
	if len(keys) == 0 {
		return New[K, V](cmp)
	}
	// A little room in each node, so that the first changes split nothing.
	const fill = fanout * 3 / 4
	var level []*node[K, V]
	for _, r := range runs(len(keys), fill) {
		level = append(level, &node[K, V]{keys: keys[r[0]:r[1]:r[1]], vals: vals[r[0]:r[1]:r[1]]})
	}
	for len(level) > 1 {
		var up []*node[K, V]
		for _, r := range runs(len(level), fill) {
			in := &node[K, V]{kids: level[r[0]:r[1]:r[1]]}
			for _, k := range in.kids {
				in.keys = append(in.keys, k.keys[0])
			}
			up = append(up, in)
		}
		level = up
	}
	return Map[K, V]{cmp: cmp, root: level[0], n: len(keys)}
}

// runs cuts n entries into as few runs of at most size as there can be, all about equally long.
func runs(n, size int) [][2]int {
	count := (n + size - 1) / size
	out := make([][2]int, 0, count)
	for i := range count {
		out = append(out, [2]int{i * n / count, (i + 1) * n / count})
	}
	return out
}

// Len returns the number of keys.
func (m Map[K, V]) Len() int { return m.n }

// Get returns the value of k.
func (m Map[K, V]) Get(k K) (v V, ok bool) {
	n := m.root
	if n == nil {
		return v, false
	}
	for n.kids != nil {
		n = n.kids[m.child(n, k)]
	}
	if i, found := m.search(n, k); found {
		return n.vals[i], true
	}
	return v, false
}

// Set returns the map with k set to v.
func (m Map[K, V]) Set(k K, v V) Map[K, V] {
	if m.root == nil {
		return Map[K, V]{cmp: m.cmp, root: &node[K, V]{keys: []K{k}, vals: []V{v}}, n: 1}
	}
	left, right, added := m.set(m.root, k, v)
	if right != nil {
		left = &node[K, V]{keys: []K{left.keys[0], right.keys[0]}, kids: []*node[K, V]{left, right}}
	}
	m.root = left
	if added {
		m.n++
	}
	return m
}

// Delete returns the map without k.
func (m Map[K, V]) Delete(k K) Map[K, V] {
	if m.root == nil {
		return m
	}
	n, ok := m.del(m.root, k)
	if !ok {
		return m
	}
	for n != nil && n.kids != nil && len(n.kids) == 1 {
		n = n.kids[0]
	}
	if len(n.keys) == 0 {
		n = nil
	}
	return Map[K, V]{cmp: m.cmp, root: n, n: m.n - 1}
}

// search finds k among a leaf's keys, or where it would be.
func (m Map[K, V]) search(n *node[K, V], k K) (int, bool) {
	return slices.BinarySearchFunc(n.keys, k, m.cmp)
}

// child is the index of the child that has k if any has.
func (m Map[K, V]) child(n *node[K, V], k K) int {
	i, found := m.search(n, k)
	if !found && i > 0 {
		i--
	}
	return i
}

func (m Map[K, V]) set(n *node[K, V], k K, v V) (left, right *node[K, V], added bool) {
	if n.kids == nil {
		i, found := m.search(n, k)
		if found {
			vals := slices.Clone(n.vals)
			vals[i] = v
			return &node[K, V]{keys: n.keys, vals: vals}, nil, false
		}
		left, right = split(&node[K, V]{keys: with(n.keys, i, k), vals: with(n.vals, i, v)})
		return left, right, true
	}
	i := m.child(n, k)
	l, r, added := m.set(n.kids[i], k, v)
	c := &node[K, V]{}
	if r == nil {
		c.keys, c.kids = slices.Clone(n.keys), slices.Clone(n.kids)
	} else {
		c.keys, c.kids = with(n.keys, i+1, r.keys[0]), with(n.kids, i+1, r)
	}
	c.keys[i], c.kids[i] = l.keys[0], l
	left, right = split(c)
	return left, right, added
}

func (m Map[K, V]) del(n *node[K, V], k K) (*node[K, V], bool) {
	if n.kids == nil {
		i, found := m.search(n, k)
		if !found {
			return n, false
		}
		return &node[K, V]{keys: without(n.keys, i), vals: without(n.vals, i)}, true
	}
	i := m.child(n, k)
	kid, ok := m.del(n.kids[i], k)
	if !ok {
		return n, false
	}
	if len(kid.keys) >= minimum || len(n.kids) == 1 {
		c := &node[K, V]{keys: slices.Clone(n.keys), kids: slices.Clone(n.kids)}
		c.kids[i] = kid
		if len(kid.keys) > 0 {
			c.keys[i] = kid.keys[0]
		}
		return c, true
	}
	// Too small: together with a neighbour, as one node if it fits, else as two of equal size.
	a, b, at := kid, kid, i
	if i > 0 {
		a, at = n.kids[i-1], i-1
	} else {
		b = n.kids[i+1]
	}
	left, right := split(&node[K, V]{
		keys: slices.Concat(a.keys, b.keys), vals: slices.Concat(a.vals, b.vals), kids: slices.Concat(a.kids, b.kids),
	})
	c := &node[K, V]{}
	if right == nil {
		c.keys, c.kids = without(n.keys, at+1), without(n.kids, at+1)
	} else {
		c.keys, c.kids = slices.Clone(n.keys), slices.Clone(n.kids)
		c.keys[at+1], c.kids[at+1] = right.keys[0], right
	}
	c.keys[at], c.kids[at] = left.keys[0], left
	return c, true
}

// split halves a node that has become too large. The node is still its caller's own.
func split[K, V any](n *node[K, V]) (left, right *node[K, V]) {
	if len(n.keys) <= fanout {
		return n, nil
	}
	h := len(n.keys) / 2
	left, right = &node[K, V]{keys: n.keys[:h:h]}, &node[K, V]{keys: n.keys[h:]}
	if n.kids != nil {
		left.kids, right.kids = n.kids[:h:h], n.kids[h:]
	} else {
		left.vals, right.vals = n.vals[:h:h], n.vals[h:]
	}
	return left, right
}

func with[T any](s []T, i int, v T) []T {
	out := make([]T, len(s)+1)
	copy(out, s[:i])
	out[i] = v
	copy(out[i+1:], s[i:])
	return out
}

func without[T any](s []T, i int) []T {
	out := make([]T, len(s)-1)
	copy(out, s[:i])
	copy(out[i:], s[i+1:])
	return out
}

// All yields every entry in order.
func (m Map[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) { m.root.walk(yield) }
}

// Values yields every value in the order of the keys.
func (m Map[K, V]) Values() iter.Seq[V] {
	return func(yield func(V) bool) { m.root.walk(func(_ K, v V) bool { return yield(v) }) }
}

// From yields the entries whose keys are k or greater, in order.
func (m Map[K, V]) From(k K) iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		if m.root != nil {
			m.walkFrom(m.root, k, yield)
		}
	}
}

func (n *node[K, V]) walk(yield func(K, V) bool) bool {
	if n == nil {
		return true
	}
	for _, kid := range n.kids {
		if !kid.walk(yield) {
			return false
		}
	}
	for i := range n.vals {
		if !yield(n.keys[i], n.vals[i]) {
			return false
		}
	}
	return true
}

func (m Map[K, V]) walkFrom(n *node[K, V], k K, yield func(K, V) bool) bool {
	if n.kids == nil {
		i, _ := m.search(n, k)
		for ; i < len(n.keys); i++ {
			if !yield(n.keys[i], n.vals[i]) {
				return false
			}
		}
		return true
	}
	i := m.child(n, k)
	if !m.walkFrom(n.kids[i], k, yield) {
		return false
	}
	for _, kid := range n.kids[i+1:] {
		if !kid.walk(yield) {
			return false
		}
	}
	return true
}

// Floor returns the entry with the greatest key that is k or less.
func (m Map[K, V]) Floor(k K) (key K, v V, ok bool) {
	n := m.root
	if n == nil {
		return key, v, false
	}
	for n.kids != nil {
		n = n.kids[m.child(n, k)]
	}
	i, found := m.search(n, k)
	if !found {
		i--
	}
	if i < 0 {
		return key, v, false // the leaf is the first one: every child's key is a lower bound
	}
	return n.keys[i], n.vals[i], true
}

// Ceil returns the entry with the least key that is k or greater.
func (m Map[K, V]) Ceil(k K) (key K, v V, ok bool) {
	for key, v := range m.From(k) {
		return key, v, true
	}
	return key, v, false
}

// Max returns the last entry.
func (m Map[K, V]) Max() (key K, v V, ok bool) {
	n := m.root
	if n == nil {
		return key, v, false
	}
	for n.kids != nil {
		n = n.kids[len(n.kids)-1]
	}
	return n.keys[len(n.keys)-1], n.vals[len(n.vals)-1], true
}

// Min returns the first entry.
func (m Map[K, V]) Min() (key K, v V, ok bool) {
	for key, v := range m.All() {
		return key, v, true
	}
	return key, v, false
}
