package blkfront

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"testing"
	"time"

	"morgana/block"
	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/sim"
	"morgana/xen/wire/blkif"
	"morgana/xen/xenbus"
)

// peer is a backend whose every step a test decides: honest unless it is told otherwise. The tests of the two real
// halves together are in package blkback's and in connect_test.go.
type peer struct {
	tb    testing.TB
	host  *sim.Host
	front *sim.Domain
	back  *sim.Domain
	store map[string]string // what the backend says
	disk  block.Device

	mu   sync.Mutex
	conn *conn
	// answer decides what happens to a request; nil answers it honestly.
	answer func(c *conn, q int, r *blkif.Request)
	seen   []blkif.Request
	keep   bool // seen
}

// conn is one connection.
type conn struct {
	p      *peer
	rings  []*ringEnd
	cancel context.CancelFunc
	wg     sync.WaitGroup
	ctx    context.Context
}

type ringEnd struct {
	mu  sync.Mutex
	mem xen.Mapping
	ev  xen.Event
	b   *ring.Back
}

func newPeer(tb testing.TB, disk block.Device, opts ...sim.Option) *peer {
	tb.Helper()
	p := &peer{tb: tb, host: sim.New(1, opts...), disk: disk, store: map[string]string{}}
	tb.Cleanup(p.host.Close)
	var err error
	if p.front, err = p.host.NewDomain(); err != nil {
		tb.Fatal(err)
	}
	if p.back, err = p.host.NewDomain(); err != nil {
		tb.Fatal(err)
	}
	p.features(blkif.Features{Flush: true, Discard: true, MaxIndirect: 64, MaxRingOrder: 2, MaxQueues: 2, Persistent: true})
	p.resize(disk.Size())
	return p
}

func (p *peer) features(f blkif.Features) {
	clear(p.store)
	for k, v := range f.Map() {
		p.store[k] = v
	}
	if p.disk != nil {
		p.resize(p.disk.Size())
	}
}

func (p *peer) resize(size int64) {
	d := blkif.Disk{Sectors: uint64(size) / 512, SectorSize: p.disk.SectorSize()}
	for k, v := range d.Map() {
		p.store[k] = v
	}
}

func (p *peer) nodes(name string) (string, bool) { v, ok := p.store[name]; return v, ok }

// open gives a disk that is not connected.
func (p *peer) open(cfg Config) *Disk {
	p.tb.Helper()
	cfg.Domain, cfg.Path = p.front, "device/vbd/51712"
	d, err := newDisk(cfg)
	if err != nil {
		p.tb.Fatal(err)
	}
	go d.run(waitOver)
	p.tb.Cleanup(func() { d.Close() })
	return d
}

// connect does what xenbus does.
func (p *peer) connect(d *Disk) *conn {
	p.tb.Helper()
	c, err := p.tryConnect(d)
	if err != nil {
		p.tb.Fatal(err)
	}
	return c
}

func (p *peer) tryConnect(d *Disk) (*conn, error) {
	nodes, err := driver{d}.Prepare(context.Background(), p.back.ID(), p.nodes)
	if err != nil {
		return nil, err
	}
	var f blkif.Features
	if f, err = blkif.ParseFeatures(p.nodes); err != nil {
		return nil, err
	}
	k, err := blkif.ParseConnection(func(n string) (string, bool) { v, ok := nodes[n]; return v, ok }, &f)
	if err != nil {
		return nil, err
	}
	c := &conn{p: p}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	for _, q := range k.Queues {
		r := &ringEnd{}
		if r.mem, err = p.back.Map(p.front.ID(), q.Refs, xen.ReadWrite); err != nil {
			return nil, err
		}
		if r.ev, err = p.back.Connect(p.front.ID(), q.Port); err != nil {
			return nil, err
		}
		if r.b, err = ring.NewBack(r.mem.Bytes(), blkif.Native.SlotSize()); err != nil {
			return nil, err
		}
		c.rings = append(c.rings, r)
	}
	for i := range c.rings {
		c.wg.Go(func() { c.serve(i) })
	}
	p.mu.Lock()
	p.conn = c
	p.mu.Unlock()
	p.tb.Cleanup(c.stop)
	return c, driver{d}.Connect(context.Background(), p.nodes)
}

// stop ends the backend's side.
func (c *conn) stop() {
	c.cancel()
	c.wg.Wait()
	for _, r := range c.rings {
		_ = r.mem.Close()
		_ = r.ev.Close()
	}
}

// leave ends the backend's side and tells the frontend.
func (c *conn) leave(d *Disk) {
	c.stop()
	driver{d}.Disconnect()
}

