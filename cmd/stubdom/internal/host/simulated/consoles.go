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

	"morgana/block"
	"morgana/cmd/stubdom/internal/host/model"
	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/console"
	"morgana/xen/wire/xs"
	"morgana/xenconsoled"
	"morgana/xenconsoled/agent"
	consoledomain "morgana/xenconsoled/domain"
	"morgana/xenconsoled/logstore"
	"morgana/xenstore"
)

// consoles is the console domain, and its agent in dom0.
type consoles struct {
	dom    *domain
	served *consoledomain.Domain
	stop   func()
}

// What the console domain has.
const (
	arenaBytes   = 4 << 20   // memory for what guests said
	scrollback   = 128 << 10 // of each guest
	logDiskBytes = 16 << 20
)

// StartConsoles starts the console domain with a disk for logs, and its agent.
func (h *Host) StartConsoles(ctx context.Context) error {
	d, err := h.newDomain(ctx, "consoles", model.Consoles)
	if err != nil {
		return err
	}
	d.entered = 1
	pool, err := xenconsoled.NewPool(make([]byte, arenaBytes), scrollback)
	if err != nil {
		return err
	}
	disk := block.NewMem(logDiskBytes, 512)
	if err := logstore.Format(disk, logstore.Options{Segment: 256 << 10, ID: 1}); err != nil {
		return err
	}
	log, err := logstore.Open(disk)
	if err != nil {
		return err
	}
	c := &consoles{dom: d}
	if c.served, err = consoledomain.New(consoledomain.Config{
		Machine: d, Dial: func(context.Context) (*xenstore.Client, error) { return d.store, nil },
		Memory: pool.Memory, Left: pool.Leave, Logs: "a disk in memory", Rate: 16 << 20,
		Log: func(name, key string, m *xenconsoled.Mark) (xenconsoled.Sink, error) {
			return log.Source(name, key, m, time.Now)
		},
		History: logstore.History{Store: log},
		Warn:    func(line string) { h.say("consoles: " + line) },
	}); err != nil {
		return err
	}
	dom0 := h.find(0)
	a, err := agent.New(agent.Config{
		Domain: strconv.Itoa(int(d.ID())), Machine: dom0, Alive: func(id xen.DomID) bool { return h.find(id) != nil },
		Dial: func(context.Context) (*xenstore.Client, error) { return dom0.store, nil },
		Warn: func(line string) { h.say("the console domain's agent: " + line) },
	})
	if err != nil {
		return err
	}
	life, cancel := context.WithCancel(h.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { _ = c.served.Run(life) }) // until its end
	wg.Go(func() { _ = a.Run(life) })
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
			{console.KeyType, console.TypeXenconsoled}, {console.KeyBackendID, strconv.Itoa(int(with))}, {console.KeyLimit, strconv.Itoa(1 << 20)},
		} {
			path := xenstore.Join(home+"/console", n.key)
			if n.key == "" {
				path = home + "/console"
			}
			if err := tx.Write(ctx, path, n.value); err != nil {
				return err
			}
			if err := tx.SetPerms(ctx, path, xs.Perm{Access: xs.AccessNone}, xs.Perm{Access: xs.AccessRead, Dom: d.ID()}); err != nil {
				return err
			}
		}
		return nil
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
	return h.consoles.served.Service().Find(name)
}
