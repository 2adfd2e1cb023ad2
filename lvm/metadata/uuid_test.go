package metadata

import (
	"strings"
	"testing"
)

func TestUUID(t *testing.T) {
	id, err := NewUUID(testEnv(1).Rand)
	if err != nil {
		t.Fatal(err)
	}
	other, err := NewUUID(testEnv(2).Rand)
	if err != nil || id == other {
		t.Errorf("%v and %v: %v", id, other, err)
	}
	if s := id.String(); len(s) != 38 || strings.Count(s, "-") != 6 || s[6] != '-' || s[11] != '-' || s[31] != '-' {
		t.Errorf("%q is not in groups of 6-4-4-4-4-4-6", s)
	}
	if _, err := NewUUID(strings.NewReader("short")); err == nil {
		t.Error("no error though there is no randomness")
	}
	if s := (UUID{}).String(); s != "" {
		t.Errorf("no uuid is shown as %q", s)
	}
}

func FuzzParseUUID(f *testing.F) {
	for _, s := range []string{
		"abcdef-0000-0000-0000-0000-0000-!#cdef", strings.Repeat("x", 32), strings.Repeat("x", 33), "", "é", strings.Repeat("-", 40),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		id, err := ParseUUID(s)
		if err != nil {
			return
		}
		if plain := strings.ReplaceAll(s, "-", ""); plain != string(id[:]) {
			t.Errorf("%q is read as %q", s, id[:])
		}
		if again, err := ParseUUID(id.String()); err != nil || again != id {
			t.Errorf("%q is shown as %q and read as %q: %v", s, id, again, err)
		}
	})
}

func TestNames(t *testing.T) {
	for name, ok := range map[string]bool{
		"a": true, "A.b_c-d+9": true, "": false, "-a": false, ".": false, "..": false, "...": true, "a/b": false, "a b": false,
		"ä": false, strings.Repeat("x", 127): true, strings.Repeat("x", 128): false,
	} {
		if ValidName(name) != ok {
			t.Errorf("name %q: %v", name, !ok)
		}
	}
	for tag, ok := range map[string]bool{"a/b=c!d:e&f#g": true, "": false, "@a": false, "a b": false, "a,b": false} {
		if ValidTag(tag) != ok {
			t.Errorf("tag %q: %v", tag, !ok)
		}
	}
	for name, says := range map[string]string{
		"lvol0": "", "x_tdata": `including "_tdata"`, "pvmove0": `starting "pvmove"`, "snapshots": `starting "snapshot"`, "a b": "invalid",
	} {
		if err := CheckLVName(name); (err == nil) != (says == "") || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want one that says %q", name, err, says)
		}
	}
}

func TestFormatSize(t *testing.T) {
	for sectors, want := range map[uint64]string{
		1: "512 B", 2: "1.00 KiB", 3: "1.50 KiB", 2048: "1.00 MiB", 2049: "1.00 MiB", 58624: "28.62 MiB", 33664: "<16.44 MiB",
		1<<32 - 1: "<2.00 TiB", 1 << 31: "1.00 TiB",
	} {
		if got := FormatSize(sectors); got != want {
			t.Errorf("%d sectors are %q, want %q", sectors, got, want)
		}
	}
}
