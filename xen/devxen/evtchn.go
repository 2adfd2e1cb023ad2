package devxen

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"morgana/xen"
)

// portDevice is what the event device does; tests have another one.
type portDevice interface {
	// Read waits for ports, u32 each, that fired. They stay masked until they are written.
	io.ReadWriteCloser
	bind(request uintptr, args []byte) (xen.Port, error)
	unbind(xen.Port) error
	notify(xen.Port) error
}

// portFile is the device itself. Its calls never block, and are made without the runtime's hand-over of the processor:
// that would cost more than they do, because after a rest it wakes the thread which watches the scheduler (sysmon), and
// that one's sleeps cost timers.
type portFile struct {
	*os.File
	fd  int
	raw syscall.RawConn

	// Of the goroutine in Read.
	try func(fd uintptr) bool // made once: it does not allocate
	buf []byte
	n   int
	err error
}

func newPortFile(f *os.File) (*portFile, error) {
	fd, err := descriptor(f)
	if err != nil {
		return nil, err
	}
	p := &portFile{File: f, fd: fd}
	if p.raw, err = f.SyscallConn(); err != nil {
		return nil, err
	}
	p.try = func(uintptr) bool {
		for {
			p.n, p.err = read(p.fd, p.buf)
			if !errors.Is(p.err, syscall.EINTR) {
				return !errors.Is(p.err, syscall.EAGAIN)
			}
		}
	}
	return p, nil
}

// Read waits in Go's poller while there is nothing. For one goroutine at a time.
func (f *portFile) Read(b []byte) (int, error) {
	f.buf = b
	err := f.raw.Read(f.try)
	f.buf = nil
	switch {
	case err != nil:
		return 0, err
	case f.err != nil:
		return 0, f.err
	case f.n == 0:
		return 0, io.EOF
	}
	return f.n, nil
}

// Write unmasks ports. Not to be called after Close, or while it is.
func (f *portFile) Write(b []byte) (int, error) { return write(f.fd, b) }

func (f *portFile) bind(request uintptr, args []byte) (xen.Port, error) {
	n, err := ioctl(f.fd, request, args)
	return xen.Port(n), err
}

func (f *portFile) unbind(p xen.Port) error {
	_, err := ioctlWord(f.fd, evtchnUnbind, uint32(p))
	return err
}

func (f *portFile) notify(p xen.Port) error {
	_, err := ioctlWord(f.fd, evtchnNotify, uint32(p))
	return err
}

// events hands what the device reads to the events that wait: one goroutine, no allocation for an event.
type events struct {
	dev  portDevice
	done chan struct{} // closed when the goroutine has ended

	// mu guards the table, and the descriptor against being closed while in use. A bind holds it across its call,
	// or an event could be read before its port is in the table; the calls take microseconds and never block.
	mu     sync.RWMutex
	table  map[xen.Port]*event
	closed bool
}

// readPorts is how many ports one read takes at most.
const readPorts = 256

func newEvents(dev portDevice) *events {
	v := &events{dev: dev, done: make(chan struct{}), table: make(map[xen.Port]*event)}
	go v.dispatch()
	return v
}

// bind makes a port by one of the bind requests.
func (v *events) bind(request uintptr, args ...uint32) (*event, error) {
	var b []byte
	for _, a := range args {
		b = le.AppendUint32(b, a)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil, xen.ErrClosed
	}
	port, err := v.dev.bind(request, b)
	if err != nil {
		return nil, wrap(err)
	}
	return v.enterLocked(port), nil
}

// adopt enters a port that is bound already.
func (v *events) adopt(port xen.Port) (*event, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch {
	case v.closed:
		return nil, xen.ErrClosed
	case port == 0 || v.table[port] != nil:
		return nil, fmt.Errorf("%w: not a port that can be taken over", xen.ErrInvalid)
	}
	e := v.enterLocked(port)
	// What fired before anyone was here may have been read and dropped: look once, and unmask.
	e.wake <- struct{}{}
	e.held.Store(true)
	return e, nil
}

func (v *events) enterLocked(port xen.Port) *event {
	e := &event{from: v, port: port, wake: make(chan struct{}, 1), gone: make(chan struct{})}
	v.table[port] = e
	return e
}

