package ext4

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"

	"morgana/block"
	"morgana/lvm/image/tree"
)

// What a caller can act on.
var (
	ErrNoSpace = errors.New("the content does not fit into the file system")
	ErrSize    = errors.New("not a size for an ext4 file system")
)

// Options of a file system. The same options and content make the same bytes.
type Options struct {
	Label    string   // at most 16 bytes
	UUID     [16]byte // of the file system
	HashSeed [16]byte // of directories that the kernel will hash
	Time     int64    // when it was made, seconds since 1970
	// ReservedPercent of the blocks are for root alone; 0 is mke2fs's 5, negative none.
	ReservedPercent int
	// Inodes is how many files there shall be room for, at least; by default one in 16 KiB, and a quarter more than the
	// content has.
	Inodes    uint32
	NoJournal bool
	// Progress, if set, is told how many bytes of files were written since the last call.
	Progress func(n int64)
}

func (o *Options) reserved() int {
	switch {
	case o.ReservedPercent == 0:
		return 5
	case o.ReservedPercent < 0:
		return 0
	}
	return min(o.ReservedPercent, 50)
}

// A writer writes one file system.
type writer struct {
	*layout
	dev     block.Device
	opts    Options
	seed    uint32
	numbers map[*tree.Node]uint32
	links   map[*tree.Node]uint32
	lost    *tree.Node
	nodes   []named // in the order of their inodes, from firstIno+1
	journal inode
	buf     []byte
	table   tablePiece
}

type named struct {
	path   string
	node   *tree.Node
	parent uint32
}

// Write makes a file system of a device whose every byte is zero, with root as its root directory, and flushes it. A
// lost+found is made where root has none.
func Write(dev block.Device, root *tree.Node, o Options) error {
	if root.Type != tree.Dir {
		return fmt.Errorf("ext4: the root is a %v", root.Type)
	}
	if len(o.Label) > 16 {
		return fmt.Errorf("ext4: the label %q has %d bytes, ext4 has room for 16", o.Label, len(o.Label))
	}
	w := &writer{
		dev: dev, opts: o, seed: checksum(^uint32(0), o.UUID[:]), buf: make([]byte, 256<<10), numbers: map[*tree.Node]uint32{}, links: map[*tree.Node]uint32{},
	}
	if err := w.write(root); err != nil {
		return fmt.Errorf("ext4: %w", err)
	}
	return dev.Flush()
}

func (w *writer) write(root *tree.Node) error {
	root, err := w.withLostFound(root)
	if err != nil {
		return err
	}
	if err := w.number(root); err != nil {
		return err
	}
	inodes := uint64(firstIno + len(w.nodes))
	inodes += inodes / 4
	inodes = max(inodes, uint64(w.opts.Inodes), uint64(w.dev.Size()/16384))
	if w.layout, err = newLayout(w.dev.Size(), inodes); err != nil {
		return err
	}
	w.useInodes(uint32(firstIno + len(w.nodes)))
	if err := w.putJournal(); err != nil {
		return err
	}
	if err := w.putNode(named{"/", root, inoRoot}, inoRoot); err != nil {
		return err
	}
	if w.journal.size > 0 {
		if err := w.put(inoJournal, &w.journal); err != nil {
			return err
		}
	}
	if err := w.putNode(named{"/lost+found", w.lost, inoRoot}, lostAndFound); err != nil {
		return err
	}
	for i, n := range w.nodes {
		if err := w.putNode(n, firstIno+1+uint32(i)); err != nil {
			return err
		}
	}
	if err := w.flushTable(); err != nil {
		return err
	}
	return w.finish()
}

func (w *writer) now() tree.Time { return tree.Time{Sec: w.opts.Time} }

