package xenconsoled

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"morgana/xen"
	"morgana/xen/wire/console"
)

// Sink keeps what a console says. Its methods are called by one goroutine at a time.
type Sink interface {
	// Write takes bytes of the stream from m.Position() on: how many it took, which is at most len(p) and may be 0 when
	// it waits for more, and moves the mark there. last says that nothing will follow; where nothing is left, nobody
	// says so. p is not kept.
	Write(m *Mark, p []byte, last bool) (int, error)
	// Lost says in the log that n bytes are missing here.
	Lost(m *Mark, n uint64) error
	// Close closes it.
	Close() error
}

// Config is a console to be served.
type Config struct {
	Dom  xen.DomID
	Name string // for people: the domain's
	// Page is the guest's console page, Event its event channel. They stay the caller's.
	Page  []byte
	Event xen.Event
	// Stream is where the bytes go. If a process before this one served the console, it goes on.
	Stream *Stream
	Sink   Sink // may be nil
	// LogDelay is how long a byte may wait until it is given to the sink, so that others come with it; at least 2 ms.
	LogDelay time.Duration
	// Rate bounds what the guest may write, in bytes a second, on average; 0: nothing does. A guest may save up a
	// tenth of a second.
	Rate int
	// Warn takes what there is to say, a line a call; it may be nil.
	Warn func(string)
	// Now is the clock; nil stands for time.Now.
	Now func() time.Time
}

// Console is a guest's console. Run serves it; the other methods may be called at any time by anybody.
type Console struct {
	cfg    Config
	page   *page
	bad    bool      // an impossible index was seen
	badAt  time.Time // when it was said
	rate   bucket
	logger *logger // nil: no log

	inRoom chan struct{} // the guest may have read; capacity 1
	input  chan struct{} // full while somebody types, and waits for the guest with it; capacity 1
	name   atomic.Pointer[string]
	typed  atomic.Uint64

	done chan struct{} // closed at the end of Run: nobody types any more

	mu      sync.Mutex
	over    bool     // the page is not to be touched; it changes while Run has input too
	writers int      // sessions that may type
	sole    *Session // the one that alone may
}

// ErrGone is the cause to end Run's context with when the guest is gone: nothing will follow. Whoever types then gets it.
var ErrGone = errors.New("the guest is gone")

