package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"golang.org/x/sys/unix"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore/journal"
	"morgana/xenstore/migration"
	"morgana/xenstore/server"
	"morgana/xenstore/store"
)

// Config is how a daemon is to be.
type Config struct {
	Machine Machine
	// Socket is where clients connect; "" for none.
	Socket string
	// RunDir is where a live update leaves its state.
	RunDir string
	// Journal is the directory of the journal, best on a tmpfs; "" for none: then a restart forgets all.
	Journal string
	// Storage keeps the journal in place of a directory.
	Storage      journal.Storage
	Limits       store.Limits
	EventTimeout time.Duration // 0 for ever
	KeepOrphans  bool
	// Handover says that another program left its state for us: a live update. Args is the command line that the next
	// one is executed with, the program first.
	Handover bool
	Args     []string
	History  func(server.Commit) // may be nil; must not block
	// Tune, if there is one, is told now and then how many nodes there are: to trade memory for time.
	Tune func(nodes int)
	// Wait waits for the machine's events, or until the timeout if it is not negative, in place of the daemon's own
	// poll: for a program that has no socket and a better way to sleep. That the context ended is seen at the next event.
	Wait func(timeout time.Duration) error
	// Stats adds to what CONTROL stats answers: a name, a blank and a number a line. It may be nil.
	Stats func(b []byte) []byte
	// Words takes what there is to say, a line a call; Trace what the log shows, if it is on.
	Words func(string)
	Trace *Trace
}

// Daemon is a xenstore service. Its methods are for one goroutine; what Run calls is its own.
type Daemon struct {
	cfg          Config
	core         *server.Core
	journal      *journal.Journal
	epoll        int
	wake         int // eventfd: the context ended
	listener     int
	clients      map[int]*client
	rings        map[xen.Port]*domainRing
	active       []*domainRing
	spareRings   []*domainRing // room for the next round's active
	logged       []*domainRing // those of guests whose requests changed something that the journal has not yet
	blocked      []*domainRing // have output that the domain has no room for
	unread       []*client     // may have more to read
	spareClients []*client     // room for the next unread
	dom0         *domainRing   // nil while there is none
	taken        []xen.Port    // to be unmasked
	exception    xen.Port
	start        time.Time
	tuned        int64 // when to tune again
	tracing      bool
	update       *update
	failure      error
	buf          [64 << 10]byte
	reqs         [xs.RingSize]byte
}

// stateFile is where programs that follow each other leave their state, below RunDir.
const stateFile = "state_dump"

// New makes a daemon ready to run: with the state that another program handed over, with that of a journal, or afresh.
func New(cfg Config) (*Daemon, error) {
	d := &Daemon{
		cfg: cfg, listener: -1, clients: make(map[int]*client), rings: make(map[xen.Port]*domainRing), start: time.Now(),
	}
	if d.cfg.Words == nil {
		d.cfg.Words = func(string) {}
	}
	var err error
	if d.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, os.NewSyscallError("epoll_create1", err)
	}
	if d.wake, err = unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK); err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	if err := d.setUp(); err != nil {
		d.Close()
		return nil, err
	}
	return d, nil
}

// Core is the service itself, for tests and programs that look at it between runs.
func (d *Daemon) Core() *server.Core { return d.core }