// dispatch reads ports until the device is closed. What it delivered it unmasks at once, a whole read in one write.
// A port whose last event is still unread stays masked until that one is taken (event.held): a peer that notifies
// without end keeps only itself busy.
func (v *events) dispatch() {
	defer close(v.done)
	ports := make([]byte, 4*readPorts)
	unmask := make([]byte, 0, len(ports))
	seen := 0
	for {
		n, err := v.dev.Read(ports)
		if err != nil {
			v.fail()
			return
		}
		unmask = unmask[:0]
		v.mu.RLock()
		for i := 0; i+4 <= n; i += 4 {
			port := le.Uint32(ports[i:])
			e := v.table[xen.Port(port)]
			if seen++; defective("events-swallowed") && seen%7 == 0 {
				unmask = le.AppendUint32(unmask, port)
				continue
			}
			if e != nil && e.deliver() {
				unmask = le.AppendUint32(unmask, port)
			}
		}
		if len(unmask) > 0 && !v.closed {
			// A port that was closed meanwhile is refused by itself; there is nothing to do about it.
			_, _ = v.dev.Write(unmask)
		}
		v.mu.RUnlock()
	}
}

// fail ends every wait when the device is gone.
func (v *events) fail() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	for port, e := range v.table {
		delete(v.table, port)
		close(e.gone)
	}
}

// Close closes the device, and with it all ports, and waits for the goroutine.
func (v *events) Close() error {
	v.mu.Lock()
	was := v.closed
	v.closed = true
	var err error
	if !was {
		err = v.dev.Close()
	}
	v.mu.Unlock()
	<-v.done
	return err
}

// event implements xen.Event.
type event struct {
	from *events
	port xen.Port
	wake chan struct{} // one notification that nobody waited for yet
	gone chan struct{} // closed with the event
	held atomic.Bool   // the port is masked until wake is taken
}

// deliver stores a notification. It reports whether the port is to be unmasked now; if not, the one who takes the
// notification that is stored already does it.
func (e *event) deliver() bool {
	for {
		select {
		case e.wake <- struct{}{}:
			return true
		default:
		}
		e.held.Store(true)
		// It may have been taken between the two steps, and the taker did not see held.
		if len(e.wake) != 0 || !e.held.CompareAndSwap(true, false) {
			return false
		}
	}
}

// taken unmasks the port if that was left to the taker.
func (e *event) taken() {
	if !e.held.CompareAndSwap(true, false) {
		return
	}
	var b [4]byte
	le.PutUint32(b[:], uint32(e.port))
	e.from.mu.RLock()
	defer e.from.mu.RUnlock()
	if !e.from.closed {
		_, _ = e.from.dev.Write(b[:])
	}
}

// Port implements xen.Event.
func (e *event) Port() xen.Port { return e.port }

// Notify implements xen.Event.
func (e *event) Notify() error {
	e.from.mu.RLock()
	defer e.from.mu.RUnlock()
	if e.from.table[e.port] != e {
		return e.error("notify", xen.ErrClosed)
	}
	if err := e.from.dev.notify(e.port); err != nil {
		return e.error("notify", wrap(err))
	}
	return nil
}

// Wait implements xen.Event.
func (e *event) Wait(ctx context.Context) error {
	select {
	case <-e.gone:
		return e.error("wait", xen.ErrClosed)
	default:
	}
	select {
	case <-e.wake:
		e.taken()
		return nil
	default:
	}
	select {
	case <-e.wake:
		e.taken()
		return nil
	case <-e.gone:
		return e.error("wait", xen.ErrClosed)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// Close implements xen.Event.
func (e *event) Close() error {
	v := e.from
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.table[e.port] != e {
		return nil
	}
	delete(v.table, e.port)
	close(e.gone)
	if v.closed {
		return nil
	}
	if err := wrap(v.dev.unbind(e.port)); err != nil && !errors.Is(err, xen.ErrClosed) {
		return e.error("close", err)
	}
	return nil
}

func (e *event) error(op string, err error) error {
	return opError(op, fmt.Sprintf("port %d", e.port), err)
}
