package ring

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
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

// Publish may end anywhere: the next backend finds the request as it was, or gives the answer.
func TestPublishEndsAnywhere(t *testing.T) {
	const slot = 112
	before := make([]byte, 4096)
	f, err := NewFront(before, slot)
	if err != nil {
		t.Fatal(err)
	}
	b, err := NewBack(before, slot)
	if err != nil {
		t.Fatal(err)
	}
	request, answer := bytes.Repeat([]byte{'q'}, slot), []byte("sixteen bytes an")
	got := make([]byte, slot)
	for range 3 { // and one that was answered before
		f.Put(request)
	}
	f.Push()
	for range 2 {
		if ok, err := b.Take(got); !ok || err != nil {
			t.Fatal(ok, err)
		}
	}
	if _, ok := b.Publish([]byte("an older answer.")); !ok {
		t.Fatal("not published")
	}
	after := bytes.Clone(before)
	if b, err = NewBack(after, slot); err != nil {
		t.Fatal(err)
	}
	b.Take(got)
	b.Publish(answer)
	// The stores of Publish in their order, a byte each.
	var stores []int
	area := func(from, to int) {
		for i := from; i < to; i++ {
			stores = append(stores, i)
		}
	}
	area(offAnswer, offAnswer+len(answer))
	area(offNoteIndex, offNoteIndex+4)
	noted := len(stores)
	area(HeaderSize+slot, HeaderSize+slot+len(answer))
	published := len(stores)
	area(offRspProd, offRspProd+4)
	for n := 0; n <= len(stores); n++ {
		mem := bytes.Clone(before)
		if n < noted {
			copy(mem[offNote:], make([]byte, 4)) // the note is not valid meanwhile
		}
		for _, s := range stores[:n] {
			mem[s] = after[s]
		}
		next, err := NewBack(mem, slot)
		if err != nil {
			t.Fatal(err)
		}
		_, redone, err := next.Redo(len(answer))
		if want := n >= noted && n <= published; err != nil || redone != want {
			t.Fatalf("after %d of %d stores the answer is given again: %v, %v; want %v", n, len(stores), redone, err, want)
		}
		left := 1 // requests: the third
		if n < noted {
			left = 2
		}
		for range left {
			clear(got)
			if ok, err := next.Take(got); !ok || err != nil || !bytes.Equal(got, request) {
				t.Fatalf("after %d of %d stores a request is %q, %v, %v", n, len(stores), got, ok, err)
			}
		}
		if ok, err := next.Take(got); ok || err != nil {
			t.Fatalf("after %d of %d stores there is one request more, %v", n, len(stores), err)
		}
		at := HeaderSize + slot
		if n >= noted && !bytes.Equal(mem[at:at+len(answer)], answer) {
			t.Fatalf("after %d of %d stores the answer is %q", n, len(stores), mem[at:at+len(answer)])
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

// Both sides at once, each in its goroutine: the race detector finds every access that the indexes do not order.
func TestSidesAtOnce(t *testing.T) {
	const total = 1 << 16
	p, c := words(t, make([]byte, 4096))
	smem := make([]byte, 4096)
	f, _ := NewFront(smem, 8)
	b, _ := NewBack(smem, 8)
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := 0; i < total; runtime.Gosched() {
			n, err := p.Write([]byte{byte(i), byte(i + 1), byte(i + 2)}[:min(3, total-i)])
			if err != nil {
				t.Error(err)
				return
			}
			i += n
		}
	})
	wg.Go(func() {
		buf := make([]byte, 100)
		for i := 0; i < total; runtime.Gosched() {
			n, err := c.Read(buf)
			if err != nil {
				t.Error(err)
				return
			}
			for _, x := range buf[:n] {
				if x != byte(i) {
					t.Errorf("byte %d is %d", i, x)
					return
				}
				i++
			}
		}
	})
	wg.Go(func() {
		req := make([]byte, 8)
		for i := 0; i < 1000; runtime.Gosched() {
			if ok, err := b.Take(req); err != nil {
				t.Error(err)
				return
			} else if ok {
				b.Put(req)
				b.Push()
				i++
			}
		}
	})
	wg.Go(func() {
		rsp := make([]byte, 8)
		for sent, got := uint64(0), uint64(0); got < 1000; runtime.Gosched() {
			if sent < 1000 && f.Put(binary.LittleEndian.AppendUint64(nil, sent)) {
				f.Push()
				sent++
			}
			if ok, err := f.Take(rsp); err != nil {
				t.Error(err)
				return
			} else if ok {
				if x := binary.LittleEndian.Uint64(rsp); x != got {
					t.Errorf("response %d carries %d", got, x)
					return
				}
				got++
			}
		}
	})
	wg.Wait()
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
