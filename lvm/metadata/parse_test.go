package metadata

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/lvm/text"
)

// fixtures are texts that LVM2 wrote; package text has them for its own tests.
var fixtures = []string{"on-disk.txt", "every-segment-type.txt", "thin-raid-snapshot.txt", "backup-file.vg"}

func fixture(t testing.TB, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "text", "testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// A text that LVM2 wrote is written again byte for byte, but for the comments in the header that only its writer knows.
func TestTextsOfLVM2AreWrittenAgain(t *testing.T) {
	for _, name := range fixtures {
		b := fixture(t, name)
		vg, err := Parse(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkVG(t, vg)
		top, err := text.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		stamp := text.HeaderOf(top)
		got, want := string(vg.AppendText(nil, stamp)), string(b)
		if strings.HasPrefix(want, "#") {
			got = string(vg.AppendFile(nil, stamp, nil))
		}
		if d := cmp.Diff(content(want), content(got)); d != "" {
			t.Errorf("%s: -LVM2 +here\n%s", name, d)
		}
	}
}

// content is a text without the comments of the header.
func content(s string) []string {
	var out []string
	for l := range strings.Lines(strings.TrimRight(s, "\x00\n")) {
		if strings.HasPrefix(l, "# Generated") || strings.HasPrefix(l, "creation_") {
			l, _, _ = strings.Cut(l, "#")
		}
		out = append(out, strings.TrimRight(l, " \t\n"))
	}
	return out
}

// Volumes of every type live through the changes of others, value for value.
func TestForeignVolumesArePreserved(t *testing.T) {
	for _, name := range fixtures {
		vg, err := Parse(fixture(t, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := vg.Changeable(); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		env := testEnv(1)
		after, op, err := vg.CreateLV(env, CreateLV{Name: "fresh", Size: Extents(1)})
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		checkVG(t, after)
		checkOp(t, vg, after, op)
		for lv := range vg.LVs() {
			if !after.LV(lv.Name).Section().Equal(lv.Section()) {
				t.Errorf("%s: %s has changed", name, lv.Name)
			}
			if lv.plain() && !vg.used(lv.Name) && lv.Visible() {
				continue
			}
			// What is part of something is left alone.
			for what, request := range map[string]func() (*VG, Operation, error){
				"remove": func() (*VG, Operation, error) { return vg.RemoveLV(lv.Name) },
				"rename": func() (*VG, Operation, error) { return vg.RenameLV(lv.Name, "other") },
				"resize": func() (*VG, Operation, error) {
					return vg.ResizeLV(env, ResizeLV{Name: lv.Name, Size: Amount{Count: 1, Sign: Plus}})
				},
			} {
				if lv.plain() && !vg.used(lv.Name) && what == "remove" {
					continue // a hidden volume of its own
				}
				if _, _, err := request(); !errors.Is(err, ErrUnsupported) && !errors.Is(err, ErrInUse) {
					t.Errorf("%s: %s %s: %v", name, what, lv.Name, err)
				}
			}
		}
		removed, _, err := after.RemoveLV("fresh")
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(withoutSeqno(textOf(vg)), withoutSeqno(textOf(removed))); d != "" {
			t.Errorf("%s: -before +after\n%s", name, d)
		}
	}
}

const minimal = `vg {
id = "abcdef-0000-0000-0000-0000-0000-000000"
seqno = 7
format = "lvm2"
status = ["RESIZEABLE", "READ", "WRITE"]
flags = []
extent_size = 128
max_lv = 0
max_pv = 0
metadata_copies = 0

physical_volumes {

pv0 {
id = "PVPVPV-0000-0000-0000-0000-0000-000000"
device = "/dev/sda"

status = ["ALLOCATABLE"]
flags = []
dev_size = 4096
pe_start = 2048
pe_count = 16
}
}

logical_volumes {

lin {
id = "LVLVLV-0000-0000-0000-0000-0000-000000"
status = ["READ", "WRITE", "VISIBLE"]
flags = []
creation_time = 1700000000
creation_host = "h"
segment_count = 1

segment1 {
start_extent = 0
extent_count = 4

type = "striped"
stripe_count = 1

stripes = [
"pv0", 3
]
}
}
}

}
contents = "Text Format Volume Group"
version = 1
`

func TestMinimal(t *testing.T) {
	vg, err := Parse([]byte(minimal))
	if err != nil {
		t.Fatal(err)
	}
	checkVG(t, vg)
}

// What LVM2 refuses to read is refused, with a word about what is wrong.
func TestRefusedTexts(t *testing.T) {
	for _, c := range []struct{ name, old, new, says string }{
		{"no contents", "contents = \"Text Format Volume Group\"\n", "", "missing contents"},
		{"other contents", "Text Format Volume Group", "Text", "unrecognised contents"},
		{"no version", "version = 1\n", "", "missing version"},
		{"version 2", "version = 1\n", "version = 2\n", "unrecognised version"},
		{"other format", `"lvm2"`, `"lvm1"`, "unrecognised format lvm1"},
		{"unknown status of the group", `"RESIZEABLE", "READ"`, `"RESIZEABLE", "FOO", "READ"`, "unknown status flag 'FOO'"},
		{"unknown status of a volume", `"VISIBLE"`, `"VISIBLE", "FOO"`, "unknown status flag 'FOO'"},
		{"no seqno", "seqno = 7\n", "", "'seqno'"},
		{"seqno is text", "seqno = 7", `seqno = "7"`, "seqno is not a number"},
		{"no extent size", "extent_size = 128\n", "", "'extent_size'"},
		{"extent size 0", "extent_size = 128", "extent_size = 0", "extent_size is 0"},
		{"no max_lv", "max_lv = 0\n", "", "'max_lv'"},
		{"no pe_count", "pe_count = 16\n", "", "'pe_count'"},
		{"no pe_start", "pe_start = 2048\n", "", "'pe_start'"},
		{"bad uuid", "PVPVPV-0000", "PV*VPV-0000", "not allowed"},
		{"short uuid", "LVLVLV-0000-0000", "LVLVLV-0000", "28 characters"},
		{"bootloader area without size", "pe_count = 16\n", "pe_count = 16\nba_start = 8\n", "incomplete bootloader area"},
		{"no segment_count", "segment_count = 1\n", "", "'segment_count'"},
		{"wrong segment_count", "segment_count = 1", "segment_count = 2", "disagree"},
		{"creation_host without time", "creation_time = 1700000000\n", "", "go together"},
		{"no stripe_count", "stripe_count = 1\n", "", "'stripe_count'"},
		{"stripe_count 0", "stripe_count = 1", "stripe_count = 0", "zero areas"},
		{"too many stripes", "stripe_count = 1", "stripe_count = 2\nstripe_size = 128", "incorrect number of areas"},
		{"gap", "start_extent = 0", "start_extent = 1", "gap or overlap at extent 0"},
		{"beyond the physical volume", `"pv0", 3`, `"pv0", 13`, "which has only 16"},
		{"unknown physical volume", `"pv0", 3`, `"pv9", 3`, "couldn't find volume 'pv9'"},
		{"not in the grammar", "max_pv = 0", "max_pv = ", "line 10"},
		{"bad name", "lin {", "l*n {", "invalid"},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := strings.Replace(minimal, c.old, c.new, 1)
			if b == minimal {
				t.Fatalf("%q is not in the text", c.old)
			}
			_, err := Parse([]byte(b))
			if !errors.Is(err, ErrFormat) || !strings.Contains(strings.ToLower(err.Error()), strings.ToLower(c.says)) {
				t.Errorf("error %v, want one that says %q", err, c.says)
			}
		})
	}
}

func TestOverlap(t *testing.T) {
	i, j := strings.Index(minimal, "lin {"), strings.Index(minimal, "}\n\n}\ncontents")
	second := strings.NewReplacer("lin {", "two {", "LVLVLV", "LWLWLW", `"pv0", 3`, `"pv0", 6`).Replace(minimal[i:j])
	b := minimal[:j] + second + minimal[j:]
	if _, err := Parse([]byte(b)); err == nil || !strings.Contains(err.Error(), "extent 6 of physical volume pv0 is allocated twice") {
		t.Error(err)
	}
}

// Segments that continue each other are one, unless the second has something that would be lost.
func TestAdjacentSegments(t *testing.T) {
	i, j := strings.Index(minimal, "segment1 {"), strings.Index(minimal, "}\n}\n\n}\ncontents")
	second := strings.NewReplacer("segment1 {", "segment2 {", "start_extent = 0", "start_extent = 4", `"pv0", 3`, `"pv0", 7`).Replace(minimal[i:j])
	for _, c := range []struct {
		second string
		want   int
	}{{second, 1}, {strings.Replace(second, "}", "future = 1\n}", 1), 2}, {strings.Replace(second, "7", "8", 1), 2}} {
		vg, err := Parse([]byte(strings.Replace(minimal[:j], "segment_count = 1", "segment_count = 2", 1) + c.second + minimal[j:]))
		if err != nil {
			t.Fatal(err)
		}
		checkVG(t, vg)
		if n := len(vg.LV("lin").Segments); n != c.want || vg.LV("lin").Extents != 8 {
			t.Errorf("%d segments, want %d, of\n%s", n, c.want, textOf(vg))
		}
	}
}

// Groups with segments that nobody knows can be read and not changed.
func TestUnknownSegments(t *testing.T) {
	for _, typ := range []string{"wonder", "striped+FOO", "raid1+RESHAPE+FOO"} {
		vg, err := Parse([]byte(strings.Replace(minimal, `"striped"`, `"`+typ+`"`, 1)))
		if err != nil {
			t.Fatal(err)
		}
		checkVG(t, vg)
		_, _, err = vg.CreateLV(testEnv(1), CreateLV{Size: Extents(1)})
		if !vg.Unknown() || !errors.Is(err, ErrUnknownSegment) || err.Error() != "Cannot change VG vg with unknown segments in it!" {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

// Keys and flags that are not known are kept through every change of what they belong to.
func TestUnknownKeysAreKept(t *testing.T) {
	b := strings.NewReplacer(
		"max_pv = 0\n", "max_pv = 0\nfuture = [1, \"x\"]\n",
		"pe_count = 16\n", "pe_count = 16\nfuture_pv = 0x\n",
		"segment_count = 1\n", "future_lv = 'y'\nsegment_count = 1\n",
		"stripe_count = 1\n", "stripe_count = 1\nfuture_seg = 010\n",
		"version = 1\n", "version = 1\nfuture_top = 5\n",
		"flags = []\ncreation", "flags = [\"FUTURE\"]\ncreation",
	).Replace(minimal)
	b = strings.Replace(b, "future_pv = 0x\n", "future_pv = word\n", 1)
	vg, err := Parse([]byte(b))
	if err != nil {
		t.Fatal(err)
	}
	yes, env := true, testEnv(1)
	for _, request := range []func(*VG) (*VG, Operation, error){
		func(vg *VG) (*VG, Operation, error) {
			return vg.ChangeLV(ChangeLV{Name: "lin", AddTags: []string{"t"}})
		},
		func(vg *VG) (*VG, Operation, error) {
			return vg.ResizeLV(env, ResizeLV{Name: "lin", Size: Amount{Count: 2, Sign: Plus}})
		},
		func(vg *VG) (*VG, Operation, error) { return vg.ResizeLV(env, ResizeLV{Name: "lin", Size: Extents(1)}) },
		func(vg *VG) (*VG, Operation, error) { return vg.RenameLV("lin", "new") },
		func(vg *VG) (*VG, Operation, error) {
			return vg.ChangePV(env, ChangePV{Device: "/dev/sda", AddTags: []string{"t"}})
		},
		func(vg *VG) (*VG, Operation, error) { return vg.Change(env, ChangeVG{AddTags: []string{"t"}}) },
		func(vg *VG) (*VG, Operation, error) { return vg.Rename("vg2") },
		(*VG).Export,
		func(vg *VG) (*VG, Operation, error) { return vg.Import("me") },
		func(vg *VG) (*VG, Operation, error) { return vg.ChangeLV(ChangeLV{Name: "new", ActivationSkip: &yes}) },
	} {
		after, op, err := request(vg)
		if err != nil {
			t.Fatal(err)
		}
		checkVG(t, after)
		checkOp(t, vg, after, op)
		vg = after
	}
	got := textOf(vg)
	for _, want := range []string{
		"future = [1, \"x\"]", "future_pv = word", "future_lv = \"y\"", "future_seg = 010", "future_top = 5", `"FUTURE"`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is lost:\n%s", want, got)
		}
	}
	lv := vg.LV("new")
	for _, f := range []string{"ACTIVATION_SKIP", "FUTURE", "WRITE_LOCKED"} { // the last one because the group has an owner now
		if !slices.Contains(lv.Flags, f) {
			t.Errorf("flags %q", lv.Flags)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(minimal))
	for _, name := range fixtures {
		f.Add(fixture(f, name))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		vg, err := Parse(b)
		if err != nil {
			return
		}
		checkVG(t, vg)
		after, op, err := vg.CreateLV(testEnv(1), CreateLV{Size: Extents(1)})
		if err != nil {
			checkError(t, err)
			return
		}
		checkVG(t, after)
		checkOp(t, vg, after, op)
	})
}

func FuzzParseOperation(f *testing.F) {
	vg := testVG(f, "vg", testEnv(1), 10, 10)
	for _, r := range []CreateLV{{Name: "a", Size: Extents(3)}, {Size: Extents(4), Stripes: 2, Tags: []string{"t"}}} {
		_, op, err := vg.CreateLV(testEnv(2), r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(op.Append(nil))
	}
	_, op, err := vg.AddPVs([]NewPV{{ID: UUID([]byte(strings.Repeat("x", 32))), Device: "/dev/x", DevSize: 9999, PEStart: 2048}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(op.Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		op, err := ParseOperation(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatal(err)
			}
			return
		}
		stored := op.Append(nil)
		again, err := ParseOperation(stored)
		if err != nil {
			t.Fatalf("%v\n%q\n%q", err, b, stored)
		}
		if string(again.Append(nil)) != string(stored) {
			t.Fatalf("%q\nthen %q", stored, again.Append(nil))
		}
		if after, err := vg.Replay(op); err == nil {
			checkVG(t, after)
		}
	})
}

func FuzzSelectors(f *testing.F) {
	for _, s := range []string{"/dev/vg0", "/dev/vg0:1-3", "/dev/vg0:-4:7+2", "@tag", `/dev/\:x`, "/dev/vg0:9999999999"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		vg := testVG(t, "vg", testEnv(1), 10, 10)
		list, err := vg.edit().selectPVs([]string{s, "/dev/vg1"}, false)
		if err != nil {
			checkError(t, err)
			return
		}
		if n := vg.freeOf(list); n > vg.free {
			t.Fatalf("%d extents of %d", n, vg.free)
		}
	})
}
