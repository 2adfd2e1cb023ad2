package blkfront

import (
	"context"
	"slices"
	"sync"

	"morgana/xen"
	"morgana/xen/wire/blkif"
)

// window is how many requests of the backend's a call has under way at most. One that needs more sends the next when
// one is answered.
const window = 64

// call is a batch under way. It belongs to the goroutine that made it.
type call struct {
	d    *Disk
	reqs []Request
	done chan *slot    // answered, or lost
	wake chan struct{} // there may be room now
	out  []*slot       // sent, and not out of done yet

	at    int     // the request of which the next new piece is
	pos   int64   // how much of it was sent
	retry []piece // to be sent again, in their order

	s      *session // of q
	q      *queue
	queued bool // it waits at q, as far as it knows

	one [1]Request
	vec [1][]byte
}

var calls = sync.Pool{New: func() any {
	return &call{done: make(chan *slot, window), wake: make(chan struct{}, 1), out: make([]*slot, 0, window)}
}}

// free gives the call's memory up for the next one. It keeps nothing of the caller's.
func (c *call) free() {
	select {
	case <-c.wake:
	default:
	}
	c.one, c.vec = [1]Request{}, [1][]byte{}
	*c = call{done: c.done, wake: c.wake, out: c.out[:0], retry: c.retry[:0]}
	calls.Put(c)
}

// rouse makes the call look whether there is room.
func (c *call) rouse() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// run does all requests of the call that have something left. The error is that of the context or of the device; those
// of single requests are in them.
func (c *call) run(ctx context.Context) error {
	for {
		again := c.submit()
		if len(c.out) == 0 && !c.more() {
			c.leave()
			return nil
		}
		select {
		case s := <-c.done:
			c.reap(s)
		case <-c.wake:
		case <-again:
		case <-ctx.Done():
			return c.abandon(context.Cause(ctx))
		case <-c.d.over:
			return c.abandon(c.d.err)
		}
		for len(c.done) > 0 {
			c.reap(<-c.done)
		}
	}
}

// leave ends a wait for room.
func (c *call) leave() {
	if c.queued {
		c.q.leave(c)
	}
}

// more reports whether something is to be sent.
func (c *call) more() bool {
	if len(c.retry) > 0 {
		return true
	}
	for ; c.at < len(c.reqs); c.at, c.pos = c.at+1, 0 {
		if r := &c.reqs[c.at]; r.Err == nil && !r.patched && c.pos < r.end-r.off {
			return true
		}
	}
	return false
}

// next is what is to be sent, and more said that there is something.
func (c *call) next() piece {
	if len(c.retry) > 0 {
		return c.retry[0]
	}
	r := &c.reqs[c.at]
	return piece{req: c.at, off: r.off + c.pos, n: r.end - r.off - c.pos, changes: r.Op.changes()}
}

// sent notes that n bytes of next were sent or need not be.
func (c *call) sent(n int64) {
	switch {
	case len(c.retry) == 0:
		c.pos += n
	case n < c.retry[0].n:
		c.retry[0].off += n
		c.retry[0].n -= n
	default:
		c.retry = slices.Delete(c.retry, 0, 1)
	}
}

