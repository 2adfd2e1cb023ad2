package duplex_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand"
	"strings"
	"sync"
	"testing"
	"time"

	"morgana/xen"
	"morgana/xen/duplex"
	"morgana/xen/ring"
	"morgana/xen/sim"
)

// pair is a connection between dom0 and a domain; page is the domain's view of the pages.
func pair(t testing.TB, s duplex.Sizes) (here, there *duplex.Conn, dom *sim.Domain, o duplex.Offer) {
	t.Helper()
	h := sim.New(1)
	t.Cleanup(h.Close)
	dom, err := h.NewDomain()
	if err != nil {
		t.Fatal(err)
	}
	here, o, err = duplex.Listen(h.Dom0(), dom.ID(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close() })
	if o, err = duplex.ParseOffer(o.String()); err != nil {
		t.Fatal(err)
	}
	if there, err = duplex.Connect(dom, 0, o); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { there.Close() })
	return here, there, dom, o
}

// Bytes go both ways at once, whatever the sizes of rings and of writes.
func TestBothWays(t *testing.T) {
	for _, s := range []duplex.Sizes{{1, 1}, {1, 16}, {4, 2}} {
		here, there, _, _ := pair(t, s)
		var all sync.WaitGroup
		for seed, ends := range [][2]io.ReadWriter{{here, there}, {there, here}} {
			want := make([]byte, 300_000)
			rand.New(rand.NewSource(int64(seed))).Read(want)
			all.Go(func() {
				rng := rand.New(rand.NewSource(int64(seed)))
				for b := want; len(b) > 0; {
					n := min(len(b), 1+rng.Intn(9000))
					if m, err := ends[0].Write(b[:n]); m != n || err != nil {
						t.Errorf("%d of %d bytes: %v", m, n, err)
						return
					}
					b = b[n:]
				}
			})
			all.Go(func() {
				got := make([]byte, len(want))
				if _, err := io.ReadFull(ends[1], got); err != nil || !bytes.Equal(got, want) {
					t.Errorf("what was read is not what was written: %v", err)
				}
			})
		}
		all.Wait()
	}
}

// Close ends whoever waits; the other side keeps its memory, and may close too.
func TestClose(t *testing.T) {
	here, there, _, _ := pair(t, duplex.Sizes{In: 1, Out: 1})
	ended := make(chan error, 2)
	go func() { _, err := here.Read(make([]byte, 1)); ended <- err }()
	go func() { _, err := here.Write(make([]byte, 2*xen.PageSize)); ended <- err }()
	time.Sleep(5 * time.Millisecond)
	if err := here.Close(); err != nil {
		t.Error(err)
	}
	for range 2 {
		if err := <-ended; !errors.Is(err, io.ErrClosedPipe) {
			t.Error(err)
		}
	}
	if _, err := here.Read(make([]byte, 1)); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
	if n, err := there.Read(make([]byte, 10_000)); n == 0 || err != nil {
		t.Errorf("what was written before: %d bytes, %v", n, err)
	}
	if err := errors.Join(there.Close(), there.Close(), here.Close()); err != nil {
		t.Error(err)
	}
}

// The other side connects again after its end, as a program that is started anew: the bytes that it has not read are there.
func TestConnectAgain(t *testing.T) {
	here, there, dom, o := pair(t, duplex.Sizes{In: 1, Out: 1})
	if _, err := here.Write([]byte("before")); err != nil {
		t.Fatal(err)
	}
	there.Close()
	there, err := duplex.Connect(dom, 0, o)
	if err != nil {
		t.Fatal(err)
	}
	defer there.Close()
	b := make([]byte, 6)
	if _, err := io.ReadFull(there, b); err != nil || string(b) != "before" {
		t.Errorf("%q, %v", b, err)
	}
}

// A peer that writes impossible indexes or sizes gets an error for us, and nothing else.
func TestHostile(t *testing.T) {
	here, there, dom, o := pair(t, duplex.Sizes{In: 1, Out: 1})
	m, err := dom.Map(0, o.Refs, xen.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	word := func(off int, v uint32) {
		w, err := ring.Word(m.Bytes(), off)
		if err != nil {
			t.Fatal(err)
		}
		w.Store(v)
	}
	word(128, 5000) // more in the ring than it holds
	if _, err := here.Read(make([]byte, 10)); !errors.Is(err, ring.ErrBadIndex) {
		t.Errorf("Read: %v", err)
	}
	word(64, 77) // more read than was written
	if _, err := here.Write(make([]byte, 10)); !errors.Is(err, ring.ErrBadIndex) {
		t.Errorf("Write: %v", err)
	}
	there.Close()
	for _, n := range []uint32{0, 3, 2, 1 << 31} {
		word(256, n)
		if c, err := duplex.Connect(dom, 0, o); err == nil {
			c.Close()
			t.Errorf("a ring of %d pages is taken", n)
		}
	}
}

func TestBadSizes(t *testing.T) {
	h := sim.New(1)
	defer h.Close()
	for _, s := range []duplex.Sizes{{}, {3, 1}, {1, 128}, {-1, 1}} {
		if _, _, err := duplex.Listen(h.Dom0(), 1, s); !errors.Is(err, xen.ErrInvalid) {
			t.Errorf("%v: %v", s, err)
		}
	}
}

func FuzzParseOffer(f *testing.F) {
	for _, s := range []string{"", "1", "1 2 3 4", "1 2 3 4 5", "4294967295 0 0 0", "1  2 3", "-1 2 3 4", "1 2 3 4294967296", strings.Repeat("1 ", 200) + "1"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		o, err := duplex.ParseOffer(s)
		if err != nil {
			return
		}
		again, err := duplex.ParseOffer(o.String())
		if err != nil || again.String() != o.String() {
			t.Errorf("%q becomes %q, %v", s, o.String(), err)
		}
	})
}

func BenchmarkStream(b *testing.B) {
	here, there, _, _ := pair(b, duplex.Sizes{In: 4, Out: 16})
	buf := make([]byte, 16<<10)
	b.SetBytes(int64(len(buf)))
	b.ReportAllocs()
	go func() {
		for {
			if _, err := here.Write(buf); err != nil {
				return
			}
		}
	}()
	got := make([]byte, len(buf))
	for b.Loop() {
		if _, err := io.ReadFull(there, got); err != nil {
			b.Fatal(err)
		}
	}
}
