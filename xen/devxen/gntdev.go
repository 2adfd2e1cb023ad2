package devxen

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"morgana/xen"
)

// Map implements xen.Mapper.
func (d *Domain) Map(peer xen.DomID, refs []xen.GrantRef, access xen.Access) (xen.Mapping, error) {
	object := fmt.Sprintf("%d grants of domain %d", len(refs), peer)
	if len(refs) < 1 || len(refs) > maxPages {
		return nil, opError("map", object, fmt.Errorf("%w: 1 to %d pages in one call", xen.ErrInvalid, maxPages))
	}
	m := &mapping{dom: d, peer: peer, refs: len(refs)}
	err := d.maps.use(func(fd int) (err error) {
		m.index, m.bytes, err = mapRefs(fd, peer, refs, access)
		if errors.Is(err, syscall.EINVAL) {
			return d.culprit(fd, peer, refs, access, err)
		}
		return wrapGrant(err)
	})
	if err != nil {
		if e := (*xen.Error)(nil); errors.As(err, &e) {
			return nil, err
		}
		return nil, opError("map", object, err)
	}
	if !d.own(m) {
		_ = m.Close()
		return nil, opError("map", object, xen.ErrClosed)
	}
	return m, nil
}

// mapRefs maps references with one ioctl, one mmap.
func mapRefs(fd int, peer xen.DomID, refs []xen.GrantRef, access xen.Access) (index uint64, b []byte, err error) {
	req := appendMapRequest(nil, peer, refs)
	if _, err := ioctl(fd, gntdevMap, req); err != nil {
		return 0, nil, err
	}
	index = mapIndex(req)
	prot := syscall.PROT_READ | syscall.PROT_WRITE
	if access == xen.ReadOnly && !defective("read-only-ignored") {
		prot = syscall.PROT_READ
	}
	b, err = syscall.Mmap(fd, int64(index), len(refs)*xen.PageSize, prot, syscall.MAP_SHARED)
	if err != nil {
		_, _ = ioctl(fd, gntdevUnmap, appendIndexCount(nil, index, len(refs)))
		return 0, nil, err
	}
	return index, b, nil
}

// culprit finds the reference because of which a batch could not be mapped, and says why: by copying a byte of each,
// which has a status of its own, and if that works, by mapping each alone, which fails for those that allow less.
func (d *Domain) culprit(fd int, peer xen.DomID, refs []xen.GrantRef, access xen.Access, cause error) error {
	ops := make([]xen.CopyOp, len(refs))
	local := make([]byte, len(refs))
	for i, r := range refs {
		ops[i] = xen.CopyOp{Peer: peer, Ref: r, Local: local[i : i+1]}
	}
	if err := copyAll(fd, ops); err == nil {
		for i, op := range ops {
			if op.Err != nil {
				return opError("map", grantName(peer, refs[i]), errors.Unwrap(op.Err))
			}
		}
	}
	for i, r := range refs {
		index, b, err := mapRefs(fd, peer, refs[i:i+1], access)
		if err != nil {
			return opError("map", grantName(peer, r), fmt.Errorf("%w: the peer allows less than %v (%w)", xen.ErrBadGrant, access, err))
		}
		_ = unmapRefs(fd, index, b)
	}
	// Each alone is good: the batch met something that has passed, or a reference twice.
	return fmt.Errorf("%w: each alone can be mapped, all together not (%w)", xen.ErrBadGrant, cause)
}

func unmapRefs(fd int, index uint64, b []byte) error {
	n := len(b) / xen.PageSize
	if err := syscall.Munmap(b); err != nil {
		return err
	}
	_, err := ioctl(fd, gntdevUnmap, appendIndexCount(nil, index, n))
	return err
}

// mapping implements xen.Mapping.
type mapping struct {
	dom   *Domain
	peer  xen.DomID
	refs  int
	index uint64

	mu    sync.Mutex
	bytes []byte // nil after Close
}

func (m *mapping) Bytes() []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.bytes
}

// Close implements xen.Mapping.
func (m *mapping) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.bytes == nil {
		return nil
	}
	m.dom.disown(m)
	b := m.bytes
	m.bytes = nil
	err := m.dom.maps.use(func(fd int) error { return unmapRefs(fd, m.index, b) })
	if errors.Is(err, xen.ErrClosed) { // closing the device left the memory mapped
		err = syscall.Munmap(b)
	}
	return opError("unmap", fmt.Sprintf("%d grants of domain %d", m.refs, m.peer), wrap(err))
}
