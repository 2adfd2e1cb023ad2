package xenconsoled

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"morgana/xen"
	"morgana/xen/wire/console"
	"morgana/xen/wire/xs"
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
	// Dial connects to xenstore; it is called again when the connection is over.
	Dial   func(context.Context) (*xenstore.Client, error)
	Mapper xen.Mapper
	Events xen.Events
	// Alive reports whether a domain exists and is not being destroyed.
	Alive func(xen.DomID) bool
	// Memory makes memory for a stream, or finds what a process before this one left.
	Memory func(d xen.DomID, size int) (Memory, error)
	// Log opens the log of the guest of that name; nil for no logs.
	Log func(name string, m *Mark) (Sink, error)
	// Terminal makes a terminal; nil for none. limit is how many bytes it is to keep for who comes late.
	Terminal func(c *Console, limit int) (Terminal, error)
	// Warn takes what there is to say, Debug what is for the curious; a line a call. Either may be nil.
	Warn, Debug func(string)
}

// Options are how a Service is to serve.
type Options struct {
	Rate int // as in Config
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
	if h.Dial == nil || h.Mapper == nil || h.Events == nil || h.Alive == nil || h.Memory == nil {
		return nil, errors.New("xenconsoled: a service needs Dial, Mapper, Events, Alive and Memory")
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

const introduced, released = "@introduceDomain", "@releaseDomain"

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
		s.bury()
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// session follows one connection to xenstore.
func (s *Service) session(ctx context.Context) error {
	store, err := s.host.Dial(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	w, err := store.Watch(ctx, introduced, released)
	if err != nil {
		return err
	}
	defer w.Close()
	watched := make(map[xen.DomID]bool)
	poll := time.NewTicker(s.opts.Poll)
	defer poll.Stop()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-poll.C:
			s.bury()
		case e, ok := <-w.Events():
			switch {
			case !ok:
				return w.Err()
			case e.Watched == introduced || e.Watched == released:
				s.bury()
				err = s.look(ctx, store, w, watched)
			default:
				var d xen.DomID
				if d, err = watchedDomain(e.Watched); err == nil {
					err = s.check(ctx, store, d)
				}
			}
			if err != nil {
				return err
			}
		}
	}
}

func consoleDir(d xen.DomID) string { return xs.DomainPath(d) + "/console" }

// watchedPaths are what is watched of a domain.
func watchedPaths(d xen.DomID) [2]string { return [2]string{consoleDir(d), xs.DomainPath(d) + "/name"} }

func watchedDomain(path string) (xen.DomID, error) {
	number, _, _ := strings.Cut(strings.TrimPrefix(path, "/local/domain/"), "/")
	n, err := strconv.ParseUint(number, 10, 15)
	return xen.DomID(n), err
}

// look watches the consoles of all domains but dom0.
func (s *Service) look(ctx context.Context, store *xenstore.Client, w *xenstore.Watch, watched map[xen.DomID]bool) error {
	names, err := store.List(ctx, "/local/domain")
	if err != nil && !errors.Is(err, xenstore.ErrNotExist) {
		return err
	}
	here := make(map[xen.DomID]bool, len(names))
	for _, name := range names {
		n, err := strconv.ParseUint(name, 10, 15)
		d := xen.DomID(n)
		if err != nil || d == 0 || d >= xen.DomFirstReserved || !s.host.Alive(d) {
			continue
		}
		here[d] = true
		if !watched[d] {
			watched[d] = true
			for _, p := range watchedPaths(d) {
				if err := w.Add(ctx, p); err != nil { // its first event comes at once
					return err
				}
			}
		}
	}
	for d := range watched {
		if !here[d] {
			delete(watched, d)
			for _, p := range watchedPaths(d) {
				if err := w.Remove(ctx, p); err != nil && !errors.Is(err, xenstore.ErrNotExist) {
					return err
				}
			}
		}
	}
	return nil
}

// check looks at what xenstore says of a console, and serves it accordingly. An error is the connection's; what is
// wrong with the guest is said.
func (s *Service) check(ctx context.Context, store *xenstore.Client, d xen.DomID) error {
	dir := consoleDir(d)
	read := func(path string) (string, error) {
		v, err := store.Read(ctx, path)
		if errors.Is(err, xenstore.ErrNotExist) || errors.Is(err, xenstore.ErrPermission) { // not there for us
			return "", nil
		}
		return v, err
	}
	var refText, portText, kind, vm, name, limit string
	for path, to := range map[string]*string{
		dir + "/" + console.KeyRingRef: &refText, dir + "/" + console.KeyPort: &portText, dir + "/" + console.KeyType: &kind,
		dir + "/" + console.KeyLimit: &limit, xs.DomainPath(d) + "/vm": &vm, xs.DomainPath(d) + "/name": &name,
	} {
		var err error
		if *to, err = read(path); err != nil {
			return err
		}
	}
	ref, err1 := strconv.ParseUint(refText, 0, 64)
	port, err2 := strconv.ParseUint(portText, 0, 32)
	if err1 != nil || err2 != nil || kind != "" && kind != console.TypeXenconsoled {
		return nil // not there yet, or somebody else's
	}
	s.mu.Lock()
	g := s.guests[d]
	s.mu.Unlock()
	if g != nil {
		if g.port == xen.Port(port) && g.ref == ref && g.vm == vm {
			if name != "" && name != g.console.Name() {
				g.console.SetName(name)
				g.console.Stream().SetLabel(name)
			}
			return s.publish(ctx, store, g)
		}
		s.host.Debug(fmt.Sprintf("domain %d: its console is another one now", d))
		cause := error(context.Canceled)
		if g.vm != vm {
			cause = ErrGone
		}
		s.stop(d, cause)
	}
	if !s.host.Alive(d) {
		return nil
	}
	if name == "" {
		name = strconv.Itoa(int(d))
	}
	g, err := s.start(ctx, d, &guest{port: xen.Port(port), ref: ref, vm: vm}, name, parseLimit(limit))
	if err != nil {
		s.host.Warn(fmt.Sprintf("domain %d (%s): its console cannot be served: %v", d, name, err))
		return nil
	}
	s.host.Debug(fmt.Sprintf("domain %d (%s): its console is served", d, name))
	return s.publish(ctx, store, g)
}

// Bounds of what is kept of a console.
const (
	limitLeast   = 16 << 10
	limitDefault = 1 << 20
	limitMost    = 16 << 20
)

// parseLimit reads how much is to be kept. 0 and what is not there mean no limit to Xen's daemon, and the default here.
func parseLimit(s string) int {
	n, err := strconv.ParseUint(s, 0, 63)
	if err != nil || n == 0 {
		n = limitDefault
	}
	return int(min(max(n, limitLeast), limitMost))
}

// publish says where the terminal is, if xenstore does not know.
func (s *Service) publish(ctx context.Context, store *xenstore.Client, g *guest) error {
	if g.terminal == nil {
		return nil
	}
	path := consoleDir(g.console.Dom()) + "/" + console.KeyTTY
	// A new terminal may be called as the one before it: it is written anyway, so that who watches looks again.
	if v, err := store.Read(ctx, path); err == nil && v == g.terminal.Name() && g.told {
		return nil
	}
	err := store.Write(ctx, path, g.terminal.Name())
	g.told = err == nil
	if errors.Is(err, xenstore.ErrNotExist) || errors.Is(err, xenstore.ErrPermission) || errors.Is(err, xenstore.ErrInvalid) {
		s.host.Warn(fmt.Sprintf("domain %d: %v", g.console.Dom(), err))
		return nil
	}
	return err
}

// start begins to serve a guest. On error nothing is left.
func (s *Service) start(ctx context.Context, d xen.DomID, g *guest, name string, limit int) (_ *guest, err error) {
	defer func() {
		if err != nil {
			s.release(g, false)
		}
	}()
	if g.mapping, err = s.host.Mapper.Map(d, []xen.GrantRef{xen.GrantConsole}, xen.ReadWrite); err != nil {
		return nil, err
	}
	if g.event, err = s.host.Events.Connect(d, g.port); err != nil {
		return nil, err
	}
	size := 1 << bits.Len(uint(limit-1))
	if g.memory, err = s.host.Memory(d, StreamHeader+size); err != nil {
		return nil, err
	}
	key := fmt.Sprintf("%d %s", d, g.vm)
	if old, ok := OpenStream(g.memory.Bytes()); ok && !old.Is(key) {
		s.finish(old)
	}
	stream, err := NewStream(g.memory.Bytes(), key)
	if err != nil {
		return nil, err
	}
	stream.SetLabel(name)
	if s.host.Log != nil {
		if g.sink, err = s.host.Log(name, stream.Mark()); err != nil {
			// A console without a log is better than none.
			s.host.Warn(fmt.Sprintf("domain %d (%s): no log: %v", d, name, err))
			g.sink, err = nil, nil
		}
	}
	cfg := Config{
		Dom: d, Name: name, Page: g.mapping.Bytes(), Event: g.event, Stream: stream, Sink: g.sink, Rate: s.opts.Rate, Warn: s.host.Warn,
	}
	if g.console, err = New(cfg); err != nil {
		return nil, err
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
		stream.Close()
		terminal.Wait()
		stream.Detach() // somebody may still read it when its memory is given back
	}()
	s.mu.Lock()
	s.guests[d] = g
	s.mu.Unlock()
	return g, nil
}

// release gives back what a guest that does not run has.
func (s *Service) release(g *guest, gone bool) {
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

// bury stops the consoles of guests that are gone.
func (s *Service) bury() {
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
	sink, err := s.host.Log(old.Label(), old.mark)
	if err != nil {
		s.host.Warn(fmt.Sprintf("the rest of the log of %s: %v", old.Label(), err))
		return
	}
	l := newLogger(&Config{Stream: old, Sink: sink, Warn: s.host.Warn})
	l.gap()
	l.end(true)
	l.r.Close()
	if err := sink.Close(); err != nil {
		s.host.Warn(err.Error())
	}
}