func (d *Daemon) setUp() error {
	if err := d.add(d.wake, unix.EPOLLIN); err != nil {
		return err
	}
	var err error
	if d.exception, err = d.cfg.Machine.BindException(); err != nil {
		return fmt.Errorf("xenstored: bind VIRQ_DOM_EXC: %w", err)
	}
	if err := d.add(d.cfg.Machine.FD(), unix.EPOLLIN); err != nil {
		return err
	}
	storage, err := d.storage()
	if err != nil {
		return err
	}
	switch found := false; {
	case d.cfg.Handover:
		if err := d.takeOver(); err != nil {
			return fmt.Errorf("xenstored: take over: %w", err)
		}
	case storage != nil:
		if found, err = d.recover(storage); err != nil {
			return fmt.Errorf("xenstored: journal %s: %w (remove the directory to begin without it)", d.cfg.Journal, err)
		}
		if found {
			break
		}
		fallthrough
	default:
		d.core = server.New(d.coreConfig())
		port, err := d.cfg.Machine.Dom0Port()
		if err != nil {
			return fmt.Errorf("xenstored: dom0's event channel: %w", err)
		}
		if e := d.core.Introduce(0, port); e != 0 {
			return fmt.Errorf("xenstored: connect dom0: %w", e)
		}
	}
	if storage != nil {
		head, more := d.core.Snapshot()
		if d.journal, err = journal.Begin(storage, head, more); err != nil {
			return fmt.Errorf("xenstored: journal %s: %w", d.cfg.Journal, err)
		}
	}
	if d.listener < 0 && d.cfg.Socket != "" {
		return d.listen()
	}
	return nil
}

func (d *Daemon) storage() (journal.Storage, error) {
	if d.cfg.Storage != nil || d.cfg.Journal == "" {
		return d.cfg.Storage, nil
	}
	s, err := journal.OpenDir(d.cfg.Journal)
	if err != nil {
		return nil, fmt.Errorf("xenstored: journal: %w", err)
	}
	return s, nil
}

func (d *Daemon) coreConfig() server.Config {
	return server.Config{
		Limits: d.cfg.Limits, EventTimeout: d.cfg.EventTimeout.Milliseconds(), KeepOrphans: d.cfg.KeepOrphans, Host: (*host)(d),
		Journal: d.cfg.Journal != "" || d.cfg.Storage != nil, History: d.cfg.History, Words: d.cfg.Words, Stats: d.cfg.Stats,
	}
}

// recover makes the core of a journal, and attaches the rings that it tells of.
func (d *Daemon) recover(s journal.Storage) (bool, error) {
	r := server.NewRestorer(d.coreConfig())
	found, err := journal.Replay(s, func(records []byte) error { return each(records, r.Record) })
	if err != nil || !found {
		return false, err
	}
	d.core = r.Finish()
	d.core.SetNow(d.now())
	for _, c := range d.core.Conns() {
		dom, isDomain := c.Domain()
		if !isDomain {
			d.core.Close(c)
			continue
		}
		port := c.Remote()
		if dom == 0 {
			if port, err = d.cfg.Machine.Dom0Port(); err != nil {
				return false, err
			}
		}
		if err := d.reattach(c, func() (xen.Port, error) { return d.cfg.Machine.Bind(dom, port) }); err != nil {
			d.cfg.Words(fmt.Sprintf("domain %d: %v", dom, err))
			d.core.Fail(c, xs.RingErrorComm)
		}
	}
	d.cfg.Words(fmt.Sprintf("went on from the journal with %d connections", len(d.core.Conns())))
	d.restart()
	return true, nil
}

// each calls f with each record.
func each(records []byte, f func(migration.Type, []byte) error) error {
	for len(records) > 0 {
		t, body, rest, err := migration.Parse(records)
		if err != nil {
			return err
		}
		if err := f(t, body); err != nil {
			return err
		}
		records = rest
	}
	return nil
}

// reattach maps the ring of a domain that was connected before, and goes on where it was left.
func (d *Daemon) reattach(c *server.Conn, bind func() (xen.Port, error)) error {
	if c.Ignored() {
		return nil
	}
	dom, _ := c.Domain()
	page, err := d.cfg.Machine.Map(dom)
	if err != nil {
		return fmt.Errorf("map its ring: %w", err)
	}
	r, err := newRing(c, page, d.clock())
	if err != nil {
		return err
	}
	c.Data = r
	port, err := bind()
	if err != nil {
		return fmt.Errorf("bind its event channel: %w", err)
	}
	c.SetPort(port)
	d.attached(r, port)
	r.advertise()
	// What waits to be sent may have been sent in part, and what was taken not be published yet.
	if d.cfg.Handover {
		c.Consumed(r.reqCons.Load())
		c.SetPosition(uint64(r.rspProd.Load()))
	} else {
		if sent := r.rspProd.Load() - uint32(c.Position()); sent <= uint32(len(c.Output())) {
			d.core.Sent(c, int(sent))
		}
		if ahead := c.LastConsumed() - r.reqCons.Load(); ahead <= xs.RingSize {
			r.reqCons.Store(c.LastConsumed())
		}
		c.SetPosition(uint64(r.rspProd.Load()))
	}
	r.notify = true
	d.activate(r)
	return nil
}

