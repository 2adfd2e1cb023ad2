package blkfront

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/blkif"
)

// slot is a request to the backend: one of as many as the ring has slots.
type slot struct {
	q     *queue
	index uint32
	pages []page // room for the data of the largest request and for the page of its segments
	data  int    // how many of pages carry data

	// Guarded by the queue's lock.
	id     uint64 // index in the lower half; the upper half counts, so that no answer counts twice
	sent   bool   // the backend has it
	call   *call  // who waits; nil if nobody does any more
	hold   rangeHold
	seized bool // hold is in the disk's range lock

	req    blkif.Request
	piece  piece
	status blkif.Status
	lost   bool // the connection ended before it was answered
}

// queue is a ring with what belongs to it. A slot is free, in its caller's hands (between reserve and send, and between
// its answer and release), or sent.
type queue struct {
	s     *session
	most  int       // pages that one request moves
	pages xen.Grant // of the ring
	event xen.Event

	mu      sync.Mutex
	front   *ring.Front
	slots   []slot
	idle    []*slot // free
	held    int     // in their callers' hands
	sent    int
	pool    pool
	waiting []*call // for a slot or for pages, first come first served
	dead    bool
	settled chan struct{} // closed when dead and none is held
	buf     [112]byte

	notified, events atomic.Uint64
}

// newQueue makes a ring of 1<<order pages.
func newQueue(s *session, order int) (*queue, error) {
	size := blkif.Native.SlotSize()
	g, err := s.d.cfg.Domain.Share(s.peer, 1<<order, xen.ReadWrite)
	if err != nil {
		return nil, fmt.Errorf("share a ring of %d pages: %w", 1<<order, err)
	}
	q := &queue{s: s, pages: g, settled: make(chan struct{})}
	if q.front, err = ring.NewFront(g.Bytes(), size); err != nil {
		q.close()
		return nil, err
	}
	if q.event, err = s.d.cfg.Domain.Listen(s.peer); err != nil {
		q.close()
		return nil, fmt.Errorf("make an event channel: %w", err)
	}
	q.slots = make([]slot, q.front.Size())
	for i := range q.slots {
		q.slots[i] = slot{q: q, index: uint32(i), id: uint64(i)}
	}
	for i := range q.slots {
		q.idle = append(q.idle, &q.slots[len(q.slots)-1-i])
	}
	return q, nil
}

// close gives up what the queue has. Nobody may hold a slot any more.
func (q *queue) close() (parked int) {
	parked = q.pool.close()
	if q.event != nil {
		_ = q.event.Close() // nothing can be done about a port that is gone
	}
	if errors.Is(q.pages.Close(), xen.ErrInUse) {
		parked += len(q.pages.Refs())
	}
	return parked
}

// errNoMemory is for a request for which not a single page can be had.
var errNoMemory = fmt.Errorf("no page to share with the backend: %w", xen.ErrNoMemory)

// reserve takes a slot with up to pages pages, for c. It gives fewer, at least one, where no more can be had at all. It
// returns nil if c has to wait: for its channel wake if the queue is alive, for another session if it is not.
func (q *queue) reserve(c *call, pages int) (s *slot, alive bool, err error) {
	extra := 0
	if pages > blkif.MaxSegments {
		extra = 1 // for the segments
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	for {
		if q.dead {
			return nil, false, nil
		}
		if len(q.waiting) > 0 && q.waiting[0] != c {
			break
		}
		if len(q.pool.free) < pages+extra && q.pool.mayGrow() {
			q.growLocked()
			continue
		}
		if q.pool.full && q.pool.total < pages+extra {
			pages, extra = min(q.pool.total, blkif.MaxSegments), 0
			if pages == 0 {
				q.pool.full = false // the next one tries anew
				q.leaveLocked(c)
				return nil, true, errNoMemory
			}
		}
		if len(q.idle) == 0 || len(q.pool.free) < pages+extra {
			break
		}
		s = q.idle[len(q.idle)-1]
		q.idle = q.idle[:len(q.idle)-1]
		q.held++
		s.pages = q.pool.take(s.pages[:0], pages+extra)
		s.data = pages
		q.leaveLocked(c)
		return s, true, nil
	}
	if !c.queued {
		c.queued = true
		q.waiting = append(q.waiting, c)
	}
	return nil, true, nil
}

// growLocked gets more pages. The lock is not held meanwhile.
func (q *queue) growLocked() {
	q.pool.growing = true
	q.held++ // the queue is not to be given up meanwhile
	n := q.pool.step()
	q.mu.Unlock()
	g, err := q.s.d.cfg.Domain.Share(q.s.peer, n, xen.ReadWrite)
	for err != nil && n > 1 {
		n /= 2
		g, err = q.s.d.cfg.Domain.Share(q.s.peer, n, xen.ReadWrite)
	}
	q.mu.Lock()
	if err != nil {
		g = nil
	}
	q.held--
	q.pool.add(g)
	q.settleLocked()
	q.wakeLocked()
}

// leave takes c out of those who wait.
func (q *queue) leave(c *call) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leaveLocked(c)
}

