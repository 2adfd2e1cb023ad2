package domain

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"morgana/xen"
	"morgana/xen/duplex"
	"morgana/xen/wire/xs"
	"morgana/xenconsoled"
	"morgana/xenconsoled/attach"
	"morgana/xenconsoled/mux"
	"morgana/xenstore"
)

// agentDomain is where the agent is.
const agentDomain xen.DomID = 0

// logDelay is how long bytes wait for others before they go to the disk, all in one write. They are in the arena meanwhile,
// where a restart finds them, and who follows reads them there; a disk that is written again each time that a guest says
// something takes more of the processor than all the rest.
const logDelay = 50 * time.Millisecond

// Machine is what a console domain needs of Xen.
type Machine interface {
	xen.Mapper
	xen.Events
	ID() xen.DomID
}

// Config is how a console domain is to be.
type Config struct {
	Machine Machine
	// Dial connects to xenstore.
	Dial func(context.Context) (*xenstore.Client, error)
	// Memory is as in xenconsoled.Host. Left is called once, when the guests are known: what is left in memory of others
	// than those for which keep is true can be given to finish, which logs it, and then forgotten.
	Memory func(d xen.DomID, size int) (xenconsoled.Memory, error)
	Left   func(keep func(xen.DomID) bool, finish func(mem []byte))
	// Log is as in xenconsoled.Host; History reads what it wrote. Both may be nil.
	Log     func(name, key string, m *xenconsoled.Mark) (xenconsoled.Sink, error)
	History attach.History
	Logs    string // where they are, for people
	Rate    int    // as in xenconsoled.Config
	// Warn takes what there is to say, Debug what is for the curious; a line a call. Either may be nil.
	Warn, Debug func(string)
}

// Domain serves consoles. Run does.
type Domain struct {
	cfg     Config
	run     string // of this run
	service *xenconsoled.Service
	broken  chan struct{} // the link broke; capacity 1

	mu    sync.Mutex
	alive map[xen.DomID]bool // the guests that the agent tells of

	// Of follow, which runs once at a time.
	known bool   // all guests were looked at once
	link  *link  // the agent's, or nil
	told  string // the value of the node that made it
}

// New makes a domain that is ready to run.
func New(cfg Config) (*Domain, error) {
	for _, f := range []*func(string){&cfg.Warn, &cfg.Debug} {
		if *f == nil {
			*f = func(string) {}
		}
	}
	var id [8]byte
	if _, err := rand.Read(id[:]); err != nil {
		return nil, err
	}
	d := &Domain{cfg: cfg, run: hex.EncodeToString(id[:]), alive: make(map[xen.DomID]bool), broken: make(chan struct{}, 1)}
	var err error
	d.service, err = xenconsoled.NewService(xenconsoled.Host{
		Follow: d.follow, Mapper: cfg.Machine, Events: cfg.Machine, Alive: d.isAlive, Memory: cfg.Memory, Log: cfg.Log,
		Warn: cfg.Warn, Debug: cfg.Debug,
	}, xenconsoled.Options{Rate: cfg.Rate, LogDelay: logDelay})
	return d, err
}

// Service has the consoles.
func (d *Domain) Service() *xenconsoled.Service { return d.service }

// Run serves until ctx ends. Guests stay served while xenstore or the agent is away.
func (d *Domain) Run(ctx context.Context) error {
	err := d.service.Run(ctx)
	d.unlink()
	return err
}

func (d *Domain) isAlive(g xen.DomID) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.alive[g]
}

func (d *Domain) setAlive(g xen.DomID, is bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if is {
		d.alive[g] = true
	} else {
		delete(d.alive, g)
	}
}

func (d *Domain) path(node string) string { return Path(d.cfg.Machine.ID(), node) }

// follow follows the nodes over one connection to xenstore.
func (d *Domain) follow(ctx context.Context, s *xenconsoled.Service) error {
	store, err := d.cfg.Dial(ctx)
	if err != nil {
		return err
	}
	defer store.Close()
	w, err := store.Watch(ctx, d.path(""))
	if err != nil {
		return err
	}
	defer w.Close()
	if err := d.all(ctx, store, s); err != nil {
		return err
	}
	if err := store.Write(ctx, d.path(NodeServing), AppendServing(Serving{Run: d.run, Logs: d.cfg.Logs})); err != nil {
		return err
	}
	defer func() {
		if ctx.Err() != nil { // it ends in good order
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			defer cancel()
			_ = store.Remove(ctx, d.path(NodeServing))
		}
	}()
	for {
		var e xenstore.Event
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-d.broken: // the agent sees that its offer is gone, and makes another
			if err := store.Remove(ctx, d.path(NodeLink)); err != nil && !errors.Is(err, xenstore.ErrNotExist) {
				return err
			}
			continue
		case more, ok := <-w.Events():
			if !ok {
				return w.Err()
			}
			e = more
		}
		var err error
		node, ok := strings.CutPrefix(e.Path, d.path("")+"/")
		dir, name, _ := strings.Cut(node, "/")
		switch {
		case !ok, dir == NodeGuests && name == "":
			err = d.all(ctx, store, s)
		case dir == NodeGuests:
			err = d.one(ctx, store, s, name)
		case node == NodeLink:
			err = d.look(ctx, store)
		}
		if err != nil {
			return err
		}
	}
}

