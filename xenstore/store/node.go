package store

import (
	"iter"
	"strings"

	"morgana/xen"
)

// Node is a node of the tree with everything below it. One that can be reached from a root that Store.Root returned never
// changes; safe for concurrent use.
type Node struct {
	name  string
	value string
	perms *Perms
	kids  *kids
	gen   uint64    // when the node itself or the set of its children changed last
	born  uint64    // when it was made
	age   uint64    // the store's, when this version was made; see Store.age
	by    xen.DomID // who changed it last
}

// Name is the last component of the node's path; "" for the root.
func (n *Node) Name() string { return n.name }

// Value is the node's value. It may hold any bytes.
func (n *Node) Value() string { return n.value }

// Perms are the node's permissions.
func (n *Node) Perms() *Perms { return n.perms }

// Generation changes whenever the node itself or the set of its children does.
func (n *Node) Generation() uint64 { return n.gen }

// Born orders nodes of one directory by their creation.
func (n *Node) Born() uint64 { return n.born }

// Names lists the children in the order of their creation, each with a NUL: the payload of DIRECTORY.
func (n *Node) Names() string { return n.kids.names() }

// NumChildren is how many children the node has.
func (n *Node) NumChildren() int {
	if n.kids == nil {
		return 0
	}
	return n.kids.count
}

// Child returns the child of that name, nil if there is none.
func (n *Node) Child(name string) *Node { return n.kids.find(name) }

// Children are the node's children in the order of their creation.
func (n *Node) Children() []*Node { return n.kids.created() }

// sizeHeader and sizePerm are the sizes of xenstored's record of a node, which its limits count.
const (
	sizeHeader = 24
	sizePerm   = 8
)

// size is what limits count for a node: its value, permissions and the names of its children.
func (n *Node) size() int {
	s := sizeHeader + sizePerm*len(n.perms.entries) + len(n.value)
	if n.kids != nil {
		s += n.kids.bytes
	}
	return s
}

// Lookup finds the node of an absolute path, nil if there is none.
func (n *Node) Lookup(path string) *Node {
	for rest := path[1:]; rest != "" && n != nil; {
		var name string
		name, rest = next(rest)
		n = n.kids.find(name)
	}
	return n
}

// next splits off the first component.
func next(rest string) (name, more string) {
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		return rest[:i], rest[i+1:]
	}
	return rest, ""
}

// nearest finds the deepest node that exists on the way to path, and what of the path it has not.
func (n *Node) nearest(path string) (*Node, string) {
	rest := path[1:]
	for rest != "" {
		name, more := next(rest)
		c := n.kids.find(name)
		if c == nil {
			break
		}
		n, rest = c, more
	}
	return n, rest
}

// All walks the node and all below it, each before its children, which come in the order of their creation. The paths
// begin with the given one.
func (n *Node) All(path string) iter.Seq2[string, *Node] {
	type item struct {
		path string
		node *Node
	}
	return func(yield func(string, *Node) bool) {
		// A stack of our own: guests make trees hundreds of levels deep.
		todo := []item{{path, n}}
		for len(todo) > 0 {
			it := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			if !yield(it.path, it.node) {
				return
			}
			below := it.node.kids.created()
			for i := len(below) - 1; i >= 0; i-- {
				todo = append(todo, item{Join(it.path, below[i].name), below[i]})
			}
		}
	}
}

// Join is the path of a child.
func Join(path, name string) string {
	if path == "/" {
		return "/" + name
	}
	return path + "/" + name
}

// Parent is the path above: "/" for "/a" and for "/".
func Parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// Base is the last component of a path.
func Base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

// descend finds the deepest node that exists on the way to path, and what of the path it has not. It appends the nodes on
// the way, the root first and that node last.
func (n *Node) descend(spine []*Node, path string) (nodes []*Node, rest string) {
	spine = append(spine, n)
	rest = path[1:]
	for rest != "" {
		name, more := next(rest)
		if n = n.kids.find(name); n == nil {
			break
		}
		spine, rest = append(spine, n), more
	}
	return spine, rest
}

// climb puts a new node under the nodes above it, the last of which is its parent, and returns the new root and the new
// parent. One that nobody else can see (Store.age) is changed in place, and those above it stay.
func climb(spine []*Node, n *Node, s stamp) (root, parent *Node) {
	for i := len(spine) - 1; i >= 0; i-- {
		up := spine[i].mine(s)
		up.kids = up.kids.with(n)
		if parent == nil {
			parent = up
		}
		if up == spine[i] {
			return spine[0], parent
		}
		n = up
	}
	return n, parent
}

// mine is a version of the node that may be changed.
func (n *Node) mine(s stamp) *Node {
	if n.age == s.age {
		return n
	}
	c := *n
	c.age = s.age
	return &c
}

// adopt puts a node that is not there yet under the last of the nodes.
func adopt(spine []*Node, n *Node, s stamp) (root, parent *Node) {
	up := spine[len(spine)-1].mine(s)
	up.kids = up.kids.with(n)
	return moved(spine, up, s)
}

// prune removes the last of the nodes.
func prune(spine []*Node, s stamp) (root, parent *Node) {
	up := spine[len(spine)-2].mine(s)
	up.kids = up.kids.without(spine[len(spine)-1].name)
	return moved(spine[:len(spine)-1], up, s)
}

// moved ends a change of the set of children of the last of the nodes, whose version is now up.
func moved(spine []*Node, up *Node, s stamp) (root, parent *Node) {
	up.gen, up.by = s.gen, s.by
	last := len(spine) - 1
	if up == spine[last] {
		return spine[0], up
	}
	root, _ = climb(spine[:last], up, s)
	return root, up
}

// stamp says when and by whom a change is made.
type stamp struct {
	gen uint64
	age uint64
	by  xen.DomID
}
