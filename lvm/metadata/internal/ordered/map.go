package ordered

import "iter"

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

// node is a leaf, which has entries, or an inner node, which has kids.
type node[K, V any] struct {
	entries []entry[K, V]
	kids    []kid[K, V]
}

type entry[K, V any] struct {
	key K
	val V
}

// kid is a node below another one, and the least key in it.
type kid[K, V any] struct {
	key K
	*node[K, V]
}

// New returns an empty map that is sorted by cmp.
func New[K, V any](cmp func(a, b K) int) Map[K, V] { return Map[K, V]{cmp: cmp} }

// FromSorted returns a map of keys that are sorted by cmp already, without equals.
func FromSorted[K, V any](cmp func(a, b K) int, keys []K, vals []V) Map[K, V] {
	if len(keys) == 0 {
		return New[K, V](cmp)
	}
	// A little room in each node, so that the first changes split nothing.
	const fill = fanout * 3 / 4
	entries := make([]entry[K, V], len(keys))
	for i := range keys {
		entries[i] = entry[K, V]{keys[i], vals[i]}
	}
	var level []kid[K, V]
	for _, r := range runs(len(entries), fill) {
		level = append(level, kid[K, V]{keys[r[0]], &node[K, V]{entries: entries[r[0]:r[1]:r[1]]}})
	}
	for len(level) > 1 {
		var up []kid[K, V]
		for _, r := range runs(len(level), fill) {
			up = append(up, kid[K, V]{level[r[0]].key, &node[K, V]{kids: level[r[0]:r[1]:r[1]]}})
		}
		level = up
	}
	return Map[K, V]{cmp: cmp, root: level[0].node, n: len(keys)}
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
		n = n.kids[m.child(n, k)].node
	}
	if i, found := m.search(n, k); found {
		return n.entries[i].val, true
	}
	return v, false
}

