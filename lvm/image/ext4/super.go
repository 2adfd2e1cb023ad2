package ext4

import "encoding/binary"

// Features.
const (
	compatJournal  = 0x4
	compatXattr    = 0x8
	compatDirIndex = 0x20

	incompatFileType = 0x2
	incompatExtents  = 0x40

	roSparseSuper  = 0x1
	roLargeFile    = 0x2
	roHugeFile     = 0x8
	roDirNlink     = 0x20
	roExtraIsize   = 0x40
	roMetadataCsum = 0x400
)

// super is the superblock for a group's copy, 1024 bytes.
func (w *writer) super(g int) []byte {
	b := make([]byte, 1024)
	le := binary.LittleEndian
	compat := uint32(compatXattr | compatDirIndex)
	if w.journal.size > 0 {
		compat |= compatJournal
	}
	var usedInodes uint32
	for i := range w.groups {
		usedInodes += w.groups[i].inodes
	}
	for _, f := range []struct {
		at int
		v  uint32
	}{
		{0x00, w.inodes()},
		{0x04, w.blocks},
		{0x08, uint32(uint64(w.blocks) * uint64(w.opts.reserved()) / 100)},
		{0x0c, w.free},
		{0x10, w.inodes() - usedInodes},
		{0x18, 2},
		{0x1c, 2},
		{0x20, blocksPerGroup},
		{0x24, blocksPerGroup},
		{0x28, w.inodesPerGroup},
		{0x30, uint32(w.opts.Time)},
		{0x40, uint32(w.opts.Time)},
		{0x4c, 1},
		{0x54, firstIno},
		{0x5c, compat},
		{0x60, incompatFileType | incompatExtents},
		{0x64, roSparseSuper | roLargeFile | roHugeFile | roDirNlink | roExtraIsize | roMetadataCsum},
		{0x100, 0xc}, // mount with user_xattr and acl
		{0x108, uint32(w.opts.Time)},
		{0x15c, 32<<16 | 32}, // sizes of inodes' extra fields
		{0x160, 1},           // directory hashes take characters as signed
	} {
		le.PutUint32(b[f.at:], f.v)
	}
	le.PutUint16(b[0x36:], 0xffff) // no check after so many mounts
	le.PutUint16(b[0x38:], 0xef53)
	le.PutUint16(b[0x3a:], 1) // clean
	le.PutUint16(b[0x3c:], 1) // on errors go on
	le.PutUint16(b[0x58:], inodeSize)
	le.PutUint16(b[0x5a:], uint16(g))
	copy(b[0x68:0x78], w.opts.UUID[:])
	copy(b[0x78:0x88], w.opts.Label)
	if w.journal.size > 0 {
		le.PutUint32(b[0xe0:], inoJournal)
		b[0xfd] = 1 // what follows is a copy of the journal's inode
		copy(b[0x10c:], w.journal.block[:])
		le.PutUint32(b[0x10c+15*4:], uint32(w.journal.size>>32))
		le.PutUint32(b[0x10c+16*4:], uint32(w.journal.size))
	}
	copy(b[0xec:0xfc], w.opts.HashSeed[:])
	b[0xfc] = 1  // half MD4
	b[0x175] = 1 // crc32c
	le.PutUint32(b[0x3fc:], checksum(^uint32(0), b[:0x3fc]))
	return b
}

// finish writes what depends on everything else: bitmaps, descriptors and superblocks.
func (w *writer) finish() error {
	le := binary.LittleEndian
	gdt := make([]byte, int(w.gdtBlocks)*blockSize)
	for i := range w.groups {
		g := &w.groups[i]
		inodes := make([]byte, blockSize)
		for bit := range g.inodes {
			setBit(inodes, bit)
		}
		for bit := w.inodesPerGroup; bit < 8*blockSize; bit++ {
			setBit(inodes, bit)
		}
		if err := writeBlock(w.dev, g.blockBitmap, g.bitmap); err != nil {
			return err
		}
		if err := writeBlock(w.dev, g.blockBitmap+1, inodes); err != nil {
			return err
		}
		d := gdt[i*descSize : (i+1)*descSize]
		le.PutUint32(d, g.blockBitmap)
		le.PutUint32(d[4:], g.blockBitmap+1)
		le.PutUint32(d[8:], g.blockBitmap+2)
		le.PutUint16(d[0xc:], uint16(g.free))
		le.PutUint16(d[0xe:], uint16(w.inodesPerGroup-g.inodes))
		le.PutUint16(d[0x10:], uint16(g.dirs))
		le.PutUint16(d[0x12:], 4) // the inode table is zeroed
		le.PutUint16(d[0x18:], uint16(checksum(w.seed, g.bitmap)))
		le.PutUint16(d[0x1a:], uint16(checksum(w.seed, inodes[:w.inodesPerGroup/8])))
		le.PutUint16(d[0x1c:], uint16(w.inodesPerGroup-g.inodes)) // at the table's end, never used
		le.PutUint16(d[0x1e:], uint16(checksum(checksum32(w.seed, uint32(i)), d)))
	}
	for i := range w.groups {
		if !superBackup(i) {
			continue
		}
		at := int64(w.groups[i].start) * blockSize
		if _, err := w.dev.WriteAt(gdt, at+blockSize); err != nil {
			return err
		}
		if i == 0 {
			continue
		}
		if _, err := w.dev.WriteAt(w.super(i), at); err != nil {
			return err
		}
	}
	_, err := w.dev.WriteAt(w.super(0), 1024)
	return err
}

// journalBlocks is mke2fs's choice for a file system of so many blocks; 0 for none.
func journalBlocks(blocks uint32) uint32 {
	for _, c := range []struct{ under, journal uint32 }{
		{2048, 0},
		{32768, 1024},
		{256 << 10, 4096},
		{512 << 10, 8192},
		{4096 << 10, 16384},
		{8192 << 10, 32768},
		{16384 << 10, 65536},
		{32768 << 10, 131072},
	} {
		if blocks < c.under {
			return c.journal
		}
	}
	return 262144
}

// putJournal makes an empty journal: struct journal_superblock_s, big-endian, and zeros.
func (w *writer) putJournal() error {
	n := journalBlocks(w.blocks)
	if n == 0 || w.opts.NoJournal {
		return nil
	}
	var m mapping
	var first uint32
	for i := range n {
		b, err := w.allocate()
		if err != nil {
			return err
		}
		if i == 0 {
			first = b
		}
		m.add(i, b)
	}
	sb := make([]byte, blockSize)
	be := binary.BigEndian
	be.PutUint32(sb[0x00:], 0xc03b3998)
	be.PutUint32(sb[0x04:], 4) // a superblock of version 2
	be.PutUint32(sb[0x0c:], blockSize)
	be.PutUint32(sb[0x10:], n)
	be.PutUint32(sb[0x14:], 1) // first block of the log
	be.PutUint32(sb[0x18:], 1) // first transaction; it starts nowhere, so there is none
	copy(sb[0x30:], w.opts.UUID[:])
	be.PutUint32(sb[0x40:], 1) // users
	if err := writeBlock(w.dev, first, sb); err != nil {
		return err
	}
	j := &w.journal
	*j = inode{mode: modeFile | 0o600, links: 1, size: int64(n) * blockSize, mtime: w.now(), flags: flagExtents}
	var err error
	if j.block, err = w.root(inoJournal, &m); err != nil {
		return err
	}
	j.blocks = m.blocks
	return nil
}
