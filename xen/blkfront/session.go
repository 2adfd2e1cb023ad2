package blkfront

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"

	"morgana/xen"
	"morgana/xen/wire/blkif"
)

// session is one connection to a backend.
type session struct {
	d      *Disk
	peer   xen.DomID
	queues []*queue
	feat   blkif.Features // as of start
	turn   atomic.Uint32

	started bool // xenbus's goroutine's

	noFlush, noBarrier, noDiscard atomic.Bool // offered and refused

	cancel context.CancelFunc // ends run
	wg     sync.WaitGroup     // of run
}

// newSession makes the rings for what a backend offers.
func newSession(d *Disk, peer xen.DomID, f *blkif.Features) (*session, error) {
	s := &session{d: d, peer: peer, cancel: func() {}}
	order := min(d.cfg.RingOrder, f.MaxRingOrder)
	for range max(1, min(d.cfg.Queues, f.MaxQueues)) {
		q, err := newQueue(s, order)
		if err != nil {
			if len(s.queues) > 0 {
				break // fewer queues do
			}
			s.close()
			return nil, err
		}
		s.queues = append(s.queues, q)
	}
	return s, nil
}

// nodes are what the backend has to know of it.
func (s *session) nodes() map[string]string {
	c := blkif.Connection{ABI: blkif.Native, Persistent: true}
	for _, q := range s.queues {
		c.Queues = append(c.Queues, blkif.Queue{Refs: q.pages.Refs(), Port: q.event.Port()})
	}
	return c.Map()
}

// start begins to take answers. What the backend offers it may have told with its last state only.
func (s *session) start(f blkif.Features) {
	s.feat, s.started = f, true
	most := blkif.MaxSegments
	if f.MaxIndirect > blkif.MaxSegments {
		most = min(f.MaxIndirect, s.d.cfg.Segments)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	for _, q := range s.queues {
		q.most = most
		data := max(s.d.cfg.Memory/xen.PageSize, most)
		q.pool.limit = data + data/most // and the pages of segments of the largest requests
		s.wg.Go(func() {
			if err := q.run(ctx); err != nil {
				s.d.end(s.d.error("talk to the backend", -1, fmt.Errorf("%w: %w", ErrBackend, err)))
			}
		})
	}
}

// pick is the queue for a call.
func (s *session) pick() *queue {
	if len(s.queues) == 1 {
		return s.queues[0]
	}
	return s.queues[s.turn.Add(1)%uint32(len(s.queues))]
}

// operation is what asks the backend for r; false if nothing does and nothing has to.
func (s *session) operation(r *Request) (blkif.Op, bool) {
	switch r.Op {
	case Read:
		return blkif.Read, true
	case Write, WriteZeroes:
		return blkif.Write, true
	case Discard:
		return blkif.Discard, s.feat.Discard && !s.noDiscard.Load() && (s.feat.Secure || !r.Secure)
	}
	switch {
	case s.d.readOnly.Load():
		return blkif.Flush, false // nothing was written; Linux's backend takes a flush for a write, and fails it
	case s.feat.Flush && !s.noFlush.Load():
		return blkif.Flush, true
	case s.feat.Barrier && !s.noBarrier.Load():
		return blkif.Barrier, true
	}
	// Without a cache there is nothing to flush; one that refuses to be flushed says so again.
	return blkif.Flush, s.feat.Flush || s.feat.Barrier
}

// drop notes that the backend refuses an operation that it offered, as it may at any time (blkif.h, "feature-barrier"),
// and reports whether the request can be done without.
func (s *session) drop(r *Request, op blkif.Op) bool {
	switch op {
	case blkif.Flush:
		s.noFlush.Store(true)
		return s.feat.Barrier && !s.noBarrier.Load()
	case blkif.Barrier:
		s.noBarrier.Store(true)
		return s.feat.Flush && !s.noFlush.Load()
	case blkif.Discard:
		if !r.Secure {
			s.noDiscard.Store(true)
			return true
		}
	}
	return false
}

// whole is the part of a discard that the backend can forget: whole units of its own (discard-granularity), which begin
// at discard-alignment.
func (s *session) whole(p piece) (off, n int64) {
	unit := max(int64(s.feat.Granularity), int64(s.d.sector))
	if unit%int64(s.d.sector) != 0 {
		return p.off, p.n
	}
	first := int64(s.feat.Alignment) % unit
	off = (p.off-first+unit-1)/unit*unit + first
	if p.off < first {
		off = first
	}
	end := p.off + p.n
	if end > first {
		end = (end-first)/unit*unit + first
	}
	return off, max(end-off, 0)
}

// close ends the session: what is not answered is passed to lost, and nothing is shared any more afterwards but what
// the backend holds on to, which is how many pages are returned.
func (s *session) close(lost ...func(*slot)) (parked int) {
	s.cancel()
	s.wg.Wait()
	for _, q := range s.queues {
		q.kill(func(sl *slot) {
			for _, f := range lost {
				f(sl)
			}
		})
	}
	for _, q := range s.queues {
		<-q.settled
		parked += q.close()
	}
	return parked
}
