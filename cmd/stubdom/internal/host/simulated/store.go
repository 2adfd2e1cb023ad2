package simulated

import (
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"morgana/xen"
	"morgana/xenstore/daemon"
	"morgana/xenstore/journal"
	"morgana/xenstore/server"
	"morgana/xenstore/store"
)

// journalBytes is the memory that outlives the program of the xenstore domain.
const journalBytes = 16 << 20

// storeDomain is the domain that serves xenstore. Its program may die at any moment: the next one goes on from the
// journal.
type storeDomain struct {
	h       *Host
	dom     *domain
	memory  []byte // the journal's
	begun   time.Time
	crashes atomic.Int64

	mu      sync.Mutex
	machine *storeMachine // of the program that runs
	served  chan struct{} // closed when it does
	done    chan struct{}
	err     error
}

// errCrash is what a program panics with that is to die.
var errCrash = errors.New("the program dies")

func startStore(h *Host, d *domain) (*storeDomain, error) {
	s := &storeDomain{h: h, dom: d, memory: make([]byte, journalBytes), begun: time.Now(), served: make(chan struct{}), done: make(chan struct{})}
	first := make(chan error, 1)
	go s.run(first)
	return s, <-first
}

// run runs one program after the other: what the kernel of a unikernel does.
func (s *storeDomain) run(first chan error) {
	defer close(s.done)
	for {
		d, m, err := s.enter()
		if first != nil {
			first <- err
			first = nil
		}
		if err != nil {
			s.end(err)
			return
		}
		died, err := live(s.h.last, d)
		m.close()
		err = errors.Join(err, d.Close())
		if !died {
			s.end(err)
			return
		}
		s.h.say("the xenstore domain's program died; the next one goes on from the journal")
	}
}