// restart does what may have been missed while nobody was here.
func (d *Daemon) restart() {
	d.core.CheckDomains()
	for _, c := range d.core.Conns() {
		if len(c.Buffered()) > 0 {
			d.core.Input(c, nil)
		}
	}
}

func (d *Daemon) now() int64 { return d.clock().Milliseconds() }

func (d *Daemon) clock() time.Duration { return time.Since(d.start) }

func (d *Daemon) add(fd int, events uint32) error {
	err := unix.EpollCtl(d.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: events, Fd: int32(fd)})
	return os.NewSyscallError("epoll_ctl", err)
}

// Close closes what the daemon holds but for what the machine does. The journal stays.
func (d *Daemon) Close() error {
	for _, c := range d.clients {
		unix.Close(c.fd)
	}
	clear(d.clients)
	if d.listener >= 0 {
		unix.Close(d.listener)
		d.listener = -1
	}
	unix.Close(d.wake)
	unix.Close(d.epoll)
	if d.journal != nil {
		return d.journal.Close()
	}
	return nil
}

// Run serves until the context ends, which is no error, or something fails.
func (d *Daemon) Run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		one := [8]byte{1}
		_, _ = unix.Write(d.wake, one[:])
	})
	defer stop()
	events := make([]unix.EpollEvent, 128)
	for ctx.Err() == nil && d.failure == nil {
		d.settle()
		if d.failure != nil {
			break
		}
		if d.cfg.Wait != nil {
			if err := d.cfg.Wait(time.Duration(d.timeout()) * time.Millisecond); err != nil {
				return fmt.Errorf("xenstored: event channels: %w", err)
			}
			d.core.SetNow(d.now())
			d.takeEvents()
			d.readRings()
			continue
		}
		n, err := d.wait(events, d.timeout())
		if err != nil {
			return err
		}
		d.core.SetNow(d.now())
		d.tune()
		d.traced()
		if d.others() {
			runtime.Gosched() // on a host with one processor they would hardly ever have it
		}
		d.readMore()
		for _, ev := range events[:n] {
			d.event(int(ev.Fd), ev.Events)
		}
		d.readRings()
	}
	return d.failure
}

// fail ends Run.
func (d *Daemon) fail(err error) {
	if d.failure == nil {
		d.failure = err
	}
}

// soon is how long, in milliseconds, the next request is awaited without telling Go's scheduler, which costs more than a
// request: clients that ask one thing after the other come back within microseconds.
const soon = 1

// wait waits for events, timeout in milliseconds; -1 for ever.
func (d *Daemon) wait(events []unix.EpollEvent, timeout int) (int, error) {
	first := soon
	switch {
	case timeout >= 0 && timeout < soon:
		first = timeout
	case d.others():
		first = 0
	}
	if n, e := poll(d.epoll, events, first); e != 0 || n > 0 || timeout == first {
		if e != 0 && e != unix.EINTR {
			return 0, os.NewSyscallError("epoll_wait", e)
		}
		return max(n, 0), nil
	}
	n, err := unix.EpollWait(d.epoll, events, timeout)
	if errors.Is(err, unix.EINTR) {
		return 0, nil
	}
	return max(n, 0), os.NewSyscallError("epoll_wait", err)
}

// others reports whether other goroutines have work to do, maybe on this processor: the history, or a snapshot.
func (d *Daemon) others() bool { return d.cfg.History != nil || d.journal != nil && d.journal.Busy() }

