package blkback

import (
	"time"

	"morgana/xen"
	"morgana/xen/wire/blkif"
)

// start begins the calls that wait, in order, as far as memory and the bound of parallel calls go. Grants of all of
// them are mapped and copied together.
func (q *queue) start() {
	if q.waiting.first == nil || q.closing.Load() {
		return
	}
	var round callList
	handed := 0
	for q.waiting.first != nil && !q.fenced {
		c := q.waiting.first
		if c.kind == fencing && (q.running > 0 || round.first != nil) {
			break
		}
		c.inline = q.opt.Parallel == 1 || q.pace[c.kind].fast
		if !c.inline && q.running+handed >= q.opt.Parallel {
			break
		}
		if c.segments > 0 {
			if !q.bufs.reserve(c.segments) {
				break
			}
			c.pages = c.segments
		}
		if !c.inline {
			handed++
		}
		q.fenced = c.kind == fencing
		q.waiting.pop()
		if c.pages > 0 {
			q.choose(c)
		}
		round.add(c)
	}
	if round.first == nil {
		return
	}
	q.prepare(&round)
	begun, n, last := q.now, 0, q.done.last
	for round.first != nil {
		c := round.pop()
		if !c.inline {
			q.hand(c)
			continue
		}
		c.run(q.disk)
		q.done.add(c)
		n++
	}
	if n == 0 {
		return
	}
	// What each took is not worth a look at the clock: they share what all took, from when they were taken.
	q.now = q.opt.Clock()
	c := q.done.first
	if last != nil {
		c = last.next
	}
	for ; c != nil; c = c.next {
		q.pace[c.kind].add((q.now - begun) / time.Duration(n))
	}
}

// hand gives a call to another goroutine, one of those that are there or a new one. There is room in q.work for as many
// as may be under way.
func (q *queue) hand(c *call) {
	q.running++
	if q.running > q.workers {
		q.workers++
		q.others.Go(func() {
			for c := range q.work {
				begun := q.opt.Clock()
				c.run(q.disk)
				c.ended = q.opt.Clock()
				c.took = c.ended - begun
				for {
					c.next = q.returned.Load()
					if q.returned.CompareAndSwap(c.next, c) {
						break
					}
				}
				q.kick()
			}
		})
	}
	q.work <- c
}

// choose decides where the data of a call will be.
func (q *queue) choose(c *call) {
	c.memory = copied
	if q.kept != nil {
		c.memory = held
		for r := c.first; r != nil; r = r.next {
			for i := range r.segs {
				p, ok := q.kept.find(r.segs[i].Ref, q.now)
				if !ok {
					c.memory = copied
					continue // to map at least those that there is room for
				}
				if n := len(c.groups); n == 0 || c.groups[n-1] != p.g {
					c.groups = append(c.groups, p.g)
					p.g.users++
				}
			}
		}
	}
	if c.memory == copied && c.segments >= q.opt.MapPages {
		c.memory = mapped
	}
}

// prepare gets the data of a round of calls to where the device can take it.
func (q *queue) prepare(round *callList) {
	if q.kept != nil {
		q.kept.mapMissing(q.now)
	}
	q.ops = q.ops[:0]
	for c := round.first; c != nil; c = c.next {
		if c.pages == 0 {
			continue
		}
		switch c.memory {
		case held:
			q.useHeld(c)
		case mapped:
			q.useMapped(c)
		}
		if c.memory == copied {
			c.buf = q.bufs.take(c.pages, q.now)
			if c.kind != reading {
				q.copyOps(c, false)
			}
		} else if len(c.bufs) > 1 && q.disk.volume.Load().vector == nil {
			c.buf = q.bufs.take(c.pages, q.now)
			if c.kind != reading {
				at := 0
				for _, b := range c.bufs {
					at += copy(c.buf[at:], b)
				}
			}
		}
	}
	if len(q.ops) == 0 || q.dom.Copy(q.ops) == nil {
		return
	}
	// The operations are in the order in which they were made.
	i := 0
	for c := round.first; c != nil; c = c.next {
		if c.pages > 0 && c.memory == copied && c.kind != reading {
			i = q.copyErrors(c, i)
		}
	}
}

// useHeld makes the buffers of a call of pages that stay mapped. If one of them could not be mapped the call is copied.
func (q *queue) useHeld(c *call) {
	for r := c.first; r != nil; r = r.next {
		r.from = len(c.bufs)
		var last keptPage
		for i := range r.segs {
			s := &r.segs[i]
			p, ok := q.kept.index[s.Ref]
			if !ok || p.g.bytes == nil {
				c.memory = copied
				clear(c.bufs)
				c.bufs = c.bufs[:0]
				return
			}
			at := p.n*xen.PageSize + s.Offset()
			n := len(c.bufs)
			if n > r.from && p.g == last.g && p.n == last.n+1 && s.First == 0 && r.segs[i-1].Last == blkif.SectorsPerPage-1 {
				b := c.bufs[n-1] // goes on where the last one ended
				c.bufs[n-1] = b[:len(b)+s.Len()]
			} else {
				c.bufs = append(c.bufs, p.g.bytes[at:at+s.Len()])
			}
			last = p
		}
		r.to = len(c.bufs)
	}
}

