package unikernel

import (
	"errors"
	"fmt"
	"syscall"

	"morgana/unikernel/internal/abi"
	"morgana/xen"
)

// Neighbour is what Xen says of another domain (domctl.h, struct xen_domctl_getdomaininfo).
type Neighbour struct {
	Dying    bool // it is being taken apart
	Shutdown bool // it has ended, or crashed, and is still there
	Reason   Reason
}

// Domain asks Xen for another domain. Only the domain that serves xenstore may, and gets an error matching
// xen.ErrPeerGone for one that there is not; others get xen.ErrPermission.
func Domain(d xen.DomID) (Neighbour, error) {
	flags, err := call(abi.SysDomain, uintptr(d), 0, 0)
	switch what := fmt.Sprintf("ask for domain %d", d); {
	case errors.Is(err, syscall.ESRCH):
		return Neighbour{}, fmt.Errorf("unikernel: %s: %w", what, xen.ErrPeerGone)
	case errors.Is(err, syscall.EPERM), errors.Is(err, syscall.EACCES):
		return Neighbour{}, fmt.Errorf("unikernel: %s: %w: %w", what, xen.ErrPermission, err)
	case err != nil:
		return Neighbour{}, fail(what, err)
	}
	const dying, shutdown, reasonShift = 1 << 0, 1 << 2, 16 // XEN_DOMINF_*
	return Neighbour{
		Dying: flags&dying != 0, Shutdown: flags&shutdown != 0, Reason: Reason(flags >> reasonShift & 0xff),
	}, nil
}
