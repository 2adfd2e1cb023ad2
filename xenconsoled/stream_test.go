package xenconsoled

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"pgregory.net/rapid"
)

const testSize = 4096

func newStream(t testing.TB) *Stream {
	t.Helper()
	s, err := NewStream(make([]byte, StreamHeader+testSize), "key")
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// said is what the byte of that number is.
func said(at uint64) byte { return byte(at*7 + at>>8) }

func feed(s *Stream, n int) {
	b := make([]byte, n)
	for i := range b {
		b[i] = said(s.End() + uint64(i))
	}
	s.Append(b[:n/3], b[n/3:])
}

// model is a reader of a policy, and what it must have seen.
type model struct {
	r      *Reader
	policy Policy
	next   uint64 // the number of the byte after the last one it saw
}

// Whatever is appended and read in whatever order: a reader that has to have every byte has it; one that keeps the ends
// has the oldest and the newest; one that follows is told where it goes on.
func TestReaders(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, err := NewStream(make([]byte, StreamHeader+testSize), "key")
		if err != nil {
			t.Fatal(err)
		}
		var all []*model
		t.Repeat(map[string]func(*rapid.T){
			"append": func(t *rapid.T) {
				n := min(rapid.IntRange(0, 2048).Draw(t, "n"), s.Free())
				before := s.End()
				feed(s, n)
				if s.End() != before+uint64(n) {
					t.Fatalf("the end is %d after %d bytes more than %d", s.End(), n, before)
				}
				for _, m := range all {
					if m.policy == Every && m.r.Position() != m.next {
						t.Fatalf("a reader of every byte is at %d and has read up to %d", m.r.Position(), m.next)
					}
				}
			},
			"reader": func(t *rapid.T) {
				if len(all) > 5 {
					return
				}
				p := rapid.SampledFrom([]Policy{Newest, Ends, Every}).Draw(t, "policy")
				from := rapid.Uint64Range(0, s.End()+10).Draw(t, "from")
				r := s.NewReader(from, p, rapid.IntRange(0, testSize).Draw(t, "limit"))
				if want := min(max(from, s.Start()), s.End()); r.Position() != want {
					t.Fatalf("a reader from %d is at %d, want %d", from, r.Position(), want)
				}
				all = append(all, &model{r: r, policy: p, next: r.Position()})
			},
			"read": func(t *rapid.T) {
				if len(all) == 0 {
					return
				}
				m := all[rapid.IntRange(0, len(all)-1).Draw(t, "reader")]
				want := m.r.Pending()
				buf := make([]byte, rapid.IntRange(1, testSize).Draw(t, "size"))
				n, from := m.r.Read(buf)
				if n == 0 && want > 0 || n > want {
					t.Fatalf("%d bytes of %d", n, want)
				}
				if from < m.next || from > m.next && m.policy == Every {
					t.Fatalf("policy %d goes on at %d after %d", m.policy, from, m.next)
				}
				if from > m.next && m.policy == Newest && from != s.Start() {
					t.Fatalf("it missed bytes up to %d that are kept from %d on", from, s.Start())
				}
				for i, c := range buf[:n] {
					if c != said(from+uint64(i)) {
						t.Fatalf("byte %d of %d is wrong", i, n)
					}
				}
				m.next = from + uint64(n)
			},
			"close": func(t *rapid.T) {
				if len(all) > 3 {
					all[0].r.Close()
					all = all[1:]
				}
			},
		})
	})
}

// A reader of the ends that never reads gets the oldest bytes, as many as its limit, and all that the scrollback has.
func TestEnds(t *testing.T) {
	s := newStream(t)
	r := s.NewReader(0, Ends, 1000)
	for range 10 {
		feed(s, 1500)
	}
	var got []byte
	var starts []uint64
	next := uint64(0)
	buf := make([]byte, 700)
	for r.Pending() > 0 {
		n, from := r.Read(buf)
		if from != next {
			starts = append(starts, from)
		}
		next = from + uint64(n)
		got = append(got, buf[:n]...)
	}
	if len(got) != 1000+testSize || len(starts) != 1 || starts[0] != s.Start() || got[0] != said(0) || got[999] != said(999) {
		t.Errorf("%d bytes; it goes on at %d; kept from %d on", len(got), starts, s.Start())
	}
	// It is as if new after that.
	feed(s, 10)
	if n, from := r.Read(buf); n != 10 || from != 15000 {
		t.Errorf("then %d bytes from %d on", n, from)
	}
}

// A stream goes on in memory that another process left, if it is the same console's.
func TestStreamGoesOn(t *testing.T) {
	mem := make([]byte, StreamHeader+testSize)
	s, err := NewStream(mem, "a guest")
	if err != nil {
		t.Fatal(err)
	}
	feed(s, 3000)
	feed(s, 3000)
	s.SetLabel("name")
	s.SetSeen(77)
	again, err := NewStream(mem, "a guest")
	if err != nil {
		t.Fatal(err)
	}
	if again.End() != 6000 || again.Label() != "name" || again.Seen() != 77 {
		t.Errorf("it goes on at %d, %q, seen %d", again.End(), again.Label(), again.Seen())
	}
	r := again.NewReader(0, Newest, 0)
	buf := make([]byte, testSize)
	if n, from := r.Read(buf); n != testSize || from != 6000-testSize || buf[0] != said(from) {
		t.Errorf("%d bytes from %d on", n, from)
	}
	if old, ok := OpenStream(mem); !ok || !old.Is("a guest") || old.End() != 6000 {
		t.Error("it cannot be opened without its key")
	}
	other, err := NewStream(mem, "another guest")
	if err != nil {
		t.Fatal(err)
	}
	if other.End() != 0 || other.Label() != "" || other.Mark().Position() != 0 {
		t.Errorf("another guest finds %d bytes, %q", other.End(), other.Label())
	}
}

