package redo

import "errors"

var (
	// ErrNoLog says that a region holds no header of a redo log.
	ErrNoLog = errors.New("no redo log")
	// ErrIncompatible says that a log was written by a later version, with features that this one must not ignore.
	ErrIncompatible = errors.New("the redo log needs a newer version of this program")
	// ErrBrokenLineage says that the log does not continue the text beside which it was found.
	ErrBrokenLineage = errors.New("the redo log does not continue this metadata")
	// ErrDiverged says that two replicas hold different records under the same number.
	ErrDiverged = errors.New("the replicas of the redo log contradict each other")
	// ErrFull says that a record fits in neither the current half nor, for now, the other one.
	ErrFull = errors.New("the redo log is full")
	// ErrTooBig says that a record would not fit in an empty half.
	ErrTooBig = errors.New("too big for the redo log")
	// ErrInDoubt says that an append failed half way: whether it happened is known when the log has been opened anew.
	ErrInDoubt = errors.New("a write of the redo log failed; open the group again to see whether it happened")
	// ErrNotResumed says that a log was opened for reading only.
	ErrNotResumed = errors.New("the redo log is open for reading only")
	// ErrCorrupt says that bytes are not what they should be: a checksum, a length, a number.
	ErrCorrupt = errors.New("damaged")
)
