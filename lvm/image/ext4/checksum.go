package ext4

import (
	"encoding/binary"
	"hash/crc32"
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// checksum is crc32c as ext4 has it: without a final complement, and begun with what it follows.
func checksum(seed uint32, b []byte) uint32 { return ^crc32.Update(^seed, castagnoli, b) }

func checksum32(seed, v uint32) uint32 {
	var b [4]byte
	binary.LittleEndian.PutUint32(b[:], v)
	return checksum(seed, b[:])
}

// inodeSeed begins the checksums of an inode and of what belongs to it. Generations are 0 here.
func (w *writer) inodeSeed(ino uint32) uint32 { return checksum32(checksum32(w.seed, ino), 0) }