// New makes a console ready to be served.
func New(cfg Config) (*Console, error) {
	p, err := newPage(cfg.Page)
	if err != nil {
		return nil, err
	}
	if cfg.Stream == nil || cfg.Event == nil {
		return nil, fmt.Errorf("xenconsoled: domain %d: a console needs a stream and an event channel", cfg.Dom)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Warn == nil {
		cfg.Warn = func(string) {}
	}
	c := &Console{cfg: cfg, page: p, inRoom: make(chan struct{}, 1), input: make(chan struct{}, 1), done: make(chan struct{})}
	c.rate = bucket{rate: cfg.Rate, burst: max(cfg.Rate/10, 2*console.OutSize)}
	c.SetName(cfg.Name)
	if cfg.Sink != nil {
		c.logger = newLogger(&c.cfg)
	}
	c.resume()
	cfg.Page[console.Connection] = console.Connected
	return c, nil
}

// resume finds the place in the ring. A process that ended between keeping bytes and telling the guest so has kept
// bytes that are still in the ring: they are not taken again.
func (c *Console) resume() {
	cons, n, err := c.page.output()
	if err != nil {
		return
	}
	s := c.cfg.Stream
	if ahead := s.next() - cons; s.End() > 0 && ahead > 0 && ahead <= uint32(n) {
		c.page.outCons.Store(s.next())
	}
}

// Dom is the guest.
func (c *Console) Dom() xen.DomID { return c.cfg.Dom }

// Name is the guest's name, for people.
func (c *Console) Name() string { return *c.name.Load() }

// SetName says that the guest is called otherwise now.
func (c *Console) SetName(name string) { c.name.Store(&name) }

// Stream is what the guest wrote.
func (c *Console) Stream() *Stream { return c.cfg.Stream }

// Stats are what a console has seen. All but Typed count from the guest's beginning, if the stream's memory survived.
type Stats struct {
	Dom     xen.DomID
	Name    string
	Bytes   uint64 // that the guest wrote
	Lines   uint64 // of them, with an end
	Logged  uint64 // bytes that are in the log
	Lost    uint64 // bytes that the log could not take, and has not told of
	Dropped uint64 // bytes that terminals and sessions missed because they lagged, in this process
	Typed   uint64 // bytes that the guest was given, in this process
	Writers int    // sessions that may type
}

// Stats reads the counters. It is cheap.
func (c *Console) Stats() Stats {
	s := c.Stream()
	logged, lost := s.Logged()
	return Stats{
		Dom: c.Dom(), Name: c.Name(), Bytes: s.End(), Lines: s.Lines(), Logged: logged, Lost: lost, Dropped: s.Dropped(),
		Typed: c.typed.Load(), Writers: c.Writers(),
	}
}

// turn is how many bytes are taken before others get their turn.
const turn = 64 << 10

// Run serves the console until ctx ends, or the guest's event channel is closed, and returns why. It is called once. What
// it took from the guest is in the log then; the sink stays open. The page is not touched any more: Write fails.
func (c *Console) Run(ctx context.Context) error {
	stop := make(chan bool, 1)
	logged := make(chan struct{})
	go func() {
		defer close(logged)
		if c.logger == nil {
			<-stop
			return
		}
		c.logger.log(stop)
	}()
	err := c.serve(ctx)
	gone := errors.Is(err, ErrGone)
	if gone {
		c.takeLast()
	}
	stop <- gone
	<-logged
	close(c.done)
	c.input <- struct{}{} // whoever types has left
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	<-c.input
	return err
}

// takeLast takes what a guest that is gone has left.
func (c *Console) takeLast() {
	late := time.NewTimer(time.Second)
	defer late.Stop()
	for range 2 * console.OutSize {
		switch n, why := c.take(console.OutSize); {
		case n > 0:
		case why != noRoom:
			return
		default:
			select {
			case <-c.cfg.Stream.Room():
			case <-late.C:
				return
			}
		}
	}
}

func (c *Console) serve(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	defer timer.Stop()
	for took := 0; ; {
		n, full := c.take(c.rate.take(c.cfg.Now()))
		c.rate.spend(n)
		c.signal()
		took += n
		switch {
		case n > 0 && took < turn:
			continue
		case n > 0:
			took = 0
			runtime.Gosched()
			if ctx.Err() == nil {
				continue
			}
			return context.Cause(ctx)
		}
		took = 0
		switch full {
		case empty:
			if err := c.cfg.Event.Wait(ctx); err != nil {
				return err
			}
		case noRoom:
			select {
			case <-c.cfg.Stream.Room():
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		case noRate:
			timer.Reset(c.rate.wait())
			select {
			case <-timer.C:
			case <-ctx.Done():
				return context.Cause(ctx)
			}
		}
	}
}

// why is why nothing was taken.
type why uint8

const (
	empty why = iota
	noRoom
	noRate
)

// take moves at most most bytes from the ring into the stream.
func (c *Console) take(most int) (int, why) {
	cons, n, err := c.page.output()
	if err != nil {
		// A guest that does it again and again is not to fill the log of who serves.
		if now := c.cfg.Now(); !c.bad && (c.badAt.IsZero() || now.Sub(c.badAt) > time.Minute) {
			c.badAt = now
			c.cfg.Warn(fmt.Sprintf("domain %d: %v: it is not served until it makes sense again", c.cfg.Dom, err))
		}
		c.bad = true
		return 0, empty
	}
	if n == 0 {
		return 0, empty
	}
	c.bad = false
	s := c.cfg.Stream
	if most == 0 {
		return 0, noRate
	}
	if n = min(n, most, s.Free()); n == 0 {
		return 0, noRoom
	}
	if cons != s.next() {
		s.resync(cons)
	}
	a, b := c.page.bytes(cons, n)
	s.Append(a, b)
	c.page.outCons.Store(cons + uint32(n))
	_ = c.cfg.Event.Notify() // a guest that is gone does not wait
	return n, empty
}

// Input is the index in the guest's ring of the byte that is typed next. It goes on from one process that serves the
// console to the next, and so tells how much of what was typed before got to the guest. It is the guest's word: a guest
// that changes it loses what is typed at it, or hears it twice. ok is false after Run.
func (c *Console) Input() (index uint32, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return 0, false
	}
	return c.page.inProd.Load(), true
}

// signal wakes who waits for the guest to read what was typed.
func (c *Console) signal() {
	select {
	case c.inRoom <- struct{}{}:
	default:
	}
}

// Write types p at the console, as its terminal does. It waits until the guest has room, or ctx ends: n says how much was
// typed. It fails with ErrTaken while a session types alone, and with ErrGone after Run.
func (c *Console) Write(ctx context.Context, p []byte) (n int, err error) {
	return c.write(ctx, p, nil)
}

func (c *Console) write(ctx context.Context, p []byte, by *Session) (n int, err error) {
	if err := c.begin(ctx); err != nil {
		return 0, err
	}
	defer func() { <-c.input }()
	var tick *time.Ticker
	for {
		if c.over {
			return n, ErrGone
		}
		if err := c.may(by); err != nil {
			return n, err
		}
		m, _ := c.page.put(p[n:])
		if n += m; m > 0 {
			c.typed.Add(uint64(m))
			if err := c.cfg.Event.Notify(); err != nil {
				return n, err
			}
		}
		if n == len(p) {
			return n, nil
		}
		// Nobody waits for the guest's events while its output has to wait: look again now and then too. An impossible
		// index is the guest's way of not reading.
		if tick == nil {
			tick = time.NewTicker(20 * time.Millisecond)
			defer tick.Stop()
		}
		select {
		case <-c.inRoom:
		case <-tick.C:
		case <-c.done:
			return n, ErrGone
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
	}
}

// begin waits for the right to type. Who need not wait gets it even if ctx has ended: what there is room for is typed.
func (c *Console) begin(ctx context.Context) error {
	select {
	case c.input <- struct{}{}:
		return nil
	default:
	}
	select {
	case c.input <- struct{}{}:
		return nil
	case <-c.done:
		return ErrGone
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// bucket bounds a rate: tokens are bytes. For one goroutine.
type bucket struct {
	rate, burst int // a second, and at most at once; rate 0: no bound
	tokens      int
	last        time.Time
}

// least is what is worth waiting for.
const least = console.OutSize

// take is how many bytes may be taken now: 0 or at least `least`.
func (b *bucket) take(now time.Time) int {
	if b.rate <= 0 {
		return math.MaxInt
	}
	if b.last.IsZero() {
		b.tokens, b.last = b.burst, now
	}
	if d := now.Sub(b.last); d > 0 {
		if d > time.Second {
			d = time.Second
		}
		if n := int(int64(b.rate) * int64(d) / int64(time.Second)); n > 0 {
			b.tokens, b.last = min(b.tokens+n, b.burst), now
		}
	}
	if b.tokens < least {
		return 0
	}
	return b.tokens
}

func (b *bucket) spend(n int) { b.tokens -= n }

// wait is how long it takes until there is something to take.
func (b *bucket) wait() time.Duration {
	return max(time.Duration(int64(max(least, b.burst/4)-b.tokens)*int64(time.Second)/int64(b.rate)), time.Millisecond)
}