// withLostFound returns the root with a lost+found, which has an inode of its own.
func (w *writer) withLostFound(root *tree.Node) (*tree.Node, error) {
	w.lost = root.Lookup("lost+found")
	switch {
	case w.lost == nil:
		w.lost = &tree.Node{Type: tree.Dir, Perm: 0o700, ModTime: w.now()}
		root = root.Clone()
		return root, root.Put("lost+found", w.lost)
	case w.lost.Type != tree.Dir:
		return nil, fmt.Errorf("/lost+found is a %v; e2fsck needs it as a directory", w.lost.Type)
	}
	return root, nil
}

// number gives every node an inode, in the order of paths but for the two that have usual ones, and counts links.
func (w *writer) number(root *tree.Node) error {
	w.numbers[root] = inoRoot
	w.links[root] = 2 // ".." and "."
	var visit func(dir *tree.Node, at string) error
	visit = func(dir *tree.Node, at string) error {
		for _, e := range dir.Entries() {
			name := path.Join(at, e.Name)
			n := e.Node
			if _, again := w.numbers[n]; again {
				if n.Type == tree.Dir {
					return fmt.Errorf("%s: a directory with two names", name)
				}
				if w.links[n]++; w.links[n] > maxLinks {
					return fmt.Errorf("%s: more than %d names of one file", name, maxLinks)
				}
				continue
			}
			if err := checkTime(name, n.ModTime); err != nil {
				return err
			}
			if n == w.lost {
				w.numbers[n] = lostAndFound
			} else {
				w.nodes = append(w.nodes, named{name, n, w.numbers[dir]})
				w.numbers[n] = firstIno + uint32(len(w.nodes))
			}
			w.links[n] = 1
			if n.Type == tree.Dir {
				w.links[n] = 2
				w.links[dir]++
				if err := visit(n, name); err != nil {
					return err
				}
			}
		}
		return nil
	}
	if err := checkTime("/", root.ModTime); err != nil {
		return err
	}
	return visit(root, "/")
}

// useInodes marks the inodes from 1 to n as used.
func (w *writer) useInodes(n uint32) {
	for i := range w.groups {
		k := min(n, w.inodesPerGroup)
		w.groups[i].inodes = k
		n -= k
	}
}

// putNode writes a node: its content, its attributes, its inode.
func (w *writer) putNode(n named, ino uint32) error {
	in := &inode{
		mode: modes[n.node.Type] | n.node.Perm&0o7777, uid: n.node.UID, gid: n.node.GID, links: w.links[n.node], mtime: n.node.ModTime,
	}
	attrs, err := attrsOf(n.path, n.node)
	if err != nil {
		return err
	}
	m := &mapping{}
	switch t := n.node.Type; {
	case t == tree.Dir:
		err = w.putDir(n, ino, in, m)
	case t == tree.File:
		err = w.putFile(n, in, m)
	case t == tree.Symlink && len(n.node.Target) < len(in.block):
		in.size = int64(copy(in.block[:], n.node.Target))
	case t == tree.Symlink:
		if len(n.node.Target) >= blockSize {
			return fmt.Errorf("%s: a symbolic link to %d bytes; ext4 has room for %d", n.path, len(n.node.Target), blockSize-1)
		}
		in.size = int64(len(n.node.Target))
		err = w.putBlocks(in, m, append([]byte(n.node.Target), make([]byte, blockSize-len(n.node.Target))...))
	case t == tree.Char, t == tree.Block:
		in.block = device(n.node)
	}
	if err == nil && in.flags&flagExtents != 0 {
		in.block, err = w.root(ino, m)
		in.blocks += m.blocks
	}
	if err == nil {
		err = w.putAttrs(n.path, in, attrs)
	}
	if errors.Is(err, ErrNoSpace) {
		return fmt.Errorf("%s: %w of %d bytes; make it bigger", n.path, err, w.dev.Size())
	}
	if err != nil {
		return err
	}
	return w.put(ino, in)
}