func (q *queue) leaveLocked(c *call) {
	if c.queued {
		c.queued = false
		if i := slices.Index(q.waiting, c); i >= 0 {
			q.waiting = slices.Delete(q.waiting, i, i+1)
		}
	}
	q.wakeLocked()
}

// wakeLocked lets the first of those who wait look again.
func (q *queue) wakeLocked() {
	if len(q.waiting) > 0 && (len(q.idle) > 0 || q.dead) {
		q.waiting[0].rouse()
	}
}

// release gives a slot and its pages back.
func (q *queue) release(s *slot) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.releaseLocked(s)
}

func (q *queue) releaseLocked(s *slot) {
	q.pool.put(s.pages)
	s.pages, s.call = s.pages[:0], nil
	q.idle = append(q.idle, s)
	q.held--
	q.settleLocked()
	q.wakeLocked()
}

// settleLocked notes that the last slot of a dead queue came back.
func (q *queue) settleLocked() {
	if q.dead && q.held == 0 {
		close(q.settled)
	}
}

// send puts the request of a slot, whose piece and pages are ready, into the ring. The backend sees it after push. It
// reports whether the queue is alive; if not, the slot is still its caller's.
func (q *queue) send(s *slot, c *call) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.dead {
		return false
	}
	s.id += 1 << 32
	s.req.ID = s.id
	blkif.Native.PutRequest(q.buf[:], &s.req)
	// The ring has room for every slot that is free. One that the backend broke takes nothing more, and the device is
	// about to end.
	q.front.Put(q.buf[:blkif.Native.SlotSize()])
	if s.piece.seq == 0 {
		s.piece.seq = q.s.d.seq.Add(1)
	}
	s.sent, s.call, s.lost = true, c, false
	q.held--
	q.sent++
	return true
}

// push shows the backend what was sent, and notifies it if it wants that.
func (q *queue) push() {
	q.mu.Lock()
	notify := !q.dead && q.front.Push()
	q.mu.Unlock()
	if notify {
		q.notified.Add(1)
		_ = q.event.Notify() // a port that is gone is the connection's end, of which xenstore tells
	}
}

// abandon ends the wait for a slot: it reports true if the backend still has it, which keeps its pages then. A write may
// still happen; until it is answered nobody else writes there.
func (q *queue) abandon(s *slot, c *call) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if !s.sent || s.call != c {
		return false
	}
	s.call = nil
	if s.piece.changes {
		q.s.d.ranges.seize(&s.hold, s.piece.off, s.piece.off+s.piece.n)
		s.seized = true
	}
	return true
}

// run takes answers until ctx ends or the backend breaks the protocol, which is the error.
func (q *queue) run(ctx context.Context) error {
	for {
		if err := q.event.Wait(ctx); err != nil {
			return nil //nolint:nilerr // the connection's end, of which xenstore tells
		}
		q.events.Add(1)
		for {
			idle, err := q.answers()
			if err != nil {
				return err
			}
			if idle {
				break
			}
		}
	}
}

// answers takes what is there and reports whether the backend will notify of more.
func (q *queue) answers() (idle bool, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.dead {
		return true, nil
	}
	if err := q.takeLocked(); err != nil {
		return true, err
	}
	return q.front.Idle()
}

// takeLocked hands every answer that is there to who waits for it.
func (q *queue) takeLocked() error {
	var b [blkif.ResponseMax]byte
	for {
		ok, err := q.front.Take(b[:])
		if !ok || err != nil {
			return err
		}
		r := blkif.Native.DecodeResponse(b[:])
		i := r.ID & (1<<32 - 1)
		if i >= uint64(len(q.slots)) || !q.slots[i].sent || q.slots[i].id != r.ID {
			return fmt.Errorf("answer to request %#x, which it does not have", r.ID)
		}
		s := &q.slots[i]
		if r.Op != s.req.Moves() {
			return fmt.Errorf("answer to a %v in place of a %v", r.Op, s.req.Moves())
		}
		switch r.Status {
		case blkif.OK, blkif.Failed, blkif.NotSupported:
		default:
			return fmt.Errorf("status %d, which there is not", r.Status)
		}
		s.status = r.Status
		q.endLocked(s)
	}
}

// endLocked takes a slot back from the backend.
func (q *queue) endLocked(s *slot) {
	s.sent = false
	q.sent--
	q.held++
	if s.call != nil {
		s.call.done <- s // it has room for all slots of a call
		return
	}
	if s.seized {
		q.s.d.ranges.unlock(&s.hold)
		s.seized = false
	}
	q.releaseLocked(s)
}

// kill ends the queue: answers that are there count, whoever waits for another learns that it is lost, and is passed to
// lost.
func (q *queue) kill(lost func(*slot)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.dead {
		return
	}
	_ = q.takeLocked() // the connection ends for another reason
	for i := range q.slots {
		s := &q.slots[i]
		if !s.sent {
			continue
		}
		s.lost = true
		if s.call != nil {
			lost(s)
		}
		q.endLocked(s)
	}
	for _, c := range q.waiting {
		c.rouse()
	}
	q.waiting = nil
	q.dead = true
	q.settleLocked()
}
