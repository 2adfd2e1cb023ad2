package daemon

import (
	"context"
	"errors"
	"io"
	"sync"
	"time"

	"morgana/xenconsoled"
	"morgana/xenconsoled/agent"
	"morgana/xenconsoled/attach"
)

// source is the console behind a terminal.
type source interface {
	// begin is called when somebody opens the terminal: what follows begins with the last screen, or with what came
	// meanwhile.
	begin()
	// next waits for what follows, at most len(p) bytes. It fails when there is no more, or ctx ends.
	next(ctx context.Context, p []byte) (int, error)
	// given says that the terminal was given what next returned.
	given()
	// write types; what cannot be typed because somebody else types alone is dropped.
	write(ctx context.Context, p []byte) error
	// end is called when nobody has the terminal open any more.
	end()
	close()
}

// here is a console of this process.
type here struct {
	console *xenconsoled.Console
	reader  *xenconsoled.Reader
	at      uint64 // the number of the byte after those that next returned
}

func newHere(c *xenconsoled.Console, limit int, keep bool) *here {
	policy, half := xenconsoled.Ends, limit/2
	if keep {
		policy, half = xenconsoled.Every, limit
	}
	return &here{console: c, reader: c.Stream().NewReader(c.Stream().Seen(), policy, half)}
}

func (h *here) begin() {
	if screen := h.console.Stream().Screen(screenLines, screenBytes); screen < h.reader.Position() {
		h.reader.Seek(screen)
	}
}

func (h *here) next(ctx context.Context, p []byte) (int, error) {
	if err := h.reader.Wait(ctx, 1); err != nil {
		return 0, err
	}
	n, from := h.reader.Read(p)
	h.at = from + uint64(n)
	return n, nil
}

func (h *here) given() { h.console.Stream().SetSeen(h.at) }

func (h *here) write(ctx context.Context, p []byte) error {
	if _, err := h.console.Write(ctx, p); err != nil && !errors.Is(err, xenconsoled.ErrTaken) {
		return err
	}
	return nil
}

func (h *here) end() {}

func (h *here) close() { h.reader.Close() }

// there is a console that the console domain serves. It is read over a connection while somebody has the terminal open, and
// typed at over another one while there is something to type: what is typed does not wait behind what nobody reads, and not
// for those who have the terminal open.
type there struct {
	guest    *agent.Guest
	keyboard *attach.Keyboard

	mu     sync.Mutex
	client *attach.Client // or nil; next's
	at     *uint64        // the number of the byte that comes next, if somebody has read
	fresh  bool           // whoever opened the terminal has seen nothing yet
}

func newThere(g *agent.Guest) *there {
	return &there{guest: g, keyboard: attach.NewKeyboard(func(ctx context.Context) (*attach.Client, attach.Info, error) {
		return open(ctx, g, attach.Request{Op: attach.OpType})
	})}
}

func (t *there) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fresh = true
}

// retry is how long to wait until a connection is tried again.
const retry = 50 * time.Millisecond

// open makes a connection: it waits for a domain that is away.
func open(ctx context.Context, g *agent.Guest, r attach.Request) (*attach.Client, attach.Info, error) {
	for {
		c, info, err := g.Open(ctx, r)
		if err == nil {
			return c, info, nil
		}
		select {
		case <-time.After(retry):
		case <-ctx.Done():
			return nil, info, context.Cause(ctx)
		}
	}
}

// connected is the connection there is, or a new one.
func (t *there) connected(ctx context.Context) (*attach.Client, error) {
	t.mu.Lock()
	c := t.client
	r := attach.Request{Op: attach.OpAttach, Mode: attach.ModeRead, From: t.at}
	if t.fresh || t.at == nil {
		r.Lines = screenLines
	}
	t.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c, _, err := open(ctx, t.guest, r)
	if err != nil {
		return nil, err
	}
	t.mu.Lock()
	t.client, t.fresh = c, false
	t.mu.Unlock()
	return c, nil
}

func (t *there) next(ctx context.Context, p []byte) (int, error) {
	for {
		c, err := t.connected(ctx)
		if err != nil {
			return 0, err
		}
		stop := context.AfterFunc(ctx, func() { c.Close() })
		n, err := c.Read(p)
		stop()
		if n > 0 {
			at := c.Next()
			t.mu.Lock()
			t.at = &at
			t.mu.Unlock()
			return n, nil
		}
		t.drop(c)
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		if err == io.EOF { // the guest is gone
			return 0, err
		}
	}
}

func (t *there) given() {}

// drop drops a connection that is over; nil stands for the one there is.
func (t *there) drop(c *attach.Client) {
	t.mu.Lock()
	if c == nil {
		c = t.client
	}
	if t.client == c {
		t.client = nil
	}
	t.mu.Unlock()
	if c != nil {
		c.Close()
	}
}

func (t *there) write(ctx context.Context, p []byte) error {
	_, err := t.keyboard.Write(ctx, p)
	return err
}

func (t *there) end() { t.drop(nil) }

func (t *there) close() {
	t.drop(nil)
	t.keyboard.Close()
}
