package xenconsoled

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"sync"
	"time"

	"morgana/xen"
	"morgana/xenstore"
)

// Memory is where a stream lies.
type Memory interface {
	Bytes() []byte
	// Close gives it back: what is in it is kept for the next process, or, if the guest is gone, forgotten.
	Close(gone bool) error
}

// Terminal is a terminal at a console that programs of this machine open by its name: a pty.
type Terminal interface {
	Name() string // "/dev/pts/3"
	// Run moves bytes between the terminal and the console until ctx ends, and closes the terminal.
	Run(ctx context.Context)
}

// Host is what a Service needs of the world.
type Host struct {
	// Dial connects to xenstore; it is called again when the connection is over. What it says of guests is followed as dom0
	// sees it; or Follow is there, which says by Serve and Bury of the service what there is to serve until it is over.
	Dial   func(context.Context) (*xenstore.Client, error)
	Follow func(context.Context, *Service) error
	Mapper xen.Mapper
	Events xen.Events
	// Alive reports whether a domain exists and is not being destroyed.
	Alive func(xen.DomID) bool
	// Memory makes memory for a stream, or finds what a process before this one left. It may be less than what is asked
	// for.
	Memory func(d xen.DomID, size int) (Memory, error)
	// Log opens the log of the guest of that name; nil for no logs. The key tells it from others of that name.
	Log func(name, key string, m *Mark) (Sink, error)
	// Terminal makes a terminal; nil for none. limit is how many bytes it is to keep for who comes late.
	Terminal func(c *Console, limit int) (Terminal, error)
	// Named is as in Follower, and may be nil.
	Named func(d xen.DomID, tty string)
	// Warn takes what there is to say, Debug what is for the curious; a line a call. Either may be nil.
	Warn, Debug func(string)
}

// Options are how a Service is to serve.
type Options struct {
	Rate     int           // as in Config
	LogDelay time.Duration // as in Config
	// Poll is how often guests are looked at that may be gone, because xenstore may not tell; 0: a second.
	Poll time.Duration
}

// Service serves the consoles of all guests. Run does; the other methods may be called at any time by anybody.
type Service struct {
	host Host
	opts Options

	mu     sync.Mutex
	guests map[xen.DomID]*guest
}

// guest is one that is served.
type guest struct {
	told bool // xenstore knows the terminal; Run's

	console  *Console
	port     xen.Port
	ref      uint64
	vm       string
	mapping  xen.Mapping
	event    xen.Event
	memory   Memory
	sink     Sink
	terminal Terminal
	cancel   context.CancelCauseFunc
	done     chan struct{}
}

// NewService makes a service that is ready to run.
func NewService(h Host, o Options) (*Service, error) {
	if h.Dial == nil && h.Follow == nil || h.Mapper == nil || h.Events == nil || h.Alive == nil || h.Memory == nil {
		return nil, errors.New("xenconsoled: a service needs Dial or Follow, Mapper, Events, Alive and Memory")
	}
	for _, f := range []*func(string){&h.Warn, &h.Debug} {
		if *f == nil {
			*f = func(string) {}
		}
	}
	if o.Poll <= 0 {
		o.Poll = time.Second
	}
	return &Service{host: h, opts: o, guests: make(map[xen.DomID]*guest)}, nil
}

// Consoles are the consoles that are served now, by the numbers of their guests.
func (s *Service) Consoles() []*Console {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]*Console, 0, len(s.guests))
	for _, g := range s.guests {
		all = append(all, g.console)
	}
	slices.SortFunc(all, func(a, b *Console) int { return int(a.Dom()) - int(b.Dom()) })
	return all
}

// Stats are the counters of all consoles that are served now, by the numbers of their guests.
func (s *Service) Stats() []Stats {
	all := s.Consoles()
	stats := make([]Stats, len(all))
	for i, c := range all {
		stats[i] = c.Stats()
	}
	return stats
}

// Find finds a console by its guest's name or number.
func (s *Service) Find(guest string) (*Console, bool) {
	all := s.Consoles()
	for _, c := range all {
		if c.Name() == guest {
			return c, true
		}
	}
	for _, c := range all {
		if strconv.Itoa(int(c.Dom())) == guest {
			return c, true
		}
	}
	return nil, false
}

