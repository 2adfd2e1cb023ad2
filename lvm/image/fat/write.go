package fat

import (
	"errors"
	"fmt"
	"io"
	"path"
	"strings"
	"time"

	"morgana/block"
	"morgana/lvm/image/tree"
)

// What a caller can act on.
var (
	ErrNoSpace = errors.New("the content does not fit into the file system")
	ErrSize    = errors.New("not a size for a FAT file system")
)

// Options of a file system.
type Options struct {
	Label  string // at most 11 characters; capital letters are made of small ones
	Serial uint32 // of the volume
	Time   int64  // of the label, seconds since 1970
	Hidden uint32 // sectors before the file system on its disk
	// Progress, if set, is told how many bytes of files were written since the last call.
	Progress func(n int64)
}

func (o Options) label() string {
	if o.Label == "" {
		return "NO NAME    "
	}
	return fmt.Sprintf("%-11s", strings.ToUpper(o.Label))
}

func (o Options) check() error {
	if len(o.Label) > 11 {
		return fmt.Errorf("the label %q has %d characters, FAT has room for 11", o.Label, len(o.Label))
	}
	for _, c := range strings.ToUpper(o.Label) {
		if !shortChar(c) && c != ' ' {
			return fmt.Errorf("the label %q has a character that FAT's labels cannot have", o.Label)
		}
	}
	return nil
}

const rootCluster = 2

// A writer writes one file system.
type writer struct {
	*layout
	dev   block.Device
	opts  Options
	table *table
	next  uint32 // free cluster
	buf   []byte
}

// Write makes a file system of a device whose every byte is zero, with root as its root directory, and flushes it.
func Write(dev block.Device, root *tree.Node, o Options) error {
	if err := write(dev, root, o); err != nil {
		return fmt.Errorf("fat: %w", err)
	}
	return dev.Flush()
}

func write(dev block.Device, root *tree.Node, o Options) error {
	if root.Type != tree.Dir {
		return fmt.Errorf("the root is a %v", root.Type)
	}
	if err := o.check(); err != nil {
		return err
	}
	l, err := newLayout(dev.Size(), dev.SectorSize())
	if err != nil {
		return err
	}
	w := &writer{layout: l, dev: dev, opts: o, table: newTable(l), next: 2, buf: make([]byte, 256<<10)}
	if err := w.root(root); err != nil {
		return err
	}
	return l.write(dev, o, w.table, w.next-2)
}

// take reserves clusters in a row for size bytes.
func (w *writer) take(name string, size int64) (first, n uint32, err error) {
	clusters := (size + w.cluster - 1) / w.cluster
	if clusters > w.clusters-int64(w.next-2) {
		return 0, 0, fmt.Errorf("%s: %w of %d bytes; make it bigger", name, ErrNoSpace, w.dev.Size())
	}
	first, n = w.next, uint32(clusters)
	w.next += n
	w.table.chain(first, n)
	return first, n, nil
}

// root writes the root directory: a file as others in FAT32, a place of its own before the first cluster elsewhere.
func (w *writer) root(root *tree.Node) error {
	entries := 0
	if w.opts.Label != "" {
		entries = 1
	}
	for _, e := range root.Entries() {
		entries += slots(e.Name)
	}
	size := int64(max(entries, 1)) * entrySize
	at := (w.reserved + 2*w.fatSectors) * w.sector
	if w.bits == 32 {
		if _, _, err := w.take("/", size); err != nil {
			return err
		}
		at = w.offset(rootCluster)
	} else if entries > rootEntries {
		return fmt.Errorf("/: %w: FAT%d has room for %d names there, long ones count several times", ErrNoSpace, w.bits, rootEntries)
	}
	var b []byte
	if w.opts.Label != "" {
		var label [11]byte
		copy(label[:], w.opts.label())
		b = appendShort(b, label, attrLabel, 0, 0, tree.Time{Sec: w.opts.Time})
	}
	b, err := w.entries(b, "/", root, 0)
	if err != nil {
		return err
	}
	_, err = w.dev.WriteAt(b, at)
	return err
}

