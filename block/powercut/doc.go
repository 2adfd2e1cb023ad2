// Package powercut tries what disks may hold after the power has gone.
//
// A Recorder stands between a program and disks in memory, and notes every write and flush. Afterwards States yields
// the contents that a power cut at any moment may have left:
//
//	rec := powercut.NewRecorder(block.NewMem(64<<20, 512), block.NewMem(64<<20, 4096))
//	… prepare what is there before …
//	rec.Start()
//	err := program(rec.Disks())
//	for s := range rec.States(powercut.Options{}) {
//		… s.Disks must hold the old state or the new one …
//	}
//
// # What a disk may do
//
// What was written before a flush that has returned is there. Of what was written since, any part may be there, in any
// order, and of each write any of its sectors: a sector is stored whole or not at all. A write that covers a part of a
// sector is one of the whole sector. Where two writes cover a sector, the later one wins if both are there.
package powercut
