package ring

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
)

func words(tb testing.TB, mem []byte) (*Producer, *Consumer) {
	tb.Helper()
	prod, err := Word(mem, 1024)
	if err != nil {
		tb.Fatal(err)
	}
	cons, err := Word(mem, 1028)
	if err != nil {
		tb.Fatal(err)
	}
	p, err := NewProducer(mem[:1024], prod, cons)
	if err != nil {
		tb.Fatal(err)
	}
	c, err := NewConsumer(mem[:1024], prod, cons)
	if err != nil {
		tb.Fatal(err)
	}
	return p, c
}

// A stream goes through in order, at every size of piece, also where the indexes wrap at 2^32.
func TestBytesKeepTheStream(t *testing.T) {
	for _, start := range []uint32{0, 1<<32 - 700} {
		mem := make([]byte, 4096)
		binary.LittleEndian.PutUint32(mem[1024:], start)
		binary.LittleEndian.PutUint32(mem[1028:], start)
		p, c := words(t, mem)
		rng := rand.New(rand.NewPCG(1, 2))
		var in, out byte
		for range 10000 {
			b := make([]byte, rng.IntN(1500))
			for i := range b {
				b[i] = in + byte(i)
			}
			n, err := p.Write(b)
			if err != nil {
				t.Fatal(err)
			}
			in += byte(n)
			b = make([]byte, rng.IntN(1500))
			n, err = c.Read(b)
			if err != nil {
				t.Fatal(err)
			}
			for _, x := range b[:n] {
				if x != out {
					t.Fatalf("start %d: read %d, want %d", start, x, out)
				}
				out++
			}
		}
	}
}

func TestBytesRefuseBadIndexes(t *testing.T) {
	for _, bad := range []uint32{1025, 1 << 31, 1<<32 - 1} {
		mem := make([]byte, 4096)
		p, c := words(t, mem)
		binary.LittleEndian.PutUint32(mem[1024:], bad) // producer far ahead
		if _, err := c.Read(make([]byte, 10)); !errors.Is(err, ErrBadIndex) {
			t.Errorf("producer at %d: %v, want %v", bad, err, ErrBadIndex)
		}
		binary.LittleEndian.PutUint32(mem[1024:], 0)
		if _, err := c.Len(); !errors.Is(err, ErrBadIndex) {
			t.Errorf("after a bad index the session must stay over: %v", err)
		}
		binary.LittleEndian.PutUint32(mem[1028:], bad&^(1<<30)>>1+1) // consumer beyond us
		if _, err := p.Write([]byte("x")); !errors.Is(err, ErrBadIndex) {
			t.Errorf("consumer at %d: %v, want %v", bad, err, ErrBadIndex)
		}
	}
}

func TestWordChecksItsPlace(t *testing.T) {
	mem := make([]byte, 16)
	for _, off := range []int{-4, 13, 16, 1 << 30, 2} {
		if _, err := Word(mem, off); err == nil {
			t.Errorf("word at %d of 16 bytes was given", off)
		}
	}
}

func TestSlots(t *testing.T) {
	for _, c := range []struct{ mem, slot, want int }{
		{4096, 112, 32}, {4096, 12, 256}, {4096, 8, 256}, {16 * 4096, 112, 512}, {64, 8, 0}, {4096, 0, 0}, {72, 8, 1},
	} {
		if got := Slots(c.mem, c.slot); got != c.want {
			t.Errorf("Slots(%d, %d) = %d, want %d (io/ring.h)", c.mem, c.slot, got, c.want)
		}
	}
}

