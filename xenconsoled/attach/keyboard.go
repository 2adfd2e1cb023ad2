package attach

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"
)

// Bounds of a Keyboard.
const (
	keptMax  = 16 << 10
	typeMost = 1 << 10     // bytes of a frame: the guest's ring takes no more at once
	linger   = time.Second // how long a connection stays that has nothing to do: who types goes on typing
)

// Keyboard types at a console each byte once and in order, whatever becomes of who serves it meanwhile. It keeps what the
// guest may not have been given, 16 KiB at most, and types it again over the next connection, but for as much as the index
// of the guest's ring has gone on. When others type at the same console in the moment in which a connection breaks, what
// they typed counts as ours: bytes may be lost then, and none is typed twice. A guest that changes the index harms itself.
//
// Safe for concurrent use.
type Keyboard struct {
	open   func(context.Context) (*Client, Info, error)
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	works  sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed when there is room, something to send, or nothing any more
	kept    []byte        // typed and, for all that is known, not given to the guest
	sent    int           // how many of them went over a connection
	index   uint32        // in the guest's ring, behind what is known to be given
	working bool          // work runs
	err     error         // why nothing is typed any more
}

// NewKeyboard makes a keyboard. open asks for OpType over a new connection, and waits while the service is away; an error
// of it ends the keyboard: the guest is gone. There are connections only while there is something to type. Close it.
func NewKeyboard(open func(context.Context) (*Client, Info, error)) *Keyboard {
	k := &Keyboard{open: open, changed: make(chan struct{})}
	k.ctx, k.cancel = context.WithCancel(context.Background())
	return k
}

// Write types p: it returns when all of it is kept, for the guest to be given. It waits while too much is kept, until ctx
// ends; n says how much is.
func (k *Keyboard) Write(ctx context.Context, p []byte) (n int, err error) {
	for {
		k.mu.Lock()
		if k.err != nil {
			k.mu.Unlock()
			return n, k.err
		}
		if m := min(len(p)-n, keptMax-len(k.kept)); m > 0 {
			k.kept = append(k.kept, p[n:n+m]...)
			n += m
			if !k.working {
				k.working = true
				k.works.Go(k.work)
			}
			k.tellLocked()
		}
		changed := k.changed
		k.mu.Unlock()
		if n == len(p) {
			return n, nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return n, context.Cause(ctx)
		}
	}
}

// Flush waits until the guest was given all, ctx ends, or the keyboard does.
func (k *Keyboard) Flush(ctx context.Context) error {
	for {
		k.mu.Lock()
		done, err, changed := len(k.kept) == 0, k.err, k.changed
		k.mu.Unlock()
		if err != nil || done {
			return err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// Close ends the keyboard; what it keeps is lost. Idempotent.
func (k *Keyboard) Close() {
	k.fail(io.ErrClosedPipe)
	k.cancel()
	k.works.Wait()
}

func (k *Keyboard) tellLocked() {
	close(k.changed)
	k.changed = make(chan struct{})
}

func (k *Keyboard) fail(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err == nil {
		k.err = err
		k.kept, k.sent = nil, 0
		k.tellLocked()
	}
}

// work types over one connection after the other, until nothing is kept.
func (k *Keyboard) work() {
	for more := true; more; {
		c, info, err := k.open(k.ctx)
		if err != nil {
			k.fail(err)
			return
		}
		k.resume(info.Input)
		k.over(c)
		k.mu.Lock()
		more = len(k.kept) > 0
		k.working = more
		k.mu.Unlock()
	}
}

// resume forgets what the guest was given of what went over the connection before.
func (k *Keyboard) resume(index uint32) {
	k.mu.Lock()
	defer k.mu.Unlock()
	n := int(min(uint64(index-k.index), uint64(k.sent)))
	k.kept = slices.Delete(k.kept, 0, n)
	k.sent, k.index = 0, index
	k.tellLocked()
}

// given forgets n bytes that the guest was given.
func (k *Keyboard) given(n uint64, index uint32) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err != nil {
		return k.err
	}
	if n > uint64(k.sent) {
		return fmt.Errorf("%w: %d bytes were given of %d that were typed", ErrProtocol, n, k.sent)
	}
	k.kept = slices.Delete(k.kept, 0, int(n))
	k.sent -= int(n)
	k.index = index
	k.tellLocked()
	return nil
}

// over types over a connection until it ends, or there has been nothing to type for a while.
func (k *Keyboard) over(c *Client) {
	ended := make(chan struct{})
	var reading sync.WaitGroup
	defer reading.Wait()
	defer c.Close()
	reading.Go(func() {
		defer close(ended)
		defer c.Close() // for who waits to write
		for had := uint64(0); ; {
			n, index, err := c.Given()
			if err != nil || n < had || k.given(n-had, index) != nil {
				return
			}
			had = n
		}
	})
	stop := context.AfterFunc(k.ctx, func() { c.Close() })
	defer stop()
	idle := time.NewTimer(linger)
	defer idle.Stop()
	buf := make([]byte, 0, typeMost)
	for {
		k.mu.Lock()
		b := k.kept[k.sent:]
		buf = append(buf[:0], b[:min(len(b), typeMost)]...)
		k.sent += len(buf)
		done, changed := len(k.kept) == 0, k.changed
		k.mu.Unlock()
		if len(buf) > 0 {
			idle.Reset(linger)
			if _, err := c.Write(buf); err != nil {
				return
			}
			continue
		}
		select {
		case <-changed:
		case <-ended:
			return
		case <-idle.C:
			if done {
				return
			}
			idle.Reset(linger)
		}
	}
}
