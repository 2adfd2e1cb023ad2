package devxen

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"morgana/xen"
)

// sentinels says what an errno of the devices means to callers. Those of event channels are Xen's own
// (event_channel.h), those of grants Linux's.
var sentinels = map[syscall.Errno]error{
	syscall.ENOSPC:   xen.ErrNoPorts,
	syscall.ENOMEM:   xen.ErrNoMemory,
	syscall.ESRCH:    xen.ErrPeerGone,
	syscall.EPERM:    xen.ErrPermission,
	syscall.EACCES:   xen.ErrPermission,
	syscall.EINVAL:   xen.ErrInvalid,
	syscall.EBUSY:    xen.ErrInUse,
	syscall.ENOTCONN: xen.ErrClosed,
	syscall.EBADF:    xen.ErrClosed,
}

// wrap gives err its sentinel, if it has one, and keeps the errno.
func wrap(err error) error {
	var errno syscall.Errno
	if errors.As(err, &errno) {
		if s, ok := sentinels[errno]; ok {
			return fmt.Errorf("%w (%w)", s, errno)
		}
	}
	return err
}

// wrapGrant is wrap where ENOSPC means grants, not ports.
func wrapGrant(err error) error {
	if errors.Is(err, syscall.ENOSPC) {
		return fmt.Errorf("%w (%w)", xen.ErrNoGrants, syscall.ENOSPC)
	}
	return wrap(err)
}

// statusError is the error of one grant operation, nil if it succeeded.
func statusError(s int16) error {
	switch s {
	case statusOK:
		return nil
	case statusBadDomain:
		return xen.ErrPeerGone
	case statusBadRef, statusBadPage:
		return xen.ErrBadGrant
	case statusPermission:
		return fmt.Errorf("%w: the peer allows less", xen.ErrBadGrant)
	case statusBadCopyArg:
		return xen.ErrInvalid
	case statusNoSpace:
		return xen.ErrNoMemory
	case statusGeneral, statusAgain:
	}
	return fmt.Errorf("%w: grant status %d", xen.ErrBadGrant, s)
}

// limitParam is where Linux bounds what all programs may share together.
const limitParam = "/sys/module/xen_gntalloc/parameters/limit"

// noGrants adds the remedy to an error that matches xen.ErrNoGrants.
func noGrants(err error) error {
	b, rerr := os.ReadFile(limitParam)
	if rerr != nil { // not Linux, or no such module: the domain's grant table itself is full
		return fmt.Errorf("%w; close grants, or give the domain more with max_grant_frames= in its xl configuration", err)
	}
	return fmt.Errorf("%w; the limit of all programs is %s pages: close grants, or write a larger number to %s",
		err, strings.TrimSpace(string(b)), limitParam)
}

func opError(op, object string, err error) error {
	if err == nil {
		return nil
	}
	return &xen.Error{Op: op, Object: object, Err: err}
}

func domainName(d xen.DomID) string { return fmt.Sprintf("domain %d", d) }

func grantName(d xen.DomID, r xen.GrantRef) string { return fmt.Sprintf("domain %d grant %d", d, r) }