func TestScreen(t *testing.T) {
	s := newStream(t)
	if at := s.Screen(5, 100); at != 0 {
		t.Errorf("of nothing: %d", at)
	}
	text := "one\ntwo\nthree\nlogin: "
	s.Append([]byte(text), nil)
	for lines, want := range map[int]string{1: "login: ", 2: "three\nlogin: ", 3: "two\nthree\nlogin: ", 9: text} {
		if at := s.Screen(lines, 1000); text[at:] != want {
			t.Errorf("%d lines: %q, want %q", lines, text[at:], want)
		}
	}
	if at := s.Screen(9, 10); text[at:] != text[len(text)-10:] {
		t.Errorf("10 bytes: %q", text[at:])
	}
	s.Append([]byte("root\n"), nil)
	text += "root\n"
	if at := s.Screen(1, 1000); text[at:] != "login: root\n" {
		t.Errorf("after the end of a line: %q", text[at:])
	}
}

func TestWait(t *testing.T) {
	s := newStream(t)
	r := s.NewReader(0, Newest, 0)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Wait(ctx, 10) }()
	feed(s, 9)
	select {
	case err := <-ended:
		t.Fatalf("9 bytes ended a wait for 10: %v", err)
	case <-time.After(10 * time.Millisecond):
	}
	feed(s, 1)
	if err := <-ended; err != nil {
		t.Error(err)
	}
	go func() { ended <- r.Wait(ctx, 11) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	s.Close()
	if err := r.Wait(t.Context(), 11); err != nil {
		t.Errorf("a stream that is closed has 10 bytes to be read: %v", err)
	}
	r.Read(make([]byte, 10))
	if err := r.Wait(t.Context(), 1); !errors.Is(err, io.EOF) {
		t.Error(err)
	}
	r.Close()
	r.Close()
	if err := r.Wait(t.Context(), 1); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

// A stream whose guest goes on ends otherwise than one whose guest is gone, when all is read.
func TestLeave(t *testing.T) {
	s := newStream(t)
	feed(s, 10)
	r := s.NewReader(0, Newest, 0)
	s.Leave()
	s.Close() // it is too late for that
	if err := r.Wait(t.Context(), 11); err != nil {
		t.Errorf("it has 10 bytes to be read: %v", err)
	}
	r.Read(make([]byte, 10))
	if err := r.Wait(t.Context(), 1); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Error(err)
	}
}

// Memory that anything may have written into gives a stream that works, or an error.
func FuzzStreamMemory(f *testing.F) {
	mem := make([]byte, StreamHeader+testSize)
	s, err := NewStream(mem, "key")
	if err != nil {
		f.Fatal(err)
	}
	feed(s, 3000)
	s.SetLabel("name")
	s.mark.Begin(Note{Next: 1000, From: 3, Size: 5})
	f.Add(bytes.Clone(mem[:512]))
	binary.LittleEndian.PutUint64(mem[headEnd:], ^uint64(0))
	f.Add(bytes.Clone(mem[:512]))
	binary.LittleEndian.PutUint32(mem[headLabel:], 1<<31)
	f.Add(bytes.Clone(mem[:512]))
	f.Fuzz(func(t *testing.T, head []byte) {
		mem := make([]byte, StreamHeader+testSize)
		copy(mem[:StreamHeader], head)
		if old, ok := OpenStream(mem); ok {
			_ = old.Label()
			exercise(t, old)
		}
		s, err := NewStream(mem, "key")
		if err != nil {
			t.Fatal(err)
		}
		exercise(t, s)
	})
}

func exercise(t *testing.T, s *Stream) {
	t.Helper()
	if s.Mark().Position() > s.End() || s.Start() > s.End() {
		t.Fatalf("kept from %d on, logged up to %d of %d", s.Start(), s.Mark().Position(), s.End())
	}
	r := s.NewReader(s.Mark().Position(), Every, 0)
	defer r.Close()
	buf := make([]byte, testSize)
	for r.Pending() > 0 {
		r.Read(buf)
	}
	s.Append([]byte("more"), nil)
	if n, _ := r.Read(buf); string(buf[:n]) != "more" {
		t.Fatalf("read %q", buf[:n])
	}
	_ = s.Screen(50, 1<<30)
}

func TestStreamSizes(t *testing.T) {
	for _, n := range []int{0, StreamHeader, StreamHeader + 4095, StreamHeader + 5000} {
		if _, err := NewStream(make([]byte, n), "key"); err == nil {
			t.Errorf("%d bytes are taken", n)
		}
		if _, ok := OpenStream(make([]byte, n)); ok {
			t.Errorf("%d bytes have a stream", n)
		}
	}
}

func ExampleStream() {
	s, _ := NewStream(make([]byte, StreamHeader+4096), "domain 5")
	s.Append([]byte("Linux version 6.1\n"), []byte("login: "))
	r := s.NewReader(s.Screen(1, 1024), Newest, 0)
	b := make([]byte, 100)
	n, from := r.Read(b)
	fmt.Printf("%q from byte %d on\n", b[:n], from)
	// Output: "login: " from byte 18 on
}