// Set returns the map with k set to v.
func (m Map[K, V]) Set(k K, v V) Map[K, V] {
	if m.root == nil {
		return Map[K, V]{cmp: m.cmp, root: &node[K, V]{entries: []entry[K, V]{{k, v}}}, n: 1}
	}
	left, right, added := m.set(m.root, k, v)
	if right != nil {
		left = &node[K, V]{kids: []kid[K, V]{{left.least(), left}, {right.least(), right}}}
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
	for len(n.kids) == 1 {
		n = n.kids[0].node
	}
	if n.len() == 0 {
		n = nil
	}
	return Map[K, V]{cmp: m.cmp, root: n, n: m.n - 1}
}

func (n *node[K, V]) len() int { return len(n.entries) + len(n.kids) }

// least is the first key of a node that is not empty.
func (n *node[K, V]) least() K {
	if n.kids != nil {
		return n.kids[0].key
	}
	return n.entries[0].key
}

// search finds k in a leaf, or where it would be.
func (m Map[K, V]) search(n *node[K, V], k K) (int, bool) {
	lo, hi := 0, len(n.entries)
	for lo < hi {
		mid := (lo + hi) / 2
		switch c := m.cmp(n.entries[mid].key, k); {
		case c == 0:
			return mid, true
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return lo, false
}

// child is the index of the kid that has k if any has: the last one whose least key is not greater.
func (m Map[K, V]) child(n *node[K, V], k K) int {
	lo, hi := 1, len(n.kids)
	for lo < hi {
		mid := (lo + hi) / 2
		if m.cmp(n.kids[mid].key, k) <= 0 {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo - 1
}

func (m Map[K, V]) set(n *node[K, V], k K, v V) (left, right *node[K, V], added bool) {
	if n.kids == nil {
		i, found := m.search(n, k)
		if found {
			return &node[K, V]{entries: replaced(n.entries, i, entry[K, V]{k, v})}, nil, false
		}
		left, right = split(&node[K, V]{entries: with(n.entries, i, entry[K, V]{k, v})})
		return left, right, true
	}
	i := m.child(n, k)
	l, r, added := m.set(n.kids[i].node, k, v)
	kids := n.kids
	if r != nil {
		kids = with(kids, i+1, kid[K, V]{r.least(), r})
		kids[i] = kid[K, V]{l.least(), l}
	} else {
		kids = replaced(kids, i, kid[K, V]{l.least(), l})
	}
	left, right = split(&node[K, V]{kids: kids})
	return left, right, added
}

func (m Map[K, V]) del(n *node[K, V], k K) (*node[K, V], bool) {
	if n.kids == nil {
		i, found := m.search(n, k)
		if !found {
			return n, false
		}
		return &node[K, V]{entries: without(n.entries, i)}, true
	}
	i := m.child(n, k)
	below, ok := m.del(n.kids[i].node, k)
	if !ok {
		return n, false
	}
	if below.len() >= minimum {
		return &node[K, V]{kids: replaced(n.kids, i, kid[K, V]{below.least(), below})}, true
	}
	// Too small: together with a neighbour, as one node if it fits, else as two of equal size. An inner node has two
	// kids at least.
	a, b, at := below, below, i
	if i > 0 {
		a, at = n.kids[i-1].node, i-1
	} else {
		b = n.kids[i+1].node
	}
	left, right := split(&node[K, V]{entries: joined(a.entries, b.entries), kids: joined(a.kids, b.kids)})
	if right == nil {
		kids := without(n.kids, at+1)
		kids[at] = kid[K, V]{left.least(), left}
		return &node[K, V]{kids: kids}, true
	}
	kids := replaced(n.kids, at, kid[K, V]{left.least(), left})
	kids[at+1] = kid[K, V]{right.least(), right}
	return &node[K, V]{kids: kids}, true
}

// split halves a node that has become too large. The node is still its caller's own.
func split[K, V any](n *node[K, V]) (left, right *node[K, V]) {
	if n.len() <= fanout {
		return n, nil
	}
	h := n.len() / 2
	if n.kids != nil {
		return &node[K, V]{kids: n.kids[:h:h]}, &node[K, V]{kids: n.kids[h:]}
	}
	return &node[K, V]{entries: n.entries[:h:h]}, &node[K, V]{entries: n.entries[h:]}
}

func with[T any](s []T, i int, v T) []T {
	out := make([]T, len(s)+1)
	copy(out, s[:i])
	out[i] = v
	copy(out[i+1:], s[i:])
	return out
}

func replaced[T any](s []T, i int, v T) []T {
	out := make([]T, len(s))
	copy(out, s)
	out[i] = v
	return out
}

func without[T any](s []T, i int) []T {
	out := make([]T, len(s)-1)
	copy(out, s[:i])
	copy(out[i:], s[i+1:])
	return out
}

func joined[T any](a, b []T) []T {
	if a == nil {
		return nil
	}
	out := make([]T, len(a)+len(b))
	copy(out[copy(out, a):], b)
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
	for i := range n.kids {
		if !n.kids[i].walk(yield) {
			return false
		}
	}
	for i := range n.entries {
		if !yield(n.entries[i].key, n.entries[i].val) {
			return false
		}
	}
	return true
}

func (m Map[K, V]) walkFrom(n *node[K, V], k K, yield func(K, V) bool) bool {
	if n.kids == nil {
		i, _ := m.search(n, k)
		for ; i < len(n.entries); i++ {
			if !yield(n.entries[i].key, n.entries[i].val) {
				return false
			}
		}
		return true
	}
	i := m.child(n, k)
	if !m.walkFrom(n.kids[i].node, k, yield) {
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
		n = n.kids[m.child(n, k)].node
	}
	i, found := m.search(n, k)
	if !found {
		i--
	}
	if i < 0 {
		return key, v, false // before the first key of all: any other leaf begins with a key that is k or less
	}
	return n.entries[i].key, n.entries[i].val, true
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
		n = n.kids[len(n.kids)-1].node
	}
	last := n.entries[len(n.entries)-1]
	return last.key, last.val, true
}

// Min returns the first entry.
func (m Map[K, V]) Min() (key K, v V, ok bool) {
	n := m.root
	if n == nil {
		return key, v, false
	}
	for n.kids != nil {
		n = n.kids[0].node
	}
	return n.entries[0].key, n.entries[0].val, true
}
