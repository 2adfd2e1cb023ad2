package xenstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"

	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/xs"
)

// Ring is the stream between a domain and the xenstore service in a page that they share: an io.ReadWriteCloser
// for one reader and one writer at a time.
type Ring struct {
	ev     xen.Event
	cancel context.CancelFunc
	wg     sync.WaitGroup

	in    *ring.Consumer
	out   *ring.Producer
	ready chan struct{} // something may be there to be read; capacity 1
	room  chan struct{} // there may be room to write; capacity 1

	once sync.Once
	done chan struct{}
	mu   sync.Mutex
	err  error
}

// NewRing makes the domain's side of a ring. The page is PageSize bytes; the event is the channel to the service.
// Close closes neither of them.
func NewRing(page []byte, ev xen.Event) (*Ring, error) {
	return newRing(page, ev, xs.RingReq, xs.RingReqProd, xs.RingReqCons, xs.RingRsp, xs.RingRspProd, xs.RingRspCons)
}

// NewServiceRing makes the service's side of a ring.
func NewServiceRing(page []byte, ev xen.Event) (*Ring, error) {
	return newRing(page, ev, xs.RingRsp, xs.RingRspProd, xs.RingRspCons, xs.RingReq, xs.RingReqProd, xs.RingReqCons)
}

func newRing(page []byte, ev xen.Event, out, outProd, outCons, in, inProd, inCons int) (*Ring, error) {
	if len(page) < xen.PageSize {
		return nil, fail("attach", "", fmt.Errorf("ring page of %d bytes, want %d: %w", len(page), xen.PageSize, ErrInvalid))
	}
	r := &Ring{
		ev:    ev,
		ready: make(chan struct{}, 1),
		room:  make(chan struct{}, 1),
		done:  make(chan struct{}),
	}
	words, err := wordsOf(page, outProd, outCons, inProd, inCons)
	if err != nil {
		return nil, fail("attach", "", err)
	}
	if r.out, err = ring.NewProducer(page[out:out+xs.RingSize], words[0], words[1]); err != nil {
		return nil, fail("attach", "", fmt.Errorf("%w: %w", ErrProtocol, err))
	}
	if r.in, err = ring.NewConsumer(page[in:in+xs.RingSize], words[2], words[3]); err != nil {
		return nil, fail("attach", "", fmt.Errorf("%w: %w", ErrProtocol, err))
	}
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	r.wg.Add(1)
	go r.pump(ctx)
	return r, nil
}

// pump turns events into wake-ups of the reader and of the writer: an event does not say whom it is for.
func (r *Ring) pump(ctx context.Context) {
	defer r.wg.Done()
	for {
		if err := r.ev.Wait(ctx); err != nil {
			r.stop(err)
			return
		}
		poke(r.ready)
		poke(r.room)
	}
}

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (r *Ring) stop(err error) {
	r.once.Do(func() {
		r.mu.Lock()
		r.err = err
		r.mu.Unlock()
		r.cancel()
		close(r.done)
	})
}

func (r *Ring) reason() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if errors.Is(r.err, context.Canceled) {
		return io.ErrClosedPipe
	}
	return r.err
}

// Read reads what is there, and waits while nothing is.
func (r *Ring) Read(b []byte) (int, error) {
	for {
		n, err := r.in.Read(b)
		if n > 0 {
			return n, r.ev.Notify()
		}
		if err != nil {
			return 0, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		if len(b) == 0 {
			return 0, nil
		}
		select {
		case <-r.ready:
		case <-r.done:
			return 0, r.reason()
		}
	}
}

// Write writes all of b, and waits while there is no room.
func (r *Ring) Write(b []byte) (int, error) {
	for done := 0; ; {
		n, err := r.out.Write(b[done:])
		if err != nil {
			return done, fmt.Errorf("%w: %w", ErrProtocol, err)
		}
		if done += n; n > 0 {
			if err := r.ev.Notify(); err != nil {
				return done, err
			}
		}
		if done == len(b) {
			return done, nil
		}
		if n > 0 {
			continue
		}
		select {
		case <-r.room:
		case <-r.done:
			return done, r.reason()
		}
	}
}

// Close ends reads and writes under way. The page and the event are the caller's. Idempotent.
func (r *Ring) Close() error {
	r.stop(io.ErrClosedPipe)
	r.wg.Wait()
	return nil
}

// wordsOf finds the index words of a ring page.
func wordsOf(page []byte, offs ...int) ([]*atomic.Uint32, error) {
	words := make([]*atomic.Uint32, len(offs))
	for i, off := range offs {
		w, err := ring.Word(page, off)
		if err != nil {
			return nil, err
		}
		words[i] = w
	}
	return words, nil
}
