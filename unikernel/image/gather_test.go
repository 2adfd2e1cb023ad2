package image

import (
	"encoding/binary"
	"testing"
)

// TestGather: strings that lie pages apart end up side by side, whole, and what refers to them follows: an instruction,
// a table, and a reference into the middle of another's string.
func TestGather(t *testing.T) {
	const (
		text   = uint64(0xffffffff80001000)
		data   = text + 0x1000
		lo, hi = text + 0x2010, text + 0x7ff0
	)
	strs := make([]byte, 0x6000)
	copy(strs[0x20:], "short")
	copy(strs[0x3000:], "a longer string")
	copy(strs[0x5000:], "unknown to the source")
	code, table := make([]byte, 0x1000), make([]byte, 0x1000)
	w := &walker{
		keep: map[uint64]bool{text: true, data: true}, done: map[uint64]bool{}, stringsLo: lo, stringsHi: hi,
		segments: []segment{
			{vaddr: text, data: code, memory: 0x1000, flags: 5},
			{vaddr: data, data: table, memory: 0x1000, flags: 4},
			{vaddr: data + 0x1000, data: strs, memory: 0x6000, flags: 4},
		},
	}
	binary.LittleEndian.PutUint64(table[0x18:], data+0x1000+0x3000)
	for i, to := range []uint64{0x1020, 0x4002, 0x6000} {
		at := text + 0x10 + 8*uint64(i)
		w.refer(reference{at: at, from: at + 4, to: data + to})
	}
	if err := w.gather([]string{"short", "long", "a longer string"}); err != nil {
		t.Fatal(err)
	}
	get := func(a uint64, n int) string { return string(w.bytes(a, uint64(n))) }
	follow := func(i int) uint64 {
		at := text + 0x10 + 8*uint64(i)
		return at + 4 + uint64(int64(int32(binary.LittleEndian.Uint32(w.bytes(at, 4)))))
	}
	for _, c := range []struct {
		at   uint64
		want string
	}{
		{follow(0), "short"},
		{follow(1), "longer string"},
		{follow(2), "unknown to the source"},
		{binary.LittleEndian.Uint64(table[0x18:]), "a longer string"},
	} {
		if got := get(c.at, len(c.want)); got != c.want || !w.keep[c.at&^0xfff] {
			t.Errorf("at %#x is %q, kept %v; want %q", c.at, got, w.keep[c.at&^0xfff], c.want)
		}
	}
	if n := len(w.keep); n != 3 {
		t.Errorf("%d pages are kept, want 3: code, table, strings", n)
	}
}
