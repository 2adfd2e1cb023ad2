package ondisk

import "hash/crc32"

// CRCInit is the first value of every checksum.
const CRCInit uint32 = 0xf597a6cf

// CRC continues a checksum over b: CRC(CRC(CRCInit, a), b) is that of a and b.
func CRC(crc uint32, b []byte) uint32 {
	return ^crc32.Update(^crc, crc32.IEEETable, b)
}
