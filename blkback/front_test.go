package blkback

import (
	"encoding/binary"
	"errors"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"morgana/block"
	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/sim"
	"morgana/xen/wire/blkif"
)

// seed is where random tests begin: the same place each time, unless $SEED says another.
func seed(t testing.TB) uint64 {
	t.Helper()
	n := uint64(1)
	if s := os.Getenv("SEED"); s != "" {
		v, err := strconv.ParseUint(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		n = v
	} else if os.Getenv("SOAK") != "" {
		n = uint64(time.Now().UnixNano())
	}
	t.Logf("SEED=%d", n)
	return n
}

// guard is a disk that fails the test when it is touched outside its bounds, or in a way that it must not be.
type guard struct {
	t        testing.TB
	mem      *block.Mem
	readOnly bool

	mu      sync.Mutex
	reads   int
	writes  int
	flushes int
	trims   int
	fail    func(write bool, off, n int64) error // an error of the disk's own
}

func newGuard(t testing.TB, size int64, sector int) *guard {
	return &guard{t: t, mem: block.NewMem(size, sector)}
}

func (g *guard) check(write bool, off int64, n int) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err := block.CheckRange(off, int64(n), g.mem.Size()); err != nil {
		g.t.Errorf("the disk was asked for what is not on it: %v", err)
	}
	if write {
		g.writes++
	} else {
		g.reads++
	}
	if write && g.readOnly {
		g.t.Errorf("a read-only disk was written: %d bytes at %d", n, off)
	}
	if g.fail != nil {
		return g.fail(write, off, int64(n))
	}
	return nil
}

func (g *guard) ReadAt(p []byte, off int64) (int, error) {
	if err := g.check(false, off, len(p)); err != nil {
		return 0, err
	}
	return g.mem.ReadAt(p, off)
}

func (g *guard) WriteAt(p []byte, off int64) (int, error) {
	if err := g.check(true, off, len(p)); err != nil {
		return 0, err
	}
	return g.mem.WriteAt(p, off)
}

func (g *guard) Discard(off, n int64) error {
	if err := g.check(true, off, int(n)); err != nil {
		return err
	}
	g.mu.Lock()
	g.trims++
	g.mu.Unlock()
	return g.mem.Discard(off, n)
}

func (g *guard) Flush() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.flushes++
	return nil
}

func (g *guard) Size() int64     { return g.mem.Size() }
func (g *guard) SectorSize() int { return g.mem.SectorSize() }

// vectored is a guard that takes vectors.
type vectored struct{ *guard }

