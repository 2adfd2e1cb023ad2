// Package journal keeps a service's state where it outlives the process: a snapshot, and a log of what changed since,
// written before anything is acknowledged. It knows nothing of what the records mean.
//
// A log is memory that somebody else keeps: a file of a tmpfs, pages outside of a unikernel's heap. Each append is a frame with a checksum: one that the process died over is as if it had not begun. When a log is
// full a new one begins, with a snapshot that is written meanwhile; until that is complete, the old snapshot and the
// logs after it count.
//
//	s, err := journal.OpenDir("/run/xenstored/journal")
//	found, err := journal.Replay(s, func(records []byte) error { … })
//	j, err := journal.Begin(s, head, more) // a snapshot of what there is now
//	err = j.Append(records)                // then answer
//	if j.Full() { err = j.Next(head, more) }
//
// An Arena does the same with memory that a unikernel keeps over a restart in place.
//
// What survives is the end of the process, not of the machine: nothing is forced to a disk.
package journal