func (c *conn) serve(i int) {
	q := c.rings[i]
	slot := make([]byte, blkif.Native.SlotSize())
	for {
		if q.ev.Wait(c.ctx) != nil {
			return
		}
		for {
			q.mu.Lock()
			ok, err := q.b.Take(slot)
			if err != nil || !ok {
				idle := true
				if err == nil {
					idle, _ = q.b.Idle()
				}
				q.mu.Unlock()
				if idle {
					break
				}
				continue
			}
			q.mu.Unlock()
			var r blkif.Request
			blkif.Native.DecodeRequest(&r, slot)
			c.p.mu.Lock()
			if c.p.keep {
				c.p.seen = append(c.p.seen, r)
			}
			answer := c.p.answer
			c.p.mu.Unlock()
			if answer != nil {
				answer(c, i, &r)
			} else {
				c.honest(i, &r)
			}
		}
	}
}

// honest does what a backend does.
func (c *conn) honest(i int, r *blkif.Request) {
	st := blkif.OK
	if err := c.do(r); err != nil {
		st = blkif.Failed
	}
	c.put(i, blkif.Response{ID: r.ID, Op: r.Moves(), Status: st})
}

// put answers.
func (c *conn) put(i int, r blkif.Response) {
	b := make([]byte, blkif.Native.ResponseSize())
	blkif.Native.PutResponse(b, r)
	q := c.rings[i]
	q.mu.Lock()
	q.b.Put(b)
	notify := q.b.Push()
	q.mu.Unlock()
	if notify {
		_ = q.ev.Notify()
	}
}

// force puts a response whether there is a request or not.
func (c *conn) force(i int, at uint32, r blkif.Response, prod uint32) {
	mem := c.rings[i].mem.Bytes()
	size := blkif.Native.SlotSize()
	n := uint32(ring.Slots(len(mem), size))
	off := ring.HeaderSize + int(at&(n-1))*size
	blkif.Native.PutResponse(mem[off:off+size], r)
	w, err := ring.Word(mem, 8)
	if err != nil {
		panic(err)
	}
	w.Store(prod)
	_ = c.rings[i].ev.Notify()
}

func (c *conn) do(r *blkif.Request) error {
	p := c.p
	l := blkif.Limits{
		Sectors: uint64(p.disk.Size()) / 512, SectorSize: p.disk.SectorSize(), MaxIndirect: 512, Flush: true, Barrier: true, Discard: true,
	}
	if err := r.Validate(&l); err != nil {
		return err
	}
	switch r.Op {
	case blkif.Flush, blkif.Barrier:
		return p.disk.Flush()
	case blkif.Discard:
		return block.Discard(p.disk, int64(r.Sector)*512, int64(r.Count)*512)
	}
	segs := make([]blkif.Segment, r.Segments)
	if r.Op == blkif.Indirect {
		m, err := p.mapped(r.Pages[0])
		if err != nil {
			return err
		}
		blkif.DecodeSegments(segs, m.Bytes())
		m.Close()
	} else {
		copy(segs, r.Direct[:])
	}
	if _, err := r.CheckSegments(&l, segs); err != nil {
		return err
	}
	off := int64(r.Sector) * 512
	for _, s := range segs {
		m, err := p.mapped(s.Ref)
		if err != nil {
			return err
		}
		b := m.Bytes()[s.Offset() : s.Offset()+s.Len()]
		if r.Moves() == blkif.Read {
			_, err = p.disk.ReadAt(b, off)
		} else {
			_, err = p.disk.WriteAt(b, off)
		}
		m.Close()
		if err != nil {
			return err
		}
		off += int64(s.Len())
	}
	return nil
}

// mapped maps a page; injected faults are the test's own and are not the frontend's to see.
func (p *peer) mapped(ref xen.GrantRef) (m xen.Mapping, err error) {
	for {
		m, err = p.back.Map(p.front.ID(), []xen.GrantRef{ref}, xen.ReadWrite)
		if !errors.Is(err, xen.ErrNoMemory) {
			return m, err
		}
	}
}

func within(tb testing.TB, d time.Duration) context.Context {
	ctx, cancel := context.WithTimeoutCause(context.Background(), d, fmt.Errorf("%v are over", d))
	tb.Cleanup(cancel)
	return ctx
}

// waitOver is a xenbus on which nothing happens.
func waitOver(ctx context.Context, _ xenbus.Frontend) error {
	<-ctx.Done()
	return ctx.Err()
}

func itoa(n int) string { return strconv.Itoa(n) }
