package blkfront

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"

	"morgana/block"
	"morgana/xen"
	"morgana/xen/wire/blkif"
	"morgana/xen/xenbus"
	"morgana/xenstore"
)

// Domain is what a frontend needs of its own domain.
type Domain interface {
	xen.Granter
	xen.Events
}

// Config says which disk, and how much may be spent on it. Zero fields stand for the defaults.
type Config struct {
	Store  *xenstore.Client // this domain's
	Domain Domain           // this domain
	Path   string           // the device's directory: "device/vbd/51712"

	Queues    int // most queues; 1: more help only where several CPUs do
	RingOrder int // rings of up to 1<<RingOrder pages, with 32 requests in each page; 2. Negative: one page
	Segments  int // pages that one request moves at most, 11 to 512; 256, which is 1 MiB
	Memory    int // bytes of data under way at most in each queue; 4 MiB
}

// fill puts the defaults in and checks the rest.
func (c *Config) fill() error {
	if c.Domain == nil || c.Path == "" {
		return fmt.Errorf("a domain and a path are wanted: %w", xen.ErrInvalid)
	}
	def := func(p *int, v, least, most int) {
		if *p == 0 {
			*p = v
		}
		*p = min(max(*p, least), most)
	}
	def(&c.Queues, 1, 1, 64)
	def(&c.RingOrder, 2, 0, blkif.MaxRingOrder)
	def(&c.Segments, 256, blkif.MaxSegments, blkif.SegmentsPerPage)
	def(&c.Memory, 4<<20, 64<<10, 1<<30)
	return nil
}

// Disk is a disk of another domain. It implements block.Device, Vectored, Discarder and Zeroer. Safe for concurrent
// use.
type Disk struct {
	cfg     Config
	handle  uint16
	ranges  rangeLock
	flushes flushes
	seq     atomic.Uint64 // of requests to the backend

	sector     int // set before Open returns, and the same ever after
	physical   int
	size       atomic.Int64
	readOnly   atomic.Bool
	resized    chan struct{} // capacity 1
	sentAgain  atomic.Uint64
	parked     atomic.Int64
	reconnects atomic.Uint64

	life   context.Context // ends with the device
	stop   context.CancelFunc
	ended  chan struct{} // closed when xenbus has ended
	opened chan struct{} // closed at the first connection
	over   chan struct{} // closed with err
	err    error         // why it is over; read it after over is closed

	preparing *session // since Prepare; xenbus's goroutine's

	// live is the session as long as nothing is to be sent again; nil otherwise.
	live atomic.Pointer[session]

	mu      sync.Mutex
	isOver  bool
	failed  error         // of the last try to connect
	sess    *session      // connected
	again   []uint64      // what is to be sent again, sorted
	changed chan struct{} // closed and made anew when sess or again changed
}

var (
	_ block.Device    = (*Disk)(nil)
	_ block.Vectored  = (*Disk)(nil)
	_ block.Discarder = (*Disk)(nil)
	_ block.Zeroer    = (*Disk)(nil)
)

