package xenbus

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"morgana/xen/xenbus/handshake"
	"morgana/xenstore"
)

// retryStore is how long a device waits after a write that failed for want of quota or the like.
const retryStore = time.Second

// session is one backend device.
type session struct {
	b     *backends
	key   key
	dev   *Device
	back  handshake.Back
	since time.Time     // what times count from
	wake  chan struct{} // something changed; capacity 1

	drv     Backend // nil until open succeeded
	foreign bool    // open said ErrNotOurs

	publishing sync.Mutex // held while a connection is opened and published

	mu      sync.Mutex
	failure error // of the connection, from Fail
	open    bool  // there is a connection for Fail to end
}

func newSession(b *backends, k key, path string) *session {
	s := &session{b: b, key: k, since: time.Now(), wake: make(chan struct{}, 1)}
	s.dev = &Device{Class: b.class, Frontend: k.dom, Number: k.number, Path: path, s: s}
	s.back.Removes = b.removes
	return s
}

func (s *session) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

func (s *session) now() time.Duration { return time.Since(s.since) }

// run serves the device until it is removed, ctx ends or the connection to xenstore does.
func (s *session) run(ctx context.Context) {
	defer func() {
		if s.back.Connected() {
			s.drv.Disconnect()
		}
		if s.drv != nil {
			s.drv.Close()
		}
	}()
	peer, err := s.b.store.Read(ctx, xenstore.Join(s.dev.Path, "frontend"))
	if err == nil && !strings.HasPrefix(peer, "/") {
		err = fmt.Errorf("node frontend: %.40q is no path", peer)
	}
	var events <-chan xenstore.Event
	if err == nil {
		s.dev.Peer = peer
		err = s.begin(ctx)
	}
	if s.foreign = errors.Is(err, ErrNotOurs); s.foreign {
		return
	}
	if err == nil {
		var w *xenstore.Watch
		if w, err = s.b.store.Watch(ctx, xenstore.Join(peer, "state")); err == nil {
			defer w.Close()
			events = w.Events()
		}
	}
	if err != nil {
		s.back.Dead()
		tell(ctx, s.b.transact, s.dev.Path, err)
	}
	for {
		at, err := s.step(ctx)
		switch {
		case ctx.Err() != nil || errors.Is(err, xenstore.ErrClosed) || errors.Is(err, xenstore.ErrProtocol) || errors.Is(err, ErrRemoved):
			return
		case errors.Is(err, errChanged):
			continue
		case err != nil:
			// The connection that could not be written down is closed again: see connect.
			at = s.now() + retryStore
		case at < 0:
			continue
		}
		if !s.wait(ctx, events, at) {
			return
		}
	}
}

// wait waits until something changes, or until at; 0 is never. It reports false when there is nothing more to wait for.
func (s *session) wait(ctx context.Context, events <-chan xenstore.Event, at time.Duration) bool {
	var timer <-chan time.Time
	if at > 0 {
		t := time.NewTimer(at - s.now())
		defer t.Stop()
		timer = t.C
	}
	select {
	case <-s.wake:
		return true
	case _, ok := <-events:
		return ok
	case <-timer:
		return true
	case <-ctx.Done():
		return false
	}
}

// begin opens the device.
func (s *session) begin(ctx context.Context) error {
	s.dev.Own = nodesOf(ctx, &s.b.store.Tree, s.dev.Path)
	drv, err := s.b.open(ctx, s.dev)
	s.dev.Own = func(string) (string, bool) { return "", false }
	s.drv = drv
	if err != nil {
		s.drv = nil
	}
	return err
}

// look sees how things are.
func (s *session) look(ctx context.Context, t *xenstore.Tree) (v handshake.BackView, err error) {
	v.Peer = handshake.Closed
	var all together
	all.do(func() (err error) {
		v.Own, v.Exists, err = readState(ctx, t, s.dev.Path)
		return err
	})
	all.do(func() (err error) {
		v.Online, err = readOnline(ctx, t, s.dev.Path, true)
		return err
	})
	if s.dev.Peer != "" {
		all.do(func() (err error) {
			v.Peer, _, err = readState(ctx, t, s.dev.Peer)
			return err
		})
	}
	err = all.wait()
	return v, err
}

