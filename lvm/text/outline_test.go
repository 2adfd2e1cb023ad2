package text_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"morgana/lvm/text"
)

// whole parses a text by its outline, and returns nil where that does not work.
func whole(b []byte) *text.Section {
	top, stanzas, ok := text.Outline(b)
	if !ok {
		return nil
	}
	var scratch text.Scratch
	var lvs []text.Entry
	for _, s := range stanzas {
		quick, err := scratch.Parse(s)
		if err != nil {
			return nil
		}
		kept, err := s.Parse()
		if err != nil || !kept.Equal(quick) {
			panic("a stanza that is not the same twice")
		}
		lvs = append(lvs, text.Entry{Key: s.Name, Section: kept})
	}
	for i, e := range top.Entries {
		if e.Section.Sub("logical_volumes") != nil {
			top.Entries[i].Section = e.Section.WithSection("logical_volumes", &text.Section{Entries: lvs})
		}
	}
	return top
}

func TestOutline(t *testing.T) {
	for _, name := range []string{"on-disk.txt", "every-segment-type.txt", "thin-raid-snapshot.txt"} {
		b, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		want, err := text.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		if got := whole(b); got == nil || !got.Equal(want) {
			t.Errorf("%s: not the same by its outline: %v", name, got != nil)
		}
	}
	for _, s := range []string{
		"", "a = 1", "vg { }", "vg { logical_volumes { a = 1 } }", "vg { logical_volumes { a { b = 1 } ", "logical_volumes { a { } }",
		"vg { logical_volumes { a { } } logical_volumes { } }", "vg { logical_volumes { a/b { } } }",
		"vg { logical_volumes { a { # }\n } } }",
	} {
		if _, _, ok := text.Outline([]byte(s)); ok {
			t.Errorf("%q has an outline", s)
		}
	}
}

func TestOutlineErrors(t *testing.T) {
	_, stanzas, ok := text.Outline([]byte("vg {\nlogical_volumes {\na {\nx = 1\ny = ]\n}\n}\n}\n"))
	if !ok || len(stanzas) != 1 {
		t.Fatal(stanzas, ok)
	}
	_, err := stanzas[0].Parse()
	if want := "parse error at byte 37 (line 5)"; err == nil || fmt.Sprint(err)[:len(want)] != want {
		t.Error(err)
	}
}

// A text that can be read by its outline holds the same as when it is read at once.
func FuzzOutline(f *testing.F) {
	for _, name := range []string{"on-disk.txt", "thin-raid-snapshot.txt"} {
		if b, err := os.ReadFile(filepath.Join("testdata", name)); err == nil {
			f.Add(b)
		}
	}
	f.Add([]byte("vg { logical_volumes { a { b = \"}\" c = [ 1, 2 ] d { } } e { } } }"))
	f.Add([]byte("vg { logical_volumes { a { b\" = 1 } e { \" } } }"))
	f.Fuzz(func(t *testing.T, b []byte) {
		got := whole(b)
		if got == nil {
			return
		}
		want, err := text.Parse(b)
		if err != nil {
			t.Fatalf("read by its outline, and wrong: %v", err)
		}
		if !got.Equal(want) {
			t.Errorf("%s\nis not\n%s", got.AppendDisk(nil), want.AppendDisk(nil))
		}
	})
}

// manyLVs is a text as LVM2 writes it, with n logical volumes.
func manyLVs(n int) []byte {
	b := bytes.NewBufferString("vg {\nid = \"abcdef-0000-0000-0000-0000-0000-000000\"\nseqno = 1\n\nlogical_volumes {\n")
	for i := range n {
		fmt.Fprintf(b, `
lv%d {
id = "abcdef-0000-0000-0000-0000-0000-%06d"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
creation_time = 1700000000
creation_host = "localhost"
segment_count = 1

segment1 {
start_extent = 0
extent_count = 1

type = "striped"
stripe_count = 1

stripes = [
"pv0", %d
]
}
}
`, i, i, i)
	}
	b.WriteString("}\n\n}\ncontents = \"Text Format Volume Group\"\nversion = 1\n")
	return b.Bytes()
}

func BenchmarkOutline(b *testing.B) {
	t := manyLVs(5000)
	b.SetBytes(int64(len(t)))
	b.ReportAllocs()
	for b.Loop() {
		_, stanzas, ok := text.Outline(t)
		if !ok {
			b.Fatal("no outline")
		}
		var x text.Scratch
		for _, s := range stanzas {
			if _, err := x.Parse(s); err != nil {
				b.Fatal(err)
			}
		}
	}
}
