package blkback

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/blkif"
)

const (
	// batchRequests is how many requests are taken from a ring before the first of them is answered.
	batchRequests = 64
	// yieldAfter is after how many batches without a pause others may run.
	yieldAfter = 16
)

// queue serves one ring. All of its work is done by step, which one goroutine at a time runs: whoever comes with news,
// a notification or a call that has returned, calls kick, and either runs step itself or leaves the news to the one who
// is at it. So there is no lock, and no switch of goroutines between a notification and its answer when the device is
// fast.
type queue struct {
	disk   *disk
	dom    Domain
	peer   xen.DomID
	abi    blkif.ABI
	opt    *Options
	pages  xen.Mapping // the ring's
	event  xen.Event
	broken func(error) // tells, once, that the frontend broke the ring; does not block
	report func(error) // tells of a request that failed, now and then; does not block

	kicks    atomic.Int64         // news that nobody has looked after
	returned atomic.Pointer[call] // calls that have returned, the last one first
	closing  atomic.Bool
	ended    chan struct{} // closed when everything is given back
	work     chan *call    // to the goroutines that make calls
	others   sync.WaitGroup

	// What follows belongs to the goroutine in step.

	ring   *ring.Back
	limits blkif.Limits
	slot   [ring.HeaderSize * 2]byte // a copy of a request, or of a response
	now    time.Duration             // when it last looked at the clock, which is a system call in a unikernel
	failed bool                      // the ring is broken
	over   bool                      // ended is closed

	kept *kept // nil without persistent grants
	bufs buffers
	ops  []xen.CopyOp
	refs []xen.GrantRef

	freeRequests *request
	freeCalls    *call
	refused      requestList // to be answered with their errors
	oldest       *request    // Resumable: of those that are not answered yet, in the order of the ring
	newest       *request
	waiting      callList // planned, in order
	done         callList // made, to be answered

	running int  // calls that are with other goroutines
	workers int  // of those goroutines
	fenced  bool // a fencing call is under way: nothing else begins
	pace    [kinds]pace
	tally   tally

	reported time.Duration // when report was last called
	untold   int           // failures since
}

// newQueue attaches to a ring in pages that the frontend shares, connected by event. It owns both, also if it fails.
func newQueue(q *queue) (*queue, error) {
	r, err := ring.NewBack(q.pages.Bytes(), q.abi.SlotSize())
	if err == nil && q.opt.Resumable {
		if _, _, err = r.Redo(q.abi.ResponseSize()); err == nil {
			err = q.event.Notify() // who was here before may have answered, and not come to it
		}
	}
	if err != nil {
		q.event.Close()
		q.pages.Close()
		return nil, err
	}
	q.ring = r
	q.ended = make(chan struct{})
	q.work = make(chan *call, q.opt.Parallel)
	q.bufs.limit, q.bufs.pool = q.opt.BufferPages, q.opt.pool
	q.tally.stats = &q.disk.stats
	q.reported = -reportEvery
	q.limits = blkif.Limits{
		SectorSize: q.disk.sectorSize, ReadOnly: q.disk.readOnly, MaxIndirect: q.opt.IndirectSegments,
		Flush: true, Barrier: true, Discard: q.disk.discardable,
	}
	return q, nil
}

// listen waits for the frontend's notifications until the event channel is closed.
func (q *queue) listen(ctx context.Context) {
	for q.event.Wait(ctx) == nil {
		q.kick()
	}
}

// kick has step look at what is new.
func (q *queue) kick() {
	if q.kicks.Add(1) > 1 {
		return
	}
	for {
		n := q.kicks.Load()
		q.step()
		if q.kicks.Add(-n) == 0 {
			return
		}
	}
}

// stop ends the queue: it takes no more requests, and when the calls under way have returned gives everything back and
// closes ended.
func (q *queue) stop() {
	q.closing.Store(true)
	q.kick()
}

