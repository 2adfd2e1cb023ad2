package image

import (
	"path/filepath"
	"testing"
)

// TestSizes: what the kernel costs, and that the smallest program makes a small image.
func TestSizes(t *testing.T) {
	program, err := BuildProgram(filepath.Join(t.TempDir(), "hello"), "morgana/stubdoms/hello")
	if err != nil {
		t.Fatal(err)
	}
	_, l, err := Join(program, Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what      string
		got, most int // bytes
	}{
		{"the kernel's pages in an image", l.Kernel, 160 << 10},
		{"the kernel's memory with its boot pages", l.KernelMemory + l.Boot, 1 << 20},
		{"the image of hello", l.Size, 1_500_000},
	} {
		if c.got > c.most {
			t.Errorf("%s: %d bytes, at most %d", c.what, c.got, c.most)
		}
		t.Logf("%s: %d bytes of %d", c.what, c.got, c.most)
	}
}

// TestTrimKeepsJumpTables: a jump table in the kernel lies in pages that were kept, though no symbol says how long it is.
func TestTrimKeepsJumpTables(t *testing.T) {
	w := &walker{keep: map[uint64]bool{}, done: map[uint64]bool{}}
	const text, data = 0xffffffff80001000, 0xffffffff80003000
	table := make([]byte, 0x3000)
	for i := 0x800; i < 0x1808; i += 8 { // crosses a page and ends in the next
		copy(table[i:], []byte{0, 0x10, 0, 0x80, 0xff, 0xff, 0xff, 0xff})
	}
	w.segments = []segment{{vaddr: text, data: make([]byte, 0x1000), memory: 0x1000, flags: 5}, {vaddr: data, data: table, memory: 0x3000, flags: 4}}
	w.add(data + 0x800)
	for page, want := range map[uint64]bool{data: true, data + 0x1000: true, data + 0x2000: false} {
		if w.keep[page] != want {
			t.Errorf("page %#x kept: %v, want %v", page, w.keep[page], want)
		}
	}
}