// putBlocks writes whole blocks one after the other, from the file's beginning.
func (w *writer) putBlocks(in *inode, m *mapping, blocks ...[]byte) error {
	in.flags |= flagExtents
	for i, b := range blocks {
		at, err := w.allocate()
		if err != nil {
			return err
		}
		m.add(uint32(i), at)
		if err := writeBlock(w.dev, at, b); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) putDir(n named, ino uint32, in *inode, m *mapping) error {
	entries := []entry{{ino, fileTypes[tree.Dir], "."}, {n.parent, fileTypes[tree.Dir], ".."}}
	for _, e := range n.node.Entries() {
		entries = append(entries, entry{w.numbers[e.Node], fileTypes[e.Node.Type], e.Name})
	}
	atLeast := 1
	if n.path == "/lost+found" {
		atLeast = 4 // e2fsck must not have to allocate when it needs the place
	}
	blocks := w.directory(ino, entries, atLeast)
	in.size = int64(len(blocks)) * blockSize
	return w.putBlocks(in, m, blocks...)
}

var zeroBlock [blockSize]byte

// putFile copies a file's content. Blocks of zeros become holes.
func (w *writer) putFile(n named, in *inode, m *mapping) error {
	in.flags |= flagExtents
	if n.node.Size == 0 {
		return nil
	}
	r, err := n.node.Open()
	if err != nil {
		return err
	}
	defer r.Close()
	for {
		k, err := io.ReadFull(r, w.buf)
		if k > 0 {
			clear(w.buf[k:])
			if err := w.putData(m, in.size/blockSize, w.buf[:(k+blockSize-1)/blockSize*blockSize]); err != nil {
				return err
			}
			in.size += int64(k)
			if w.opts.Progress != nil {
				w.opts.Progress(int64(k))
			}
		}
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			if in.size != n.node.Size {
				return fmt.Errorf("%s: %d bytes were read of %d: it changed meanwhile", n.path, in.size, n.node.Size)
			}
			return nil
		case err != nil:
			return fmt.Errorf("%s: %w", n.path, err)
		}
	}
}

// maxFileBlocks is what an extent can number.
const maxFileBlocks = 1<<32 - 1

// putData writes blocks of a file, those that lie together at once.
func (w *writer) putData(m *mapping, logical int64, b []byte) error {
	var start uint32 // where run goes
	var run []byte
	flush := func() error {
		if len(run) == 0 {
			return nil
		}
		_, err := w.dev.WriteAt(run, int64(start)*blockSize)
		run = nil
		return err
	}
	for off := 0; off < len(b); off, logical = off+blockSize, logical+1 {
		one := b[off : off+blockSize]
		if bytes.Equal(one, zeroBlock[:]) {
			if err := flush(); err != nil {
				return err
			}
			continue
		}
		if logical >= maxFileBlocks {
			return errors.New("a file of more than 16 TiB")
		}
		at, err := w.allocate()
		if err != nil {
			return err
		}
		m.add(uint32(logical), at)
		if len(run) > 0 && at == start+uint32(len(run)/blockSize) {
			run = b[off-len(run) : off+blockSize]
			continue
		}
		if err := flush(); err != nil {
			return err
		}
		start, run = at, one
	}
	return flush()
}

// A tablePiece is inodes that follow each other and are not yet written.
type tablePiece struct {
	at int64
	b  []byte
}

// gather writes inodes, many at once.
func (w *writer) gather(b []byte, off int64) error {
	p := &w.table
	if len(p.b) > 0 && (off != p.at+int64(len(p.b)) || len(p.b) >= 256<<10) {
		if err := w.flushTable(); err != nil {
			return err
		}
	}
	if len(p.b) == 0 {
		p.at = off
	}
	p.b = append(p.b, b...)
	return nil
}

func (w *writer) flushTable() error {
	p := &w.table
	if len(p.b) == 0 {
		return nil
	}
	_, err := w.dev.WriteAt(p.b, p.at)
	p.b = p.b[:0]
	return err
}
