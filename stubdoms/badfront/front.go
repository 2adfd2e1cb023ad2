package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"morgana/blkback/attack"
	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/blkif"
	"morgana/xen/xenbus"
	"morgana/xenstore"
)

const (
	// dataPages is four for each slot of the ring.
	dataPages = 4 * 32
	// patience is how long a backend may take to answer, or to notice that a ring is broken.
	patience = 60 * time.Second
)

// domain is what the frontend needs of its own domain.
type domain interface {
	xen.Granter
	xen.Events
}

// front implements xenbus.Frontend. Each connection is handed to the one who misbehaves.
type front struct {
	dom   domain
	store *xenstore.Client
	path  string
	rng   *rand.Rand

	connected chan *connection // capacity 1
	preparing *connection      // xenbus's goroutine's

	sent, refused int

	halt func() // the driver, after start
}

// connection is a ring that is in use until gone is closed.
type connection struct {
	attack.Frontend
	ring   *ring.Front
	memory []byte // the ring's
	grants []xen.Grant
	event  xen.Event
	gone   chan struct{}

	mu    sync.Mutex // held while the memory is used by another goroutine than try's
	slot  [128]byte
	waits context.Context // ends with the connection
	end   context.CancelFunc
}

func newFront(dom domain, store *xenstore.Client, path string, seed uint64) *front {
	return &front{dom: dom, store: store, path: path, rng: rand.New(rand.NewPCG(seed, 7)), connected: make(chan *connection, 1)}
}

// start runs the driver, which connects and connects again, until halt.
func (f *front) start() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = xenbus.RunFrontend(ctx, f.store, f.path, f) // without one there is no connection, which is noticed
	}()
	f.halt = func() {
		cancel()
		<-done
	}
}

// Prepare implements xenbus.Frontend.
func (f *front) Prepare(_ context.Context, peer xen.DomID, _ xenbus.Nodes) (map[string]string, error) {
	c := &connection{gone: make(chan struct{})}
	c.waits, c.end = context.WithCancel(context.Background())
	f.preparing = c
	share := func(pages int, access xen.Access) (xen.Grant, error) {
		g, err := f.dom.Share(peer, pages, access)
		if err == nil {
			c.grants = append(c.grants, g)
		}
		return g, err
	}
	shared, err := share(1, xen.ReadWrite)
	if err != nil {
		return nil, c.close(err)
	}
	data, err := share(dataPages, xen.ReadWrite)
	if err != nil {
		return nil, c.close(err)
	}
	readOnly, err := share(4, xen.ReadOnly)
	if err != nil {
		return nil, c.close(err)
	}
	revoked, err := f.dom.Share(peer, 4, xen.ReadWrite)
	if err != nil {
		return nil, c.close(err)
	}
	once := append([]xen.GrantRef(nil), revoked.Refs()...)
	if err := revoked.Close(); err != nil {
		return nil, c.close(err)
	}
	c.memory = shared.Bytes()
	if c.ring, err = ring.NewFront(c.memory, blkif.Native.SlotSize()); err != nil {
		return nil, c.close(err)
	}
	if c.event, err = f.dom.Listen(peer); err != nil {
		return nil, c.close(err)
	}
	c.Frontend = attack.Frontend{
		ABI: blkif.Native, Refs: data.Refs(), Data: data.Bytes(), ReadOnly: readOnly.Refs(), Revoked: once, Rand: f.rng,
	}
	conn := blkif.Connection{
		ABI: blkif.Native, Persistent: f.rng.IntN(2) == 0,
		Queues: []blkif.Queue{{Refs: shared.Refs(), Port: c.event.Port()}},
	}
	return conn.Map(), nil
}

// Connect implements xenbus.Frontend.
func (f *front) Connect(_ context.Context, back xenbus.Nodes) error {
	d, err := blkif.ParseDisk(blkif.Nodes(back))
	if err != nil {
		return err
	}
	c := f.preparing
	c.Sectors, c.Frozen = d.Sectors, d.Info&blkif.InfoReadOnly != 0
	select {
	case <-f.connected:
	default:
	}
	f.connected <- c
	return nil
}

// Changed implements xenbus.Frontend.
func (f *front) Changed(xenbus.Nodes) {}

// Disconnect implements xenbus.Frontend.
func (f *front) Disconnect() {
	if f.preparing != nil {
		_ = f.preparing.close(nil)
		f.preparing = nil
	}
}

