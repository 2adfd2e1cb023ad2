package ext4

import (
	"fmt"

	"morgana/block"
)

const (
	blockSize      = 4096
	blocksPerGroup = 8 * blockSize
	inodeSize      = 256
	inodesPerBlock = blockSize / inodeSize
	descSize       = 32
	descsPerBlock  = blockSize / descSize

	inoRoot      = 2
	inoJournal   = 8
	firstIno     = 11 // lost+found
	lostAndFound = firstIno
)

// A layout is where the metadata of groups are, and which blocks and inodes are taken.
type layout struct {
	blocks         uint32
	groups         []group
	inodesPerGroup uint32
	tableBlocks    uint32 // of a group's inode table
	gdtBlocks      uint32
	next           uint32 // no block before it is free
	free           uint32
}

type group struct {
	start       uint32 // its first block
	count       uint32 // of blocks
	blockBitmap uint32 // where the bitmap is; that of inodes and their table follow
	bitmap      []byte // of blocks
	free        uint32 // blocks
	dirs        uint32
	inodes      uint32 // used
}

// superBackup reports whether a group has a copy of the superblock and of the descriptors (sparse_super).
func superBackup(g int) bool {
	if g <= 1 {
		return true
	}
	for _, base := range []int{3, 5, 7} {
		n := base
		for n < g {
			n *= base
		}
		if n == g {
			return true
		}
	}
	return false
}

// newLayout divides size bytes among groups with room for so many inodes.
func newLayout(size int64, inodes uint64) (*layout, error) {
	blocks := size / blockSize
	if blocks >= 1<<32 {
		return nil, fmt.Errorf("%w: %d bytes; at most 16 TiB can be written", ErrSize, size)
	}
	l := &layout{blocks: uint32(blocks)}
	for {
		n := (uint64(l.blocks) + blocksPerGroup - 1) / blocksPerGroup
		if n == 0 {
			return nil, fmt.Errorf("%w: %d bytes", ErrSize, size)
		}
		l.gdtBlocks = uint32((n + descsPerBlock - 1) / descsPerBlock)
		perGroup := (inodes + n - 1) / n
		perGroup = (perGroup + inodesPerBlock - 1) / inodesPerBlock * inodesPerBlock
		if perGroup > blocksPerGroup {
			return nil, fmt.Errorf("%w: %d files in %d bytes", ErrNoSpace, inodes, size)
		}
		l.inodesPerGroup, l.tableBlocks = uint32(perGroup), uint32(perGroup/inodesPerBlock)
		// A last group without room for more than its own metadata is left out, as mke2fs does.
		if last := uint32(uint64(l.blocks) - (n-1)*blocksPerGroup); last < l.overhead(int(n-1))+50 {
			if n == 1 {
				return nil, fmt.Errorf("%w: %d bytes with %d files", ErrSize, size, inodes)
			}
			l.blocks -= last
			continue
		}
		l.makeGroups(int(n))
		return l, nil
	}
}

// overhead is how many blocks a group's metadata take.
func (l *layout) overhead(g int) uint32 {
	n := 2 + l.tableBlocks
	if superBackup(g) {
		n += 1 + l.gdtBlocks
	}
	return n
}

func (l *layout) makeGroups(n int) {
	l.groups = make([]group, n)
	for i := range l.groups {
		g := &l.groups[i]
		g.start = uint32(i) * blocksPerGroup
		g.count = min(blocksPerGroup, l.blocks-g.start)
		g.bitmap = make([]byte, blockSize)
		meta := l.overhead(i)
		g.blockBitmap = g.start + meta - 2 - l.tableBlocks
		for b := range meta {
			setBit(g.bitmap, b)
		}
		for b := g.count; b < blocksPerGroup; b++ {
			setBit(g.bitmap, b)
		}
		g.free = g.count - meta
		l.free += g.free
	}
}

func setBit(b []byte, i uint32)      { b[i/8] |= 1 << (i % 8) }
func bitSet(b []byte, i uint32) bool { return b[i/8]&(1<<(i%8)) != 0 }

// allocate takes the next free block.
func (l *layout) allocate() (uint32, error) {
	for b := l.next; b < l.blocks; b++ {
		g := &l.groups[b/blocksPerGroup]
		if bit := b % blocksPerGroup; !bitSet(g.bitmap, bit) {
			setBit(g.bitmap, bit)
			g.free--
			l.free--
			l.next = b + 1
			return b, nil
		}
	}
	return 0, ErrNoSpace
}

// inodeAt is where an inode is on the device.
func (l *layout) inodeAt(ino uint32) (g *group, off int64) {
	g = &l.groups[(ino-1)/l.inodesPerGroup]
	return g, int64(g.blockBitmap+2)*blockSize + int64((ino-1)%l.inodesPerGroup)*inodeSize
}

func (l *layout) inodes() uint32 { return l.inodesPerGroup * uint32(len(l.groups)) }

// writeBlock writes a block.
func writeBlock(d block.Device, n uint32, b []byte) error {
	_, err := d.WriteAt(b, int64(n)*blockSize)
	return err
}