func (d *Daemon) timeout() int {
	next := d.core.Tick()
	if len(d.unread) > 0 {
		return 0
	}
	for _, r := range d.active {
		if !d.core.CanRead(r.conn) && !r.masked {
			continue // it notifies us when it has read
		}
		if r.dom == 0 {
			return 0
		}
		wait := r.share.wait(d.clock())
		if wait == 0 {
			return 0
		}
		if ms := int64((wait + time.Millisecond - 1) / time.Millisecond); next < 0 || ms < next {
			next = ms
		}
	}
	if d.update != nil && d.update.started && (next < 0 || next > 100) {
		next = 100
	}
	return int(min(next, 1<<30))
}

func (d *Daemon) event(fd int, events uint32) {
	switch fd {
	case d.listener:
		d.accept()
	case d.wake:
	case d.cfg.Machine.FD():
		d.takeEvents()
	default:
		if c := d.clients[fd]; c != nil {
			if events&unix.EPOLLOUT != 0 {
				d.flushClient(c)
			}
			if events&^unix.EPOLLOUT != 0 && d.clients[fd] == c {
				d.readClient(c, events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0)
			}
		}
	}
}

// settle makes what was done last, then lets it be seen.
func (d *Daemon) settle() {
	crashPoint()
	d.keep()
	if d.failure != nil {
		return
	}
	crashPoint()
	ready := d.core.Ready()
	for _, r := range d.active {
		d.flushRing(r)
		crashPoint()
	}
	blocked := d.blocked
	d.blocked = d.blocked[len(d.blocked):]
	for _, r := range blocked {
		d.flushRing(r)
	}
	for _, c := range ready {
		switch x := c.Data.(type) {
		case *client:
			if d.clients[x.fd] == x {
				d.flushClient(x)
			}
		case *domainRing:
			d.flushRing(x)
		}
	}
	d.stepUpdate()
	crashPoint()
}

// keep writes the journal. Guests pay for what their requests made it write.
func (d *Daemon) keep() {
	if d.journal == nil {
		return
	}
	if len(d.logged) > 0 {
		begun, all := d.clock(), d.core.Logged()
		defer func() {
			took := d.clock() - begun
			for i, r := range d.logged {
				r.share.spend(took * time.Duration(r.logged) / time.Duration(all))
				d.logged[i] = nil
			}
			d.logged = d.logged[:0]
		}()
	}
	err := d.journal.Append(d.core.TakeLog())
	switch full := errors.Is(err, journal.ErrFull); {
	case full:
		// The records are nowhere yet, but a snapshot of now has what they say: nobody may see it before it is whole.
		if err = d.journal.Next(d.core.Snapshot()); err == nil {
			err = d.journal.Close()
		}
	case err == nil && d.journal.Full():
		err = d.journal.Next(d.core.Snapshot())
	}
	if err != nil {
		d.fail(fmt.Errorf("xenstored: journal %s: %w", d.cfg.Journal, err))
	}
}

// tune tells the program now and then how large the store is.
func (d *Daemon) tune() {
	if now := d.now(); d.cfg.Tune != nil && now >= d.tuned {
		d.tuned = now + tuneEvery
		d.cfg.Tune(d.core.Nodes())
	}
}

const tuneEvery = 1000 // milliseconds

// listen makes the socket.
func (d *Daemon) listen() error {
	fail := func(what string, err error) error {
		return fmt.Errorf("xenstored: socket %s: %s: %w", d.cfg.Socket, what, err)
	}
	if err := os.MkdirAll(filepath.Dir(d.cfg.Socket), 0o755); err != nil {
		return err
	}
	if err := os.Remove(d.cfg.Socket); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fail("remove the old one", err)
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return fail("make", err)
	}
	d.listener = fd
	if err := unix.Bind(fd, &unix.SockaddrUnix{Name: d.cfg.Socket}); err != nil {
		return fail("bind", err)
	}
	if err := os.Chmod(d.cfg.Socket, 0o600); err != nil {
		return err
	}
	if err := unix.Listen(fd, unix.SOMAXCONN); err != nil {
		return fail("listen", err)
	}
	return d.add(fd, unix.EPOLLIN)
}

var _ io.Closer = (*Daemon)(nil)
