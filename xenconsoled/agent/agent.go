package agent

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"morgana/xen"
	"morgana/xen/duplex"
	"morgana/xen/wire/xs"
	"morgana/xenconsoled"
	"morgana/xenconsoled/attach"
	"morgana/xenconsoled/domain"
	"morgana/xenconsoled/mux"
	"morgana/xenstore"
)

// sizes are the rings that are shared with the domain: what guests say is more than what is typed.
var sizes = duplex.Sizes{In: 16, Out: 4}

// Config is how an agent is to be.
type Config struct {
	// Domain is the console domain's name, or its number.
	Domain string
	// Dial connects to xenstore.
	Dial func(context.Context) (*xenstore.Client, error)
	// Machine is dom0.
	Machine duplex.Sharer
	// Alive reports whether a domain exists and is not being destroyed.
	Alive func(xen.DomID) bool
	// Patience is how long Dial waits for a domain that is away: it may be starting again. 0: ten seconds.
	Patience time.Duration
	// Poll is how often guests are looked at that may be gone; 0: a second.
	Poll time.Duration
	// Terminal makes a terminal for a guest, nil for none. Copy copies what a guest says to somewhere here, until it is
	// gone or ctx ends; nil for nowhere.
	Terminal func(*Guest) (xenconsoled.Terminal, error)
	Copy     func(context.Context, *Guest)
	// Named is as in xenconsoled.Follower, and may be nil.
	Named func(d xen.DomID, tty string)
	// Warn takes what there is to say, Debug what is for the curious; a line a call. Either may be nil.
	Warn, Debug func(string)
}

// Agent is the agent of a console domain. Run works; the other methods may be called at any time by anybody.
type Agent struct {
	cfg Config

	mu      sync.Mutex
	session *mux.Session  // nil while the domain is away
	changed chan struct{} // closed when session changes

	guests map[xen.DomID]*Guest // Run's
}

// Guest is a guest whose console the domain serves.
type Guest struct {
	xenconsoled.Found
	agent    *Agent
	terminal xenconsoled.Terminal
	told     bool // xenstore knows it
	cancel   context.CancelCauseFunc
	parts    sync.WaitGroup
}

// New makes an agent that is ready to run.
func New(cfg Config) (*Agent, error) {
	if cfg.Domain == "" || cfg.Dial == nil || cfg.Machine == nil || cfg.Alive == nil {
		return nil, errors.New("agent: it needs Domain, Dial, Machine and Alive")
	}
	for _, f := range []*func(string){&cfg.Warn, &cfg.Debug} {
		if *f == nil {
			*f = func(string) {}
		}
	}
	if cfg.Poll <= 0 {
		cfg.Poll = time.Second
	}
	if cfg.Patience <= 0 {
		cfg.Patience = 10 * time.Second
	}
	return &Agent{cfg: cfg, changed: make(chan struct{}), guests: make(map[xen.DomID]*Guest)}, nil
}

