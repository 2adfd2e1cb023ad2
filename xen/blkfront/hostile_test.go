package blkfront

import (
	"context"
	"errors"
	"testing"
	"time"

	"morgana/block"
	"morgana/xen"
	"morgana/xen/wire/blkif"
)

// A backend that breaks the protocol ends the device with an error, at once and for every call; nothing else happens.
func TestHostileAnswers(t *testing.T) {
	for _, h := range []struct {
		name   string
		answer func(c *conn, i int, r *blkif.Request)
	}{
		{"another ID", func(c *conn, i int, r *blkif.Request) {
			c.put(i, blkif.Response{ID: r.ID + 1, Op: r.Moves()})
		}},
		{"an ID beyond the ring", func(c *conn, i int, r *blkif.Request) {
			c.put(i, blkif.Response{ID: r.ID | 0xffffff, Op: r.Moves()})
		}},
		{"an ID of the past", func(c *conn, i int, r *blkif.Request) {
			c.put(i, blkif.Response{ID: r.ID - 1<<32, Op: r.Moves()})
		}},
		{"another operation", func(c *conn, i int, r *blkif.Request) {
			c.put(i, blkif.Response{ID: r.ID, Op: r.Moves() ^ 1})
		}},
		{"an unknown status", func(c *conn, i int, r *blkif.Request) {
			c.put(i, blkif.Response{ID: r.ID, Op: r.Moves(), Status: 7})
		}},
		{"the same answer twice", func(c *conn, i int, r *blkif.Request) {
			rsp := blkif.Response{ID: r.ID, Op: r.Moves()}
			c.force(i, 0, rsp, 1)
			c.force(i, 1, rsp, 2)
		}},
		{"more answers than requests", func(c *conn, i int, r *blkif.Request) {
			c.force(i, 0, blkif.Response{ID: r.ID, Op: r.Moves()}, 30)
		}},
		{"an index that jumps", func(c *conn, i int, _ *blkif.Request) {
			c.force(i, 0, blkif.Response{}, 1<<31)
		}},
		{"an index that goes back", func(c *conn, i int, _ *blkif.Request) {
			c.force(i, 0, blkif.Response{}, 1<<32-1)
		}},
	} {
		t.Run(h.name, func(t *testing.T) {
			p := newPeer(t, block.NewMem(1<<20, 512))
			d := p.open(Config{RingOrder: -1})
			p.connect(d)
			p.decide(h.answer)
			// Two, so that the one that is answered may return; nobody asks for a third.
			ctx := within(t, time.Minute)
			reqs := []Request{
				{Op: Read, Off: 0, Bufs: [][]byte{make([]byte, 512)}},
				{Op: Read, Off: 4096, Bufs: [][]byte{make([]byte, 512)}},
			}
			_ = d.Do(ctx, reqs)
			select {
			case <-d.Done():
			case <-ctx.Done():
				t.Fatal("the device goes on")
			}
			if err := d.Err(); !errors.Is(err, ErrBackend) {
				t.Error(err)
			}
			if err := d.Flush(); !errors.Is(err, ErrBackend) {
				t.Error(err)
			}
			if _, err := p.tryConnect(d); err == nil {
				t.Error("connected again")
			}
			d.Close()
		})
	}
}

// What a backend says in xenstore is checked before it is believed.
func TestHostileNodes(t *testing.T) {
	for name, nodes := range map[string]map[string]string{
		"no size":              {"sectors": ""},
		"a huge disk":          {"sectors": "18446744073709551615"},
		"sectors of 3":         {"sector-size": "3"},
		"sectors of 64 KiB":    {"sector-size": "65536", "sectors": "1024"},
		"words":                {"feature-max-indirect-segments": "many"},
		"a negative number":    {"max-ring-page-order": "-1"},
		"a part of a sector":   {"sector-size": "4096", "sectors": "2049"},
		"a huge discard unit":  {"discard-granularity": "4294967296"},
		"no discard alignment": {"discard-alignment": "x"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPeer(t, block.NewMem(1<<20, 512))
			d := p.open(Config{})
			for k, v := range nodes {
				p.store[k] = v
			}
			if _, err := p.tryConnect(d); err == nil {
				t.Error("it was believed")
			}
		})
	}
	// A disk whose sectors change while it is in use.
	p := newPeer(t, block.NewMem(1<<20, 512))
	d := p.open(Config{})
	p.connect(d)
	p.store["sector-size"] = "4096"
	driver{d}.Changed(p.nodes)
	if err := d.Flush(); !errors.Is(err, ErrBackend) {
		t.Error(err)
	}
}

// A backend that keeps pages mapped keeps them: they are not used again, and what it writes there nobody sees.
func TestPagesThatAreKept(t *testing.T) {
	p := newPeer(t, block.NewMem(1<<20, 512))
	d := p.open(Config{RingOrder: -1})
	c := p.connect(d)
	var kept []xen.Mapping
	p.decide(func(c *conn, i int, r *blkif.Request) {
		m, err := p.back.Map(p.front.ID(), []xen.GrantRef{r.Direct[0].Ref}, xen.ReadWrite)
		if err != nil {
			t.Error(err)
		}
		kept = append(kept, m)
		c.honest(i, r)
	})
	want := make([]byte, 4096)
	for i := range want {
		want[i] = byte(i)
	}
	if _, err := d.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	c.leave(d)
	if st := d.Stats(); st.Parked == 0 {
		t.Error("no page is parked")
	}
	p.decide(nil)
	p.connect(d)
	clear(kept[0].Bytes())
	// All pages that there are carry data now; none of them is the kept one.
	for i := range 20 {
		if _, err := d.WriteAt(want, int64(i)*4096); err != nil {
			t.Fatal(err)
		}
	}
	if kept[0].Bytes()[1] != 0 {
		t.Error("data of the new connection is in a page of the old one")
	}
	for _, m := range kept {
		m.Close()
	}
}

// The backend's domain may die at any of its steps. Calls wait, and go on with another one.
func TestBackendDies(t *testing.T) {
	steps := 60
	if testing.Short() {
		steps = 15
	}
	for n := range steps {
		p := newPeer(t, block.NewMem(1<<20, 512))
		d := p.open(Config{})
		d.sector, d.physical = 512, 512
		d.size.Store(1 << 20)
		p.back.KillAfter(n)
		done := make(chan error, 1)
		go func() {
			b := make([]byte, 300<<10)
			for i := range b {
				b[i] = byte(i >> 8)
			}
			done <- d.WriteVec([][]byte{b[:1000], b[1000:]}, 12345)
		}()
		if _, err := p.tryConnect(d); err == nil {
			short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			_ = d.Do(short, []Request{{Op: Flush}})
			cancel()
			p.conn.leave(d)
		} else {
			driver{d}.Disconnect()
		}
		p.back.KillAfter(-1)
		next, err := p.host.NewDomain()
		if err != nil {
			t.Fatal(err)
		}
		p.back = next
		c := p.connect(d)
		if err := <-done; err != nil {
			t.Fatal(n, err)
		}
		got := make([]byte, 300<<10)
		if _, err := p.disk.ReadAt(got, 12345); err != nil {
			t.Fatal(err)
		}
		for i := range got {
			if got[i] != byte(i>>8) {
				t.Fatalf("death after %d operations: byte %d is %d", n, i, got[i])
			}
		}
		c.leave(d)
		d.Close()
		p.host.Close()
	}
}
