package xenstore

import (
	"context"
	"fmt"
	"strconv"
	"sync"

	"morgana/xen/wire/xs"
)

// pendingMax is how many events one Watch may hold for a reader that does not come. A service that sends more is
// out of its mind, or the reader is: the connection ends, because an event must not be dropped.
const pendingMax = 1 << 20

// Event says that something happened at or below a watched path. Read it to see what.
type Event struct {
	Path    string // the node that changed, relative if Watched is
	Watched string // the path that was watched
	// Lost marks the first event after the connection was lost: there may have been others, which nobody will tell of. See
	// Open.
	Lost bool
}

// Watch is any number of watched paths whose events come through one channel, in the order of the service. Safe
// for concurrent use.
type Watch struct {
	c      *Client
	events chan Event
	wg     sync.WaitGroup
	stop   chan struct{} // closed by Close
	more   chan struct{} // the queue grew, or is over; capacity 1

	mu    sync.Mutex
	queue []Event
	over  bool
	err   error
	paths map[string]*watched // by path; written with c.mu held too
}

// watched is one path of a Watch. Its token is its name on the wire.
type watched struct {
	w      *Watch
	path   string
	token  string
	number uint64
	set    bool // the service has it
	lost   bool // its next event is the first one of another connection
}

// Watch watches paths, none or more; Add watches further ones. Each path gives one event at once. Close the Watch
// when it is not needed any more.
func (c *Client) Watch(ctx context.Context, paths ...string) (*Watch, error) {
	w := &Watch{
		c:      c,
		events: make(chan Event),
		stop:   make(chan struct{}),
		more:   make(chan struct{}, 1),
		paths:  make(map[string]*watched),
	}
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return nil, fail("watch", "", c.err)
	}
	c.watches[w] = struct{}{}
	c.mu.Unlock()
	w.wg.Add(1)
	go w.deliver()
	for _, p := range paths {
		if err := w.Add(ctx, p); err != nil {
			w.Close()
			return nil, err
		}
	}
	return w, nil
}

// Add watches one more path: a node that exists or not, or a special path such as xs.ReleaseDomain. A path that is
// watched already is an error matching ErrExist.
func (w *Watch) Add(ctx context.Context, path string) error {
	if err := xs.CheckPath(path); err != nil {
		return fail("watch", path, err)
	}
	c := w.c
	c.mu.Lock()
	w.mu.Lock()
	if w.paths[path] != nil || w.over {
		err := ErrExist
		if w.over {
			err = ErrClosed
		}
		w.mu.Unlock()
		c.mu.Unlock()
		return fail("watch", path, err)
	}
	c.nextTok++
	p := &watched{w: w, path: path, token: strconv.FormatUint(c.nextTok, 36), number: c.nextTok}
	w.paths[path], c.tokens[p.token] = p, p
	w.mu.Unlock()
	c.mu.Unlock()

	payload := xs.AppendWatch(nil, path, p.token)
	r := c.ask(ctx, &call{op: xs.Watch, payload: payload, watch: p, abandoned: func(result) {
		c.forget(&call{op: xs.Unwatch, payload: payload})
	}})
	if r.err != nil {
		w.drop(p)
	}
	return fail("watch", path, r.err)
}

// Remove stops watching a path. Events of it that are under way are dropped, none come after Remove returned but
// one that was being delivered.
func (w *Watch) Remove(ctx context.Context, path string) error {
	w.mu.Lock()
	p := w.paths[path]
	w.mu.Unlock()
	if p == nil {
		return fail("unwatch", path, ErrNotExist)
	}
	w.drop(p)
	_, err := w.c.do(ctx, xs.Unwatch, 0, xs.AppendWatch(nil, path, p.token), nil)
	return fail("unwatch", path, err)
}

// drop forgets a path and its events.
func (w *Watch) drop(p *watched) {
	w.c.mu.Lock()
	defer w.c.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.c.tokens, p.token)
	delete(w.paths, p.path)
	kept := w.queue[:0]
	for _, e := range w.queue {
		if e.Watched != p.path {
			kept = append(kept, e)
		}
	}
	w.queue = kept
}

// Events is the channel of events. It is closed after Close, and when the connection is over and all events that
// came before are read; Err says why.
func (w *Watch) Events() <-chan Event { return w.events }

// Next is one receive from Events that gives up when ctx ends.
func (w *Watch) Next(ctx context.Context) (Event, error) {
	select {
	case e, ok := <-w.events:
		if ok {
			return e, nil
		}
		return Event{}, fail("watch", "", w.Err())
	case <-ctx.Done():
		return Event{}, fail("watch", "", context.Cause(ctx))
	}
}

// Err says why Events was closed; nil if it was not.
func (w *Watch) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// Close stops watching all paths and closes the channel; events not yet read are dropped. It does not wait for the
// service. Idempotent.
func (w *Watch) Close() error {
	c := w.c
	c.mu.Lock()
	_, open := c.watches[w]
	delete(c.watches, w)
	w.mu.Lock()
	paths := w.paths
	w.paths = map[string]*watched{}
	w.mu.Unlock()
	for _, p := range paths {
		delete(c.tokens, p.token)
	}
	c.mu.Unlock()
	if open {
		close(w.stop)
		w.finish(ErrClosed)
		for _, p := range paths {
			c.forget(&call{op: xs.Unwatch, payload: xs.AppendWatch(nil, p.path, p.token)})
		}
	}
	w.wg.Wait()
	return nil
}

// finish ends the queue: what is in it is still delivered.
func (w *Watch) finish(reason error) {
	w.mu.Lock()
	if !w.over {
		w.over, w.err = true, reason
	}
	w.mu.Unlock()
	w.poke()
}

func (w *Watch) poke() {
	select {
	case w.more <- struct{}{}:
	default:
	}
}

// deliver moves events from the queue to the channel.
func (w *Watch) deliver() {
	defer w.wg.Done()
	defer close(w.events)
	for {
		w.mu.Lock()
		var e Event
		have, over := len(w.queue) > 0, w.over
		if have {
			e = w.queue[0]
			w.queue = w.queue[1:]
		}
		w.mu.Unlock()
		switch {
		case have:
			select {
			case w.events <- e:
			case <-w.stop:
				return
			}
		case over:
			return
		default:
			select {
			case <-w.more:
			case <-w.stop:
				return
			}
		}
	}
}

// event handles a WATCH_EVENT. One whose token is not known was under way when its watch was removed.
func (c *Client) event(l *link, payload []byte) error {
	path, token, err := xs.ParseWatch(payload)
	if err != nil {
		return fmt.Errorf("%w: event: %w", ErrProtocol, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	p := c.tokens[token]
	if p == nil || c.link != l {
		return nil
	}
	p.w.mu.Lock()
	p.w.queue = append(p.w.queue, Event{Path: path, Watched: p.path, Lost: p.lost})
	p.lost = false
	n := len(p.w.queue)
	p.w.mu.Unlock()
	p.w.poke()
	if n > pendingMax {
		return fmt.Errorf("%w: %d events of %q wait for a reader", ErrProtocol, n, p.path)
	}
	return nil
}