// Open connects to the backend of a disk and returns when the disk can be used, or ctx ended. The Disk goes on after
// ctx's end, until Close.
func Open(ctx context.Context, cfg Config) (*Disk, error) {
	d, err := newDisk(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Store == nil {
		return nil, d.error("open", -1, fmt.Errorf("a connection to xenstore is wanted: %w", xen.ErrInvalid))
	}
	go d.run(func(ctx context.Context, f xenbus.Frontend) error {
		return xenbus.RunFrontend(ctx, cfg.Store, cfg.Path, f)
	})
	select {
	case <-d.opened:
		return d, nil
	case <-d.over:
		err := d.err
		d.Close()
		return nil, err
	case <-ctx.Done():
		d.mu.Lock()
		err := context.Cause(ctx)
		if d.failed != nil {
			err = fmt.Errorf("%w; the last try: %w", err, d.failed)
		}
		d.mu.Unlock()
		d.Close()
		return nil, d.error("open", -1, fmt.Errorf("its backend does not connect: %w", err))
	}
}

// newDisk makes a disk without a connection.
func newDisk(cfg Config) (*Disk, error) {
	d := &Disk{
		cfg: cfg, resized: make(chan struct{}, 1), changed: make(chan struct{}),
		ended: make(chan struct{}), opened: make(chan struct{}), over: make(chan struct{}),
	}
	if err := d.cfg.fill(); err != nil {
		return nil, d.error("open", -1, err)
	}
	if n, err := strconv.ParseUint(path.Base(cfg.Path), 10, 32); err == nil {
		d.handle = uint16(n)
	}
	d.life, d.stop = context.WithCancel(context.Background())
	return d, nil
}

// run connects again and again, as xenbus says, until the device is over.
func (d *Disk) run(xenbus func(context.Context, xenbus.Frontend) error) {
	defer close(d.ended)
	err := xenbus(d.life, driver{d})
	d.end(d.error("connect", -1, err))
	driver{d}.Disconnect()
}

func (d *Disk) error(op any, off int64, err error) error {
	if e := (*Error)(nil); errors.As(err, &e) {
		return err
	}
	return &Error{Op: fmt.Sprint(op), Disk: d.cfg.Path, Off: off, Err: err}
}

// end makes the device over, once: every call returns the error of the first time.
func (d *Disk) end(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isOver {
		return
	}
	d.isOver, d.err = true, err
	d.live.Store(nil)
	close(d.over)
	d.stop()
}

// Close ends the device: calls under way return an error matching ErrClosed, the backend is told, and the memory is
// given back but for pages that the backend still maps. What was written and not flushed may be lost. Idempotent.
func (d *Disk) Close() error {
	d.end(d.error("use", -1, ErrClosed))
	<-d.ended
	return nil
}

// Done is closed when the device is over: closed, removed, or with a backend that broke the protocol; Err says why.
func (d *Disk) Done() <-chan struct{} { return d.over }

// Err says why the device is over; nil if it is not.
func (d *Disk) Err() error {
	select {
	case <-d.over:
		return d.err
	default:
		return nil
	}
}

// Size implements block.Device. It changes when the backend says so; Resized tells.
func (d *Disk) Size() int64 { return d.size.Load() }

// Resized gets an element after Size changed, however often it did since the last was taken.
func (d *Disk) Resized() <-chan struct{} { return d.resized }

// SectorSize implements block.Device: 512 to 4096.
func (d *Disk) SectorSize() int { return d.sector }

// PhysicalSectorSize is what the backend's own disk stores at once: a multiple of SectorSize.
func (d *Disk) PhysicalSectorSize() int { return d.physical }

// ReadOnly reports whether the backend takes no writes.
func (d *Disk) ReadOnly() bool { return d.readOnly.Load() }

// Stats are counts since Open. Those of rings are of the present connection.
type Stats struct {
	Queues, RingSlots int    // of the connection; 0 if there is none
	Segments          int    // most pages of a request
	Pages             int    // shared for data
	Requests          uint64 // sent to the backend, those that were sent again included
	Notifications     uint64 // to the backend
	Events            uint64 // from the backend
	SentAgain         uint64 // requests that were sent again after a connection was lost
	Connections       uint64
	Parked            int // pages that a backend still mapped when its connection ended
}

// Stats are for people and tests.
func (d *Disk) Stats() Stats {
	st := Stats{
		Requests: d.seq.Load() + d.sentAgain.Load(), SentAgain: d.sentAgain.Load(),
		Connections: d.reconnects.Load(), Parked: int(d.parked.Load()),
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sess == nil {
		return st
	}
	for _, q := range d.sess.queues {
		st.Notifications += q.notified.Load()
		st.Events += q.events.Load()
		st.RingSlots, st.Segments = len(q.slots), q.most
		q.mu.Lock()
		st.Pages += q.pool.total
		q.mu.Unlock()
	}
	st.Queues = len(d.sess.queues)
	return st
}

// admit gives the session to which a request may be sent now. seq is its number if it was sent before, else 0. Without
// a session the channel tells when to ask again. gated says that the request goes by sendAgain.
func (d *Disk) admit(seq uint64) (s *session, gated bool, changed <-chan struct{}) {
	if s := d.live.Load(); s != nil {
		return s, false, nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.isOver || d.sess == nil || len(d.again) > 0 && (seq == 0 || seq > d.again[0]) {
		return nil, false, d.changed
	}
	return d.sess, true, nil
}

// sendAgain sends while there are requests to be sent again. last says that it is all of the request.
func (d *Disk) sendAgain(s *slot, c *call, last bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.sess != s.q.s || d.isOver || !s.q.send(s, c) {
		return false
	}
	d.sentAgain.Add(1)
	if last {
		d.forgetLocked(s.piece.seq)
	}
	return true
}

// forget takes a request out of those that are to be sent again.
func (d *Disk) forget(seq uint64) {
	if seq == 0 || d.live.Load() != nil {
		return
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.forgetLocked(seq)
}

func (d *Disk) forgetLocked(seq uint64) {
	if i, ok := slices.BinarySearch(d.again, seq); ok {
		d.again = slices.Delete(d.again, i, i+1)
		d.tellLocked()
	}
}

// tellLocked lets everybody look who waits for a session or a turn.
func (d *Disk) tellLocked() {
	if d.sess != nil && len(d.again) == 0 && !d.isOver {
		d.live.Store(d.sess)
	}
	close(d.changed)
	d.changed = make(chan struct{})
}

// driver is the disk as xenbus sees it.
type driver struct{ d *Disk }

var _ xenbus.Frontend = driver{}

func (v driver) Prepare(_ context.Context, peer xen.DomID, back xenbus.Nodes) (map[string]string, error) {
	d := v.d
	if err := d.Err(); err != nil {
		return nil, err
	}
	f, err := blkif.ParseFeatures(blkif.Nodes(back))
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrBackend, err)
	} else {
		d.preparing, err = newSession(d, peer, &f)
	}
	d.trouble(err)
	if err != nil {
		return nil, err
	}
	return d.preparing.nodes(), nil
}

// trouble keeps why the last try to connect failed, for the error of who gives up waiting.
func (d *Disk) trouble(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = err
}

func (v driver) Connect(_ context.Context, back xenbus.Nodes) error {
	d := v.d
	f, err := blkif.ParseFeatures(blkif.Nodes(back))
	if err == nil {
		err = d.adopt(back)
	}
	if err != nil {
		err = fmt.Errorf("%w: %w", ErrBackend, err)
		d.end(d.error("connect", -1, err))
		return err
	}
	s := d.preparing
	if s.started {
		return nil
	}
	s.start(f)
	d.reconnects.Add(1)
	d.mu.Lock()
	d.sess = s
	d.tellLocked()
	d.mu.Unlock()
	select {
	case <-d.opened:
	default:
		close(d.opened)
	}
	return nil
}

// adopt takes over what the backend says of the disk.
func (d *Disk) adopt(back xenbus.Nodes) error {
	k, err := blkif.ParseDisk(blkif.Nodes(back))
	if err != nil {
		return err
	}
	if k.SectorSize > xen.PageSize {
		return fmt.Errorf("sectors of %d bytes, at most %d can be served", k.SectorSize, xen.PageSize)
	}
	if d.sector == 0 {
		d.sector, d.physical = k.SectorSize, k.PhysicalSectorSize
	} else if d.sector != k.SectorSize {
		return fmt.Errorf("sectors of %d bytes that were of %d before", k.SectorSize, d.sector)
	}
	d.readOnly.Store(k.Info&blkif.InfoReadOnly != 0)
	size := int64(k.Sectors) * blkif.SectorSize
	if old := d.size.Swap(size); old != size && d.reconnects.Load() > 0 {
		select {
		case d.resized <- struct{}{}:
		default:
		}
	}
	return nil
}

func (v driver) Changed(back xenbus.Nodes) {
	if err := v.d.adopt(back); err != nil {
		v.d.end(v.d.error("resize", -1, fmt.Errorf("%w: %w", ErrBackend, err)))
	}
}

func (v driver) Disconnect() {
	d := v.d
	s := d.preparing
	if s == nil {
		return
	}
	d.preparing = nil
	d.mu.Lock()
	d.live.Store(nil)
	d.sess = nil
	d.mu.Unlock()
	d.parked.Add(int64(s.close(d.lost)))
}

// lost notes that a request is to be sent again, before the one who waits for it learns of it.
func (d *Disk) lost(s *slot) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if i, ok := slices.BinarySearch(d.again, s.piece.seq); !ok {
		d.again = slices.Insert(d.again, i, s.piece.seq)
	}
}