// submit sends as much as there is room for. If that depends on the device's state, the channel tells of its next
// change.
func (c *call) submit() (again <-chan struct{}) {
	pushed := 0
	for len(c.out) < window && c.more() {
		p := c.next()
		s, gated, changed := c.d.admit(p.seq)
		if s == nil {
			again = changed
			break
		}
		if c.s != s {
			if pushed > 0 {
				c.q.push()
				pushed = 0
			}
			c.s, c.q, c.queued = s, s.pick(), false
		}
		r := &c.reqs[p.req]
		op, ok := s.operation(r)
		if !ok {
			c.skip(r, p)
			continue
		}
		if op == blkif.Discard {
			if _, n := s.whole(p); n == 0 {
				c.skip(r, p)
				continue
			}
		}
		pages := 0
		if op == blkif.Read || op == blkif.Write {
			pages = int(min((p.n+xen.PageSize-1)/xen.PageSize, int64(c.q.most)))
		}
		sl, alive, err := c.q.reserve(c, pages)
		if err != nil {
			c.refuse(r, p, err)
			continue
		}
		if sl == nil {
			if !alive {
				continue // another session, or the wait for one
			}
			break
		}
		if pages > 0 {
			p.n = min(p.n, int64(sl.data)*xen.PageSize)
		}
		sl.compose(r, p, op)
		if gated {
			ok = c.d.sendAgain(sl, c, p.n == c.next().n)
		} else {
			ok = c.q.send(sl, c)
		}
		if !ok {
			c.q.release(sl)
			continue
		}
		c.sent(p.n)
		c.out = append(c.out, sl)
		pushed++
	}
	if pushed > 0 {
		c.q.push()
	}
	return again
}

// skip ends a piece that the backend has no operation for: without a cache nothing is to be flushed, and a discard is
// a hint.
func (c *call) skip(r *Request, p piece) {
	if r.Secure {
		c.refuse(r, p, ErrNotSupported)
		return
	}
	r.left -= p.n
	c.d.forget(p.seq)
	c.sent(p.n)
}

// refuse ends a piece with an error.
func (c *call) refuse(r *Request, p piece, err error) {
	c.fail(r, p.off, err)
	r.left -= p.n
	c.d.forget(p.seq)
	c.sent(p.n)
}

func (c *call) fail(r *Request, off int64, err error) {
	if r.Err == nil {
		r.Err = c.d.error(r.Op, off, err)
	}
}

// reap takes a slot that was answered or lost, and gives it back.
func (c *call) reap(s *slot) {
	i := slices.Index(c.out, s)
	last := len(c.out) - 1
	c.out[i] = c.out[last]
	c.out = c.out[:last]
	p := s.piece
	r := &c.reqs[p.req]
	again := s.lost
	switch {
	case s.lost:
	case s.status == blkif.OK:
		if r.Op == Read {
			s.deliver(r)
		}
	case s.status == blkif.NotSupported && s.q.s.drop(r, s.req.Op):
		again = true // another way, or none
	case s.status == blkif.NotSupported:
		c.fail(r, p.off, ErrNotSupported)
	default:
		c.fail(r, p.off, ErrIO)
	}
	s.q.release(s)
	if !again {
		r.left -= p.n
		return
	}
	at, _ := slices.BinarySearchFunc(c.retry, p, func(a, b piece) int {
		if a.seq != b.seq {
			return int(int64(a.seq - b.seq))
		}
		return int(a.off - b.off)
	})
	c.retry = slices.Insert(c.retry, at, p)
}

// abandon ends the call for a reason. What the backend has of it stays in its pages until it answers.
func (c *call) abandon(reason error) error {
	c.leave()
	for len(c.out) > 0 {
		s := c.out[len(c.out)-1]
		if s.q.abandon(s, c) {
			c.out = c.out[:len(c.out)-1]
			continue
		}
		c.reap(<-c.done)
	}
	for _, p := range c.retry {
		c.d.forget(p.seq)
	}
	c.retry = c.retry[:0]
	for i := range c.reqs {
		if r := &c.reqs[i]; r.left > 0 && r.Err == nil && !r.patched {
			r.Err = c.d.error(r.Op, r.Off, reason)
		}
	}
	return reason
}

// hold waits until nobody else has a part of what the call's requests write. It reports whether it got it.
func (c *call) hold(ctx context.Context) bool {
	for i := range c.reqs {
		r := &c.reqs[i]
		if r.Err != nil || r.patched || r.left == 0 || !r.Op.changes() {
			continue
		}
		if r.held = c.d.ranges.lock(&r.hold, r.off, r.end, false, ctx.Done(), c.d.over); !r.held {
			return false
		}
	}
	return true
}

