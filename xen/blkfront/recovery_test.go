package blkfront

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"morgana/block"
	"morgana/block/powercut"
	"morgana/xen/sim"
	"morgana/xen/wire/blkif"
)

// mute makes a peer take requests and answer none.
func (p *peer) mute() { p.decide(func(*conn, int, *blkif.Request) {}) }

// decide sets what happens to requests, and forgets those seen.
func (p *peer) decide(f func(c *conn, q int, r *blkif.Request)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer, p.keep, p.seen = f, true, nil
}

// forget ends the keeping of what was seen.
func (p *peer) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keep, p.seen = false, nil
}

// wait waits until n requests were seen, and returns them.
func (p *peer) wait(n int) []blkif.Request {
	p.tb.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		p.mu.Lock()
		seen := slices.Clone(p.seen)
		p.mu.Unlock()
		if len(seen) >= n {
			return seen
		}
		if time.Now().After(end) {
			p.tb.Fatalf("%d requests seen, %d wanted", len(seen), n)
		}
	}
}

// What was not answered is sent again, in its order and before anything new, to a backend that may offer less than the
// one before.
func TestSentAgainInOrder(t *testing.T) {
	for _, later := range []blkif.Features{
		{Flush: true, MaxIndirect: 64, MaxRingOrder: 2},
		{}, // no indirect requests: each is to be cut into several
	} {
		p := newPeer(t, block.NewMem(16<<20, 512))
		d := p.open(Config{})
		c := p.connect(d)
		p.mute()
		var wg sync.WaitGroup
		data := make([][]byte, 12)
		for i := range data {
			data[i] = bytes.Repeat([]byte{byte(i + 1)}, 20<<12)
			wg.Go(func() {
				if _, err := d.WriteAt(data[i], int64(i)<<20); err != nil {
					t.Error(err)
				}
			})
			p.wait(i + 1)
		}
		c.leave(d)
		// New ones come before the backend is back; they wait their turn.
		wg.Go(func() {
			if _, err := d.WriteAt(make([]byte, 512), 15<<20); err != nil {
				t.Error(err)
			}
		})
		p.features(later)
		p.decide(nil)
		c = p.connect(d)
		wg.Wait()
		var order []int
		for _, r := range p.wait(len(data) + 1) {
			if n := int(r.Sector * 512 >> 20); len(order) == 0 || order[len(order)-1] != n {
				order = append(order, n)
			}
		}
		if want := []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 15}; !slices.Equal(order, want) {
			t.Errorf("sent again in the order %v, want %v", order, want)
		}
		for i, want := range data {
			got := make([]byte, len(want))
			if _, err := p.disk.ReadAt(got, int64(i)<<20); err != nil || !bytes.Equal(got, want) {
				t.Errorf("write %d is not there: %v", i, err)
			}
		}
		if st := d.Stats(); st.Connections != 2 || st.SentAgain < 12 {
			t.Errorf("%+v", st)
		}
		c.leave(d)
	}
}

// A backend that comes and goes under load, on a machine whose events are late and whose memory runs out now and then,
// loses nothing that was answered.
func TestBackendComesAndGoes(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 8
	}
	p := newPeer(t, block.NewMem(4<<20, 512), sim.WithFaults(sim.Faults{EventDelay: time.Millisecond, Spurious: 0.05, Fail: 0.02}))
	rnd := rand.New(rand.NewPCG(3, 4))
	d := p.open(Config{Queues: 2})
	connect := func() *conn {
		for {
			c, err := p.tryConnect(d)
			if err == nil {
				return c
			}
			driver{d}.Disconnect()
		}
	}
	c := connect()
	stop := make(chan struct{})
	var wg sync.WaitGroup
	const workers = 6
	for w := range workers {
		wg.Go(func() {
			part := int64(4<<20) / workers / 512 * 512
			for i := uint64(0); ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				walk(t, d, int64(w)*part, int64(w+1)*part, uint64(w)|i<<8)
				if t.Failed() {
					return
				}
			}
		})
	}
	// Some requests are answered only after later ones, some not at all before the backend leaves.
	var late []func()
	p.decide(func(c *conn, i int, r *blkif.Request) {
		p.mu.Lock()
		lose, wait := rnd.IntN(400) == 0, rnd.IntN(10) == 0
		if lose || wait {
			if wait {
				q := *r
				late = append(late, func() { c.honest(i, &q) })
			}
			p.mu.Unlock()
			return
		}
		now := late
		late = nil
		p.mu.Unlock()
		c.honest(i, r)
		for _, f := range now {
			f()
		}
	})
	p.forget()
	for range rounds {
		p.mu.Lock()
		pause := rnd.IntN(60)
		p.mu.Unlock()
		time.Sleep(time.Duration(pause) * time.Millisecond)
		c.leave(d)
		p.mu.Lock()
		late = nil
		p.mu.Unlock()
		c = connect()
	}
	p.decide(nil)
	p.forget()
	close(stop)
	c.leave(d) // with it what will not be answered
	connect()
	wg.Wait()
	t.Logf("%+v", d.Stats())
}