func (s *storeDomain) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// enter starts a program: nothing is left of the one before but the journal, and the rings of the domains.
func (s *storeDomain) enter() (*daemon.Daemon, *storeMachine, error) {
	arena, err := journal.NewArena(s.memory)
	if err != nil {
		return nil, nil, err
	}
	m, err := newStoreMachine(s.h, s.dom)
	if err != nil {
		return nil, nil, err
	}
	d, err := daemon.New(daemon.Config{
		Machine: m, Wait: m.wait, Storage: arena, Limits: store.DefaultLimits(), EventTimeout: server.EventTimeout * time.Millisecond,
		Stats: func(b []byte) []byte {
			return fmt.Appendf(b, "uptime-ms %d\n", time.Since(s.begun).Milliseconds())
		},
		Words: func(line string) { s.h.say("xenstore: " + line) },
	})
	if err != nil {
		m.close()
		return nil, nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.dom.entered++
	s.machine = m
	close(s.served)
	return d, m, nil
}

// live runs a program and reports whether it died.
func live(ctx context.Context, d *daemon.Daemon) (died bool, err error) {
	defer func() {
		switch r := recover(); r {
		case nil:
		case errCrash:
			died = true
		default:
			panic(r)
		}
	}()
	return false, d.Run(ctx)
}

// CrashStore lets the program of the xenstore domain die in the midst of its next notification, and returns when the next
// one serves.
func (h *Host) CrashStore(ctx context.Context) error {
	s := h.store
	s.mu.Lock()
	m := s.machine
	s.served = make(chan struct{})
	served := s.served
	s.mu.Unlock()
	s.crashes.Add(1)
	m.dying.Store(true)
	m.poke()
	// Somebody asks something, if nobody did.
	asked := make(chan error, 1)
	go func() { _, err := h.tools.Store.Read(ctx, "/tool/xenstored/domid"); asked <- err }()
	select {
	case <-served:
		return <-asked // answered by the next one
	case <-s.done:
		return fmt.Errorf("the xenstore domain is not served any more: %w", s.err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// close waits for the end of the program, after the host's context ended.
func (s *storeDomain) close() error {
	s.mu.Lock()
	m := s.machine
	s.mu.Unlock()
	if m != nil {
		m.poke()
	}
	<-s.done
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// storeMachine is Xen as the program sees it. It implements daemon.Machine.
type storeMachine struct {
	h     *Host
	dom   *domain
	fd    int // never readable: wait waits
	dying atomic.Bool

	ctx    context.Context
	cancel context.CancelFunc
	pumps  sync.WaitGroup
	wake   chan struct{} // capacity 1

	mu       sync.Mutex
	channels map[xen.Port]xen.Event
	masked   map[xen.Port]bool // taken, and not unmasked
	missed   map[xen.Port]bool // notified meanwhile
	pending  []xen.Port
	pages    map[*byte]xen.Mapping
}

var _ daemon.Machine = (*storeMachine)(nil)

func newStoreMachine(h *Host, d *domain) (*storeMachine, error) {
	fd, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, os.NewSyscallError("eventfd", err)
	}
	m := &storeMachine{
		h: h, dom: d, fd: fd, wake: make(chan struct{}, 1), channels: make(map[xen.Port]xen.Event),
		masked: make(map[xen.Port]bool), missed: make(map[xen.Port]bool), pages: make(map[*byte]xen.Mapping),
	}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	return m, nil
}

func (m *storeMachine) close() {
	m.cancel()
	m.pumps.Wait()
	for _, e := range m.channels {
		e.Close()
	}
	for _, p := range m.pages {
		p.Close()
	}
	unix.Close(m.fd)
}

func (m *storeMachine) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// mayDie ends the program where it is, if it is to.
func (m *storeMachine) mayDie() {
	if m.dying.Load() {
		panic(errCrash)
	}
}

// wait is daemon.Config's Wait.
func (m *storeMachine) wait(timeout time.Duration) error {
	m.mu.Lock()
	ready := len(m.pending) > 0
	m.mu.Unlock()
	if ready {
		return nil
	}
	var late <-chan time.Time
	if timeout >= 0 {
		t := time.NewTimer(timeout)
		defer t.Stop()
		late = t.C
	}
	select {
	case <-m.wake:
	case <-late:
	}
	return nil
}

func (m *storeMachine) FD() int { return m.fd }

// follow has the events of a channel become pending ports.
func (m *storeMachine) follow(e xen.Event) xen.Port {
	port := e.Port()
	m.mu.Lock()
	m.channels[port] = e
	m.mu.Unlock()
	m.pumps.Go(func() {
		for e.Wait(m.ctx) == nil {
			m.mu.Lock()
			if m.masked[port] {
				m.missed[port] = true
			} else {
				m.raiseLocked(port)
			}
			m.mu.Unlock()
		}
	})
	return port
}

func (m *storeMachine) raiseLocked(p xen.Port) {
	m.masked[p] = true
	m.pending = append(m.pending, p)
	m.poke()
}

func (m *storeMachine) Take() (xen.Port, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.pending) == 0 {
		return 0, false, nil
	}
	p := m.pending[0]
	m.pending = m.pending[1:]
	return p, true, nil
}

func (m *storeMachine) Unmask(ports []xen.Port) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range ports {
		m.masked[p] = false
		if m.missed[p] {
			m.missed[p] = false
			m.raiseLocked(p)
		}
	}
	return nil
}

func (m *storeMachine) Notify(p xen.Port) error {
	m.mayDie()
	m.mu.Lock()
	e := m.channels[p]
	m.mu.Unlock()
	if e == nil {
		return xen.ErrInvalid
	}
	return e.Notify()
}

func (m *storeMachine) Bind(d xen.DomID, remote xen.Port) (xen.Port, error) {
	e, err := m.dom.Connect(d, remote)
	if err != nil {
		return 0, err
	}
	return m.follow(e), nil
}

func (m *storeMachine) BindException() (xen.Port, error) {
	e, err := m.dom.BindVIRQ(xen.VIRQDomExc)
	if err != nil {
		return 0, err
	}
	return m.follow(e), nil
}

func (m *storeMachine) Unbind(p xen.Port) error {
	m.mu.Lock()
	e := m.channels[p]
	delete(m.channels, p)
	m.mu.Unlock()
	if e == nil {
		return xen.ErrInvalid
	}
	return e.Close()
}

func (m *storeMachine) Map(d xen.DomID) ([]byte, error) {
	dom := m.h.find(d)
	if dom == nil || dom.ring == nil {
		return nil, xen.ErrPeerGone
	}
	g, err := m.dom.Map(d, dom.ring.Refs(), xen.ReadWrite)
	if err != nil {
		return nil, err
	}
	page := g.Bytes()
	m.pages[&page[0]] = g
	return page, nil
}

func (m *storeMachine) Unmap(_ xen.DomID, page []byte) error {
	g := m.pages[&page[0]]
	delete(m.pages, &page[0])
	if g == nil {
		return xen.ErrInvalid
	}
	return g.Close()
}

func (m *storeMachine) Dom0Port() (xen.Port, error) { return m.h.find(0).port, nil }

func (m *storeMachine) State(d xen.DomID) server.DomainState {
	if m.h.find(d) == nil {
		return server.Gone
	}
	return server.Running
}