func (v vectored) ReadVec(bufs [][]byte, off int64) error {
	if err := v.check(false, off, total(bufs)); err != nil {
		return err
	}
	for _, b := range bufs {
		if _, err := v.mem.ReadAt(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

func (v vectored) WriteVec(bufs [][]byte, off int64) error {
	if err := v.check(true, off, total(bufs)); err != nil {
		return err
	}
	for _, b := range bufs {
		if _, err := v.mem.WriteAt(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

func total(bufs [][]byte) (n int) {
	for _, b := range bufs {
		n += len(b)
	}
	return n
}

// wiring is how a frontend of a test is connected.
type wiring struct {
	abi        blkif.ABI
	ringPages  int
	persistent bool
	readOnly   bool
	secure     bool
	options    Options
	faults     sim.Faults
	tick       time.Duration // how much later it is each time that the queue looks
}

// ways are the ways that data can take.
func ways() map[string]wiring {
	return map[string]wiring{
		"copied": {}, "mapped": {options: Options{MapPages: 1}}, "persistent": {persistent: true},
		"copied, 32 bit":              {abi: blkif.ABI32},
		"large ones mapped":           {abi: blkif.ABI32, options: Options{MapPages: 4}},
		"persistent, 4 pages of ring": {persistent: true, ringPages: 4},
		"few persistent":              {persistent: true, options: Options{PersistentGrants: 20}},
		"copied, parallel":            {options: Options{Parallel: 4}},
		"persistent, parallel":        {persistent: true, options: Options{Parallel: 8}},
		"mapped, parallel":            {options: Options{Parallel: 8, MapPages: 1}},
	}
}

// front is a frontend that a test drives by hand, and the queue that serves it. Unless the options say otherwise the
// queue makes all calls itself, so that everything happens in put and kick.
type front struct {
	t          testing.TB
	host       *sim.Host
	self, back *sim.Domain
	abi        blkif.ABI
	grant      xen.Grant // the ring
	ring       *ring.Front
	event      xen.Event
	data       xen.Grant // pages for data, dataPages of them
	queue      *queue
	disk       *disk

	mu      sync.Mutex
	clock   time.Duration
	broken  error
	reports []error
	nextID  uint64
}

const dataPages = 512

func connect(t testing.TB, dev block.Device, w wiring) *front {
	t.Helper()
	host := sim.New(1, sim.WithFaults(w.faults))
	t.Cleanup(host.Close)
	return connectOn(t, host, dev, w)
}

func connectOn(t testing.TB, host *sim.Host, dev block.Device, w wiring) *front {
	t.Helper()
	f := &front{t: t, host: host, abi: w.abi}
	f.self, f.back = f.domain(), f.domain()
	d, err := newDisk(dev, w.readOnly, w.secure)
	f.check(err)
	d.discardable = d.discards()
	f.disk = d
	if w.options.Parallel == 0 {
		w.options.Parallel = 1
	}
	w.options.Clock = func() time.Duration {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.clock += w.tick
		return f.clock
	}
	f.check(w.options.fill())
	f.grant, err = f.self.Share(f.back.ID(), max(w.ringPages, 1), xen.ReadWrite)
	f.check(err)
	f.data, err = f.self.Share(f.back.ID(), dataPages, xen.ReadWrite)
	f.check(err)
	f.ring, err = ring.NewFront(f.grant.Bytes(), w.abi.SlotSize())
	f.check(err)
	f.event, err = f.self.Listen(f.back.ID())
	f.check(err)
	m, err := f.back.Map(f.self.ID(), f.grant.Refs(), xen.ReadWrite)
	f.check(err)
	e, err := f.back.Connect(f.self.ID(), f.event.Port())
	f.check(err)
	q := &queue{
		disk: d, dom: f.back, peer: f.self.ID(), abi: w.abi, opt: &w.options, pages: m, event: e,
		broken: func(err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.broken = err
		},
		report: func(err error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.reports = append(f.reports, err)
		},
	}
	if w.persistent {
		q.kept = newKept(f.back, f.self.ID(), w.options.PersistentGrants)
	}
	f.queue, err = newQueue(q)
	f.check(err)
	t.Cleanup(func() {
		f.queue.stop()
		if t.Failed() {
			return // a call may be under way for ever
		}
		<-f.queue.ended
		f.queue.others.Wait()
	})
	return f
}

func (f *front) domain() *sim.Domain {
	d, err := f.host.NewDomain()
	f.check(err)
	return d
}

func (f *front) check(err error) {
	f.t.Helper()
	if err != nil {
		f.t.Fatal(err)
	}
}

// page is the nth page of data.
func (f *front) page(n int) []byte { return f.data.Bytes()[n*xen.PageSize : (n+1)*xen.PageSize] }

// seg is a segment of the nth page of data.
func (f *front) seg(n int, first, last uint8) blkif.Segment {
	return blkif.Segment{Ref: f.data.Refs()[n], First: first, Last: last}
}

// whole is a request for n whole pages of data, from page on.
func (f *front) whole(op blkif.Op, sector uint64, page, n int) blkif.Request {
	r := blkif.Request{Op: op, Sector: sector, Segments: n}
	for i := range n {
		r.Direct[i] = f.seg(page+i, 0, 7)
	}
	return r
}

// indirect is an indirect request; its segments go into the page of data that is given.
func (f *front) indirect(op blkif.Op, sector uint64, page int, segs []blkif.Segment) blkif.Request {
	blkif.PutSegments(f.page(page), segs)
	r := blkif.Request{Op: blkif.Indirect, Inner: op, Sector: sector, Segments: len(segs)}
	r.Pages[0] = f.data.Refs()[page]
	return r
}

// put puts requests into the ring, numbers them, and does not publish them.
func (f *front) put(reqs ...blkif.Request) {
	f.t.Helper()
	var slot [ring.HeaderSize * 2]byte
	for _, r := range reqs {
		r.ID = f.nextID
		f.nextID++
		encode(f.abi, slot[:], r)
		if !f.ring.Put(slot[:f.abi.SlotSize()]) {
			f.t.Fatal("the ring is full")
		}
	}
}

// encode writes a request into a slot, also one with more segments than there may be.
func encode(abi blkif.ABI, slot []byte, r blkif.Request) {
	n := r.Segments
	r.Segments = min(n, blkif.MaxSegments)
	abi.PutRequest(slot, &r)
	switch r.Op {
	case blkif.Discard:
	case blkif.Indirect:
		binary.LittleEndian.PutUint16(slot[2:], uint16(n))
	default:
		slot[1] = byte(n)
	}
}

// responses takes what was answered.
func (f *front) responses() (all []blkif.Response) {
	f.t.Helper()
	var slot [ring.HeaderSize * 2]byte
	for {
		ok, err := f.ring.Take(slot[:])
		f.check(err)
		if !ok {
			return all
		}
		all = append(all, f.abi.DecodeResponse(slot[:]))
	}
}

// do has requests served and gives their statuses, in the order of the requests.
func (f *front) do(reqs ...blkif.Request) []blkif.Status {
	f.t.Helper()
	from := f.nextID
	f.put(reqs...)
	f.ring.Push()
	f.queue.kick()
	got := make([]blkif.Status, len(reqs))
	seen := make([]bool, len(reqs))
	for left, deadline := len(reqs), time.Now().Add(20*time.Second); left > 0; {
		all := f.responses()
		if len(all) == 0 {
			if time.Now().After(deadline) {
				f.t.Fatalf("%d requests are not answered", left)
			}
			time.Sleep(10 * time.Microsecond) // another goroutine is at it
		}
		for _, r := range all {
			i := int(r.ID - from)
			if i < 0 || i >= len(reqs) || seen[i] {
				f.t.Fatalf("response to %d, which was not asked or is answered", r.ID)
			}
			if r.Op != reqs[i].Moves() {
				f.t.Fatalf("response to %v names %v", reqs[i].Moves(), r.Op)
			}
			got[i], seen[i] = r.Status, true
			left--
		}
	}
	// The race detector does not see that shared memory orders what goroutines do; this it sees.
	f.queue.kicks.Load()
	return got
}

// good has requests served that must succeed.
func (f *front) good(reqs ...blkif.Request) {
	f.t.Helper()
	for i, s := range f.do(reqs...) {
		if s != blkif.OK {
			f.mu.Lock()
			defer f.mu.Unlock()
			f.t.Fatalf("%v at %d: status %d, want success; reports: %v", reqs[i].Op, reqs[i].Sector, s, errors.Join(f.reports...))
		}
	}
}

// pass lets time go by.
func (f *front) pass(d time.Duration) {
	f.mu.Lock()
	f.clock += d
	f.mu.Unlock()
	f.queue.kick()
}