// step does what comes next. at is negative if there may be more to do, else when to look again, 0 for never.
func (s *session) step(ctx context.Context) (at time.Duration, err error) {
	s.mu.Lock()
	failure := s.failure
	s.failure = nil
	s.mu.Unlock()
	if failure != nil && s.back.Connected() {
		s.back.Broke()
		tell(ctx, s.b.transact, s.dev.Path, failure)
	}
	v, err := s.look(ctx, &s.b.store.Tree)
	if err != nil {
		return 0, err
	}
	st, at := s.back.Next(s.now(), v)
	switch st {
	case handshake.Wait:
		return at, nil
	case handshake.Forget:
		return 0, ErrRemoved
	case handshake.Disconnect:
		s.setOpen(false)
		s.drv.Disconnect()
	case handshake.Remove:
		err = s.remove(ctx, v)
	case handshake.Offer:
		err = s.write(ctx, v, s.drv.Features(), st.Writes())
	case handshake.Connect:
		err = s.connect(ctx, v)
	default:
		err = s.write(ctx, v, nil, st.Writes())
	}
	if err != nil {
		return -1, err
	}
	s.back.Done(s.now(), st, v.Own)
	return -1, nil
}

// write writes nodes and a state if things are still as they were seen.
func (s *session) write(ctx context.Context, v handshake.BackView, nodes map[string]string, st handshake.State) error {
	return writeIf(ctx, s.b.transact, s.dev.Path, func(t *xenstore.Tree) (bool, error) {
		now, err := s.look(ctx, t)
		return now == v, err
	}, nodes, st)
}

// connect opens a connection and writes it down.
func (s *session) connect(ctx context.Context, v handshake.BackView) error {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	s.setOpen(true)
	publish, err := s.drv.Connect(ctx, nodesOf(ctx, &s.b.store.Tree, s.dev.Peer))
	if err != nil {
		s.setOpen(false)
		if ctx.Err() != nil {
			return err
		}
		s.back.Broke()
		tell(ctx, s.b.transact, s.dev.Path, err)
		return errChanged
	}
	if err := s.write(ctx, v, publish, handshake.Connected); err != nil {
		s.setOpen(false)
		s.drv.Disconnect()
		return err
	}
	return nil
}

// setOpen notes whether there is a connection, for Fail; what failed of the one before is forgotten.
func (s *session) setOpen(open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open, s.failure = open, nil
}

func (s *session) fail(err error) {
	s.mu.Lock()
	if s.open && s.failure == nil {
		s.failure = err
	}
	s.mu.Unlock()
	s.poke()
}

func (s *session) publish(ctx context.Context, nodes map[string]string) error {
	s.publishing.Lock()
	defer s.publishing.Unlock()
	err := writeIf(ctx, s.b.transact, s.dev.Path, func(t *xenstore.Tree) (bool, error) {
		st, _, err := readState(ctx, t, s.dev.Path)
		return st == handshake.Connected, err
	}, nodes, handshake.Connected)
	if err != nil && !errors.Is(err, errChanged) {
		return &Error{Device: s.dev.Path, Err: err}
	}
	return nil
}

// remove removes the device's directory, and the one above if that was the last of its frontend's domain.
func (s *session) remove(ctx context.Context, v handshake.BackView) error {
	return s.b.transact(ctx, func(tx *xenstore.Tx) error {
		now, err := s.look(ctx, &tx.Tree)
		if err != nil {
			return err
		}
		if now != v {
			return errChanged
		}
		if err := tx.Remove(ctx, s.dev.Path); err != nil {
			return err
		}
		up := s.dev.Path[:strings.LastIndexByte(s.dev.Path, '/')]
		if names, err := tx.List(ctx, up); err != nil || len(names) > 0 {
			return nil
		}
		if err := tx.Remove(ctx, up); err != nil && !absent(err) {
			return err
		}
		return nil
	})
}
