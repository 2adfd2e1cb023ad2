package xenbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"morgana/xen"
	"morgana/xen/xenbus/handshake"
	"morgana/xenstore"
)

// Frontend is a frontend driver's part of its device. Its methods are called by one goroutine.
type Frontend interface {
	// Prepare makes rings for what the backend offers and returns the nodes to publish with state Initialised. It is
	// called again after each Disconnect. After an error it is tried again, a little later each time.
	Prepare(ctx context.Context, peer xen.DomID, back Nodes) (publish map[string]string, err error)
	// Connect is called when the backend is Connected. State Connected is written after it. On error Disconnect is
	// called, and another connection tried a little later. Disconnect is called too if the states changed meanwhile.
	Connect(ctx context.Context, back Nodes) error
	// Changed is called when the backend wrote Connected once more: read again what may have changed. It may be called
	// without a change.
	Changed(back Nodes)
	// Disconnect is called when the backend left, and for a Prepare that came to nothing: give the rings up.
	Disconnect()
}

// partTime bounds how long a frontend that ends takes to say so in xenstore.
const partTime = 5 * time.Second

// RunFrontend runs a frontend in its directory ("device/vbd/51712") until ctx ends, whose error it returns then, or the
// device is removed, for which it returns an error matching ErrRemoved. A backend that goes and comes back is connected
// again.
func RunFrontend(ctx context.Context, store *xenstore.Client, path string, f Frontend) error {
	r := &frontend{store: store, path: path, drv: f, since: time.Now()}
	if err := r.run(ctx); err != nil {
		return &Error{Device: path, Err: err}
	}
	return nil
}

type frontend struct {
	store *xenstore.Client
	path  string
	drv   Frontend
	since time.Time
	core  handshake.Front

	watch   *xenstore.Watch
	back    string // the backend's directory; "" is none
	peer    xen.DomID
	wrote   bool // the backend wrote its state
	prepare bool // Prepare succeeded, and Disconnect was not called
}

func (f *frontend) now() time.Duration { return time.Since(f.since) }

func (f *frontend) own(name string) string { return xenstore.Join(f.path, name) }

func (f *frontend) run(ctx context.Context) error {
	w, err := f.store.Watch(ctx, f.own("state"))
	if err != nil {
		return err
	}
	defer w.Close()
	defer f.part()
	f.watch = w
	for {
		at, err := f.step(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case errors.Is(err, ErrRemoved) || errors.Is(err, xenstore.ErrClosed) || errors.Is(err, xenstore.ErrProtocol):
			return err
		case errors.Is(err, errChanged):
			continue
		case err != nil:
			at = f.now() + retryStore
		case at < 0:
			continue
		}
		if err := f.wait(ctx, at); err != nil {
			return err
		}
	}
}

