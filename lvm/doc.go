// Package lvm is the engine of an LVM2-compatible volume manager: it finds volume groups on disks, opens them, and
// commits changes so that a power cut leaves the old state or the new one, never anything else.
//
//	inv, err := lvm.Scan(ctx, disks, lvm.ScanOptions{})
//	g, err := inv.Open("data", lvm.OpenOptions{Mode: lvm.ReadWrite})
//	after, op, err := g.VG().CreateLV(env, metadata.CreateLV{Name: "root", Size: metadata.Extents(100)})
//	err = g.Commit(ctx, after, op)
//
// What a group is and what a change means is in package metadata, which is pure. This package does the reading and
// writing, over block.Device only: it needs no operating system, and runs within a unikernel as well.
//
// # How a change becomes durable
//
// The text goes into the free part of each metadata area's ring, and all disks are flushed. Then it is announced in
// each header's second slot, and all are flushed. Then the first header's first slot is made to point at it: with that
// one sector the change is made. After a flush the other headers follow, and a last flush. LVM2 writes in the same
// order but flushes nothing, so that a disk with a volatile cache may store the headers before the text and lose the
// group.
//
// A label says that its disk is in use by a group only while it is: the mark is set after the group has taken the disk
// in, and cleared before the group lets it go. So no crash leaves a disk that nobody owns and nobody may take. A
// member without the mark is harmless, and the next change sets it.
//
// # What is never done
//
// Scanning and opening for reading write nothing. The copy that a header points to is never overwritten. A group that
// LVM2 could not change is not changed here; see OpenOptions for what is refused and how to insist.
//
// # Locks
//
// The package takes none. Whoever opens a group for writing holds a lock from before the scan until after Close, so
// that nobody else writes. Commit looks whether somebody did nevertheless, and fails with ErrChanged.
package lvm
