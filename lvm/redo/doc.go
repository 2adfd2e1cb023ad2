// Package redo is the redo log of a volume group: a small region of a disk to which each change of the group is
// appended, so that a change costs a sector or two instead of a copy of the whole metadata text.
//
// The package knows nothing of volume groups. A record carries bytes that mean something to the caller (an encoded
// metadata.Operation); a Log finds, after any crash, exactly the records that were appended, and knows which of them a
// metadata text already holds.
//
// # The region
//
//	0        header of half 0, one sector
//	4096     header of half 1, one sector
//	8192     records of half 0, one after the other, each padded to a sector
//	…        records of half 1, likewise
//
// All integers are little-endian, all checksums CRC-32C. A half is named by its epoch, 128 random bits that are drawn
// anew for each use, so that what an earlier use left behind is never taken for a record. Each record carries its
// epoch, its number within the epoch and the checksum of the record before it: reading stops at the first sector that
// does not continue the chain.
//
// # Two halves
//
// Records go to one half until it is nearly full. Then Switch opens the other under a new epoch that continues the
// first, records go there, and meanwhile the caller folds what the first half holds into its text, in the background.
// Once it says so with Folded, the first half is free again. So nothing ever waits for a fold, unless both halves are
// full.
//
// # Position
//
// A text says how far it reaches with a Position: an epoch, and a number of records. The caller keeps it in the text
// itself (as a tag), where it is committed by the same write as everything else. Therefore no crash can leave a log and
// a text that disagree: Lineage compares the two and returns the records that the text lacks. A text from elsewhere (a
// backup that was restored over the group) has a Position that the log does not know, or a sequence number that does
// not fit; Lineage then fails with ErrBrokenLineage rather than replay onto the wrong base.
//
// # Replicas
//
// A log may be kept on several devices. Every append is on stable storage on all of them when it returns. Any one of
// them is enough to open the log; those that lag are brought up by Resume.
package redo
