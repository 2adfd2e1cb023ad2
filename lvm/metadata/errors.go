package metadata

import (
	"errors"
	"fmt"
)

// What a caller can act on. Every error of a request wraps one of them.
var (
	ErrInvalid        = errors.New("invalid request")                       // the request itself: a name, a number, a combination
	ErrNotFound       = errors.New("not found")                             // a logical or physical volume that the group does not have
	ErrExists         = errors.New("already exists")                        // a name or uuid that is taken
	ErrNoSpace        = errors.New("not enough free extents")               // or not where the policy wants them
	ErrInUse          = errors.New("in use")                                // by another volume, or extents by a volume
	ErrReadOnly       = errors.New("volume group is read-only")             // its status has no WRITE
	ErrExported       = errors.New("volume group is exported")              // until vgimport
	ErrMissing        = errors.New("physical volumes are missing")          // until they are back or vgreduce --removemissing
	ErrUnknownSegment = errors.New("volume group has unknown segments")     // readable, not changeable
	ErrUnsupported    = errors.New("not supported")                         // a volume type or change that is LVM2's only
	ErrLimit          = errors.New("limit reached")                         // max_lv, max_pv, extents, name length
	ErrNoChange       = errors.New("nothing to change")                     // the group is as asked already
	ErrFormat         = errors.New("text does not describe a volume group") // not LVM2 metadata, or damaged
)

// Error is why a request was refused. Its text is the one that LVM2 gives where LVM2 has one; it may have several lines.
type Error struct {
	Msg string
	Err error // one of the sentinels
}

func (e *Error) Error() string { return e.Msg }
func (e *Error) Unwrap() error { return e.Err }

func refuse(kind error, format string, a ...any) error {
	return &Error{Msg: fmt.Sprintf(format, a...), Err: kind}
}