// Run works until ctx ends. What it told the domain stays.
func (a *Agent) Run(ctx context.Context) error {
	defer a.dropAll(context.Canceled)
	for pause := time.Duration(0); ; pause = min(pause*2+10*time.Millisecond, a.cfg.Poll) {
		began := time.Now()
		err := a.once(ctx)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if time.Since(began) > time.Second {
			pause = 0
		}
		if pause == 0 {
			a.cfg.Warn(fmt.Sprintf("console domain %s: %v", a.cfg.Domain, err))
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// errGone says that the console domain is not there any more.
var errGone = errors.New("it is gone; guests that it served have no console until they start again")

// once works over one connection to xenstore, as long as there is one console domain.
func (a *Agent) once(ctx context.Context) error {
	store, err := a.cfg.Dial(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	dom, err := a.find(ctx, store)
	if err != nil {
		return err
	}
	a.cfg.Debug(fmt.Sprintf("domain %d serves the consoles of guests to come", dom))
	if err := store.Write(ctx, domain.Chosen, strconv.Itoa(int(dom))); err != nil {
		return err
	}
	t := &table{agent: a, store: store, dom: dom, has: make(map[xen.DomID]string)}
	if err := t.load(ctx); err != nil {
		return err
	}
	within, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	linked := make(chan struct{})
	go func() {
		defer close(linked)
		cancel(a.linkTo(within, store, dom))
	}()
	defer func() { <-linked }()
	defer cancel(nil)
	f := &xenconsoled.Follower{
		Store: store, Backend: dom, Alive: a.cfg.Alive, Poll: a.cfg.Poll, Named: a.cfg.Named, Found: t.found, Other: t.remove,
		Look: func() {
			if !a.cfg.Alive(dom) {
				cancel(errGone)
				return
			}
			if err := t.bury(within); err != nil {
				cancel(err)
			}
		},
	}
	err = f.Follow(within)
	if errors.Is(context.Cause(within), errGone) {
		_ = a.unchoose(ctx, store)
		a.dropAll(xenconsoled.ErrGone)
	}
	if cause := context.Cause(within); cause != nil {
		return cause
	}
	return err
}

// find waits for the console domain.
func (a *Agent) find(ctx context.Context, store *xenstore.Client) (xen.DomID, error) {
	w, err := store.Watch(ctx, xs.IntroduceDomain)
	if err != nil {
		return 0, err
	}
	defer w.Close()
	poll := time.NewTicker(a.cfg.Poll)
	defer poll.Stop()
	for said := false; ; {
		d, ok, err := a.named(ctx, store)
		if err != nil || ok {
			return d, err
		}
		if !said {
			said = true
			if err := a.unchoose(ctx, store); err != nil {
				return 0, err
			}
			a.cfg.Warn(fmt.Sprintf("there is no domain %s yet; guests that start before it have their consoles here", a.cfg.Domain))
		}
		select {
		case <-poll.C: // its name comes later than it
		case _, ok := <-w.Events():
			if !ok {
				return 0, w.Err()
			}
		case <-ctx.Done():
			return 0, context.Cause(ctx)
		}
	}
}

// unchoose has dom0 serve guests to come if the domain that was chosen is gone: they would wait for it for ever.
func (a *Agent) unchoose(ctx context.Context, store *xenstore.Client) error {
	v, err := store.Read(ctx, domain.Chosen)
	if err == nil {
		if n, perr := strconv.ParseUint(v, 10, 15); perr == nil && (n == 0 || a.cfg.Alive(xen.DomID(n))) {
			return nil
		}
		err = store.Remove(ctx, domain.Chosen)
	}
	if errors.Is(err, xenstore.ErrNotExist) {
		return nil
	}
	return err
}

// named looks for a domain that is alive, by its name or number.
func (a *Agent) named(ctx context.Context, store *xenstore.Client) (xen.DomID, bool, error) {
	all, err := store.List(ctx, "/local/domain")
	if err != nil {
		return 0, false, err
	}
	for _, id := range all {
		n, err := strconv.ParseUint(id, 10, 15)
		d := xen.DomID(n)
		if err != nil || d == 0 || !a.cfg.Alive(d) {
			continue
		}
		name, err := store.Read(ctx, xs.DomainPath(d)+"/name")
		if err == nil && name == a.cfg.Domain || id == a.cfg.Domain {
			return d, true, nil
		}
	}
	return 0, false, nil
}

// linkTo keeps a connection to the domain until ctx ends or an error of xenstore's.
func (a *Agent) linkTo(ctx context.Context, store *xenstore.Client, dom xen.DomID) error {
	serving, link := domain.Path(dom, domain.NodeServing), domain.Path(dom, domain.NodeLink)
	w, err := store.Watch(ctx, serving, link)
	if err != nil {
		return err
	}
	defer w.Close()
	defer a.setSession(nil)
	var (
		session *mux.Session
		offered string
	)
	closed := func() {
		if session != nil {
			a.setSession(nil)
			session.Close()
			session = nil
		}
	}
	defer closed()
	read := func(path string) (string, error) {
		v, err := store.Read(ctx, path)
		if errors.Is(err, xenstore.ErrNotExist) {
			return "", nil
		}
		return v, err
	}
	for run := ""; ; {
		v, err := read(serving)
		if err != nil {
			return err
		}
		s, err := domain.ParseServing(v)
		if v != "" && err != nil {
			a.cfg.Warn(err.Error())
		}
		there := offered
		if session != nil {
			if there, err = read(link); err != nil {
				return err
			}
		}
		over := session != nil && session.Err() != nil
		if s.Run != run || there != offered || over {
			closed()
			if over {
				time.Sleep(50 * time.Millisecond) // it has no reason to happen again and again
			}
			if run = s.Run; run != "" {
				conn, offer, err := duplex.Listen(a.cfg.Machine, dom, sizes)
				if err != nil {
					return err
				}
				session = mux.Dialer(conn)
				offered = domain.AppendLink(run, nonce(), offer)
				if err := store.Write(ctx, link, offered); err != nil {
					return err
				}
				a.setSession(session)
				a.cfg.Debug(fmt.Sprintf("connected to domain %d, whose logs are in %s", dom, s.Logs))
			}
		}
		var ended <-chan struct{}
		if session != nil {
			ended = session.Done()
		}
		select {
		case _, ok := <-w.Events():
			if !ok {
				return w.Err()
			}
		case <-ended:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

func nonce() string { return strconv.FormatUint(rand.Uint64(), 36) }

func (a *Agent) setSession(s *mux.Session) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.session != s {
		a.session = s
		close(a.changed)
		a.changed = make(chan struct{})
	}
}

// Dial makes a connection to the domain, for package attach. It waits for a domain that is away (Config.Patience).
func (a *Agent) Dial(ctx context.Context) (io.ReadWriteCloser, error) {
	late := time.NewTimer(a.cfg.Patience)
	defer late.Stop()
	for {
		a.mu.Lock()
		s, changed := a.session, a.changed
		a.mu.Unlock()
		if s != nil {
			c, err := s.Dial()
			if err == nil {
				return c, nil
			}
			if errors.Is(err, mux.ErrFull) {
				return nil, err
			}
		}
		select {
		case <-changed:
		case <-late.C:
			return nil, fmt.Errorf("domain %s does not serve", a.cfg.Domain)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// List asks the domain for its consoles, with their counters.
func (a *Agent) List(ctx context.Context) ([]attach.Info, error) {
	conn, err := a.Dial(ctx)
	if err != nil {
		return nil, err
	}
	c := attach.NewClient(conn)
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	return c.List()
}

// Open attaches to the guest's console, whatever its name.
func (g *Guest) Open(ctx context.Context, r attach.Request) (*attach.Client, attach.Info, error) {
	conn, err := g.agent.Dial(ctx)
	if err != nil {
		return nil, attach.Info{}, err
	}
	c := attach.NewClient(conn)
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	r.Guest, r.Dom = "", uint16(g.Dom)
	info, err := c.Open(r)
	if err != nil {
		c.Close()
		return nil, attach.Info{}, err
	}
	return c, info, nil
}
