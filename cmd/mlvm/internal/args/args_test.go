package args

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A command line may have its options anywhere, joined, shortened, with = or without.
func TestOptionsAnywhere(t *testing.T) {
	for _, line := range []string{
		"-L 5m -n a -an vg0 d1 d2", "vg0 -L5m d1 -na d2 -an", "vg0 d1 d2 --size=5m --name=a --activate=n", "vg0 --siz 5m --nam a -a n d1 d2",
		"-an --size 5m vg0 --name a -- d1 d2", "vg0 -anL5m d1 d2",
	} {
		p, err := Parse("lvcreate", strings.Fields(line), nil)
		if strings.Contains(line, "-anL5m") { // -a takes what follows
			if err == nil || !strings.Contains(err.Error(), "Invalid argument for --activate: nL5m") {
				t.Errorf("%s: %v", line, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", line, err)
			continue
		}
		if d := cmp.Diff([]string{"vg0", "d1", "d2"}, p.Operands); d != "" {
			t.Errorf("%s: %s", line, d)
		}
		if p.Uint("size", 0) != 10240 || p.Str("name", "") != "a" || p.Str("activate", "") != "n" {
			t.Errorf("%s: %d %q %q", line, p.Uint("size", 0), p.Str("name", ""), p.Str("activate", ""))
		}
	}
}

func TestRepeated(t *testing.T) {
	p, err := Parse("vgremove", []string{"-ff", "-f", "vg0", "-y"}, nil)
	if err != nil || p.Count("force") != 3 || !p.Has("yes") {
		t.Errorf("%v, force %d", err, p.Count("force"))
	}
	p, err = Parse("vgchange", []string{"--addtag", "a", "--addtag", "@b", "--deltag=c", "vg0"}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff([]string{"a", "b"}, p.All("addtag")); d != "" {
		t.Error(d)
	}
	if d := cmp.Diff([]string{"addtag", "deltag"}, p.Names()); d != "" {
		t.Error(d)
	}
}

func TestSynonyms(t *testing.T) {
	for _, tc := range []struct{ verb, option, name string }{
		{"vgchange", "--resizable=y", "resizeable"}, {"vgchange", "--allocation=y", "resizeable"}, {"pvchange", "--allocation=y", "allocatable"},
		{"lvchange", "--available=n", "activate"}, {"pvcreate", "--metadatacopies=2", "pvmetadatacopies"},
		{"vgcreate", "--metadatacopies=2", "vgmetadatacopies"}, {"lvs", "--no-headings", "noheadings"},
	} {
		p, err := Parse(tc.verb, []string{tc.option, "x"}, nil)
		if err != nil || !p.Has(tc.name) {
			t.Errorf("%s %s: %v", tc.verb, tc.option, err)
		}
	}
	if _, err := Parse("vgchange", []string{"--resizable=y", "--resizeable=n"}, nil); err == nil {
		t.Error("an option and its synonym")
	}
}

// What lvm2 2.03.16 says of the same mistakes; tests/lvm compares more of them with the real one.
func TestMistakes(t *testing.T) {
	for _, tc := range []struct{ line, want string }{
		{"lvcreate --foo", "lvcreate: unrecognized option '--foo'"},
		{"lvcreate --foo=3", "lvcreate: unrecognized option '--foo=3'"},
		{"lvcreate --st 5", "lvcreate: option '--st' is ambiguous; possibilities: '--stripes' '--stripesize'"},
		{"lvcreate --size", "lvcreate: option '--size' requires an argument"},
		{"lvcreate -L", "lvcreate: option requires an argument -- 'L'"},
		{"lvs --all=5", "lvs: option '--all' doesn't allow an argument"},
		{"lvs -L5", "lvs: invalid option -- 'L'"},
		{"lvcreate -L5 -L6", "Option -L/--size may not be repeated."},
		{"lvcreate -L1,5m", "Can't parse size argument.\n  Invalid argument for --size: 1,5m"},
		{"lvcreate -L-5", "Size may not be negative.\n  Invalid argument for --size: -5"},
		{"lvcreate -L1000000b", "Size is not a multiple of 512. Try using 999936 or 1000448.\n  Invalid argument for --size: 1000000b"},
		{"lvreduce -L+5", "Size may not be positive.\n  Invalid argument for --size: +5"},
		{"lvcreate -l5%X", "Specified %X is unknown.\n  Invalid argument for --extents: 5%X"},
		{"lvcreate -Zx", "Invalid argument for --zero: x"},
		{"lvcreate --type=foo", "WARNING: Unrecognised segment type foo\n  Invalid argument for --type: foo"},
		{"lvcreate --alloc=foo", "Unrecognised allocation policy foo\n  Invalid argument for --alloc: foo"},
		{"vgcreate --addtag a,b", "Invalid argument for --addtag: a,b"},
	} {
		f := strings.Fields(tc.line)
		_, err := Parse(f[0], f[1:], nil)
		if err == nil {
			t.Errorf("%s: no error", tc.line)
			continue
		}
		if d := cmp.Diff(tc.want+"\n  Error during parsing of command line.", err.Error()); d != "" {
			t.Errorf("%s: %s", tc.line, d)
		}
	}
}

func TestSizes(t *testing.T) {
	size, _ := find("size")
	for _, tc := range []struct {
		text string
		want uint64 // sectors
	}{
		{"1", 2048}, {"1.5", 3072}, {".5m", 1024}, {"1k", 2}, {"1K", 2}, {"2s", 2}, {"512b", 1}, {"1g", 2 << 20}, {"1G", 2 << 20}, {"1MiB", 2048},
		{"1t", 2 << 30}, {"1p", 2 << 40}, {"1e", 2 << 50}, {"1e3", 2048000}, {"0x10", 32768}, {"+5", 10240}, {"0", 0},
	} {
		v, why := ParseValue("lvextend", size, tc.text)
		if why != nil || v.N != tc.want {
			t.Errorf("%s: %d %v, want %d", tc.text, v.N, why, tc.want)
		}
	}
	for _, bad := range []string{"", "x", "m", "1x", "1,5", "--5", "+-5", "1e", "99999999e", "1 m", "nan", "inf"} {
		v, why := ParseValue("lvresize", size, bad)
		if why == nil && bad != "1e" {
			t.Errorf("%q: %d", bad, v.N)
		}
	}
	stripe, _ := find("stripesize")
	if v, why := ParseValue("lvcreate", stripe, "64"); why != nil || v.N != 128 {
		t.Errorf("a stripe of 64: %d %v", v.N, why)
	}
}

func TestExtents(t *testing.T) {
	extents, _ := find("extents")
	for _, tc := range []struct {
		text string
		want Value
	}{
		{"5", Value{N: 5}}, {"+5", Value{Sign: '+', N: 5}}, {"-5", Value{Sign: '-', N: 5}}, {"50%FREE", Value{N: 50, Percent: OfFree}},
		{"50%F", Value{N: 50, Percent: OfFree}}, {"1%free", Value{N: 1, Percent: OfFree}}, {"10%v", Value{N: 10, Percent: OfVG}},
		{"+10%PVS", Value{Sign: '+', N: 10, Percent: OfPVs}}, {"50%LV", Value{N: 50, Percent: OfLV}}, {"100%OR", Value{N: 100, Percent: OfOrigin}},
	} {
		tc.want.Text = tc.text
		v, why := ParseValue("lvresize", extents, tc.text)
		if d := cmp.Diff(tc.want, v); d != "" || why != nil {
			t.Errorf("%s: %v %s", tc.text, why, d)
		}
	}
	for _, bad := range []string{"", "%FREE", "5%", "5x", "5%%", "1.5", "99999999999%VG"} {
		if v, why := ParseValue("lvresize", extents, bad); why == nil {
			t.Errorf("%q: %+v", bad, v)
		}
	}
}

func find(name string) (Option, bool) {
	for _, o := range options {
		if o.Name == name {
			return o, true
		}
	}
	return Option{}, false
}

// The tables name only options that there are, and are sorted as lookups need them.
func TestTables(t *testing.T) {
	for i := 1; i < len(options); i++ {
		if options[i-1].Name >= options[i].Name {
			t.Errorf("%s before %s", options[i-1].Name, options[i].Name)
		}
	}
	for verb, set := range verbOptions {
		short := map[byte]string{}
		if got, want := len(Of(verb)), len(strings.Fields(set+" "+commonOptions)); got != want {
			t.Errorf("%s has %d options of %d", verb, got, want)
		}
		for _, o := range Of(verb) {
			if o.Short == 0 {
				continue
			}
			if other := short[o.Short]; other != "" && verb != "vgcfgrestore" && verb != "lvconvert" { // there the second is long only
				t.Errorf("%s: -%c is --%s and --%s", verb, o.Short, other, o.Name)
			}
			short[o.Short] = o.Name
		}
	}
}

func TestNames(t *testing.T) {
	for _, good := range []string{"a", "vg0", "a.b-c_d+e", strings.Repeat("x", 127)} {
		if !ValidName(good) {
			t.Errorf("%q is refused", good)
		}
	}
	for _, bad := range []string{"", "-a", ".", "..", "a b", "a/b", "ä", strings.Repeat("x", 128)} {
		if ValidName(bad) {
			t.Errorf("%q is accepted", bad)
		}
	}
	for _, tc := range []struct{ s, vg, lv string }{
		{"vg0/a", "vg0", "a"}, {"/dev/vg0/a", "vg0", "a"}, {"/dev/mapper/vg--0-a--b", "vg-0", "a-b"}, {"vg0", "vg0", ""}, {"/dev/vg0", "vg0", ""},
		{"/dev/mapper/vg0", "vg0", ""},
	} {
		if vg, lv := SplitLV(tc.s); vg != tc.vg || lv != tc.lv {
			t.Errorf("%s: %q %q", tc.s, vg, lv)
		}
	}
	for _, name := range []string{"snapshot1", "pvmove0", "a_mlog", "x_tdata_y", "_rimage_"} {
		if Reserved(name) == "" {
			t.Errorf("%q is not reserved", name)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"lvcreate -L5m vg0", "lvs -o+x --sort=-a", "vgremove -ff", "x --", "lvextend -l+5%F --", "pvs -"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, line string) {
		words := strings.Fields(line)
		if len(words) == 0 {
			return
		}
		p, err := Parse(words[0], words[1:], nil)
		if err != nil {
			if err.Error() == "" {
				t.Error("an error without words")
			}
			return
		}
		if len(p.Operands) > len(words) {
			t.Errorf("%d operands of %d words", len(p.Operands), len(words))
		}
	})
}

// A size or a number of extents that is accepted is what the same text without its sign gives.
func FuzzSizes(f *testing.F) {
	for _, s := range []string{"1.5m", "0x1f", "1e", "1e5k", "5%FREE", "+-1", "18446744073709551615", "-3%PVS", ".", "1.2.3"} {
		f.Add(s)
	}
	size, _ := find("size")
	extents, _ := find("extents")
	f.Fuzz(func(t *testing.T, s string) {
		for _, o := range []Option{size, extents} {
			v, why := ParseValue("lvresize", o, s)
			if why != nil {
				continue
			}
			bare := strings.TrimLeft(s, "+-")
			w, why := ParseValue("lvresize", o, bare)
			if why != nil || w.N != v.N || w.Percent != v.Percent {
				t.Errorf("--%s %q: %+v, %q: %+v %v", o.Name, s, v, bare, w, why)
			}
		}
	})
}
