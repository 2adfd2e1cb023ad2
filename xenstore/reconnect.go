package xenstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"morgana/xen/wire/xs"
)

// Lost says what becomes of a client whose connection is lost: the service died, was replaced or hung up.
type Lost int

// What becomes of it. End is what NewClient and Dial do.
const (
	// End ends the client.
	End Lost = iota
	// Fail makes calls fail with ErrDown until there is another connection.
	Fail
	// Wait makes calls wait for another connection, as long as their contexts let them.
	Wait
)

// Dialer makes a connection.
type Dialer func(ctx context.Context) (io.ReadWriteCloser, error)

// Options are how a client is to be.
type Options struct {
	// Path is a unix socket or a character device; "" for what Dial finds.
	Path string
	// Dial makes connections in place of Path.
	Dial Dialer
	Lost Lost
}

// How long to wait before the next attempt to connect.
const (
	retryFirst = 2 * time.Millisecond
	retryMost  = 500 * time.Millisecond
)

// Open connects. The first connection must succeed; what happens when it is lost, Options.Lost says. With Fail or Wait the
// client connects again by itself, until Close:
//
//   - Watches are set again before anything else is sent. The first event of each path has Event.Lost set: what happened
//     in the meantime, it stands for.
//   - A request that was not sent yet waits (Wait) or fails with ErrDown (Fail).
//   - One that was sent and not answered: what only asks is asked again (Wait); what changes something fails with
//     ErrLost, because nobody knows whether it was carried out.
//   - Transactions are over: their calls fail with ErrAgain, and Transact begins anew. If the commit itself was under way
//     it fails with ErrLost, and Transact returns that.
func Open(ctx context.Context, o Options) (*Client, error) {
	dial := o.Dial
	switch {
	case dial != nil:
	case o.Path != "":
		dial = func(ctx context.Context) (io.ReadWriteCloser, error) { return dialPath(ctx, o.Path) }
	default:
		dial = dialAny
	}
	conn, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	c := newClient()
	if c.lost = o.Lost; o.Lost != End {
		c.dial = dial
	}
	c.attach(conn)
	return c, nil
}

// over ends a connection, and with it the client unless there is to be another one.
func (c *Client) over(l *link, reason error) {
	if c.dial == nil || malformed(reason) {
		c.mu.Lock()
		current := c.link == l
		c.mu.Unlock()
		if current {
			c.end(reason)
		}
		return
	}
	c.mu.Lock()
	if c.link != l {
		c.mu.Unlock()
		return
	}
	c.link = nil
	close(l.done)
	c.settle(l, reason)
	ctx, cancel := context.WithCancel(context.Background())
	c.cancel = cancel
	c.wg.Add(1)
	c.mu.Unlock()
	l.conn.Close()
	go func() {
		defer c.wg.Done()
		defer cancel()
		c.connect(ctx)
	}()
}

// settle decides on each call that was under way on a connection that is lost.
func (c *Client) settle(l *link, reason error) {
	reqs := make([]uint32, 0, len(l.calls))
	for req := range l.calls {
		reqs = append(reqs, req)
	}
	// In the order in which they were made; the numbers may have begun anew.
	slices.SortFunc(reqs, func(a, b uint32) int { return int(int32(a-l.nextReq) - int32(b-l.nextReq)) })
	lost := fmt.Errorf("%w: %w", ErrLost, reason)
	for _, req := range reqs {
		k := l.calls[req]
		if k.gone {
			continue
		}
		switch {
		case k.then != nil: // it is set again anyway
		case k.op == xs.TransactionEnd && k.sent && string(k.payload) == "T\x00":
			k.reply <- result{err: lost}
		case k.tx != 0:
			k.reply <- result{err: ErrAgain}
		case k.op == xs.Unwatch || k.op == xs.ResetWatches: // they are gone
			k.reply <- result{payload: []byte("OK\x00")}
		case k.sent && !asks(k.op):
			k.reply <- result{err: lost}
		case c.lost == Wait:
			c.waiting = append(c.waiting, k)
		case k.sent:
			k.reply <- result{err: lost}
		default:
			k.reply <- result{err: ErrDown}
		}
	}
	l.calls = nil
}

// asks reports whether a request changes nothing outside of its connection, so that it can be made again.
func asks(op xs.Op) bool {
	switch op {
	case xs.Read, xs.Directory, xs.DirectoryPart, xs.GetPerms, xs.GetDomainPath, xs.IsDomainIntroduced, xs.Watch,
		xs.TransactionStart:
		return true
	}
	return false
}

// connect makes the next connection, trying until the client is closed.
func (c *Client) connect(ctx context.Context) {
	for wait := retryFirst; ; wait = min(2*wait, retryMost) {
		conn, err := c.dial(ctx)
		if err == nil {
			c.attach(conn)
			return
		}
		if errors.Is(err, ErrProtocol) {
			c.end(err)
			return
		}
		t := time.NewTimer(wait)
		select {
		case <-t.C:
		case <-c.done:
			t.Stop()
			return
		}
	}
}

// watchAgain sets all watches on a new connection, in the order in which they were made.
func (c *Client) watchAgain(l *link) {
	all := make([]*watched, 0, len(c.tokens))
	for _, p := range c.tokens {
		if p.set {
			all = append(all, p)
		}
	}
	slices.SortFunc(all, func(a, b *watched) int { return int(int64(a.number) - int64(b.number)) })
	for _, p := range all {
		p.lost = true
		l.queue(&call{op: xs.Watch, payload: xs.AppendWatch(nil, p.path, p.token), then: func(r result) {
			if r.err != nil {
				p.w.drop(p)
				p.w.finish(fail("watch again", p.path, r.err))
			}
		}})
	}
}