// entries appends the entries of a directory after writing what they lead to. self is the directory's own cluster as
// its children call it: 0 for the root.
func (w *writer) entries(b []byte, name string, dir *tree.Node, self uint32) ([]byte, error) {
	names, err := newNamer(dir.Entries())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	for _, e := range dir.Entries() {
		at := path.Join(name, e.Name)
		short, ok := isShort(e.Name)
		if !ok {
			short = names.short(e.Name)
			b = appendLong(b, e.Name, short)
		}
		var cluster uint32
		attr, size := byte(attrFile), e.Node.Size
		switch e.Node.Type {
		case tree.Dir:
			attr, size = attrDir, 0
			cluster, err = w.directory(at, e.Node, self)
		case tree.File:
			cluster, err = w.file(at, e.Node)
		default:
			err = fmt.Errorf("%s is a %v, which FAT does not have; leave it out", at, e.Node.Type)
		}
		if err != nil {
			return nil, err
		}
		b = appendShort(b, short, attr, cluster, size, e.Node.ModTime)
	}
	return b, nil
}

func (w *writer) directory(name string, dir *tree.Node, parent uint32) (uint32, error) {
	entries := 2
	for _, e := range dir.Entries() {
		entries += slots(e.Name)
	}
	if entries > 65536 {
		return 0, fmt.Errorf("%s: %w: a directory of FAT has room for 65536 names, long ones count several times", name, ErrNoSpace)
	}
	first, _, err := w.take(name, int64(entries)*entrySize)
	if err != nil {
		return 0, err
	}
	var dot, dots [11]byte
	copy(dot[:], ".          ")
	copy(dots[:], "..         ")
	b := appendShort(nil, dot, attrDir, first, 0, dir.ModTime)
	b = appendShort(b, dots, attrDir, parent, 0, dir.ModTime)
	if b, err = w.entries(b, name, dir, first); err != nil {
		return 0, err
	}
	_, err = w.dev.WriteAt(b, w.offset(first))
	return first, err
}

func (w *writer) file(name string, f *tree.Node) (uint32, error) {
	switch {
	case f.Size == 0:
		return 0, nil
	case f.Size >= 1<<32:
		return 0, fmt.Errorf("%s has %d bytes; a file of FAT has less than 4 GiB", name, f.Size)
	}
	first, _, err := w.take(name, f.Size)
	if err != nil {
		return 0, err
	}
	r, err := f.Open()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	for at := int64(0); ; {
		n, err := io.ReadFull(r, w.buf)
		if at+int64(n) > f.Size || (err == io.EOF || err == io.ErrUnexpectedEOF) && at+int64(n) < f.Size {
			return 0, fmt.Errorf("%s: %d bytes were read of %d: it changed meanwhile", name, at+int64(n), f.Size)
		}
		if n > 0 {
			if _, err := w.dev.WriteAt(w.buf[:n], w.offset(first)+at); err != nil {
				return 0, err
			}
			at += int64(n)
			if w.opts.Progress != nil {
				w.opts.Progress(int64(n))
			}
		}
		switch {
		case err == io.EOF || err == io.ErrUnexpectedEOF:
			return first, nil
		case err != nil:
			return 0, fmt.Errorf("%s: %w", name, err)
		}
	}
}

// dosTime is a time as FAT keeps it, in UTC: from 1980 to 2107, to two seconds.
func dosTime(t tree.Time) (date, clock uint16) {
	u := time.Unix(t.Sec, 0).UTC()
	switch {
	case u.Year() < 1980:
		return 1<<5 | 1, 0
	case u.Year() > 2107:
		return 127<<9 | 12<<5 | 31, 23<<11 | 59<<5 | 29
	}
	date = uint16((u.Year()-1980)<<9 | int(u.Month())<<5 | u.Day())
	return date, uint16(u.Hour()<<11 | u.Minute()<<5 | u.Second()/2)
}
