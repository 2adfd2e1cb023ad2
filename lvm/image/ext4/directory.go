package ext4

import "encoding/binary"

// An entry is a name in a directory.
type entry struct {
	ino      uint32
	fileType byte
	name     string
}

const dirTail = 12 // bytes at a block's end, for its checksum

// directory is the blocks of a directory.
func (w *writer) directory(ino uint32, entries []entry, atLeast int) [][]byte {
	le := binary.LittleEndian
	var blocks [][]byte
	var b []byte
	at, last := 0, 0
	finish := func() {
		if b == nil {
			return
		}
		le.PutUint16(b[last+4:], uint16(blockSize-dirTail-last)) // the last entry has the rest
		tail := b[blockSize-dirTail:]
		le.PutUint16(tail[4:], dirTail)
		tail[7] = 0xde
		le.PutUint32(tail[8:], checksum(w.inodeSeed(ino), b[:blockSize-dirTail]))
		blocks, b = append(blocks, b), nil
	}
	for _, e := range entries {
		size := (8 + len(e.name) + 3) &^ 3
		if b != nil && at+size > blockSize-dirTail {
			finish()
		}
		if b == nil {
			b, at = make([]byte, blockSize), 0
		}
		last = at
		le.PutUint32(b[at:], e.ino)
		le.PutUint16(b[at+4:], uint16(size))
		b[at+6], b[at+7] = byte(len(e.name)), e.fileType
		copy(b[at+8:], e.name)
		at += size
	}
	finish()
	for len(blocks) < atLeast { // an entry of no inode, which is room
		b, last = make([]byte, blockSize), 0
		finish()
	}
	return blocks
}
