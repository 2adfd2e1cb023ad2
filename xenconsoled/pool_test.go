package xenconsoled_test

import (
	"errors"
	"testing"

	"morgana/xen"
	"morgana/xenconsoled"
)

func TestPool(t *testing.T) {
	mem := make([]byte, 64<<10)
	open := func() *xenconsoled.Pool {
		t.Helper()
		p, err := xenconsoled.NewPool(mem, 4096)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	stream := func(p *xenconsoled.Pool, d xen.DomID) (xenconsoled.Memory, *xenconsoled.Stream) {
		t.Helper()
		m, err := p.Memory(d, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		s, err := xenconsoled.NewStream(m.Bytes(), "key")
		if err != nil {
			t.Fatal(err)
		}
		return m, s
	}
	p := open()
	if p.Places() != 7 {
		t.Fatalf("%d places", p.Places())
	}
	for d := range xen.DomID(7) {
		_, s := stream(p, d)
		s.Append([]byte{'a' + byte(d)}, nil)
	}
	if _, err := p.Memory(7, 4096); !errors.Is(err, xenconsoled.ErrPoolFull) {
		t.Error(err)
	}
	if _, err := p.Memory(3, 4096); err == nil {
		t.Error("memory is given twice")
	}

	// The next process finds it all; guests that went meanwhile make room.
	p = open()
	p.Leave(func(d xen.DomID) bool { return d != 4 }, func(mem []byte) {
		s, ok := xenconsoled.OpenStream(mem)
		if b := make([]byte, 1); !ok || s.End() != 1 {
			t.Error("the stream of domain 4 is not there")
		} else if s.Copy(b, 0); b[0] != 'e' {
			t.Errorf("it has %q", b)
		}
	})
	m, s := stream(p, 3)
	if b := make([]byte, 1); s.End() != 1 {
		t.Errorf("%d bytes", s.End())
	} else if s.Copy(b, 0); b[0] != 'd' {
		t.Errorf("domain 3 has %q", b)
	}
	if _, s := stream(p, 9); s.End() != 0 {
		t.Error("a new guest has an old one's stream")
	}
	if err := m.Close(true); err != nil {
		t.Error(err)
	}
	if _, s := stream(p, 3); s.End() != 0 {
		t.Error("it outlives its guest")
	}

	// Memory of another shape begins anew.
	q, err := xenconsoled.NewPool(mem, 8192)
	if err != nil || q.Places() != 5 {
		t.Fatal(q.Places(), err)
	}
	q.Leave(func(xen.DomID) bool { return false }, func([]byte) { t.Error("something is there") })
	for _, size := range []int{0, 5000, 64 << 10, 1 << 27} {
		if _, err := xenconsoled.NewPool(mem, size); err == nil {
			t.Errorf("a scrollback of %d", size)
		}
	}
}
