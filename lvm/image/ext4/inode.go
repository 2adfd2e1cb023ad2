package ext4

import (
	"encoding/binary"
	"fmt"

	"morgana/lvm/image/tree"
)

// Modes of inodes.
const (
	modeFIFO    = 0o010000
	modeChar    = 0o020000
	modeDir     = 0o040000
	modeBlock   = 0o060000
	modeFile    = 0o100000
	modeSymlink = 0o120000
	modeSocket  = 0o140000
)

// modes and fileTypes are by tree.Type; the latter is what directory entries have.
var (
	modes     = [...]uint16{modeFile, modeDir, modeSymlink, modeChar, modeBlock, modeFIFO, modeSocket}
	fileTypes = [...]byte{1, 2, 7, 3, 4, 5, 6}
)

const (
	flagExtents = 0x80000
	extraSize   = 32 // of the fields beyond the first 128 bytes
)

// An inode is what is known of a file when it is written.
type inode struct {
	mode     uint16
	uid, gid uint32
	links    uint32
	size     int64
	mtime    tree.Time
	blocks   uint32 // of blockSize: data, tree, attributes
	flags    uint32
	block    [60]byte
	attrs    []byte // in the inode
	attrsAt  uint32 // a block, 0 for none
}

// maxLinks is how many a directory may have; beyond, the number is not kept (dir_nlink).
const maxLinks = 65000

// put writes an inode.
func (w *writer) put(ino uint32, n *inode) error {
	b := make([]byte, inodeSize)
	le := binary.LittleEndian
	le.PutUint16(b[0x00:], n.mode)
	le.PutUint16(b[0x02:], uint16(n.uid))
	le.PutUint32(b[0x04:], uint32(n.size))
	sec, extra := splitTime(n.mtime)
	for _, at := range []int{0x08, 0x0c, 0x10, 0x90} { // read, changed, modified, made
		le.PutUint32(b[at:], sec)
	}
	for _, at := range []int{0x84, 0x88, 0x8c, 0x94} {
		le.PutUint32(b[at:], extra)
	}
	le.PutUint16(b[0x18:], uint16(n.gid))
	links := n.links
	if links > maxLinks {
		links = 1
	}
	le.PutUint16(b[0x1a:], uint16(links))
	sectors := uint64(n.blocks) * (blockSize / 512)
	le.PutUint32(b[0x1c:], uint32(sectors))
	le.PutUint16(b[0x74:], uint16(sectors>>32))
	le.PutUint32(b[0x20:], n.flags)
	copy(b[0x28:0x64], n.block[:])
	le.PutUint32(b[0x68:], n.attrsAt)
	le.PutUint32(b[0x6c:], uint32(n.size>>32))
	le.PutUint16(b[0x78:], uint16(n.uid>>16))
	le.PutUint16(b[0x7a:], uint16(n.gid>>16))
	le.PutUint16(b[0x80:], extraSize)
	copy(b[128+extraSize:], n.attrs)
	sum := checksum(w.inodeSeed(ino), b)
	le.PutUint16(b[0x7c:], uint16(sum))
	le.PutUint16(b[0x82:], uint16(sum>>16))
	g, off := w.inodeAt(ino)
	if n.mode&0xf000 == modeDir {
		g.dirs++
	}
	// An inode at a time would be a call each: they are gathered by blocks.
	return w.gather(b, off)
}

// splitTime is a time in the inode's two fields: two bits of the second extend the seconds, the rest are nanoseconds.
func splitTime(t tree.Time) (sec, extra uint32) {
	high := (t.Sec - int64(int32(t.Sec))) >> 32
	return uint32(t.Sec), uint32(high)&3 | t.Nsec<<2
}

// checkTime says what splitTime cannot hold.
func checkTime(name string, t tree.Time) error {
	if t.Sec < -1<<31 || t.Sec >= 1<<34-1<<31 {
		return fmt.Errorf("%s: the time %d is outside of what ext4 keeps, 1901 to 2446", name, t.Sec)
	}
	return nil
}

// device is a device's number in the inode: the old form where it fits, else the new.
func device(n *tree.Node) (b [60]byte) {
	if n.Major < 256 && n.Minor < 256 {
		binary.LittleEndian.PutUint32(b[:], n.Major<<8|n.Minor)
	} else {
		binary.LittleEndian.PutUint32(b[4:], n.Minor&0xff|n.Major<<8|n.Minor&^0xff<<12)
	}
	return b
}
