// Package logstore keeps what consoles say on a disk of its own: records appended one after the other, the oldest
// overwritten when the disk is full. It needs no file system and no operating system, so it runs in a domain.
//
// # On the disk
//
// The first block says how the disk is divided. The rest is segments of one size, used in turn. A segment begins with a
// block that has its sequence number, which grows by one with each segment that is begun; segment n lies in the place
// n modulo the number of places. Then come records:
//
//	u32  CRC-32C of what follows, and of the segment's sequence number before it
//	u32  how many bytes the record's data has
//	u32  the source: a number that means something within its segment only
//	u32  the kind: a source's name, what it said, a note about it, or that all sources are named
//	u64  the number of the first byte, as the console counts
//	i64  when it was said, in nanoseconds since 1970
//	     the data, and zeroes up to a multiple of 8
//
// All numbers are little-endian. A segment begins with the names and keys of all sources there are, and how far each got:
// it can be read without those that were overwritten, and opening a store reads its end only. The checksum covers the sequence number, so what is left of a segment that was in
// the same place before is none of the new one's.
//
// # What a power cut leaves
//
// Everything that was written before a Sync that returned. Of what came after, records up to the first that is not whole;
// a store that is opened again begins a new segment, so that nothing behind that one is ever taken for a part of the log.
// A sector is stored whole or not at all, and the last one of the log is written again as it fills: with either content
// it has what was synced.
package logstore
