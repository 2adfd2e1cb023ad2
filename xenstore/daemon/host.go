package daemon

import (
	"fmt"

	"golang.org/x/sys/unix"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore/server"
)

// host is the daemon as its core sees it.
type host Daemon

func (h *host) State(d xen.DomID) server.DomainState { return h.cfg.Machine.State(d) }

func (h *host) Connect(c *server.Conn, port xen.Port) error {
	dom, _ := c.Domain()
	page, err := h.cfg.Machine.Map(dom)
	if err != nil {
		return fmt.Errorf("%w: %w", xs.EINVAL, err)
	}
	r, err := newRing(c, page, (*Daemon)(h).clock())
	if err == nil {
		err = h.bind(r, port)
	}
	if err != nil {
		_ = h.cfg.Machine.Unmap(dom, page)
		return fmt.Errorf("%w: %w", xs.EINVAL, err)
	}
	c.Data = r
	if dom == 0 {
		// dom0's kernel may have begun to speak: its ring goes on where it is.
		c.Consumed(r.reqCons.Load())
		c.SetPosition(uint64(r.rspProd.Load()))
		r.advertise()
		r.notify = true
		(*Daemon)(h).blocked = append(h.blocked, r)
	}
	(*Daemon)(h).activate(r)
	return nil
}

func (h *host) bind(r *domainRing, remote xen.Port) error {
	port, err := h.cfg.Machine.Bind(r.dom, remote)
	if err != nil {
		return err
	}
	r.conn.SetPort(port)
	(*Daemon)(h).attached(r, port)
	return nil
}

func (h *host) unbind(c *server.Conn) {
	if p := c.Port(); p != 0 {
		delete(h.rings, p)
		_ = h.cfg.Machine.Unbind(p)
		c.SetPort(0)
	}
}

func (h *host) Rebind(c *server.Conn, port xen.Port) error {
	h.unbind(c)
	r, ok := c.Data.(*domainRing)
	if !ok {
		return xs.EINVAL
	}
	return h.bind(r, port)
}

func (h *host) Reset(c *server.Conn) {
	dom, _ := c.Domain()
	r, ok := c.Data.(*domainRing)
	if !ok || dom == 0 && len(h.core.Conns()) == 1 {
		return // dom0's first INTRODUCE, which is our own
	}
	r.reset()
	if r.connection.Load() == 1 {
		r.connection.Store(0)
		_ = h.cfg.Machine.Notify(c.Port())
	}
	(*Daemon)(h).activate(r)
}

// reconnect gives a domain that asks for it a fresh start.
func (d *Daemon) reconnect(r *domainRing) {
	d.core.Restart(r.conn)
}

func (h *host) Disconnect(c *server.Conn) {
	h.unbind(c)
	if r, ok := c.Data.(*domainRing); ok {
		_ = h.cfg.Machine.Unmap(r.dom, r.page)
		if h.dom0 == r {
			h.dom0 = nil
		}
	}
	c.Data = nil
}

func (h *host) Failed(c *server.Conn, reason uint32) {
	switch x := c.Data.(type) {
	case *domainRing:
		x.fault.Store(reason)
		_ = h.cfg.Machine.Notify(c.Port())
		h.cfg.Words(fmt.Sprintf("domain %d broke the protocol (reason %d): it is not served any more", x.dom, reason))
	case *client:
		delete(h.clients, x.fd)
		unix.Close(x.fd)
	}
}