// Reload has every log begin its file anew, under the name that the guest has now: what SIGHUP asks for.
func (s *Service) Reload() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for d, g := range s.guests {
		if r, ok := g.sink.(interface{ Reopen(name string) error }); ok {
			if err := r.Reopen(g.console.Name()); err != nil {
				s.host.Warn(fmt.Sprintf("domain %d (%s): %v", d, g.console.Name(), err))
			}
		}
	}
}

// Run serves until ctx ends. Guests stay served while xenstore is away.
func (s *Service) Run(ctx context.Context) error {
	defer s.stopAll(context.Canceled)
	for pause := time.Duration(0); ; pause = min(pause*2+10*time.Millisecond, s.opts.Poll) {
		began := time.Now()
		err := s.session(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Since(began) > time.Second {
			pause = 0
		}
		if pause == 0 {
			s.host.Warn(fmt.Sprintf("xenstore: %v; consoles go on, new guests wait until it is back", err))
		}
		s.Bury()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// session follows one connection to xenstore.
func (s *Service) session(ctx context.Context) error {
	if s.host.Follow != nil {
		return s.host.Follow(ctx, s)
	}
	store, err := s.host.Dial(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	f := &Follower{
		Store: store, Backend: 0, Alive: s.host.Alive, Poll: s.opts.Poll, Named: s.host.Named,
		Found: func(ctx context.Context, f Found) error {
			s.Serve(ctx, f)
			return s.publish(ctx, store, f.Dom)
		},
		Look: s.Bury,
	}
	return f.Follow(ctx)
}

// Serve serves a console from now on, or as it is now if it is served already. What is wrong with it is said. For
// Host.Follow alone.
func (s *Service) Serve(ctx context.Context, f Found) {
	d := f.Dom
	s.mu.Lock()
	g := s.guests[d]
	s.mu.Unlock()
	if g != nil {
		if g.port == f.Port && g.ref == f.Ref && g.vm == f.VM {
			if f.Name != "" && f.Name != g.console.Name() {
				g.console.SetName(f.Name)
				g.console.Stream().SetLabel(f.Name)
			}
			return
		}
		s.host.Debug(fmt.Sprintf("domain %d: its console is another one now", d))
		cause := error(context.Canceled)
		if g.vm != f.VM {
			cause = ErrGone
		}
		s.stop(d, cause)
	}
	if !s.host.Alive(d) {
		return
	}
	name := f.Name
	if name == "" {
		name = strconv.Itoa(int(d))
	}
	if err := s.start(ctx, d, &guest{port: f.Port, ref: f.Ref, vm: f.VM}, name, f.Limit); err != nil {
		s.host.Warn(fmt.Sprintf("domain %d (%s): its console cannot be served: %v", d, name, err))
		return
	}
	s.host.Debug(fmt.Sprintf("domain %d (%s): its console is served", d, name))
}

// publish says where the terminal is, if xenstore does not know.
func (s *Service) publish(ctx context.Context, store *xenstore.Client, d xen.DomID) error {
	s.mu.Lock()
	g := s.guests[d]
	s.mu.Unlock()
	if g == nil || g.terminal == nil {
		return nil
	}
	told, err := Publish(ctx, store, d, g.terminal.Name(), g.told)
	g.told = told
	if errors.Is(err, ErrUnwritable) {
		s.host.Warn(err.Error())
		return nil
	}
	return err
}

// start begins to serve a guest. On error nothing is left.
func (s *Service) start(ctx context.Context, d xen.DomID, g *guest, name string, limit int) (err error) {
	defer func() {
		if err != nil {
			s.release(g, false)
		}
	}()
	if g.mapping, err = s.host.Mapper.Map(d, []xen.GrantRef{xen.GrantConsole}, xen.ReadWrite); err != nil {
		return err
	}
	if g.event, err = s.host.Events.Connect(d, g.port); err != nil {
		return err
	}
	size := 1 << bits.Len(uint(min(max(limit, limitLeast), limitMost)-1))
	if g.memory, err = s.host.Memory(d, StreamHeader+size); err != nil {
		return err
	}
	key := fmt.Sprintf("%d %s", d, g.vm)
	if old, ok := OpenStream(g.memory.Bytes()); ok && !old.Is(key) {
		s.finish(old)
	}
	stream, err := NewStream(g.memory.Bytes(), key)
	if err != nil {
		return err
	}
	stream.SetLabel(name)
	if s.host.Log != nil {
		if g.sink, err = s.host.Log(name, stream.Key(), stream.Mark()); err != nil {
			// A console without a log is better than none.
			s.host.Warn(fmt.Sprintf("domain %d (%s): no log: %v", d, name, err))
			g.sink, err = nil, nil
		}
	}
	cfg := Config{
		Dom: d, Name: name, Page: g.mapping.Bytes(), Event: g.event, Stream: stream, Sink: g.sink, Rate: s.opts.Rate,
		LogDelay: s.opts.LogDelay, Warn: s.host.Warn,
	}
	if g.console, err = New(cfg); err != nil {
		return err
	}
	if s.host.Terminal != nil {
		var terr error
		if g.terminal, terr = s.host.Terminal(g.console, limit); terr != nil {
			s.host.Warn(fmt.Sprintf("domain %d (%s): no terminal: %v", d, name, terr))
			g.terminal = nil
		}
	}
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	g.cancel, g.done = cancel, make(chan struct{})
	go func() {
		defer close(g.done)
		var terminal sync.WaitGroup
		if g.terminal != nil {
			terminal.Go(func() { g.terminal.Run(run) })
		}
		err := g.console.Run(run)
		if run.Err() == nil {
			s.host.Warn(fmt.Sprintf("domain %d (%s): its console is not served any more: %v", d, name, err))
		}
		if run.Err() != nil && !errors.Is(err, ErrGone) {
			stream.Leave() // who follows is not to take it for the guest's end
		} else {
			stream.Close()
		}
		terminal.Wait()
		stream.Detach() // somebody may still read it when its memory is given back
	}()
	s.mu.Lock()
	s.guests[d] = g
	s.mu.Unlock()
	return nil
}

// forget tells a sink, if it wants to know, that its guest is gone.
func forget(sink Sink) {
	if f, ok := sink.(interface{ Forget() }); ok {
		f.Forget()
	}
}

// release gives back what a guest that does not run has.
func (s *Service) release(g *guest, gone bool) {
	if gone {
		forget(g.sink)
	}
	warn := func(err error) {
		if err != nil {
			s.host.Warn(err.Error())
		}
	}
	if g.sink != nil {
		warn(g.sink.Close())
	}
	if g.event != nil {
		warn(g.event.Close())
	}
	if g.mapping != nil {
		warn(g.mapping.Close())
	}
	if g.memory != nil {
		warn(g.memory.Close(gone))
	}
}

// stop ends a console, for ErrGone or because it is to be served otherwise.
func (s *Service) stop(d xen.DomID, cause error) {
	s.mu.Lock()
	g := s.guests[d]
	delete(s.guests, d)
	s.mu.Unlock()
	if g == nil {
		return
	}
	g.cancel(cause)
	<-g.done
	s.release(g, errors.Is(cause, ErrGone))
}

func (s *Service) stopAll(cause error) {
	for _, c := range s.Consoles() {
		s.stop(c.Dom(), cause)
	}
}

// Bury stops the consoles of guests that are gone. For Host.Follow alone.
func (s *Service) Bury() {
	for _, c := range s.Consoles() {
		if !s.host.Alive(c.Dom()) {
			s.host.Debug(fmt.Sprintf("domain %d (%s) is gone", c.Dom(), c.Name()))
			s.stop(c.Dom(), ErrGone)
		}
	}
}

// Finish writes into the log what a process before this one left in memory of a guest that is gone.
func (s *Service) Finish(mem []byte) {
	if old, ok := OpenStream(mem); ok {
		s.finish(old)
	}
}

func (s *Service) finish(old *Stream) {
	if s.host.Log == nil || old.End() == old.mark.Position() {
		return
	}
	sink, err := s.host.Log(old.Label(), old.Key(), old.mark)
	if err != nil {
		s.host.Warn(fmt.Sprintf("the rest of the log of %s: %v", old.Label(), err))
		return
	}
	l := newLogger(&Config{Stream: old, Sink: sink, Warn: s.host.Warn})
	l.gap()
	l.end(true)
	l.r.Close()
	forget(sink)
	if err := sink.Close(); err != nil {
		s.host.Warn(err.Error())
	}
}
