package xs

import (
	"errors"
	"fmt"
	"io/fs"
)

// ErrShort says that a message is not complete yet.
var ErrShort = errors.New("xenstore message: incomplete")

// ErrQuota is matched by every errno with which a daemon refuses for a quota: ENOSPC, E2BIG and EQUOTA.
var ErrQuota = errors.New("quota exceeded")

// Errno is an error that travels by name in an ERROR reply (xs_wire.h, xsd_errors). Its value is Linux's number.
// errors.Is matches ENOENT with fs.ErrNotExist, EEXIST with fs.ErrExist, EACCES and EPERM with fs.ErrPermission
// and with EACCES, and the quota errors with ErrQuota.
type Errno uint16

// The errors of the protocol; EQUOTA is oxenstored's own.
const (
	EPERM     Errno = 1
	ENOENT    Errno = 2
	EIO       Errno = 5
	E2BIG     Errno = 7
	EAGAIN    Errno = 11
	ENOMEM    Errno = 12
	EACCES    Errno = 13
	EBUSY     Errno = 16
	EEXIST    Errno = 17
	EISDIR    Errno = 21
	EINVAL    Errno = 22
	ENOSPC    Errno = 28
	EROFS     Errno = 30
	ENOSYS    Errno = 38
	ENOTEMPTY Errno = 39
	EISCONN   Errno = 106
	EQUOTA    Errno = 122
)

var errnos = []struct {
	n          Errno
	name, text string
}{
	{EINVAL, "EINVAL", "invalid argument"},
	{EACCES, "EACCES", "permission denied"},
	{EEXIST, "EEXIST", "already exists"},
	{EISDIR, "EISDIR", "is a directory"},
	{ENOENT, "ENOENT", "no such node"},
	{ENOMEM, "ENOMEM", "the daemon is out of memory"},
	{ENOSPC, "ENOSPC", "quota exceeded"},
	{EIO, "EIO", "the daemon failed"},
	{ENOTEMPTY, "ENOTEMPTY", "not empty"},
	{ENOSYS, "ENOSYS", "the daemon does not support this"},
	{EROFS, "EROFS", "read-only"},
	{EBUSY, "EBUSY", "busy: a transaction is under way"},
	{EAGAIN, "EAGAIN", "transaction conflict: try again"},
	{EISCONN, "EISCONN", "already connected"},
	{E2BIG, "E2BIG", "too large, or quota exceeded"},
	{EPERM, "EPERM", "operation not permitted"},
	{EQUOTA, "EQUOTA", "quota exceeded"},
}

// Name is the name on the wire, "ENOENT"; "" if the protocol has none.
func (e Errno) Name() string {
	for i := range errnos {
		if errnos[i].n == e {
			return errnos[i].name
		}
	}
	return ""
}

func (e Errno) Error() string {
	for i := range errnos {
		if errnos[i].n == e {
			return errnos[i].text
		}
	}
	return fmt.Sprintf("errno %d", uint16(e))
}

// Is makes errors.Is match the standard library's sentinels.
func (e Errno) Is(target error) bool {
	switch target {
	case fs.ErrNotExist:
		return e == ENOENT
	case fs.ErrExist:
		return e == EEXIST
	case fs.ErrPermission, EACCES:
		return e == EACCES || e == EPERM
	case ErrQuota:
		return e == ENOSPC || e == E2BIG || e == EQUOTA
	}
	return false
}

// AppendError appends the payload of an ERROR reply. An errno without a name on the wire goes as EINVAL.
func AppendError(dst []byte, e Errno) []byte {
	name := e.Name()
	if name == "" {
		name = EINVAL.Name()
	}
	return append(append(dst, name...), 0)
}

// ParseError decodes the payload of an ERROR reply. A name that the protocol does not have counts as EINVAL, as in
// libxenstore; a payload that is no string is refused.
func ParseError(b []byte) (Errno, error) {
	s, err := ParseString(b)
	if err != nil {
		return 0, fmt.Errorf("xenstore ERROR reply: %w", err)
	}
	for i := range errnos {
		if errnos[i].name == s {
			return errnos[i].n, nil
		}
	}
	return EINVAL, nil
}
