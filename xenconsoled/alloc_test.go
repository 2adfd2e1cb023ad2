package xenconsoled

import (
	"context"
	"math"
	"testing"

	"morgana/xen"
	"morgana/xen/wire/console"
)

// still is an event channel without anybody at the other end.
type still struct{ xen.Event }

func (still) Notify() error { return nil }

// counter is a sink that throws away.
type counter struct{ n int }

func (c *counter) Write(m *Mark, p []byte, _ bool) (int, error) {
	c.n += len(p)
	m.Set(m.Position()+uint64(len(p)), 0)
	return len(p), nil
}
func (*counter) Lost(*Mark, uint64) error { return nil }
func (*counter) Close() error             { return nil }

// move makes a function that moves a whole ring from the guest into the stream, the log, a terminal and a session.
func move(t testing.TB) (step func(), logged *counter) {
	t.Helper()
	s, err := NewStream(make([]byte, StreamHeader+64<<10), "guest")
	if err != nil {
		t.Fatal(err)
	}
	logged = &counter{}
	c, err := New(Config{Page: make([]byte, xen.PageSize), Event: still{}, Stream: s, Sink: logged, Rate: math.MaxInt32})
	if err != nil {
		t.Fatal(err)
	}
	session, err := c.Attach(Shared, 0)
	if err != nil {
		t.Fatal(err)
	}
	terminal := s.NewReader(0, Ends, 1000)
	buf := make([]byte, 4096)
	return func() {
		c.page.outProd.Add(console.OutSize)
		n, _ := c.take(c.rate.take(c.cfg.Now()))
		c.rate.spend(n)
		c.signal()
		if n != console.OutSize {
			t.Fatalf("%d bytes were taken", n)
		}
		c.logger.write(false)
		for _, r := range []*Reader{session.Reader, terminal} {
			if err := r.Wait(context.Background(), 1); err != nil {
				t.Fatal(err)
			}
			if n, _ := r.Read(buf); n != console.OutSize {
				t.Fatalf("%d bytes were read", n)
			}
		}
	}, logged
}

// What a guest writes costs no allocation on its way to all who read it.
func TestNoAllocation(t *testing.T) {
	step, logged := move(t)
	step()
	if n := testing.AllocsPerRun(1000, step); n > 0 {
		t.Errorf("%v allocations for a ring", n)
	}
	if logged.n < 1000*console.OutSize {
		t.Errorf("%d bytes were logged", logged.n)
	}
}

func BenchmarkMove(b *testing.B) {
	step, _ := move(b)
	b.SetBytes(console.OutSize)
	b.ReportAllocs()
	for b.Loop() {
		step()
	}
}
