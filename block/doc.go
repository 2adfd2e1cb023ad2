// Package block says what a disk is: bytes at offsets, and a Flush after which they stay.
//
// A Device is all that the volume manager, the network block server and Xen's block backend know of storage, so each
// of them serves, or is served by, a file, a real disk, memory, a logical volume or another domain's disk:
//
//	file.Open("disk.img")   a plain file or a block device   (morgana/block/file)
//	block.NewMem(n, 512)    memory, for tests and ramdisks
//	lvm.Group.OpenLV(…)     a logical volume
//
// What a device can do beyond that it tells by further interfaces: Discarder, Zeroer, Vectored. The functions Discard,
// WriteZeroes, ReadVec and WriteVec use them where they are and do without where they are not.
//
// # Durability
//
// A write that has returned may be lost, torn at a sector, or stored before an earlier one, until a Flush that was
// called after it has returned. Whoever needs an order puts a Flush between. Package block/powercut tries all of it.
package block
