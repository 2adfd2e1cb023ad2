package server

// Write fairness. A guest that keeps changing what transactions of others are about would make them fail for ever
// (XSA-206). So the guest whose change made a commit fail pays for it, and one without credit is not read until it has
// some again. xenstored charges every write of every guest as long as a transaction is open; its numbers are the
// ceiling here.
const (
	creditUnit  = 1000 // a conflict costs this much
	creditBurst = 10 * creditUnit
	creditRate  = 200 // units of credit a millisecond, for all domains together: 200 conflicts a second
)

// pool counts the domains that share the rate.
type pool struct{ domains int64 }

func (p *pool) join(c *Core, d *domain) {
	p.domains++
	d.credit, d.updated = creditBurst, c.now
}

func (p *pool) leave(*domain) { p.domains-- }

// update gives a domain what it earned since.
func (p *pool) update(c *Core, d *domain) {
	ms := min(max(c.now-d.updated, 0), 1_000_000)
	d.updated = c.now
	d.credit = min(d.credit+ms*creditRate/max(p.domains, 1), creditBurst)
}

// charge makes a guest pay for a conflict.
func (p *pool) charge(c *Core, d *domain) {
	p.update(c, d)
	d.credit -= creditUnit
	if d.credit < 0 {
		c.stats.Penalties++
		c.dueAt(c.now + p.wake(c, d))
	}
}

// wake is in how many milliseconds a domain has credit again.
func (p *pool) wake(c *Core, d *domain) int64 {
	p.update(c, d)
	if d.credit >= 0 {
		return 0
	}
	return (-d.credit*max(p.domains, 1) + creditRate - 1) / creditRate
}

// dueAt says that Tick has something to do then; 0 for nothing.
func (c *Core) dueAt(at int64) {
	if at != 0 && (c.due == 0 || at < c.due) {
		c.due = at
	}
}

// Tick drops events that waited too long, and returns in how many milliseconds to call again, -1 for not. Most calls have
// nothing to do, and look at no connection.
func (c *Core) Tick() int64 {
	if c.due != 0 && c.now >= c.due {
		c.due = 0
		for _, conn := range c.conns {
			d := conn.guest()
			if d == nil {
				continue
			}
			at, dropped := conn.out.expire(conn, c.now)
			c.stats.Dropped += uint64(dropped)
			conn.stats.Dropped += uint64(dropped)
			c.dueAt(at)
			if d.credit < 0 {
				if in := c.credit.wake(c, d); in > 0 {
					c.dueAt(c.now + in)
				}
			}
		}
	}
	if c.due == 0 {
		return -1
	}
	return max(c.due-c.now, 1)
}
