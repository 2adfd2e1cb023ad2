package server

import "fmt"

// warnEvery is how long, in milliseconds, nothing more is said of a domain's memory once something was, but that it may
// have no more.
const warnEvery = 10_000

// full reports whether a guest may not have so many bytes more, and says so when that changes.
func (c *Core) full(d *domain, bytes int) bool {
	l := &c.store.Limits
	mem := d.memory + c.store.Usage(d.id).Bytes + bytes
	hard := l.Memory > 0 && mem >= l.Memory
	if soft := l.SoftMemory > 0 && mem >= l.SoftMemory; hard != d.aboveHard || soft != d.aboveSoft {
		c.warn(d, hard, soft)
	}
	return hard
}

// warn tells of a guest that is above its limits of memory, or below them again.
func (c *Core) warn(d *domain, hard, soft bool) {
	say := func(text string) {
		d.warned = c.now + warnEvery
		if c.cfg.Words != nil {
			c.cfg.Words(fmt.Sprintf("domain %d %s", d.id, text))
		}
	}
	if hard {
		if !d.aboveHard {
			d.aboveHard = true
			say("exceeds its hard limit of memory: it is served no more until it reads what waits for it or frees some")
		}
		return
	}
	if c.now < d.warned {
		return
	}
	if d.aboveHard {
		d.aboveHard = false
		say("is below its hard limit of memory again")
	}
	if soft != d.aboveSoft {
		d.aboveSoft = soft
		if soft {
			say("exceeds its soft limit of memory")
		} else {
			say("is below its soft limit of memory again")
		}
	}
}