// close gives a connection up, whatever the backend still has of it, and returns err.
func (c *connection) close(err error) error {
	close(c.gone)
	c.end()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.event != nil {
		err = errors.Join(err, c.event.Close())
	}
	for _, g := range c.grants {
		if e := g.Close(); e != nil && !errors.Is(e, xen.ErrInUse) {
			err = errors.Join(err, e)
		}
	}
	return err
}

// use calls do with the memory of a connection that is there.
func (c *connection) use(do func() error) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.gone:
		return errGone
	default:
		return do()
	}
}

var errGone = errors.New("the backend ended the connection")

// connection waits for one.
func (f *front) connection(ctx context.Context) (*connection, error) {
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case c := <-f.connected:
			select {
			case <-c.gone:
				continue
			default:
				return c, nil
			}
		case <-timeout.C:
			return nil, fmt.Errorf("no connection in %v", patience)
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// try misbehaves in one way, and sees that the backend is there for requests that are right afterwards, perhaps in
// another connection.
func (f *front) try(ctx context.Context, w way, requests int) (string, error) {
	c, err := f.connection(ctx)
	if err != nil {
		return "", err
	}
	sent, refused := f.sent, f.refused
	said, err := w.do(f, c, requests)
	if err != nil {
		return "", err
	}
	select {
	case <-c.gone:
		if c, err = f.connection(ctx); err != nil {
			return "", fmt.Errorf("afterwards: %w", err)
		}
	default:
	}
	if err := f.honest(c, 50); err != nil {
		return "", fmt.Errorf("honest requests afterwards: %w", err)
	}
	select {
	case f.connected <- c:
	default: // there is a newer one
	}
	return fmt.Sprintf("%d requests, %d refused; %s", f.sent-sent, f.refused-refused, said), nil
}

// exchange sends n requests that next makes and waits for their answers.
func (f *front) exchange(c *connection, n int, next func(slot []byte, id uint64) attack.Verdict) error {
	must := make(map[uint64]bool)
	for n > 0 {
		clear(must)
		k := 0
		notify := false
		err := c.use(func() error {
			for k < n && c.ring.Free() > 0 {
				f.sent++
				if next(c.slot[:], uint64(f.sent)) == attack.Refuse {
					must[uint64(f.sent)] = true
				}
				c.ring.Put(c.slot[:c.ABI.SlotSize()])
				k++
			}
			notify = c.ring.Push()
			return nil
		})
		if err != nil {
			return err
		}
		if notify {
			if err := c.event.Notify(); err != nil {
				return err
			}
		}
		if err := f.answers(c, k, must); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// answers waits for n answers, of which those that must be refused are.
func (f *front) answers(c *connection, n int, must map[uint64]bool) error {
	ctx, cancel := context.WithTimeoutCause(c.waits, patience, fmt.Errorf("no answer in %v", patience))
	defer cancel()
	for n > 0 {
		idle := false
		err := c.use(func() error {
			for n > 0 {
				ok, err := c.ring.Take(c.slot[:])
				if err != nil {
					return err
				}
				if !ok {
					idle, err = c.ring.Idle()
					if idle || err != nil {
						return err
					}
					continue
				}
				n--
				r := c.ABI.DecodeResponse(c.slot[:])
				switch {
				case r.Status != blkif.OK:
					f.refused++
				case must[r.ID]:
					return fmt.Errorf("request %d succeeded, which must be refused", r.ID)
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		if n > 0 && idle {
			if err := c.event.Wait(ctx); err != nil {
				if c.waits.Err() != nil {
					return errGone
				}
				return fmt.Errorf("%d requests are not answered: %w", n, err)
			}
		}
	}
	return nil
}

// honest sends n reads that are right, all of which must succeed.
func (f *front) honest(c *connection, n int) error {
	refused := f.refused
	err := f.exchange(c, n, func(slot []byte, id uint64) attack.Verdict {
		r := blkif.Request{Op: blkif.Read, ID: id, Segments: 1, Sector: f.rng.Uint64N(c.Sectors-8) &^ 7}
		r.Direct[0] = blkif.Segment{Ref: c.Refs[f.rng.IntN(len(c.Refs))], Last: 7}
		c.ABI.PutRequest(slot, &r)
		return attack.Either
	})
	if err == nil && f.refused != refused {
		err = fmt.Errorf("%d of %d were refused", f.refused-refused, n)
	}
	return err
}
