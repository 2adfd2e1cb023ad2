package sim

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"morgana/xen"
	"morgana/xenstore"
)

// Domain is a virtual machine's view of the host. It implements xen.Domain. Safe for concurrent use.
type Domain struct {
	host *Host
	id   xen.DomID

	// Guarded by host.mu.
	dead     bool
	entries  []entry // the grant table; the first eight are reserved
	freeRefs []xen.GrantRef
	pages    int // shared now, or parked
	ports    map[xen.Port]*channel
	views    map[*view]bool // what the domain has mapped, its own shared pages included
	maps     map[*mapping]bool
	killAt   int // operations until the domain dies; negative: it does not
	client   *xenstore.Client
}

var _ xen.Domain = (*Domain)(nil)

// ID implements xen.Domain.
func (d *Domain) ID() xen.DomID { return d.id }

// Store is the domain's connection to xenstore, made at the first call. It dies with the domain.
func (d *Domain) Store() *xenstore.Client {
	d.host.mu.Lock()
	c := d.client
	d.host.mu.Unlock()
	if c != nil {
		return c
	}
	c = xenstore.NewClient(d.host.store.connect(d.id))
	d.host.mu.Lock()
	dead, other := d.dead, d.client
	if !dead && other == nil {
		d.client = c
	}
	d.host.mu.Unlock()
	if dead || other != nil {
		c.Close()
	}
	if other != nil {
		return other
	}
	return c
}

// Usage is what a domain has of the hypervisor's.
type Usage struct {
	Shared int // pages that it shares, or that are parked
	Mapped int // pages of others that it maps
	Ports  int // event channels
}

// Usage is what the domain has now.
func (d *Domain) Usage() Usage {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	u := Usage{Shared: d.pages, Ports: len(d.ports)}
	for m := range d.maps {
		u.Mapped += len(m.refs)
	}
	return u
}

// KillAfter destroys the domain when it begins its nth operation from now on (Share, Map, Copy, Listen, Connect,
// Notify, Close of any): 0 is the next one.
func (d *Domain) KillAfter(n int) {
	d.host.mu.Lock()
	defer d.host.mu.Unlock()
	d.killAt = n
}

// Close is what the end of a program does: everything that it has open is closed. In the simulator the domain ends
// with it.
func (d *Domain) Close() error {
	d.Destroy()
	return nil
}

// Destroy ends the domain as a crash would: its ports are closed, so that its peers' fall back to unbound; what it
// mapped is unmapped; its pages go when nobody maps them any more; xenstore forgets it and fires @releaseDomain.
// Idempotent.
func (d *Domain) Destroy() {
	h := d.host
	h.mu.Lock()
	was := d.destroyLocked()
	c := d.client
	h.mu.Unlock()
	if was {
		return
	}
	if c != nil {
		c.Close()
	}
	h.store.removeDomain(d.id)
}

// destroyLocked reports whether the domain was dead already.
func (d *Domain) destroyLocked() (was bool) {
	h := d.host
	if d.dead {
		return true
	}
	d.dead = true
	for _, c := range d.ports {
		if !h.defects[DeadPeerLingers] || c.state != unbound {
			c.closeLocked()
		}
	}
	for m := range d.maps {
		m.unpinLocked()
	}
	// A real death stops the domain at once. Here its goroutines go on meanwhile, so what is oldest goes first: a ring is
	// mapped before the data that it speaks of, and nobody sees an answer in it whose data went elsewhere.
	for _, v := range slices.SortedFunc(maps.Keys(d.views), func(a, b *view) int { return cmp.Compare(a.nr, b.nr) }) {
		v.ghost()
	}
	if !h.defects[DeadPeerLingers] {
		for r := range d.entries {
			if d.entries[r].used && d.entries[r].permit {
				d.endLocked(xen.GrantRef(r))
			}
		}
		delete(h.domains, d.id)
	}
	return false
}

// begin starts an operation: it takes host.mu and counts down to the domain's death. On error it has released the
// lock again.
func (d *Domain) begin(op, object string, mayFail bool) error {
	h := d.host
	h.mu.Lock()
	if !d.dead && d.killAt >= 0 {
		if d.killAt == 0 {
			h.mu.Unlock()
			d.Destroy()
			return &xen.Error{Op: op, Object: object, Err: xen.ErrClosed}
		}
		d.killAt--
	}
	if d.dead {
		h.mu.Unlock()
		return &xen.Error{Op: op, Object: object, Err: xen.ErrClosed}
	}
	if mayFail && h.faults.Fail > 0 && h.rng.Float64() < h.faults.Fail {
		h.mu.Unlock()
		return &xen.Error{Op: op, Object: object, Err: fmt.Errorf("injected fault: %w", xen.ErrNoMemory)}
	}
	return nil
}