// step does everything that can be done now, without waiting for anything but calls of a fast device.
func (q *queue) step() {
	if q.over {
		return
	}
	worked := false
	for rounds := 1; ; rounds++ {
		q.collect()
		answered := q.answer() // what has returned does not wait for what begins
		taken := q.take()
		q.start()
		answered += q.answer()
		worked = worked || taken+answered > 0
		if taken+answered == 0 && q.idle() {
			break
		}
		if rounds%yieldAfter == 0 {
			runtime.Gosched()
		}
	}
	if !worked {
		q.now = q.opt.Clock()
	}
	q.tend()
	if q.closing.Load() && q.running == 0 {
		q.end()
	}
}

// idle reports whether there is nothing to do until the next kick. Where requests would be taken, it asks the frontend
// for a notification.
func (q *queue) idle() bool {
	if !q.takes() {
		return q.returned.Load() == nil
	}
	idle, err := q.ring.Idle()
	if err != nil {
		q.fail(err)
		return true
	}
	return idle && q.returned.Load() == nil
}

// takes reports whether requests may be taken from the ring.
func (q *queue) takes() bool {
	return q.waiting.first == nil && !q.failed && !q.closing.Load()
}

// fail gives the ring up: it takes no more requests.
func (q *queue) fail(err error) {
	if !q.failed {
		q.failed = true
		q.broken(err)
	}
}

// collect takes the calls that have returned.
func (q *queue) collect() {
	for c := q.returned.Swap(nil); c != nil; {
		next := c.next
		q.running--
		q.pace[c.kind].add(c.took)
		q.now = max(q.now, c.ended)
		q.done.add(c)
		c = next
	}
}

// take takes a batch of requests from the ring and plans the calls that serve them.
func (q *queue) take() int {
	if !q.takes() {
		return 0
	}
	var batch requestList
	indirect := 0
	n := 0
	for ; n < batchRequests; n++ {
		ok, err := q.ring.Take(q.slot[:])
		if err != nil {
			q.fail(err)
		}
		if !ok {
			break
		}
		if n == 0 {
			q.now = q.opt.Clock()
			q.limits.Sectors = q.disk.sectors()
		}
		r := q.newRequest()
		if q.opt.Resumable {
			q.open(r)
		}
		q.abi.DecodeRequest(&r.Request, q.slot[:])
		r.taken, r.sectors, r.segs = q.now, 0, nil
		if r.err = r.Validate(&q.limits); r.err != nil {
			q.refused.add(r)
			continue
		}
		switch r.Op {
		case blkif.Indirect:
			indirect++
		case blkif.Discard:
		default:
			r.segs = r.Direct[:r.Segments]
		}
		batch.add(r)
	}
	if indirect > 0 {
		q.fetch(&batch)
	}
	q.plan(&batch)
	return n
}

// plan makes calls of requests that are valid, together for those that follow each other on the disk.
func (q *queue) plan(batch *requestList) {
	for r := batch.first; r != nil; {
		next := r.next
		for i := range r.segs {
			r.sectors += int64(r.segs[i].Sectors())
		}
		k := kindOf(r)
		if c := q.waiting.last; c != nil && c.accepts(r, k) {
			c.add(r)
		} else {
			c = q.newCall()
			c.kind = k
			c.add(r)
			q.waiting.add(c)
		}
		r = next
	}
}

