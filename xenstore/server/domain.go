package server

import (
	"errors"
	"slices"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore/store"
)

// domain is what the core knows of a domain. It knows some that are not introduced: those that permissions name.
type domain struct {
	id          xen.DomID
	born        uint64 // the store's generation when it heard of it
	conn        *Conn  // nil until it is introduced
	shutdown    bool   // that it shut down was told
	memory      int    // bytes of its watches, transactions, replies and events
	watches     int
	outstanding int
	credit      int64 // see credit.go
	updated     int64

	aboveHard, aboveSoft bool  // that it is was told
	warned               int64 // until when nothing else is
}

// find returns a domain that the core knows, or that there is.
func (c *Core) find(d xen.DomID) *domain {
	if dom := c.domains[d]; dom != nil {
		return dom
	}
	if c.cfg.Host.State(d) == Gone {
		return nil
	}
	return c.learn(d)
}

func (c *Core) learn(d xen.DomID) *domain {
	// A generation of its own: what was set before, even just before, is about another domain of that number.
	dom := &domain{id: d, born: c.store.Advance()}
	c.domains[d] = dom
	c.logDomain(dom)
	return dom
}

// introduced returns a domain that has a connection.
func (c *Core) introduced(d xen.DomID) *domain {
	if dom := c.domains[d]; dom != nil && dom.conn != nil {
		return dom
	}
	return nil
}

// Introduce connects a domain, or gives one that is connected another event channel and a fresh start. The first one
// is dom0, by the program itself.
func (c *Core) Introduce(d xen.DomID, port xen.Port) xs.Errno {
	if dom := c.introduced(d); dom != nil {
		conn := dom.conn
		conn.remote = port
		if err := c.cfg.Host.Rebind(conn, port); err != nil {
			conn.port = 0
		}
		c.drop(conn)
		c.cfg.Host.Reset(conn)
		c.logConn(conn)
		return 0
	}
	fresh := c.domains[d] == nil
	dom := c.find(d)
	if dom == nil {
		return xs.ENOENT
	}
	conn := c.attach(dom)
	conn.remote = port
	if err := c.cfg.Host.Connect(conn, port); err != nil {
		c.conns = slices.DeleteFunc(c.conns, func(x *Conn) bool { return x == conn })
		conn.closed = true
		dom.conn = nil
		if fresh {
			delete(c.domains, d)
		}
		return errno(err)
	}
	c.credit.join(c, dom)
	c.logConn(conn)
	if d != 0 {
		c.fireSpecial(xs.IntroduceDomain)
	}
	c.cfg.Host.Reset(conn)
	return 0
}

// attach makes the connection of a domain.
func (c *Core) attach(dom *domain) *Conn {
	conn := c.connection()
	conn.dom, dom.conn = dom, conn
	c.traceObject(conn, true, "connection")
	conn.home = xs.DomainPath(dom.id) + "/"
	conn.actor = store.Actor{Privileged: dom.id == 0, Dom: dom.id, Born: dom.born}
	dom.shutdown = false
	return conn
}

// errno is the error of the protocol that an error is.
func errno(err error) xs.Errno {
	var e xs.Errno
	if errors.As(err, &e) {
		return e
	}
	return xs.EINVAL
}

// release forgets a domain that was introduced, and tells of it.
func (c *Core) release(dom *domain) {
	conn := dom.conn
	c.drop(conn)
	c.traceObject(conn, false, "connection")
	conn.closed = true
	c.conns = slices.DeleteFunc(c.conns, func(x *Conn) bool { return x == conn })
	dom.conn = nil
	c.cfg.Host.Disconnect(conn)
	c.logGone(conn)
	for _, x := range c.conns {
		if x.actor.HasTarget && x.actor.Target == dom.id {
			x.actor.HasTarget = false
			c.logConn(x)
		}
	}
	c.forget(dom)
	c.credit.leave(dom)
	c.fireSpecial(xs.ReleaseDomain)
}

// forget forgets a domain: what it owned goes, and permissions do not name it any more.
func (c *Core) forget(dom *domain) {
	delete(c.domains, dom.id)
	c.logForgotten(dom)
	if dom.id == 0 {
		return
	}
	for _, ch := range c.store.Drop(dom.id, c.cfg.KeepOrphans) {
		c.fire(&ch, nil)
	}
	for path, p := range c.special {
		if q := p.Without(dom.id); q != p {
			c.special[path] = q
			c.logSpecial(path, q)
		}
	}
}

// CheckDomains asks for the state of all domains, after Xen told that one died or shut down.
func (c *Core) CheckDomains() {
	tell := false
	for _, d := range c.known() {
		dom := c.domains[d]
		if dom == nil {
			continue
		}
		state := c.cfg.Host.State(d)
		switch {
		case dom.conn == nil && state == Gone:
			c.forget(dom)
		case dom.conn == nil:
		case state == Gone:
			c.release(dom)
			tell = false // just done
		case state == Shutdown && !dom.shutdown:
			dom.shutdown = true
			tell = true
			c.logDomain(dom)
		}
	}
	if tell {
		c.fireSpecial(xs.ReleaseDomain)
	}
}

// known lists the domains that the core knows, in order.
func (c *Core) known() []xen.DomID {
	ids := make([]xen.DomID, 0, len(c.domains))
	for d := range c.domains {
		ids = append(ids, d)
	}
	slices.Sort(ids)
	return ids
}

// Conns are the connections, in the order of their making.
func (c *Core) Conns() []*Conn { return slices.Clone(c.conns) }

// ConnOf is the connection of a domain, nil if it has none.
func (c *Core) ConnOf(d xen.DomID) *Conn {
	if dom := c.introduced(d); dom != nil {
		return dom.conn
	}
	return nil
}

// Restart gives a domain that asks for it a fresh start: without watches and transactions, on an empty ring.
func (c *Core) Restart(conn *Conn) {
	if conn.closed || conn.ignored || conn.dom == nil {
		return
	}
	c.drop(conn)
	c.cfg.Host.Reset(conn)
	c.logConn(conn)
}
