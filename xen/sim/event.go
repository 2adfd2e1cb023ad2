package sim

import (
	"context"
	"fmt"
	"time"

	"morgana/xen"
)

type channelState int

const (
	closedPort channelState = iota
	unbound
	interdomain
	virtual
)

// channel is one domain's end of an event channel. Its fields are guarded by Host.mu.
type channel struct {
	d       *Domain
	port    xen.Port
	state   channelState
	remote  xen.DomID // who may bind, or is bound
	peer    *channel  // the other end, if interdomain
	pending int       // 0 or 1; more with the defect EventsQueue
	virq    xen.VIRQ
	late    bool // a delayed delivery is under way; further ones coalesce with it

	wake chan struct{} // capacity 1
	gone chan struct{} // closed with the port
}

func (d *Domain) newChannelLocked(c *channel) error {
	h := d.host
	for p := xen.Port(1); int(p) < h.limits.Ports; p++ {
		if d.ports[p] == nil {
			c.d, c.port = d, p
			c.wake, c.gone = make(chan struct{}, 1), make(chan struct{})
			d.ports[p] = c
			return nil
		}
	}
	return xen.ErrNoPorts
}

// Listen implements xen.Events.
func (d *Domain) Listen(peer xen.DomID) (xen.Event, error) {
	object := "for " + domainName(peer)
	if err := d.begin("listen", object, true); err != nil {
		return nil, err
	}
	defer d.host.mu.Unlock()
	c := &channel{state: unbound, remote: peer}
	if err := d.newChannelLocked(c); err != nil {
		return nil, &xen.Error{Op: "listen", Object: object, Err: err}
	}
	return c, nil
}

// Connect implements xen.Events.
func (d *Domain) Connect(peer xen.DomID, port xen.Port) (xen.Event, error) {
	object := fmt.Sprintf("%s port %d", domainName(peer), port)
	if err := d.begin("connect", object, true); err != nil {
		return nil, err
	}
	h := d.host
	defer h.mu.Unlock()
	fail := func(err error) (xen.Event, error) {
		return nil, &xen.Error{Op: "connect", Object: object, Err: err}
	}
	owner := h.domains[peer]
	if owner == nil {
		return fail(xen.ErrPeerGone)
	}
	far := owner.ports[port]
	if far == nil || far.state != unbound || far.remote != d.id && !h.defects[AnyoneBinds] {
		return fail(fmt.Errorf("%w: it is not a port that waits for us", xen.ErrInvalid))
	}
	c := &channel{state: interdomain, remote: peer, peer: far}
	if err := d.newChannelLocked(c); err != nil {
		return fail(err)
	}
	far.state, far.peer, far.remote = interdomain, c, d.id
	if !h.defects[BindNotPending] {
		c.raiseLocked()
	}
	return c, nil
}

// BindVIRQ implements xen.Events. A virtual interrupt is bound once; Host.RaiseVIRQ raises it.
func (d *Domain) BindVIRQ(virq xen.VIRQ) (xen.Event, error) {
	object := fmt.Sprintf("VIRQ %d", virq)
	if err := d.begin("bind", object, true); err != nil {
		return nil, err
	}
	defer d.host.mu.Unlock()
	for _, c := range d.ports {
		if c.state == virtual && c.virq == virq {
			return nil, &xen.Error{Op: "bind", Object: object, Err: fmt.Errorf("%w: it is bound already", xen.ErrInvalid)}
		}
	}
	if virq >= 24 {
		return nil, &xen.Error{Op: "bind", Object: object, Err: fmt.Errorf("%w: there are 24", xen.ErrInvalid)}
	}
	c := &channel{state: virtual, virq: virq}
	if err := d.newChannelLocked(c); err != nil {
		return nil, &xen.Error{Op: "bind", Object: object, Err: err}
	}
	return c, nil
}

