package ext4

import "encoding/binary"

// An extent maps blocks of a file that lie together.
type extent struct {
	logical, physical, count uint32
}

const (
	maxExtent      = 32768 // blocks of an initialized extent
	rootExtents    = 4
	extentsInBlock = (blockSize - 12 - 4) / 12 // with a header and a checksum
)

// A mapping is the extents of a file in the making.
type mapping struct {
	extents []extent
	blocks  uint32 // data and tree
}

// add appends a block.
func (m *mapping) add(logical, physical uint32) {
	m.blocks++
	if n := len(m.extents); n > 0 {
		e := &m.extents[n-1]
		if e.logical+e.count == logical && e.physical+e.count == physical && e.count < maxExtent {
			e.count++
			return
		}
	}
	m.extents = append(m.extents, extent{logical, physical, 1})
}

// A ref is an entry of a node in the tree: an extent, or a node below.
type ref struct {
	logical uint32
	entry   [8]byte // what follows the logical block
}

// root writes the tree's nodes and returns the one in the inode.
func (w *writer) root(ino uint32, m *mapping) (root [60]byte, err error) {
	refs := make([]ref, len(m.extents))
	for i, e := range m.extents {
		refs[i].logical = e.logical
		binary.LittleEndian.PutUint16(refs[i].entry[:], uint16(e.count))
		binary.LittleEndian.PutUint32(refs[i].entry[4:], e.physical)
	}
	depth := uint16(0)
	for ; len(refs) > rootExtents; depth++ {
		var above []ref
		for len(refs) > 0 {
			n := min(len(refs), extentsInBlock)
			b, err := w.allocate()
			if err != nil {
				return root, err
			}
			m.blocks++
			node := make([]byte, blockSize)
			putNode(node, refs[:n], extentsInBlock, depth)
			binary.LittleEndian.PutUint32(node[blockSize-4:], checksum(w.inodeSeed(ino), node[:blockSize-4]))
			if err := writeBlock(w.dev, b, node); err != nil {
				return root, err
			}
			up := ref{logical: refs[0].logical}
			binary.LittleEndian.PutUint32(up.entry[:], b)
			above, refs = append(above, up), refs[n:]
		}
		refs = above
	}
	putNode(root[:], refs, rootExtents, depth)
	return root, nil
}

// putNode makes a node of the extent tree: struct ext4_extent_header and its entries.
func putNode(b []byte, refs []ref, room int, depth uint16) {
	le := binary.LittleEndian
	le.PutUint16(b, 0xf30a)
	le.PutUint16(b[2:], uint16(len(refs)))
	le.PutUint16(b[4:], uint16(room))
	le.PutUint16(b[6:], depth)
	for i, r := range refs {
		e := b[12+12*i:]
		le.PutUint32(e, r.logical)
		copy(e[4:12], r.entry[:])
	}
}
