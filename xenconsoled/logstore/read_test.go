package logstore_test

import (
	"bytes"
	"fmt"
	"testing"

	"morgana/block"
	"morgana/xenconsoled/logstore"
)

// What one guest said, from any byte on, wherever in the log it lies and however much of it was overwritten.
func TestReadSource(t *testing.T) {
	d := block.NewMem(4096+16*16<<10, 512)
	s := format(t, d, 7)
	a, b := newWriter(t, s, "a"), newWriter(t, s, "b")
	for round := range 60 {
		a.say(t, 700)
		if round < 20 {
			b.say(t, 100)
		}
		for _, w := range []*writer{a, b} {
			for _, from := range []uint64{0, 1, 777, w.mark.Position() / 2, w.mark.Position() - 1, w.mark.Position()} {
				var got []byte
				first := uint64(1 << 63)
				ok, err := s.ReadSource(w.name, "key of "+w.name, from, func(e logstore.Entry) error {
					first = min(first, e.From)
					if e.From != first+uint64(len(got)) {
						t.Fatalf("byte %d follows %d", e.From, first+uint64(len(got)))
					}
					got = append(got, e.Data...)
					return nil
				})
				if err != nil {
					t.Fatal(err)
				}
				if !ok {
					if w == b && round > 45 { // overwritten
						continue
					}
					t.Fatalf("round %d: %s is not there", round, w.name)
				}
				if len(got) == 0 {
					if from < w.mark.Position() && w == a {
						t.Fatalf("round %d: nothing of %s from %d", round, w.name, from)
					}
					continue
				}
				if first < from || !bytes.Equal(got, w.text[first:]) {
					t.Fatalf("round %d: %s from %d: %d bytes from %d", round, w.name, from, len(got), first)
				}
				// The log has some 200 KiB: what is newer is all there.
				if w == a && first > from && w.mark.Position() < 100_000 {
					t.Fatalf("round %d: %s from %d begins with %d", round, w.name, from, first)
				}
			}
		}
	}
	if ok, err := s.ReadSource("c", "", 0, nil); ok || err != nil {
		t.Errorf("a guest that never was: %v, %v", ok, err)
	}
}

// By name alone it is the last guest of that name.
func TestReadLastOfAName(t *testing.T) {
	d := block.NewMem(1<<20, 512)
	s := format(t, d, 7)
	for n := range 3 {
		w := newWriter(t, s, "web")
		var err error
		if w.src, err = s.Source("web", fmt.Sprint(n), w.mark, now); err != nil {
			t.Fatal(err)
		}
		if _, err := w.src.Write(w.mark, fmt.Appendf(nil, "guest %d", n), true); err != nil {
			t.Fatal(err)
		}
		w.src.Forget()
	}
	for _, c := range []struct{ key, want string }{{"", "guest 2"}, {"1", "guest 1"}} {
		var got []byte
		ok, err := s.ReadSource("web", c.key, 0, func(e logstore.Entry) error {
			got = append(got, e.Data...)
			return nil
		})
		if !ok || err != nil || string(got) != c.want {
			t.Errorf("key %q: %q, %v, %v", c.key, got, ok, err)
		}
	}
}

// Sources that are not retained are not named any more, and what they said stays.
func TestRetain(t *testing.T) {
	d := block.NewMem(1<<20, 512)
	s := format(t, d, 7)
	a, b := newWriter(t, s, "a"), newWriter(t, s, "b")
	a.say(t, 100)
	b.say(t, 100)
	s = open(t, d)
	s.Retain(func(name, key string) bool { return name == "b" && key == "key of b" })
	names := func() (n int) {
		if err := logstore.Names(s, func(string) { n++ }); err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := names()
	b.reopen(t, s)
	b.say(t, 1) // a new segment
	if n := names() - before; n != 1 {
		t.Errorf("the new segment names %d sources", n)
	}
	var got []byte
	ok, err := s.ReadSource("a", "", 0, func(e logstore.Entry) error {
		got = append(got, e.Data...)
		return nil
	})
	if !ok || err != nil || !bytes.Equal(got, a.text) {
		t.Errorf("%d bytes, %v, %v", len(got), ok, err)
	}
}
