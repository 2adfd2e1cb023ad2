package xenbus

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// Backend is a backend driver's part of one device. Its methods are called by one goroutine.
type Backend interface {
	// Features are the nodes to publish with state InitWait, before each connection.
	Features() map[string]string
	// Connect opens the connection that the frontend's nodes describe and returns the nodes to publish with state
	// Connected. On error the device is closed, with the error in its node "error", until the frontend tries again.
	// Connect is called without Features before it for a device that was Connected already.
	Connect(ctx context.Context, front Nodes) (publish map[string]string, err error)
	// Disconnect ends the connection and returns when nothing of the frontend's is mapped or used any more. It is
	// called when the frontend leaves, for whatever reason, and only after Connect succeeded.
	Disconnect()
	// Close gives the device up: it is not called again. Disconnect went before if there was a connection.
	Close()
}

// Device is one device below the backend directory.
type Device struct {
	Class    string // "vbd"
	Frontend xen.DomID
	Number   uint32 // the device's number there: 51712 is xvda
	Path     string // the backend's directory: "/local/domain/1/backend/vbd/3/51712"
	Peer     string // the frontend's directory: "/local/domain/3/device/vbd/51712"
	Own      Nodes  // the tool stack's nodes in Path: "params", "mode"; for the call of open only

	s *session
}

// Publish writes nodes and Connected again: how a frontend learns that the disk grew. It does nothing if the device is
// not connected, and waits for a Connect under way. Safe for concurrent use, but not to be called from the driver's own
// methods.
func (d *Device) Publish(ctx context.Context, nodes map[string]string) error {
	return d.s.publish(ctx, nodes)
}

// Fail ends the connection from the backend's side, because the frontend broke the protocol: the driver's Disconnect is
// called, the error goes into the node "error", and the device is closed until the frontend lets go and comes again. It
// does not wait, and does nothing without a connection. Safe for concurrent use, also from the driver's own goroutines.
func (d *Device) Fail(err error) { d.s.fail(err) }

// Backends serves every device of a class until ctx ends, whose error it returns then, or the connection to xenstore
// does. open is called for each new device, by a goroutine of the device's own; its error goes into the device's node
// "error", and the device is closed. When Backends returns, Disconnect and Close were called for every one; the states
// stay as they are.
func Backends(ctx context.Context, store *xenstore.Client, class string, open func(ctx context.Context, d *Device) (Backend, error)) error {
	self, err := ownID(ctx, store)
	if err != nil {
		return fmt.Errorf("xenbus: find the number of this domain: %w", err)
	}
	b := &backends{
		store:    store,
		class:    class,
		dir:      xenstore.Join(xs.DomainPath(self), "backend", class),
		removes:  self != 0,
		open:     open,
		sessions: make(map[key]*session),
		ended:    make(chan *session),
		turns:    make(chan struct{}, turns),
	}
	w, err := store.Watch(ctx, b.dir)
	if err != nil {
		return &Error{Device: b.dir, Err: err}
	}
	defer w.Close()
	ctx, cancel := context.WithCancelCause(ctx)
	defer b.wg.Wait()
	defer cancel(context.Canceled)
	return b.run(ctx, w)
}

// ownID is this domain's number. Relative paths begin at a domain's home, but for dom0 on a socket of xenstored there is
// no such place.
func ownID(ctx context.Context, store *xenstore.Client) (xen.DomID, error) {
	n, err := store.ReadUint(ctx, "domid", 16)
	if errors.Is(err, xenstore.ErrInvalid) || errors.Is(err, xenstore.ErrNotExist) {
		return 0, nil
	}
	return xen.DomID(n), err
}

// turns is how many transactions are open at once: a domain may have ten, of all its parts together.
const turns = 3

// transact takes its turn.
func (b *backends) transact(ctx context.Context, f func(*xenstore.Tx) error) error {
	select {
	case b.turns <- struct{}{}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	defer func() { <-b.turns }()
	return b.store.Transact(ctx, f)
}

// key names a device of a class.
type key struct {
	dom    xen.DomID
	number uint32
}

type backends struct {
	store   *xenstore.Client
	class   string
	dir     string
	removes bool
	open    func(ctx context.Context, d *Device) (Backend, error)

	turns    chan struct{} // held by transactions
	wg       sync.WaitGroup
	sessions map[key]*session
	ended    chan *session
}

func (b *backends) run(ctx context.Context, w *xenstore.Watch) error {
	for {
		select {
		case e, ok := <-w.Events():
			if !ok {
				return &Error{Device: b.dir, Err: w.Err()}
			}
			if err := b.changed(ctx, e.Path); err != nil {
				return &Error{Device: b.dir, Err: err}
			}
		case s := <-b.ended:
			delete(b.sessions, s.key)
			if err := b.see(ctx, s.key); err != nil {
				return &Error{Device: b.dir, Err: err}
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// changed takes an event: a path at, above or below a device's directory.
func (b *backends) changed(ctx context.Context, path string) error {
	rest, below := strings.CutPrefix(path, b.dir+"/")
	parts := strings.SplitN(rest, "/", 3)
	switch {
	case !below:
		return b.scan(ctx)
	case len(parts) == 1:
		return b.scanDomain(ctx, parts[0])
	}
	if k, ok := parseKey(parts[0], parts[1]); ok {
		return b.see(ctx, k)
	}
	return nil
}

func parseKey(dom, number string) (key, bool) {
	d, err := strconv.ParseUint(dom, 10, 16)
	if err != nil {
		return key{}, false
	}
	n, err := strconv.ParseUint(number, 10, 32)
	return key{xen.DomID(d), uint32(n)}, err == nil
}

func (b *backends) scan(ctx context.Context) error {
	doms, err := b.store.List(ctx, b.dir)
	if err != nil && !absent(err) {
		return err
	}
	for _, d := range doms {
		if err := b.scanDomain(ctx, d); err != nil {
			return err
		}
	}
	for _, s := range b.sessions { // of what was removed with all of it
		s.poke()
	}
	return nil
}

func (b *backends) scanDomain(ctx context.Context, dom string) error {
	numbers, err := b.store.List(ctx, xenstore.Join(b.dir, dom))
	if err != nil && !absent(err) {
		return err
	}
	for _, n := range numbers {
		if k, ok := parseKey(dom, n); ok {
			if err := b.see(ctx, k); err != nil {
				return err
			}
		}
	}
	for k, s := range b.sessions {
		if strconv.Itoa(int(k.dom)) == dom {
			s.poke()
		}
	}
	return nil
}

// see lets a device look again, and begins with one that is new.
func (b *backends) see(ctx context.Context, k key) error {
	if s := b.sessions[k]; s != nil {
		s.poke()
		return nil
	}
	path := fmt.Sprintf("%s/%d/%d", b.dir, k.dom, k.number)
	_, exists, err := readState(ctx, &b.store.Tree, path)
	if err != nil || !exists {
		return err
	}
	s := newSession(b, k, path)
	b.sessions[k] = s
	b.wg.Add(1)
	go func() {
		defer b.wg.Done()
		s.run(ctx)
		select {
		case b.ended <- s:
		case <-ctx.Done():
		}
	}()
	return nil
}
