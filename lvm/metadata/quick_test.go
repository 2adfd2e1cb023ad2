package metadata

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"morgana/lvm/text"
)

const quickStanza = `lin {
id = "abcdef-0000-0000-0000-0000-0000-000000"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
tags = ["a", "b"]
creation_time = 1700000000
creation_host = "localhost"
allocation_policy = "contiguous"
segment_count = 2

segment1 {
start_extent = 0
extent_count = 4

type = "striped"
stripe_count = 2
stripe_size = 128

stripes = [
"pv0", 7,
"pv1", 0
]
}
segment2 {
start_extent = 4
extent_count = 1

type = "striped"
stripe_count = 1

stripes = [
"pv1", 9
]
}
}`

// quickEquals checks that both readers agree on what the quick one accepts.
func quickEquals(t *testing.T, raw string) bool {
	t.Helper()
	var quick LV
	if !quickLV(&quick, raw) {
		return false
	}
	top, err := text.Parse([]byte(raw))
	if err != nil {
		t.Fatalf("accepted, and not in the grammar: %v\n%s", err, raw)
	}
	if len(top.Entries) != 1 {
		t.Fatalf("accepted, and several sections:\n%s", raw)
	}
	lv, err := readLV("vg", top.Entries[0].Key, top.Entries[0].Section)
	if err != nil {
		t.Fatalf("accepted, and wrong: %v\n%s", err, raw)
	}
	opts := cmp.Options{
		cmp.AllowUnexported(LV{}, place{}), cmpopts.IgnoreFields(LV{}, "tree", "raw", "stanza"), cmpopts.IgnoreUnexported(Segment{}),
		cmpopts.EquateEmpty(),
	}
	if d := cmp.Diff(lv, &quick, opts); d != "" {
		t.Fatalf("-tree +quick\n%s", d)
	}
	if got, want := string(lv.Text()), "\n"+raw+"\n"; got != want {
		t.Fatalf("accepted, and not LVM2's layout:\n%s", cmp.Diff(want, got))
	}
	return true
}

func TestQuickLV(t *testing.T) {
	if !quickEquals(t, quickStanza) {
		t.Error("the usual stanza is not read quickly")
	}
}

// What the real LVM2 wrote of plain volumes is read quickly.
func TestQuickLVReadsLVM2(t *testing.T) {
	b, err := os.ReadFile("../text/testdata/on-disk.txt")
	if err != nil {
		t.Fatal(err)
	}
	_, stanzas, ok := text.Outline(b)
	if !ok || len(stanzas) == 0 {
		t.Fatal("no outline")
	}
	quick := 0
	for _, s := range stanzas {
		if quickEquals(t, s.Raw) {
			quick++
		}
	}
	if quick < len(stanzas)/2 {
		t.Errorf("%d of %d stanzas are read quickly", quick, len(stanzas))
	}
}

func FuzzQuickLV(f *testing.F) {
	f.Add(quickStanza)
	f.Fuzz(func(t *testing.T, raw string) { quickEquals(t, raw) })
}