// all looks at all guests, and at the link.
func (d *Domain) all(ctx context.Context, store *xenstore.Client, s *xenconsoled.Service) error {
	names, err := store.List(ctx, d.path(NodeGuests))
	if err != nil && !errors.Is(err, xenstore.ErrNotExist) {
		return err
	}
	here := make(map[xen.DomID]bool)
	for _, name := range names {
		if g, err := ParseGuestNode(name); err == nil {
			here[g] = true
		}
	}
	d.mu.Lock()
	for g := range d.alive {
		if !here[g] {
			delete(d.alive, g)
		}
	}
	d.mu.Unlock()
	s.Bury()
	for g := range here {
		if err := d.one(ctx, store, s, xs.Base(GuestNode(g))); err != nil {
			return err
		}
	}
	if !d.known && d.cfg.Left != nil {
		d.cfg.Left(d.isAlive, s.Finish)
	}
	d.known = true
	return d.look(ctx, store)
}

// one looks at one guest. An error is the connection's; what is wrong with the node is said.
func (d *Domain) one(ctx context.Context, store *xenstore.Client, s *xenconsoled.Service, name string) error {
	g, err := ParseGuestNode(name)
	if err != nil {
		return nil
	}
	v, err := store.Read(ctx, d.path(GuestNode(g)))
	switch {
	case errors.Is(err, xenstore.ErrNotExist):
		d.setAlive(g, false)
		s.Bury()
		return nil
	case err != nil:
		return err
	}
	f, err := ParseGuest(g, v)
	if err != nil {
		d.cfg.Warn(err.Error())
		return nil
	}
	d.setAlive(g, true)
	s.Serve(ctx, f)
	return nil
}

// look looks at the agent's offer.
func (d *Domain) look(ctx context.Context, store *xenstore.Client) error {
	v, err := store.Read(ctx, d.path(NodeLink))
	if err != nil && !errors.Is(err, xenstore.ErrNotExist) {
		return err
	}
	if v == d.told {
		return nil
	}
	d.unlink()
	d.told = v
	if v == "" {
		return nil
	}
	run, _, offer, err := ParseLink(v)
	if err != nil {
		d.cfg.Warn(err.Error())
		return nil
	}
	if run != d.run { // of a program before this one: the agent will make another
		return nil
	}
	conn, err := duplex.Connect(d.cfg.Machine, agentDomain, offer)
	if err != nil {
		d.cfg.Warn(fmt.Sprintf("the agent's pages: %v", err))
		return nil
	}
	d.cfg.Debug("the agent is connected")
	d.link = newLink(conn, &attach.Server{Consoles: d.service, History: d.cfg.History}, func(err error) {
		d.cfg.Warn(fmt.Sprintf("the agent's connection: %v", err))
		select {
		case d.broken <- struct{}{}:
		default:
		}
	})
	return nil
}

func (d *Domain) unlink() {
	if d.link != nil {
		d.link.close()
		d.link = nil
	}
}

// link serves those who attach over the agent's pages.
type link struct {
	session *mux.Session
	cancel  context.CancelFunc
	done    chan struct{}
}

func newLink(conn io.ReadWriteCloser, server *attach.Server, broken func(error)) *link {
	ctx, cancel := context.WithCancel(context.Background())
	l := &link{session: mux.Acceptor(conn), cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		var all sync.WaitGroup
		defer all.Wait()
		for {
			c, err := l.session.Accept(ctx)
			if err != nil {
				if ctx.Err() == nil {
					broken(err)
				}
				return
			}
			all.Go(func() { _ = server.ServeConn(ctx, c) }) // it is the client's to know
		}
	}()
	return l
}

func (l *link) close() {
	l.cancel()
	_ = l.session.Close()
	<-l.done
}