// useMapped maps the pages of a call. If that fails the call is copied, which tells whose fault it was.
func (q *queue) useMapped(c *call) {
	q.refs = q.refs[:0]
	for r := c.first; r != nil; r = r.next {
		for i := range r.segs {
			q.refs = append(q.refs, r.segs[i].Ref)
		}
	}
	access := xen.ReadOnly
	if c.kind == reading {
		access = xen.ReadWrite
	}
	m, err := q.dom.Map(q.peer, q.refs, access)
	if err != nil {
		c.memory = copied
		return
	}
	c.mapping = m
	b := m.Bytes()
	page := 0
	for r := c.first; r != nil; r = r.next {
		r.from = len(c.bufs)
		for i := range r.segs {
			s := &r.segs[i]
			at := page*xen.PageSize + s.Offset()
			n := len(c.bufs)
			if n > r.from && s.First == 0 && r.segs[i-1].Last == blkif.SectorsPerPage-1 {
				x := c.bufs[n-1]
				c.bufs[n-1] = x[:len(x)+s.Len()]
			} else {
				c.bufs = append(c.bufs, b[at:at+s.Len()])
			}
			page++
		}
		r.to = len(c.bufs)
	}
}

// copyOps appends the copies between the frontend's pages and the buffer of a call, for those of its requests that have
// not failed.
func (q *queue) copyOps(c *call, toPeer bool) {
	at := 0
	for r := c.first; r != nil; r = r.next {
		if r.err != nil {
			at += int(r.len())
			continue
		}
		for i := range r.segs {
			s := &r.segs[i]
			q.ops = append(q.ops, xen.CopyOp{
				Peer: q.peer, Ref: s.Ref, Offset: s.Offset(), Local: c.buf[at : at+s.Len()], ToPeer: toPeer,
			})
			at += s.Len()
		}
	}
}

// copyErrors gives the requests of a call the errors of the copies that copyOps made of them, of which the first is
// number i, and returns the number after the last.
func (q *queue) copyErrors(c *call, i int) int {
	for r := c.first; r != nil; r = r.next {
		if r.err != nil {
			continue
		}
		for range r.segs {
			if r.err == nil {
				r.err = q.ops[i].Err
			}
			i++
		}
	}
	return i
}

// answer ends the calls that were made, and answers their requests and those that were refused: with one copy, and one
// notification at most.
func (q *queue) answer() int {
	if q.done.first == nil && q.refused.first == nil {
		return 0
	}
	q.ops = q.ops[:0]
	for c := q.done.first; c != nil; c = c.next {
		if c.kind != reading || c.buf == nil {
			continue
		}
		if c.memory == copied {
			q.copyOps(c, true)
			continue
		}
		at := int64(0)
		for r := c.first; r != nil; r = r.next {
			if r.err == nil {
				n := at
				for _, b := range c.bufs[r.from:r.to] {
					n += int64(copy(b, c.buf[n:]))
				}
			}
			at += r.len()
		}
	}
	if len(q.ops) > 0 && q.dom.Copy(q.ops) != nil {
		i := 0
		for c := q.done.first; c != nil; c = c.next {
			if c.kind == reading && c.memory == copied {
				i = q.copyErrors(c, i)
			}
		}
	}
	n := 0
	for q.done.first != nil {
		c := q.done.pop()
		q.release(c)
		q.tally.calls++
		n += q.respondAll(c.first)
		*c = call{bufs: c.bufs[:0], groups: c.groups[:0], next: q.freeCalls}
		q.freeCalls = c
	}
	n += q.respondAll(q.refused.first)
	q.refused = requestList{}
	q.tally.flush()
	notify := q.inOrder()
	if q.ring.Push() || notify {
		// A peer that is gone is seen in xenstore.
		_ = q.event.Notify()
	}
	return n
}

// release gives back what a call used, before its requests are answered: after that its pages are the frontend's.
func (q *queue) release(c *call) {
	if c.kind == fencing {
		q.fenced = false
	}
	for _, g := range c.groups {
		g.users--
	}
	clear(c.groups)
	clear(c.bufs)
	if c.mapping != nil {
		_ = c.mapping.Close()
	}
	if c.buf != nil {
		q.bufs.give(c.buf)
	}
	if c.pages > 0 {
		q.bufs.release(c.pages)
	}
}

func (q *queue) respondAll(r *request) (n int) {
	for r != nil {
		next := r.next
		if r.err != nil {
			q.tell(r)
		}
		q.tally.add(r, q.now)
		r.status, r.answered = blkif.StatusOf(r.err), true
		if !q.opt.Resumable {
			q.respond(r)
		}
		n++
		r = next
	}
	return n
}

// respond puts the answer to a request into the ring.
func (q *queue) respond(r *request) {
	q.ring.Put(q.response(r))
	q.closeRequest(r)
}

func (q *queue) response(r *request) []byte {
	rsp := q.slot[:q.abi.ResponseSize()]
	q.abi.PutResponse(rsp, blkif.Response{ID: r.ID, Op: r.Moves(), Status: r.status})
	return rsp
}

func (q *queue) closeRequest(r *request) {
	r.err, r.segs = nil, nil
	r.next = q.freeRequests
	q.freeRequests = r
}

// inOrder puts those answers into the ring that nothing before them keeps back any more. Each is published at once: an
// answer lies where its request was, and whoever takes the ring up after us finds requests in all slots that are not
// answered.
func (q *queue) inOrder() (notify bool) {
	for q.oldest != nil && q.oldest.answered {
		r := q.oldest
		q.oldest, r.later = r.later, nil
		wanted, _ := q.ring.Publish(q.response(r))
		notify = notify || wanted
		q.closeRequest(r)
	}
	return notify
}
