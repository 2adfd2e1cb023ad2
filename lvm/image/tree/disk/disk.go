// Package disk reads a directory of the machine as a tree.Node: types, modes, owners, times, symbolic and hard links,
// device nodes, holes and extended attributes.
package disk

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/pkg/xattr"
	"golang.org/x/sys/unix"

	"morgana/lvm/image/tree"
)

// Read reads a directory and all below it. Files are opened when their content is wanted, and not before. A directory
// on another file system is taken as it is.
func Read(dir string) (*tree.Node, error) {
	r := &reader{seen: map[inode]*tree.Node{}}
	st, err := os.Stat(dir) // the directory itself may be named by a symbolic link
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("%s is not a directory", dir)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, err
	}
	return r.read(real)
}

type inode struct{ dev, ino uint64 }

type reader struct{ seen map[inode]*tree.Node }

func (r *reader) read(name string) (*tree.Node, error) {
	info, err := os.Lstat(name)
	if err != nil {
		return nil, err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil, fmt.Errorf("%s: the system tells no owner", name)
	}
	id := inode{uint64(st.Dev), st.Ino}
	if n := r.seen[id]; n != nil && !info.IsDir() {
		return n, nil
	}
	n := &tree.Node{
		Perm: uint16(st.Mode & 0o7777), UID: st.Uid, GID: st.Gid,
		ModTime: tree.Time{Sec: info.ModTime().Unix(), Nsec: uint32(info.ModTime().Nanosecond())},
	}
	r.seen[id] = n
	switch m := info.Mode(); m.Type() {
	case 0:
		n.Size = info.Size()
		n.Open = func() (io.ReadCloser, error) { return os.Open(name) }
	case fs.ModeDir:
		n.Type = tree.Dir
	case fs.ModeSymlink:
		n.Type = tree.Symlink
		if n.Target, err = os.Readlink(name); err != nil {
			return nil, err
		}
	case fs.ModeNamedPipe:
		n.Type = tree.FIFO
	case fs.ModeSocket:
		n.Type = tree.Socket
	default:
		n.Type = tree.Block
		if m&fs.ModeCharDevice != 0 {
			n.Type = tree.Char
		}
		n.Major, n.Minor = unix.Major(st.Rdev), unix.Minor(st.Rdev)
	}
	if n.Xattrs, err = xattrs(name); err != nil {
		return nil, err
	}
	if n.Type != tree.Dir {
		return n, nil
	}
	entries, err := os.ReadDir(name)
	if err != nil {
		return nil, err
	}
	for _, e := range entries {
		child, err := r.read(filepath.Join(name, e.Name()))
		if err != nil {
			return nil, err
		}
		if err := n.Put(e.Name(), child); err != nil {
			return nil, err
		}
	}
	return n, nil
}

// xattrs are a file's extended attributes. The file system of the machine may know none.
func xattrs(name string) ([]tree.Xattr, error) {
	names, err := xattr.LList(name)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.EPERM) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var list []tree.Xattr
	for _, x := range names {
		v, err := xattr.LGet(name, x)
		if errors.Is(err, xattr.ENOATTR) {
			continue
		}
		if err != nil {
			return nil, err
		}
		list = append(list, tree.Xattr{Name: x, Value: v})
	}
	slices.SortFunc(list, func(a, b tree.Xattr) int { return cmp.Compare(a.Name, b.Name) })
	return list, nil
}

// A Source reads what a description of an image names, relative to a directory.
type Source struct{ Base string }

func (s Source) path(name string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(s.Base, name)
}

// Dir reads a directory.
func (s Source) Dir(name string) (*tree.Node, error) { return Read(s.path(name)) }

// File reads a file; a symbolic link is followed.
func (s Source) File(name string) (*tree.Node, error) {
	real, err := filepath.EvalSymlinks(s.path(name))
	if err != nil {
		return nil, err
	}
	r := &reader{seen: map[inode]*tree.Node{}}
	n, err := r.read(real)
	if err == nil && n.Type != tree.File {
		err = fmt.Errorf("%s is a %v", name, n.Type)
	}
	return n, err
}
