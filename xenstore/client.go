package xenstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"morgana/xen/wire/xs"
)

// Client is a connection to xenstore, or one after the other. Safe for concurrent use.
type Client struct {
	Tree
	dial Dialer // for the next connection; nil if there is none
	lost Lost

	done   chan struct{} // closed when the client is over
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu      sync.Mutex
	err     error   // why the client is over
	link    *link   // nil while there is no connection
	links   uint64  // how many there were: the number of this one
	waiting []*call // for a connection, in order
	nextTok uint64
	tokens  map[string]*watched
	watches map[*Watch]struct{}
}

// call is a request under way.
type call struct {
	op      xs.Op
	tx      uint32
	link    uint64 // of its transaction
	payload []byte
	reply   chan result // capacity 1
	// abandoned, if set, undoes a reply for which nobody waits any more. gone says that nobody does.
	abandoned func(result)
	gone      bool
	sent      bool         // in part, maybe
	watch     *watched     // that is set when it succeeds
	then      func(result) // takes the reply in place of reply
}

type result struct {
	payload []byte
	err     error
	link    uint64 // on which it came
}

// NewClient makes a client of a stream and owns it from then on; the client is over when the stream is. It starts the
// goroutines that read and write it; Close ends them. Over a network connection or a Ring, requests that wait are written
// together; on anything else each request is one Write, which /dev/xen/xenbus wants.
func NewClient(conn io.ReadWriteCloser) *Client {
	c := newClient()
	c.attach(conn)
	return c
}

func newClient() *Client {
	c := &Client{
		done:    make(chan struct{}),
		cancel:  func() {},
		tokens:  make(map[string]*watched),
		watches: make(map[*Watch]struct{}),
	}
	c.Tree = Tree{c: c}
	return c
}

// Close ends the connection and waits for its goroutines. Calls under way return an error matching ErrClosed; the
// channels of watches are closed. Idempotent.
func (c *Client) Close() error {
	c.end(ErrClosed)
	c.wg.Wait()
	return nil
}

// Done is closed when the client is over.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err says why the client is over: nil as long as it is not, an error matching ErrClosed after Close or when the service
// hung up and no other connection is wanted, ErrProtocol after a malformed reply.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// end ends the client once, for the reason given, and returns the reason of the first time.
func (c *Client) end(reason error) error {
	c.mu.Lock()
	if c.err != nil {
		defer c.mu.Unlock()
		return c.err
	}
	c.err = reason
	l := c.link
	c.link = nil
	if l != nil {
		close(l.done)
		for _, k := range l.calls {
			if k.then == nil {
				k.reply <- result{err: reason}
			}
		}
		l.calls = nil
	}
	for _, k := range c.waiting {
		k.reply <- result{err: reason}
	}
	c.waiting = nil
	for w := range c.watches {
		w.finish(reason)
	}
	close(c.done)
	cancel := c.cancel
	c.mu.Unlock()
	cancel()
	if l != nil {
		l.conn.Close()
	}
	return reason
}

// broken ends the client because the service sent something malformed.
func (c *Client) broken(err error) error { return c.end(fmt.Errorf("%w: %w", ErrProtocol, err)) }

// do sends a request and waits for its reply. If ctx ends first the reply is dropped when it comes, after a call
// of abandoned with it.
func (c *Client) do(ctx context.Context, op xs.Op, tx uint32, payload []byte, abandoned func(result)) ([]byte, error) {
	r := c.ask(ctx, &call{op: op, tx: tx, payload: payload, abandoned: abandoned})
	return r.payload, r.err
}

// ask is do for a call that is made already.
func (c *Client) ask(ctx context.Context, k *call) result {
	if ctx.Err() != nil {
		return result{err: context.Cause(ctx)}
	}
	k.reply = make(chan result, 1)
	if err := c.send(k); err != nil {
		return result{err: err}
	}
	select {
	case r := <-k.reply:
		return r
	case <-ctx.Done():
	}
	c.mu.Lock()
	k.gone = true
	c.waiting = slices.DeleteFunc(c.waiting, func(x *call) bool { return x == k })
	c.mu.Unlock()
	select {
	case r := <-k.reply: // it came in the meantime
		return r
	default:
		return result{err: context.Cause(ctx)}
	}
}

// forget sends a request whose reply does not matter.
func (c *Client) forget(k *call) {
	k.reply, k.gone = make(chan result, 1), true
	_ = c.send(k)
}

// send queues a request.
func (c *Client) send(k *call) error {
	if n := len(k.payload); n > xs.PayloadMax {
		return fmt.Errorf("%w: request of %d bytes, at most %d allowed", ErrTooBig, n, xs.PayloadMax)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.err != nil:
		return c.err
	case k.tx != 0 && k.link != c.links:
		return ErrAgain // the transaction went with its connection
	case c.link != nil:
		c.link.queue(k)
	case k.tx != 0:
		return ErrAgain
	case c.lost == Fail:
		return ErrDown
	case !k.gone:
		c.waiting = append(c.waiting, k)
	}
	return nil
}

// reply hands out a reply.
func (c *Client) reply(l *link, h xs.Header, payload []byte) error {
	c.mu.Lock()
	k := l.calls[h.Req]
	switch {
	case c.link != l: // it is over
		c.mu.Unlock()
		return ErrClosed
	case k == nil:
		c.mu.Unlock()
		return fmt.Errorf("%w: %v reply to request %d, which is not under way", ErrProtocol, h.Op, h.Req)
	case h.Op != k.op && h.Op != xs.ErrorReply:
		c.mu.Unlock()
		return fmt.Errorf("%w: %v reply to a %v request", ErrProtocol, h.Op, k.op)
	}
	r := result{payload: payload, link: l.number}
	if h.Op == xs.ErrorReply {
		e, err := xs.ParseError(payload)
		if err != nil {
			c.mu.Unlock()
			return fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		r = result{err: e, link: l.number}
	}
	delete(l.calls, h.Req)
	if l.one && !isWatch(k.op) {
		l.unanswered--
		select {
		case l.answered <- struct{}{}:
		default:
		}
	}
	unwanted := false // a watch that was dropped while its request waited for a connection
	if k.watch != nil {
		k.watch.set = r.err == nil
		unwanted = k.watch.set && c.tokens[k.watch.token] != k.watch
	}
	gone := k.gone
	if !gone && k.then == nil {
		k.reply <- r
	}
	c.mu.Unlock()
	switch {
	case k.then != nil:
		k.then(r)
	case gone && k.abandoned != nil && r.err == nil:
		k.abandoned(r)
	case unwanted:
		c.forget(&call{op: xs.Unwatch, payload: k.payload})
	}
	return nil
}

// malformed reports whether an error is the service's fault, so that another connection would not help.
func malformed(err error) bool { return errors.Is(err, ErrProtocol) }
