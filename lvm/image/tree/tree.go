// Package tree is the content of a file system as a value, before it is written into an image.
//
// A Dir is read from a directory of the machine (package tree/disk) or made by hand; the writers of file systems, such
// as ext4, walk it. A file's content is not in memory: a Node knows how to open it.
package tree

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"path"
	"slices"
	"strings"
)

// A Type is what a node is.
type Type uint8

// The types of nodes.
const (
	File Type = iota
	Dir
	Symlink
	Char
	Block
	FIFO
	Socket
)

var typeText = [...]string{"file", "directory", "symbolic link", "character device", "block device", "FIFO", "socket"}

func (t Type) String() string { return typeText[t] }

// Permission bits beyond the nine.
const (
	SetUID = 0o4000
	SetGID = 0o2000
	Sticky = 0o1000
)

// A Time is seconds since 1970 and nanoseconds.
type Time struct {
	Sec  int64
	Nsec uint32
}

// A Node is a file of any type. One that several entries have is a file with several names (hard links).
type Node struct {
	Type         Type
	Perm         uint16 // 12 bits
	UID, GID     uint32
	ModTime      Time
	Xattrs       []Xattr // sorted by name
	Target       string  // Symlink
	Major, Minor uint32  // Char, Block
	Size         int64   // File: what Open will yield
	Open         func() (io.ReadCloser, error)
	entries      []Entry // Dir: sorted by name
}

// An Xattr is an extended attribute with its full name, such as user.comment.
type Xattr struct {
	Name  string
	Value []byte
}

// An Entry is a name in a directory.
type Entry struct {
	Name string
	Node *Node
}

// Entries returns a directory's entries, sorted by name as bytes. The slice must not be changed.
func (n *Node) Entries() []Entry { return n.entries }

// Clone returns a copy of a node whose entries are its own; what they lead to is shared.
func (n *Node) Clone() *Node {
	c := *n
	c.entries = slices.Clone(n.entries)
	return &c
}

// Lookup returns what an entry of a directory has, nil if there is none.
func (n *Node) Lookup(name string) *Node {
	if i, ok := n.find(name); ok {
		return n.entries[i].Node
	}
	return nil
}

func (n *Node) find(name string) (int, bool) {
	return slices.BinarySearchFunc(n.entries, name, func(e Entry, name string) int { return cmp.Compare(e.Name, name) })
}

// SetXattr sets an extended attribute.
func (n *Node) SetXattr(name string, value []byte) {
	i, ok := slices.BinarySearchFunc(n.Xattrs, name, func(x Xattr, name string) int { return cmp.Compare(x.Name, name) })
	n.Xattrs = slices.Clone(n.Xattrs)
	if ok {
		n.Xattrs[i].Value = value
	} else {
		n.Xattrs = slices.Insert(n.Xattrs, i, Xattr{name, value})
	}
}

// ErrPath tells of a path that does not suit the tree.
var ErrPath = errors.New("no such path")

// Put gives a node a name in a directory; what had that name has it no more.
func (n *Node) Put(name string, child *Node) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00") || len(name) > 255 {
		return fmt.Errorf("%w: %.300q cannot be a file's name", ErrPath, name)
	}
	i, ok := n.find(name)
	if ok {
		n.entries[i].Node = child
	} else {
		n.entries = slices.Insert(n.entries, i, Entry{name, child})
	}
	return nil
}

// At returns the node of an absolute path, and an error that matches ErrPath if there is none. Symbolic links are not
// followed.
func (n *Node) At(name string) (*Node, error) {
	at := n
	for part := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
		if part == "" {
			continue
		}
		if at.Type != Dir {
			return nil, fmt.Errorf("%w: %s leads through a %v", ErrPath, name, at.Type)
		}
		if at = at.Lookup(part); at == nil {
			return nil, fmt.Errorf("%w: %s", ErrPath, name)
		}
	}
	return at, nil
}

// PutAt gives a node an absolute path, whose directory must be there.
func (n *Node) PutAt(name string, child *Node) error {
	dir, base := path.Split(path.Clean("/" + name))
	at, err := n.At(dir)
	if err != nil {
		return err
	}
	if at.Type != Dir {
		return fmt.Errorf("%w: %s is a %v", ErrPath, dir, at.Type)
	}
	return at.Put(base, child)
}

// RemoveAt takes the name at an absolute path away, with what only it leads to.
func (n *Node) RemoveAt(name string) error {
	dir, base := path.Split(path.Clean("/" + name))
	at, err := n.At(dir)
	if err != nil {
		return err
	}
	i, ok := at.find(base)
	if !ok {
		return fmt.Errorf("%w: %s", ErrPath, name)
	}
	at.entries = slices.Delete(at.entries, i, i+1)
	return nil
}

// Walk calls f for the node and all below it, a directory before its entries, with their paths; a file with several
// names is met several times. It ends at the first error.
func (n *Node) Walk(f func(path string, n *Node) error) error { return n.walk("/", f) }

func (n *Node) walk(at string, f func(string, *Node) error) error {
	if err := f(at, n); err != nil {
		return err
	}
	for _, e := range n.entries {
		if err := e.Node.walk(path.Join(at, e.Name), f); err != nil {
			return err
		}
	}
	return nil
}

// Bytes is a file with a content from memory.
func Bytes(b []byte, perm uint16) *Node {
	return &Node{Type: File, Perm: perm, Size: int64(len(b)), Open: func() (io.ReadCloser, error) {
		return io.NopCloser(strings.NewReader(string(b))), nil
	}}
}