// Calls obey their context whatever the backend does, and what they leave behind harms nobody.
func TestContext(t *testing.T) {
	p := newPeer(t, block.NewMem(1<<20, 512))
	d := p.open(Config{})
	short := func() context.Context { return within(t, 20*time.Millisecond) }
	write := func(ctx context.Context, fill byte, off int64, n int) error {
		return d.Do(ctx, []Request{{Op: Write, Off: off, Bufs: [][]byte{bytes.Repeat([]byte{fill}, n)}}})
	}
	d.sector, d.physical = 512, 512
	d.size.Store(1 << 20)
	if err := write(short(), 1, 0, 512); err == nil {
		t.Error("without a backend:", err)
	}
	c := p.connect(d)
	p.mute()
	// More than the ring holds, so that some wait for room.
	flood, end := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	for i := range 3 * d.Stats().RingSlots {
		wg.Go(func() {
			if err := write(flood, 2, int64(i)*2048, 1024); !errors.Is(err, context.Canceled) {
				t.Error("a write that was not answered returned:", err)
			}
		})
	}
	taken := p.wait(d.Stats().RingSlots)
	end()
	wg.Wait()
	// A write to the same place waits for the one that was given up; one to another place needs only room.
	if err := write(short(), 3, int64(taken[0].Sector)*512, 512); err == nil {
		t.Error("it overtook a write that was given up")
	}
	p.decide(nil)
	for i := range taken {
		c.honest(0, &taken[i])
	}
	at := int64(taken[0].Sector) * 512
	if err := write(within(t, time.Minute), 4, at, 512); err != nil {
		t.Error(err)
	}
	b := make([]byte, 1)
	if _, err := p.disk.ReadAt(b, at); err != nil || b[0] != 4 {
		t.Errorf("the last write is not there but %d: %v", b[0], err)
	}
	// What was given up is not sent again.
	p.mute()
	if err := write(short(), 5, 8192, 512); err == nil {
		t.Error("returned")
	}
	c.leave(d)
	p.decide(nil)
	p.connect(d)
	if err := write(within(t, time.Minute), 6, 8192, 512); err != nil {
		t.Error(err)
	}
	if n := len(p.wait(1)); n != 1 {
		t.Errorf("%d requests after the reconnection, want 1", n)
	}
	// And Close ends everything.
	p.mute()
	done := make(chan error, 1)
	go func() { done <- second(d.ReadAt(b, 0)) }()
	p.wait(1)
	d.Close()
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
	if err := d.Flush(); !errors.Is(err, ErrClosed) {
		t.Error(err)
	}
}

// A backend that refuses what it offered is done without where that is right.
func TestRefused(t *testing.T) {
	p := newPeer(t, block.NewMem(1<<20, 512))
	p.features(blkif.Features{Flush: true, Barrier: true, Discard: true})
	d := p.open(Config{})
	p.connect(d)
	refuse := func(ops ...blkif.Op) {
		p.decide(func(c *conn, i int, r *blkif.Request) {
			if slices.Contains(ops, r.Op) {
				c.put(i, blkif.Response{ID: r.ID, Op: r.Moves(), Status: blkif.NotSupported})
				return
			}
			c.honest(i, r)
		})
	}
	refuse(blkif.Flush, blkif.Discard)
	if err := d.Flush(); err != nil {
		t.Error("a barrier does as well:", err)
	}
	if err := d.Discard(0, 4096); err != nil {
		t.Error("a discard is a hint:", err)
	}
	refuse(blkif.Flush, blkif.Barrier)
	if err := d.Flush(); !errors.Is(err, ErrNotSupported) {
		t.Error("what cannot be flushed is not stable:", err)
	}
	p.decide(func(c *conn, i int, r *blkif.Request) {
		c.put(i, blkif.Response{ID: r.ID, Op: r.Moves(), Status: blkif.Failed})
	})
	if _, err := d.ReadAt(make([]byte, 10), 0); !errors.Is(err, ErrIO) {
		t.Error(err)
	}
}