// fetch copies the segments of the indirect requests of a batch and checks them. Those that fail leave the batch.
func (q *queue) fetch(batch *requestList) {
	if q.kept != nil {
		for r := batch.first; r != nil; r = r.next {
			if r.Op == blkif.Indirect {
				q.kept.find(r.Pages[0], q.now)
			}
		}
		q.kept.mapMissing(q.now)
	}
	q.ops = q.ops[:0]
	for r := batch.first; r != nil; r = r.next {
		if r.Op != blkif.Indirect {
			continue
		}
		// callPages segments fit into one page.
		if r.page == nil {
			r.page = make([]byte, callPages*blkif.SegmentSize)
			r.spare = make([]blkif.Segment, callPages)
		}
		r.segs = r.spare[:r.Segments]
		b := r.page[:r.Segments*blkif.SegmentSize]
		if q.kept != nil {
			if p, ok := q.kept.index[r.Pages[0]]; ok {
				copy(b, p.bytes())
				r.from = -1
				continue
			}
		}
		r.from = len(q.ops)
		q.ops = append(q.ops, xen.CopyOp{Peer: q.peer, Ref: r.Pages[0], Local: b})
	}
	// What failed is in the operations.
	if len(q.ops) > 0 {
		_ = q.dom.Copy(q.ops)
	}
	var good requestList
	for r := batch.first; r != nil; {
		next := r.next
		if r.Op == blkif.Indirect {
			if r.from >= 0 {
				r.err = q.ops[r.from].Err
			}
			if r.err == nil {
				blkif.DecodeSegments(r.segs, r.page)
				_, r.err = r.CheckSegments(&q.limits, r.segs)
			}
		}
		if r.err != nil {
			q.refused.add(r)
		} else {
			good.add(r)
		}
		r = next
	}
	*batch = good
}

// tend unmaps and frees what was not used for long, and puts together what was mapped bit by bit.
func (q *queue) tend() {
	if q.kept != nil {
		q.kept.trim(q.now)
		q.kept.pack(q.now)
	}
	q.bufs.trim(q.now)
}

// end gives everything back. No call is under way.
func (q *queue) end() {
	q.over = true
	q.event.Close()
	if q.kept != nil {
		q.kept.dropAll()
	}
	q.bufs.dropAll()
	q.pages.Close()
	close(q.work)
	close(q.ended)
}

// reportEvery is how often a ring tells of requests that failed: a frontend can make millions of them.
const reportEvery = time.Second

// tell reports a request that failed, if it is not long since the last one.
func (q *queue) tell(r *request) {
	if q.now-q.reported < reportEvery {
		q.untold++
		return
	}
	err := fmt.Errorf("%v of %d sectors at %d: %w", r.Moves(), max(r.sectors, int64(r.Count)), r.Sector, r.err)
	if q.untold > 0 {
		err = fmt.Errorf("%w (and %d others before)", err, q.untold)
	}
	q.reported, q.untold = q.now, 0
	q.report(err)
}

func (q *queue) newRequest() *request {
	r := q.freeRequests
	if r == nil {
		return new(request)
	}
	q.freeRequests = r.next
	r.next = nil
	return r
}

// open notes that a request is to be answered after those that were taken before it.
func (q *queue) open(r *request) {
	r.answered, r.later = false, nil
	if q.oldest == nil {
		q.oldest = r
	} else {
		q.newest.later = r
	}
	q.newest = r
}

func (q *queue) newCall() *call {
	c := q.freeCalls
	if c == nil {
		return new(call)
	}
	q.freeCalls = c.next
	c.next = nil
	return c
}

type requestList struct{ first, last *request }

func (l *requestList) add(r *request) {
	r.next = nil
	if l.first == nil {
		l.first = r
	} else {
		l.last.next = r
	}
	l.last = r
}

type callList struct{ first, last *call }

func (l *callList) add(c *call) {
	c.next = nil
	if l.first == nil {
		l.first = c
	} else {
		l.last.next = c
	}
	l.last = c
}

func (l *callList) pop() *call {
	c := l.first
	if l.first = c.next; l.first == nil {
		l.last = nil
	}
	c.next = nil
	return c
}

// pace is how long calls of a kind take: whether waiting for one costs less than another goroutine.
type pace struct {
	mean time.Duration // smoothed; 0 at first
	fast bool
}

const (
	fastBelow = 15 * time.Microsecond
	slowAbove = 40 * time.Microsecond
)

func (p *pace) add(took time.Duration) {
	if p.mean == 0 {
		p.mean = 2 * slowAbove // to be slow until shown to be fast
	}
	p.mean += (took - p.mean) / 8
	switch {
	case p.mean < fastBelow:
		p.fast = true
	case p.mean > slowAbove:
		p.fast = false
	}
}