// RaiseVIRQ raises a virtual interrupt in every domain that bound it.
func (h *Host) RaiseVIRQ(virq xen.VIRQ) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, d := range h.domains {
		for _, c := range d.ports {
			if c.state == virtual && c.virq == virq {
				c.deliverLocked()
			}
		}
	}
}

func (c *channel) Port() xen.Port { return c.port }

// Notify implements xen.Event.
func (c *channel) Notify() error {
	object := fmt.Sprintf("port %d", c.port)
	if err := c.d.begin("notify", object, false); err != nil {
		return err
	}
	h := c.d.host
	defer h.mu.Unlock()
	switch c.state {
	case closedPort:
		return &xen.Error{Op: "notify", Object: object, Err: xen.ErrClosed}
	case interdomain:
		if !h.strikesLocked(LoseEvents) {
			c.peer.deliverLocked()
		}
	case unbound: // lost, as in Xen
		if h.defects[NotifyUnboundFails] {
			return &xen.Error{Op: "notify", Object: object, Err: xen.ErrInvalid}
		}
	case virtual:
		return &xen.Error{Op: "notify", Object: object, Err: fmt.Errorf("%w: a virtual interrupt", xen.ErrInvalid)}
	}
	if h.faults.Spurious > 0 && h.rng.Float64() < h.faults.Spurious {
		h.spuriousLocked()
	}
	return nil
}

// spuriousLocked wakes some bound port without a reason.
func (h *Host) spuriousLocked() {
	d := h.domains[xen.DomID(h.rng.IntN(int(h.nextDom)))]
	if d == nil || len(d.ports) == 0 {
		return
	}
	if c := d.ports[xen.Port(1+h.rng.IntN(len(d.ports)))]; c != nil && c.state == interdomain {
		c.raiseLocked()
	}
}

// deliverLocked raises the port now, or a little later if faults say so.
func (c *channel) deliverLocked() {
	h := c.d.host
	if h.faults.EventDelay <= 0 {
		c.raiseLocked()
		return
	}
	if c.late {
		return
	}
	c.late = true
	h.late.Add(1)
	time.AfterFunc(time.Duration(h.rng.Int64N(int64(h.faults.EventDelay))), func() {
		defer h.late.Done()
		h.mu.Lock()
		defer h.mu.Unlock()
		c.late = false
		c.raiseLocked()
	})
}

func (c *channel) raiseLocked() {
	if c.state == closedPort {
		return
	}
	if c.pending == 0 || c.d.host.defects[EventsQueue] {
		c.pending++
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Wait implements xen.Event.
func (c *channel) Wait(ctx context.Context) error {
	h := c.d.host
	for {
		h.mu.Lock()
		if c.state == closedPort || c.d.dead {
			h.mu.Unlock()
			return &xen.Error{Op: "wait", Object: fmt.Sprintf("port %d", c.port), Err: xen.ErrClosed}
		}
		if c.pending > 0 {
			c.pending--
			h.mu.Unlock()
			return nil
		}
		h.mu.Unlock()
		select {
		case <-c.wake:
		case <-c.gone:
		case <-ctx.Done():
			return &xen.Error{Op: "wait", Object: fmt.Sprintf("port %d", c.port), Err: context.Cause(ctx)}
		}
	}
}

// Close implements xen.Event.
func (c *channel) Close() error {
	h := c.d.host
	h.mu.Lock()
	defer h.mu.Unlock()
	c.closeLocked()
	return nil
}

// closeLocked closes the port; the peer's becomes unbound, waiting for the domain that closed (evtchn_close).
func (c *channel) closeLocked() {
	if c.state == closedPort {
		return
	}
	if p := c.peer; p != nil && p.peer == c {
		p.state, p.peer, p.remote = unbound, nil, c.d.id
		if c.d.host.defects[CloseTakesPeerPort] {
			p.closeLocked()
		}
	}
	c.state, c.peer = closedPort, nil
	delete(c.d.ports, c.port)
	close(c.gone)
}
