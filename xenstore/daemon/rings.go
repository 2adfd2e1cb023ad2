package daemon

import (
	"fmt"
	"slices"

	"morgana/xen"
	"morgana/xen/wire/xs"
)

// The rings of all domains: whose turn it is, and what goes in and out.

// attached enters a ring whose event channel is bound.
func (d *Daemon) attached(r *domainRing, port xen.Port) {
	d.rings[port] = r
	if r.dom == 0 {
		d.dom0 = r
	}
}

// takeEvents takes the notifications of domains and of Xen. All are unmasked before what they tell of is looked at, but
// for those of guests that have to wait: their ports can bother us no more than their rings.
func (d *Daemon) takeEvents() {
	d.taken = d.taken[:0]
	for range 1024 { // enough for one round: others want their turn
		p, ok, err := d.cfg.Machine.Take()
		if err != nil {
			d.fail(fmt.Errorf("xenstored: event channels: %w", err))
			return
		}
		if !ok {
			break
		}
		r := d.rings[p]
		if r != nil {
			if r.conn.Ignored() {
				continue // it says nothing to us any more
			}
			d.activate(r)
			if r.dom != 0 && r.share.wait(d.clock()) > 0 {
				r.masked = true
				continue
			}
		}
		d.taken = append(d.taken, p)
		if p == d.exception {
			d.core.CheckDomains()
		}
	}
	d.unmask()
}

// unmask lets the ports in d.taken be notified again.
func (d *Daemon) unmask() {
	if len(d.taken) == 0 {
		return
	}
	if err := d.cfg.Machine.Unmask(d.taken); err != nil {
		d.fail(fmt.Errorf("xenstored: event channels: %w", err))
	}
	d.taken = d.taken[:0]
}

func (d *Daemon) activate(r *domainRing) {
	if !r.active {
		r.active = true
		d.active = append(d.active, r)
	}
}

// readRings reads each ring that may have something: dom0's first, and then those of guests, from each what is there
// now, at most a ring full, a request at a time: when dom0 asks for something the others wait.
func (d *Daemon) readRings() {
	active := d.active
	d.active = d.spareRings[:0]
	for i, r := range active {
		if r == d.dom0 && i > 0 {
			copy(active[1:i+1], active[:i])
			active[0] = r
			break
		}
	}
	served := false // a guest, in this round
	for i, r := range active {
		if served && d.dom0Waits() {
			// Those that had no turn come first in the next round.
			had := len(d.active)
			d.active = append(d.active, active[i:]...)
			slices.Reverse(d.active[:had])
			slices.Reverse(d.active[had:])
			slices.Reverse(d.active)
			break
		}
		r.active = false
		if r.conn.Closed() || r.conn.Ignored() || r.conn.Data != r {
			continue
		}
		if r.dom == 0 {
			d.readRing(r, nil)
			continue
		}
		begun := d.clock()
		if r.share.wait(begun) > 0 {
			d.activate(r)
			continue
		}
		if r.masked {
			r.masked = false
			d.taken = append(d.taken, r.conn.Port())
			d.unmask()
		}
		served = true
		logged := d.core.Logged()
		d.readRing(r, d.dom0Waits)
		if r.logged = d.core.Logged() - logged; r.logged > 0 {
			d.logged = append(d.logged, r)
		}
		r.share.spend(d.clock() - begun)
	}
	d.spareRings = active
}

// dom0Waits reports whether dom0's ring has something.
func (d *Daemon) dom0Waits() bool {
	r := d.dom0
	return r != nil && r.reqProd.Load() != r.cons()
}

// readRing reads a ring. With stop it is read a request at a time, until stop says so.
func (d *Daemon) readRing(r *domainRing, stop func() bool) {
	if r.connection.Load() == 1 {
		d.reconnect(r)
	}
	b, err := r.peek(&d.reqs)
	if err != nil {
		d.core.Fail(r.conn, xs.RingErrorIndex)
		return
	}
	if len(b) == 0 {
		d.flushLater(r)
		return
	}
	for len(b) > 0 {
		part := b
		if stop != nil {
			part = b[:d.core.Lacks(r.conn, b)]
		}
		n := d.core.Input(r.conn, part)
		if r.conn.Closed() || r.conn.Ignored() {
			return
		}
		if n > 0 {
			r.taken(n)
		}
		b = b[n:]
		if n < len(part) || !d.core.CanRead(r.conn) || stop != nil && stop() {
			break
		}
	}
	d.activate(r) // there may be more
}

// flushLater has a domain's output looked at: an event may say that it made room.
func (d *Daemon) flushLater(r *domainRing) {
	if len(r.conn.Output()) > 0 || r.publish {
		d.blocked = append(d.blocked, r)
	}
}

// flushRing lets a domain see what was done for it.
func (d *Daemon) flushRing(r *domainRing) {
	if r.conn.Closed() || r.conn.Ignored() || r.conn.Data != r {
		return
	}
	r.published()
	for {
		b := r.conn.Output()
		if len(b) == 0 {
			break
		}
		n, err := r.put(b)
		if err != nil {
			d.core.Fail(r.conn, xs.RingErrorIndex)
			return
		}
		if n == 0 {
			break
		}
		d.core.Sent(r.conn, n)
	}
	if r.notify {
		r.notify = false
		_ = d.cfg.Machine.Notify(r.conn.Port())
	}
}