// wait waits for an event, or until at; 0 is never.
func (f *frontend) wait(ctx context.Context, at time.Duration) error {
	var timer <-chan time.Time
	if at > 0 {
		t := time.NewTimer(at - f.now())
		defer t.Stop()
		timer = t.C
	}
	select {
	case e, ok := <-f.watch.Events():
		if !ok {
			return f.watch.Err()
		}
		if e.Watched == xenstore.Join(f.back, "state") {
			f.wrote = true
		}
	case <-timer:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	return nil
}

// find sees to it that the backend's state is watched: the tool stack may have given us another one.
func (f *frontend) find(ctx context.Context) error {
	back, err := f.store.Read(ctx, f.own("backend"))
	if err != nil && !absent(err) {
		return err
	}
	if back == f.back {
		return nil
	}
	if !strings.HasPrefix(back, "/") && back != "" {
		return fmt.Errorf("node backend: %.40q is no path", back)
	}
	if f.back != "" {
		if err := f.watch.Remove(ctx, xenstore.Join(f.back, "state")); err != nil {
			return err
		}
		f.back = ""
	}
	if back == "" {
		return nil
	}
	if err := f.watch.Add(ctx, xenstore.Join(back, "state")); err != nil {
		return err
	}
	f.back = back
	return nil
}

func (f *frontend) look(ctx context.Context, t *xenstore.Tree) (v handshake.FrontView, err error) {
	v.Peer = handshake.Closed
	var all together
	all.do(func() (err error) {
		v.Own, v.Exists, err = readState(ctx, t, f.path)
		return err
	})
	there := false
	if f.back != "" {
		all.do(func() (err error) {
			v.Peer, there, err = readState(ctx, t, f.back)
			return err
		})
		all.do(func() (err error) {
			v.Online, err = readOnline(ctx, t, f.back, true)
			return err
		})
	}
	err = all.wait()
	v.Online = v.Online && there
	return v, err
}

// step does what comes next. at is negative if there may be more to do, else when to look again, 0 for never.
func (f *frontend) step(ctx context.Context) (at time.Duration, err error) {
	if err := f.find(ctx); err != nil {
		return 0, err
	}
	v, err := f.look(ctx, &f.store.Tree)
	if err != nil {
		return 0, err
	}
	seen := v
	seen.Wrote = f.wrote
	st, at := f.core.Next(f.now(), seen)
	switch st {
	case handshake.Wait:
		return at, nil
	case handshake.Forget:
		return 0, ErrRemoved
	case handshake.Disconnect:
		f.disconnect()
	case handshake.Prepare:
		err = f.prepareRings(ctx, v)
	case handshake.Connect:
		f.wrote = false
		if err = f.drv.Connect(ctx, nodesOf(ctx, &f.store.Tree, f.back)); err != nil {
			return f.broke(ctx, err)
		}
		if err = f.write(ctx, v, nil, st.Writes()); err != nil {
			// The rings may have been used. If the backend left meanwhile, the next one is not to find them as they are.
			f.disconnect()
			f.core.Done(f.now(), handshake.Disconnect)
		}
	case handshake.Look:
		f.wrote = false
		f.drv.Changed(nodesOf(ctx, &f.store.Tree, f.back))
	default:
		err = f.write(ctx, v, nil, st.Writes())
	}
	if err != nil {
		return -1, err
	}
	f.core.Done(f.now(), st)
	return -1, nil
}

// broke takes note that the driver cannot go on with the backend.
func (f *frontend) broke(ctx context.Context, err error) (time.Duration, error) {
	if ctx.Err() != nil {
		return 0, err
	}
	f.core.Broke()
	tell(ctx, f.store.Transact, f.path, err)
	return -1, nil
}

func (f *frontend) prepareRings(ctx context.Context, v handshake.FrontView) error {
	id, err := f.store.ReadUint(ctx, f.own("backend-id"), 16)
	if err != nil {
		return err
	}
	f.peer = xen.DomID(id)
	publish, err := f.drv.Prepare(ctx, f.peer, nodesOf(ctx, &f.store.Tree, f.back))
	if err != nil {
		if _, err := f.broke(ctx, err); err != nil {
			return err
		}
		return errChanged
	}
	f.prepare = true
	if err := f.write(ctx, v, publish, handshake.Initialised); err != nil {
		f.disconnect()
		return err
	}
	return nil
}

func (f *frontend) disconnect() {
	if f.prepare {
		f.prepare = false
		f.drv.Disconnect()
	}
}

func (f *frontend) write(ctx context.Context, v handshake.FrontView, nodes map[string]string, st handshake.State) error {
	return writeIf(ctx, f.store.Transact, f.path, func(t *xenstore.Tree) (bool, error) {
		now, err := f.look(ctx, t)
		return now == v, err
	}, nodes, st)
}

// part is the end of a frontend: the backend is told to let go of the rings before they are given up.
func (f *frontend) part() {
	if !f.prepare {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), partTime)
	defer cancel()
	still := exists(ctx, f.path)
	// A device that is gone, or a connection that is over, has nobody to be told.
	_ = writeIf(ctx, f.store.Transact, f.path, still, nil, handshake.Closing)
	f.disconnect()
	_ = writeIf(ctx, f.store.Transact, f.path, still, nil, handshake.Closed)
}