func (c *call) unhold() {
	for i := range c.reqs {
		if r := &c.reqs[i]; r.held {
			c.d.ranges.unlock(&r.hold)
			r.held = false
		}
	}
}

// Do does a batch of requests at once, in any order, and returns when all are done: nil, or the first error of one in
// the batch's order, with each one's own in its Err. What ctx's end leaves undone has its error; such a write may still
// happen until the backend answers, and no later write to the same place overtakes it. Requests may be used again.
func (d *Disk) Do(ctx context.Context, reqs []Request) error {
	c := calls.Get().(*call)
	c.d, c.reqs = d, reqs
	err := c.do(ctx)
	c.free()
	return err
}

func (c *call) do(ctx context.Context) error {
	d, patches := c.d, false
	for i := range c.reqs {
		r := &c.reqs[i]
		if err := d.prepare(r); err != nil {
			r.left = 0
			r.Err = d.error(r.Op, r.Off, err)
		}
		patches = patches || r.patched
	}
	if c.hold(ctx) {
		_ = c.run(ctx) // each request has its error
	} else {
		_ = c.abandon(d.why(ctx))
	}
	c.unhold()
	for i := range c.reqs {
		if r := &c.reqs[i]; patches && r.patched && r.Err == nil {
			if err := d.patch(ctx, r); err != nil {
				r.Err = err
			}
		}
	}
	return c.firstError()
}

// why is the reason of a wait that ended for ctx or the device.
func (d *Disk) why(ctx context.Context) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return d.err
}

// patch writes what begins or ends within a sector: the sectors at both ends are read, and all is written while nobody
// else writes there.
func (d *Disk) patch(ctx context.Context, r *Request) error {
	var hold rangeHold
	if !d.ranges.lock(&hold, r.off, r.end, true, ctx.Done(), d.over) {
		return d.error(r.Op, r.Off, d.why(ctx))
	}
	defer d.ranges.unlock(&hold)
	sector := int64(d.sector)
	edge := make([]byte, 2*sector)
	first, last := edge[:sector], edge[sector:]
	head, tail := r.Off-r.off, r.end-(r.Off+r.n)
	one := r.end-r.off == sector
	if one {
		last = first
	}
	var reads []Request
	if head > 0 || one {
		reads = append(reads, Request{Op: Read, Off: r.off, Bufs: [][]byte{first}})
	}
	if tail > 0 && !one {
		reads = append(reads, Request{Op: Read, Off: r.end - sector, Bufs: [][]byte{last}})
	}
	if err := d.Do(ctx, reads); err != nil {
		return err
	}
	var whole []Request
	if r.Op == Write {
		bufs := append([][]byte{first[:head]}, r.Bufs...)
		whole = append(whole, Request{Op: Write, Off: r.off, Bufs: append(bufs, last[sector-tail:])})
	} else {
		begin, end := r.off, r.end
		if one {
			clear(first[head : sector-tail])
		} else {
			clear(first[head:])
			clear(last[:sector-tail])
		}
		if head > 0 || one {
			whole = append(whole, Request{Op: Write, Off: begin, Bufs: [][]byte{first}})
			begin += sector
		}
		if tail > 0 && !one {
			end -= sector
			whole = append(whole, Request{Op: Write, Off: end, Bufs: [][]byte{last}})
		}
		whole = append(whole, Request{Op: WriteZeroes, Off: begin, N: end - begin})
	}
	c := calls.Get().(*call)
	defer c.free()
	c.d, c.reqs = d, whole
	return c.straight(ctx)
}

// straight runs a call whose caller holds what it writes and knows that all of it is whole sectors.
func (c *call) straight(ctx context.Context) error {
	for i := range c.reqs {
		r := &c.reqs[i]
		if err := c.d.prepare(r); err != nil {
			return c.d.error(r.Op, r.Off, err)
		}
	}
	_ = c.run(ctx)
	return c.firstError()
}

func (c *call) firstError() error {
	for i := range c.reqs {
		if err := c.reqs[i].Err; err != nil {
			return err
		}
	}
	return nil
}
