package simulated

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"morgana/cmd/stubdom/internal/host/model"
	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/console"
	"morgana/xen/wire/xs"
	"morgana/xenconsoled"
	"morgana/xenstore"
)

// consoles is the console domain.
type consoles struct {
	h       *Host
	dom     *domain
	service *xenconsoled.Service
	stop    func()

	mu    sync.Mutex
	lines map[xen.DomID]*counter
}

// StartConsoles starts the console domain. dom0 lets it see what it has to: who there is, and their consoles.
func (h *Host) StartConsoles(ctx context.Context) error {
	d, err := h.newDomain(ctx, "consoles", model.Consoles)
	if err != nil {
		return err
	}
	d.entered = 1
	may := func(path string, a xs.Access) error {
		return h.tools.Store.SetPerms(ctx, path, xs.Perm{Access: xs.AccessNone}, xs.Perm{Access: a, Dom: d.ID()})
	}
	for _, path := range []string{xs.IntroduceDomain, xs.ReleaseDomain, "/local/domain"} {
		if err := may(path, xs.AccessRead); err != nil {
			return err
		}
	}
	c := &consoles{h: h, dom: d, lines: make(map[xen.DomID]*counter)}
	if c.service, err = xenconsoled.NewService(xenconsoled.Host{
		Dial:   func(context.Context) (*xenstore.Client, error) { return d.store, nil },
		Mapper: d, Events: d,
		Alive:  func(id xen.DomID) bool { return h.find(id) != nil },
		Memory: func(_ xen.DomID, size int) (xenconsoled.Memory, error) { return memory(make([]byte, size)), nil },
		Log:    func(name string, _ *xenconsoled.Mark) (xenconsoled.Sink, error) { return c.counterOf(name), nil },
		Warn:   func(line string) { h.say("consoles: " + line) },
	}, xenconsoled.Options{Rate: 16 << 20}); err != nil {
		return err
	}
	life, cancel := context.WithCancel(h.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.service.Run(life) }) // until its end
	c.stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	h.consoles = c
	if err := h.tools.Store.Write(ctx, "/tool/xenconsoled/domid", strconv.Itoa(int(d.ID()))); err != nil {
		return err
	}
	// The consoles of those that were there before.
	for _, other := range h.all() {
		if other.ID() != 0 && other.role != model.Xenstore && other != d {
			if err := h.offerConsole(ctx, other); err != nil {
				return err
			}
		}
	}
	return nil
}

// memory is that of a stream, which ends with the process here.
type memory []byte

func (m memory) Bytes() []byte  { return m }
func (memory) Close(bool) error { return nil }

// counter is the log of a console: it counts lines.
type counter struct{ lines atomic.Uint64 }

func (c *counter) Write(m *xenconsoled.Mark, p []byte, _ bool) (int, error) {
	c.lines.Add(uint64(bytes.Count(p, []byte("\n"))))
	m.Set(m.Position()+uint64(len(p)), m.State())
	return len(p), nil
}

func (c *counter) Lost(*xenconsoled.Mark, uint64) error { return nil }
func (c *counter) Close() error                         { return nil }

func (c *consoles) counterOf(name string) *counter {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, d := range c.h.all() {
		if d.name != name {
			continue
		}
		if c.lines[d.ID()] == nil {
			c.lines[d.ID()] = &counter{}
		}
		return c.lines[d.ID()]
	}
	return &counter{}
}

// makeConsole gives a domain a console page and offers it to who serves consoles, if somebody does.
func (h *Host) makeConsole(ctx context.Context, d *domain) error {
	if h.consoles == nil {
		return nil
	}
	return h.offerConsole(ctx, d)
}

// offerConsole makes a domain's console and says in xenstore where it is (libxl__device_console_add).
func (h *Host) offerConsole(ctx context.Context, d *domain) error {
	with := h.consoles.dom.ID()
	front, err := newConsoleFront(d, with)
	if err != nil {
		return err
	}
	h.mu.Lock()
	d.front = front
	h.mu.Unlock()
	home := xs.DomainPath(d.ID())
	return h.tools.Store.Transact(ctx, func(tx *xenstore.Tx) error {
		for _, n := range []struct{ key, value string }{
			{"", ""}, {console.KeyRingRef, strconv.Itoa(int(xen.GrantConsole))}, {console.KeyPort, strconv.Itoa(int(front.ev.Port()))},
			{console.KeyType, console.TypeXenconsoled}, {console.KeyLimit, strconv.Itoa(1 << 20)},
		} {
			path := xenstore.Join(home+"/console", n.key)
			if n.key == "" {
				path = home + "/console"
			}
			if err := tx.Write(ctx, path, n.value); err != nil {
				return err
			}
			if err := tx.SetPerms(ctx, path, xs.Perm{Access: xs.AccessNone}, xs.Perm{Access: xs.AccessRead, Dom: d.ID()}, xs.Perm{Access: xs.AccessBoth, Dom: with}); err != nil {
				return err
			}
		}
		return tx.SetPerms(ctx, home+"/name", xs.Perm{Access: xs.AccessNone}, xs.Perm{Access: xs.AccessRead, Dom: d.ID()}, xs.Perm{Access: xs.AccessRead, Dom: with})
	})
}