// Requests arrive in order and are answered in order; who goes to sleep is woken, and who is awake is not.
func TestSlotsAndNotifications(t *testing.T) {
	mem := make([]byte, 4096)
	f, err := NewFront(mem, 112)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBack(mem, 112)
	if err != nil {
		t.Fatal(err)
	}
	slot := make([]byte, 112)
	put := func(n int) bool {
		for range n {
			if !f.Put([]byte{1}) {
				t.Fatal("no room")
			}
		}
		return f.Push()
	}
	if !put(1) {
		t.Error("the first request must notify: the backend sleeps from the start")
	}
	if put(1) {
		t.Error("the second must not: the backend has not slept again")
	}
	for range 2 {
		if ok, err := b.Take(slot); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if idle, err := b.Idle(); !idle || err != nil {
		t.Fatal(idle, err)
	}
	if !put(5) {
		t.Error("a batch after the backend went idle must notify")
	}
	if idle, _ := b.Idle(); idle {
		t.Error("the backend must not sleep while requests wait")
	}
	for range 2 {
		if !b.Put([]byte{2}) {
			t.Fatal("no request to answer")
		}
	}
	if b.Put([]byte{2}) {
		t.Error("a response without a request was put")
	}
	if !b.Push() {
		t.Error("the first response must notify")
	}
	for range 2 {
		if ok, err := f.Take(slot); !ok || err != nil || slot[0] != 2 {
			t.Fatal(ok, err, slot[0])
		}
	}
	if got, want := f.Free(), 32-5; got != want {
		t.Errorf("%d free slots, want %d", got, want)
	}
	for f.Put([]byte{1}) {
	}
	if f.Free() != 0 {
		t.Errorf("a full ring has %d free slots", f.Free())
	}
}

func TestSlotsRefuseBadIndexes(t *testing.T) {
	for _, bad := range []uint32{33, 1 << 31, 1<<32 - 1} {
		mem := make([]byte, 4096)
		f, _ := NewFront(mem, 112)
		b, _ := NewBack(mem, 112)
		binary.LittleEndian.PutUint32(mem[offReqProd:], bad)
		if _, err := b.Take(make([]byte, 112)); !errors.Is(err, ErrBadIndex) {
			t.Errorf("request producer at %d: %v", bad, err)
		}
		if b.Put(nil) {
			t.Error("a broken ring took a response")
		}
		if _, err := NewBack(mem, 112); !errors.Is(err, ErrBadIndex) {
			t.Errorf("attach with request producer at %d: %v", bad, err)
		}
		binary.LittleEndian.PutUint32(mem[offRspProd:], bad)
		if _, err := f.Take(make([]byte, 112)); !errors.Is(err, ErrBadIndex) {
			t.Errorf("response producer at %d with nothing asked: %v", bad, err)
		}
		if _, err := f.Idle(); !errors.Is(err, ErrBadIndex) {
			t.Errorf("idle on a broken ring: %v", err)
		}
	}
}

// A peer that writes anything anywhere makes errors, never a panic or an endless loop.
func FuzzHostilePeer(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 33, 0, 0, 0, 8, 1, 2, 3, 4}, uint8(112))
	f.Fuzz(func(t *testing.T, script []byte, slot uint8) {
		mem := make([]byte, 4096)
		front, err := NewFront(mem, int(slot))
		if err != nil {
			return
		}
		back, err := NewBack(mem, int(slot))
		if err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 256)
		for len(script) >= 5 {
			off := int(script[0]&3) * 4
			copy(mem[off:], script[1:5])
			script = script[5:]
			front.Put(buf[:slot])
			front.Push()
			for i := 0; ; i++ {
				ok, err := back.Take(buf)
				if !ok || err != nil {
					break
				}
				if i > 4096 {
					t.Fatal("endless requests")
				}
				back.Put(buf[:slot])
			}
			_, _ = back.Idle()
			back.Push()
			for i := 0; ; i++ {
				ok, err := front.Take(buf)
				if !ok || err != nil {
					break
				}
				if i > 4096 {
					t.Fatal("endless responses")
				}
			}
			_, _ = front.Idle()
		}
	})
}

func FuzzHostileBytes(f *testing.F) {
	f.Add([]byte{0, 0, 4, 0, 0, 1, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, script []byte) {
		mem := make([]byte, 4096)
		p, c := words(t, mem)
		buf := make([]byte, 2000)
		for len(script) >= 5 {
			copy(mem[1024+int(script[0]&1)*4:], script[1:5])
			script = script[5:]
			if n, err := p.Write(buf); n > 1024 || err != nil && n != 0 {
				t.Fatalf("write: %d, %v", n, err)
			}
			if n, err := c.Read(buf); n > 1024 || err != nil && n != 0 {
				t.Fatalf("read: %d, %v", n, err)
			}
		}
	})
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	mem := make([]byte, 4096)
	p, c := words(t, mem)
	smem := make([]byte, 4096)
	f, _ := NewFront(smem, 112)
	b, _ := NewBack(smem, 112)
	buf := make([]byte, 112)
	if n := testing.AllocsPerRun(100, func() {
		_, _ = p.Write(buf)
		_, _ = c.Read(buf)
		f.Put(buf)
		f.Push()
		_, _ = b.Take(buf)
		b.Put(buf)
		b.Push()
		_, _ = f.Take(buf)
		_, _ = f.Idle()
		_, _ = b.Idle()
	}); n != 0 {
		t.Errorf("%v allocations a round", n)
	}
}

func BenchmarkBytes(b *testing.B) {
	p, c := words(b, make([]byte, 4096))
	buf := make([]byte, 64)
	b.SetBytes(64)
	for b.Loop() {
		_, _ = p.Write(buf)
		_, _ = c.Read(buf)
	}
}

func BenchmarkSlots(b *testing.B) {
	mem := make([]byte, 4096)
	f, _ := NewFront(mem, 112)
	back, _ := NewBack(mem, 112)
	buf := make([]byte, 112)
	for b.Loop() {
		f.Put(buf)
		f.Push()
		_, _ = back.Take(buf)
		back.Put(buf)
		back.Push()
		_, _ = f.Take(buf)
	}
}