// Flushes at the same time share: one is under way, and one more serves all who came meanwhile.
func TestFlushesShare(t *testing.T) {
	p := newPeer(t, block.NewMem(1<<20, 512))
	d := p.open(Config{})
	c := p.connect(d)
	p.mute()
	var wg sync.WaitGroup
	flush := func() {
		if err := d.Flush(); err != nil {
			t.Error(err)
		}
	}
	wg.Go(flush)
	first := p.wait(1)
	for range 20 {
		wg.Go(flush)
	}
	// All of them wait for one that begins when the first is answered.
	for waits := 0; waits < 20; time.Sleep(time.Millisecond) {
		waits = strings.Count(stacks(), "(*flushes).do(") - 1
	}
	c.put(0, blkif.Response{ID: first[0].ID, Op: blkif.Flush})
	second := p.wait(2)
	c.put(0, blkif.Response{ID: second[1].ID, Op: blkif.Flush})
	wg.Wait()
	p.decide(nil)
	flush()
	if n := len(p.wait(1)); n != 1 {
		t.Errorf("%d requests for a flush alone", n)
	}
	// An error is everybody's.
	p.mute()
	for range 3 {
		wg.Go(func() {
			if err := d.Flush(); !errors.Is(err, ErrClosed) {
				t.Error(err)
			}
		})
	}
	p.wait(1)
	d.Close()
	wg.Wait()
}

func stacks() string {
	b := make([]byte, 1<<20)
	return string(b[:runtime.Stack(b, true)])
}

// Everything before a Flush that returned is on the disk whenever the power goes, also if the backend left meanwhile.
func TestPowerCut(t *testing.T) {
	for _, feat := range []blkif.Features{{Flush: true, MaxIndirect: 16}, {Barrier: true}} {
		rec := powercut.NewRecorder(block.NewMem(1<<20, 512))
		p := newPeer(t, rec.Disks()[0])
		p.features(feat)
		d := p.open(Config{})
		c := p.connect(d)
		const steps = 5
		for i := range int64(steps) {
			reqs := make([]Request, 3)
			for k := range reqs {
				reqs[k] = Request{Op: Write, Off: (i*3+int64(k))*4096 + 100, Bufs: [][]byte{bytes.Repeat([]byte{byte(i + 1)}, 2000)}}
			}
			if i == steps/2 {
				p.mute() // the requests of this step are lost, and sent again
				go func() {
					p.wait(1)
					c.leave(d)
					p.decide(nil)
					p.connect(d)
				}()
			}
			if err := d.Do(context.Background(), reqs); err != nil {
				t.Fatal(err)
			}
			if err := d.Flush(); err != nil {
				t.Fatal(err)
			}
			// A word that says how far it is, which is written after the flush of what it tells of.
			if _, err := d.WriteAt([]byte{byte(i + 1)}, 1<<20-1); err != nil {
				t.Fatal(err)
			}
		}
		states := 0
		for s := range rec.States(powercut.Options{}) {
			states++
			b := make([]byte, 1<<20)
			if _, err := s.Disks[0].ReadAt(b, 0); err != nil {
				t.Fatal(err)
			}
			for i := range int(b[len(b)-1]) {
				for k := range 3 {
					at := (i*3+k)*4096 + 100
					if !bytes.Equal(b[at:at+2000], bytes.Repeat([]byte{byte(i + 1)}, 2000)) {
						t.Fatalf("%s: step %d is told of and not there", s.Cut, i)
					}
				}
			}
		}
		if states < 20 {
			t.Errorf("only %d states", states)
		}
	}
}
