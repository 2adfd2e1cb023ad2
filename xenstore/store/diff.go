package store

import "slices"

// Edit is a difference between two trees: a node that one of them lacks, or that is another one.
type Edit struct {
	Path string
	Was  *Node // nil if it was made; one that was removed and made again is two edits
	Is   *Node // nil if it was removed, with everything below it
}

// Diff lists how to make b of a: removals first, then what was made or changed, in the order of creation, so that a
// directory comes before what is in it and children in their order. What the trees share costs nothing.
func Diff(a, b *Node) []Edit {
	var d differ
	d.nodes("/", a, b)
	slices.SortStableFunc(d.made, func(x, y Edit) int {
		switch {
		case x.Is.born < y.Is.born:
			return -1
		case x.Is.born > y.Is.born:
			return 1
		}
		return len(x.Path) - len(y.Path)
	})
	return append(d.gone, d.made...)
}

type differ struct{ gone, made []Edit }

func (d *differ) nodes(path string, a, b *Node) {
	switch {
	case a == b:
		return
	case a.born != b.born:
		d.gone = append(d.gone, Edit{Path: path, Was: a})
		d.fresh(path, b)
		return
	case a.value != b.value || a.perms != b.perms && !a.perms.same(b.perms):
		d.made = append(d.made, Edit{path, a, b})
	}
	if a.kids != b.kids {
		d.branches(path, a.kids.all(), b.kids.all())
	}
}

func (p *Perms) same(q *Perms) bool { return p.gen == q.gen && p.equal(q) }

func (d *differ) fresh(path string, n *Node) {
	for p, x := range n.All(path) {
		d.made = append(d.made, Edit{Path: p, Is: x})
	}
}

func (k *kids) all() []sub {
	if k == nil {
		return nil
	}
	return []sub{{branch: &k.root}}
}

// branches compares two rows of branches that hold the same range of names.
func (d *differ) branches(path string, a, b []sub) {
	for len(a) > 0 && len(b) > 0 && a[0].branch == b[0].branch {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1].branch == b[len(b)-1].branch {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if aligned(a, b) {
		for i := range a {
			if a[i].branch != b[i].branch && a[i].subs != nil {
				d.branches(path, a[i].subs, b[i].subs)
			} else if a[i].branch != b[i].branch {
				d.leaves(path, a[i].nodes, b[i].nodes)
			}
		}
		return
	}
	d.leaves(path, flat(nil, a), flat(nil, b))
}

// aligned reports whether the branches hold the same ranges of names, each the one of the other row.
func aligned(a, b []sub) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if (a[i].subs == nil) != (b[i].subs == nil) || i > 0 && a[i].min != b[i].min {
			return false
		}
	}
	return true
}

func flat(dst []kid, row []sub) []kid {
	for _, b := range row {
		dst = append(dst, b.nodes...)
		dst = flat(dst, b.subs)
	}
	return dst
}

// leaves compares nodes in the order of their names.
func (d *differ) leaves(path string, a, b []kid) {
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].node.name < b[0].node.name:
			d.gone = append(d.gone, Edit{Path: Join(path, a[0].node.name), Was: a[0].node})
			a = a[1:]
		case len(a) == 0 || a[0].node.name > b[0].node.name:
			d.fresh(Join(path, b[0].node.name), b[0].node)
			b = b[1:]
		default:
			if a[0].node != b[0].node {
				d.nodes(Join(path, a[0].node.name), a[0].node, b[0].node)
			}
			a, b = a[1:], b[1:]
		}
	}
}
