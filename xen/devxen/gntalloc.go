package devxen

import (
	"errors"
	"fmt"
	"sync"
	"syscall"

	"morgana/xen"
)

// Share implements xen.Granter.
func (d *Domain) Share(peer xen.DomID, pages int, access xen.Access) (xen.Grant, error) {
	object := fmt.Sprintf("%d pages with domain %d", pages, peer)
	if pages < 1 || pages > maxPages {
		return nil, opError("share", object, fmt.Errorf("%w: 1 to %d pages in one call", xen.ErrInvalid, maxPages))
	}
	g := &grant{dom: d, peer: peer}
	err := d.shares.use(func(fd int) error {
		req := appendAllocRequest(nil, peer, pages, access)
		if _, err := ioctl(fd, gntallocAlloc, req); err != nil {
			return wrapGrant(err)
		}
		g.index, g.refs = parseAlloc(req, pages)
		b, err := syscall.Mmap(fd, int64(g.index), pages*xen.PageSize, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
		if err != nil {
			_, _ = ioctl(fd, gntallocDealloc, appendIndexCount(nil, g.index, pages))
			return wrapGrant(err)
		}
		g.bytes = b
		return nil
	})
	if errors.Is(err, xen.ErrNoGrants) {
		err = noGrants(err)
	}
	if err != nil {
		return nil, opError("share", object, err)
	}
	if !d.own(g) {
		_ = g.Close()
		return nil, opError("share", object, xen.ErrClosed)
	}
	return g, nil
}

// grant implements xen.Grant.
type grant struct {
	dom   *Domain
	peer  xen.DomID
	index uint64
	refs  []xen.GrantRef

	mu    sync.Mutex
	bytes []byte // nil after Close
}

func (g *grant) Refs() []xen.GrantRef { return g.refs }

func (g *grant) Bytes() []byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.bytes
}

// Close implements xen.Grant. First it drops our own mapping: the kernel looks whether the peer has one when the last
// of ours is gone.
func (g *grant) Close() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.bytes == nil {
		return nil
	}
	g.dom.disown(g)
	err := syscall.Munmap(g.bytes)
	g.bytes = nil
	if defective("grants-kept") {
		return nil
	}
	derr := g.dom.shares.use(func(fd int) error {
		_, err := ioctl(fd, gntallocDealloc, appendIndexCount(nil, g.index, len(g.refs)))
		return wrap(err)
	})
	if derr != nil && !errors.Is(derr, xen.ErrClosed) {
		err = derr
	}
	return opError("end", fmt.Sprintf("%d grants from %d for domain %d", len(g.refs), g.refs[0], g.peer), err)
}