// consoleFront is a domain's side of its console.
type consoleFront struct {
	ev     xen.Event
	cancel context.CancelFunc
	pump   sync.WaitGroup
	room   chan struct{} // capacity 1
	ready  chan struct{} // capacity 1
	done   chan struct{}

	mu  sync.Mutex // held by who writes
	out *ring.Producer
	in  *ring.Consumer
}

func newConsoleFront(d *domain, with xen.DomID) (*consoleFront, error) {
	g, err := d.ShareConsole(with)
	if err != nil {
		return nil, err
	}
	ev, err := d.Listen(with)
	if err != nil {
		return nil, err
	}
	f := &consoleFront{ev: ev, room: make(chan struct{}, 1), ready: make(chan struct{}, 1), done: make(chan struct{})}
	page := g.Bytes()
	var words [4]*atomic.Uint32
	for i, off := range []int{console.OutProd, console.OutCons, console.InProd, console.InCons} {
		if words[i], err = ring.Word(page, off); err != nil {
			return nil, err
		}
	}
	if f.out, err = ring.NewProducer(page[console.Out:console.Out+console.OutSize], words[0], words[1]); err != nil {
		return nil, err
	}
	if f.in, err = ring.NewConsumer(page[console.In:console.In+console.InSize], words[2], words[3]); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	f.pump.Go(func() {
		defer close(f.done)
		for ev.Wait(ctx) == nil {
			for _, c := range []chan struct{}{f.room, f.ready} {
				select {
				case c <- struct{}{}:
				default:
				}
			}
		}
	})
	return f, nil
}

// Write writes to the console, and waits for room.
func (f *consoleFront) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for n := 0; ; {
		k, err := f.out.Write(b[n:])
		if err != nil {
			return n, err
		}
		if n += k; k > 0 {
			if err := f.ev.Notify(); err != nil {
				return n, err
			}
		}
		if n == len(b) {
			return n, nil
		}
		if k > 0 {
			continue
		}
		select {
		case <-f.room:
		case <-f.done:
			return n, io.ErrClosedPipe
		}
	}
}

// Read reads what was typed.
func (f *consoleFront) Read(b []byte) (int, error) {
	for {
		n, err := f.in.Read(b)
		if err != nil || n > 0 {
			_ = f.ev.Notify() // that there is room
			return n, err
		}
		select {
		case <-f.ready:
		case <-f.done:
			return 0, io.EOF
		}
	}
}

func (f *consoleFront) close() {
	f.cancel()
	f.pump.Wait()
}

// Write writes to the domain's console, with the line ends of a terminal. Without one it is lost, as on a host.
func (d *domain) Write(b []byte) (int, error) {
	if d.front == nil {
		return len(b), nil
	}
	if _, err := d.front.Write(bytes.ReplaceAll(b, []byte("\n"), []byte("\r\n"))); err != nil {
		return 0, err
	}
	return len(b), nil
}

// print writes a line.
func (d *domain) print(line string) { fmt.Fprintln(d, line) }

// Attach attaches to the console of a domain, by name: what it says goes to out, from its last lines on, and what in has
// is typed, until ctx ends or in does.
func (h *Host) Attach(ctx context.Context, name string, in io.Reader, out io.Writer) error {
	c, ok := h.consoleOf(name)
	if !ok {
		return fmt.Errorf("domain %q has no console here", name)
	}
	s, err := c.Attach(xenconsoled.Shared, c.Stream().Screen(10, 1<<14))
	if err != nil {
		return err
	}
	defer s.Close()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var typing sync.WaitGroup
	defer typing.Wait()
	typing.Go(func() {
		defer cancel()
		b := make([]byte, 256)
		for {
			n, err := in.Read(b)
			if n > 0 {
				if _, werr := s.Write(ctx, b[:n]); werr != nil {
					return
				}
			}
			if err != nil {
				time.Sleep(50 * time.Millisecond) // the domain may answer the last of it
				return
			}
		}
	})
	b := make([]byte, 4096)
	for s.Wait(ctx, 1) == nil {
		n, _ := s.Read(b)
		if _, err := out.Write(b[:n]); err != nil {
			return err
		}
	}
	return nil
}

func (h *Host) consoleOf(name string) (*xenconsoled.Console, bool) {
	if h.consoles == nil {
		return nil, false
	}
	return h.consoles.service.Find(name)
}
