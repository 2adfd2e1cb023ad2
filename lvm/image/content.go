package image

import (
	"fmt"
	"path"

	"morgana/lvm/image/spec"
	"morgana/lvm/image/tree"
)

// A Source is where content comes from. Names are as in the description.
type Source interface {
	Dir(name string) (*tree.Node, error)
	File(name string) (*tree.Node, error)
}

// content makes what a file system will hold.
func content(f *spec.FS, src Source, now int64) (*tree.Node, error) {
	root := &tree.Node{Type: tree.Dir, Perm: 0o755}
	if f.From != "" {
		var err error
		if root, err = src.Dir(f.From); err != nil {
			return nil, err
		}
	}
	err := root.Walk(func(_ string, n *tree.Node) error {
		if !f.KeepTimes || f.From == "" {
			n.ModTime = tree.Time{Sec: now}
		}
		if f.Owner != nil {
			n.UID, n.GID = f.Owner.UID, f.Owner.GID
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	c := &changer{root: root, fs: f, src: src, now: now}
	for _, e := range f.Edits {
		if err := c.apply(e); err != nil {
			return nil, lineError(e.Line, "%v", err)
		}
	}
	return root, nil
}

// A changer applies the lines that change a content.
type changer struct {
	root *tree.Node
	fs   *spec.FS
	src  Source
	now  int64
}

// fresh returns a new node with the properties that all have.
func (c *changer) fresh(t tree.Type, perm uint16) *tree.Node {
	n := &tree.Node{Type: t, Perm: perm, ModTime: tree.Time{Sec: c.now}}
	if c.fs.Owner != nil {
		n.UID, n.GID = c.fs.Owner.UID, c.fs.Owner.GID
	}
	return n
}

func (c *changer) apply(e spec.Edit) error {
	var n *tree.Node
	var err error
	switch e.Verb {
	case "set":
		n, err = c.root.At(e.Path)
	case "dir":
		n, err = c.directory(e.Path)
	case "remove":
		return c.root.RemoveAt(e.Path)
	case "link":
		if n, err = c.root.At(e.To); err == nil && n.Type == tree.Dir {
			err = fmt.Errorf("%s is a directory, which can have one name only", e.To)
		}
		if err != nil {
			return err
		}
		return c.put(e.Path, n)
	case "file":
		n, err = c.file(e)
	case "symlink":
		n = c.fresh(tree.Symlink, 0o777)
		n.Target = e.Target
	case "node":
		n = c.fresh(e.Type, 0o600)
		n.Major, n.Minor = e.Major, e.Minor
	}
	if err != nil {
		return err
	}
	if e.Verb != "set" && e.Verb != "dir" {
		if err := c.put(e.Path, n); err != nil {
			return err
		}
	}
	if e.Mode != nil {
		n.Perm = *e.Mode
	}
	if e.Owner != nil {
		n.UID, n.GID = e.Owner.UID, e.Owner.GID
	}
	if e.Time != nil {
		n.ModTime = tree.Time{Sec: *e.Time}
	}
	for _, x := range e.Xattrs {
		n.SetXattr(x.Name, x.Value)
	}
	return nil
}

func (c *changer) file(e spec.Edit) (*tree.Node, error) {
	if e.From == "" {
		n := c.fresh(tree.File, 0o644)
		text := tree.Bytes([]byte(e.Text), 0)
		n.Size, n.Open = text.Size, text.Open
		return n, nil
	}
	n, err := c.src.File(e.From)
	if err != nil {
		return nil, err
	}
	if !c.fs.KeepTimes {
		n.ModTime = tree.Time{Sec: c.now}
	}
	if c.fs.Owner != nil {
		n.UID, n.GID = c.fs.Owner.UID, c.fs.Owner.GID
	}
	return n, nil
}

// put gives a node a path and makes the directories above.
func (c *changer) put(name string, n *tree.Node) error {
	if _, err := c.directory(path.Dir(name)); err != nil {
		return err
	}
	return c.root.PutAt(name, n)
}

// directory returns the directory at a path, after making it and those above it where they are not there.
func (c *changer) directory(name string) (*tree.Node, error) {
	if name == "/" {
		return c.root, nil
	}
	above, err := c.directory(path.Dir(name))
	if err != nil {
		return nil, err
	}
	n := above.Lookup(path.Base(name))
	switch {
	case n == nil:
		n = c.fresh(tree.Dir, 0o755)
		return n, above.Put(path.Base(name), n)
	case n.Type != tree.Dir:
		return nil, fmt.Errorf("%s is a %v and no directory", name, n.Type)
	}
	return n, nil
}
