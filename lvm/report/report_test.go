package report

import (
	"errors"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"morgana/lvm/metadata"
)

// group is one with every type of segment.
func group(t testing.TB) *Group {
	t.Helper()
	b, err := os.ReadFile("../text/testdata/every-segment-type.txt")
	if err != nil {
		t.Fatal(err)
	}
	vg, err := metadata.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	return &Group{VG: vg}
}

// selects returns the names of the volumes that criteria select.
func selects(t *testing.T, g *Group, criteria string) string {
	t.Helper()
	r, err := New(Spec{Kind: LVs, Fields: "lv_name", Sort: "lv_name", Select: criteria, Settings: Settings{
		Location: time.UTC, Now: time.Date(2023, 11, 15, 12, 0, 0, 0, time.UTC),
	}})
	if err != nil {
		t.Fatalf("%s: %v", criteria, err)
	}
	for lv := range g.VG.LVs() {
		if !g.Visible(lv) {
			continue
		}
		for i := range lv.Segments {
			if r.Kind() == LVs && i > 0 {
				break
			}
			r.Add(&Row{Group: g, LV: lv, Segment: &lv.Segments[i]})
		}
	}
	var out strings.Builder
	if err := r.Write(&out, Format{Separator: " "}); err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(out.String()), " ")
}

func TestCriteria(t *testing.T) {
	g := group(t)
	all := selects(t, g, "")
	for _, tc := range []struct{ criteria, want string }{
		{"lv_name=plain", "plain"},
		{"name = 'plain'", "plain"},
		{`lv_name="plain" || lv_name=org`, "org plain"},
		{"lv_name=plain # lv_name=org", "org plain"},
		{"lv_name=plain && lv_name=org", ""},
		{"lv_name!=plain", strings.Join(strings.Fields(strings.ReplaceAll(" "+all+" ", " plain ", " ")), " ")},
		{"!(lv_name=~'.')", ""},
		{"lv_name=~^p", "plain"},
		{"lv_name!~[l] && lv_name!~[^x] && lv_name=org", "org"},
		{"lv_size=4m && lv_name=plain", "plain"},
		{"lv_size>=4m, lv_size<5, lv_name=plain", "plain"},
		{"lv_size>16384s && lv_name=org", ""},
		{"lv_size>16383s && lv_name=org", "org"},
		{"seg_count=1 && lv_name=plain", "plain"},
		{"lv_minor=-1 && lv_name=plain", "plain"},
		{"lv_minor=undef && lv_name=plain", "plain"},
		{"lv_minor>0", ""}, // undefined is greater than nothing
		{"lv_read_ahead=auto && lv_name=plain", ""},
		{"lv_read_ahead=128k && lv_name=plain", "plain"},
		{"lv_tags={hello}", "plain"},
		{"lv_tags=hello", "plain"},
		{"lv_tags=[hello]", ""},
		{"lv_tags=[hello && 'x/y=1' && 'a.b+c']", "plain"},
		{"lv_tags={hello && nope}", ""},
		{"lv_tags={hello || nope}", "plain"},
		{"lv_tags!=hello && lv_name=plain", ""},
		{"lv_tags='' && lv_name=org", "org"},
		{"lv_layout={thin}", "thin1 tpool"},
		{"lv_time>'2023-11-14 22:00' && lv_name=plain", "plain"},
		{"lv_time since 2023-11-14 && lv_name=plain", "plain"},
		{"lv_time=yesterday && lv_name=plain", "plain"},
		{"lv_time before '1 week ago' && lv_name=plain", ""},
		{"lv_time=@1700000000 && lv_name=plain", "plain"},
		{"lv_active_locally=unknown && lv_name=plain", "plain"},
		{"lv_skip_activation=skip", "thin1"},
		{"lv_permissions=r", ""},
		{"segtype=raid1", "r1"},
		{"(lv_name=plain || lv_name=org) && lv_size<=4m", "plain"},
	} {
		if got := selects(t, g, tc.criteria); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.criteria, got, tc.want)
		}
	}
}

func TestBadCriteria(t *testing.T) {
	for _, tc := range []struct{ criteria, want string }{
		{"foo=1", "Unrecognised selection field: foo"},
		{"lv_size", "Unrecognised comparison operator: "},
		{"lv_size>x", "Failed to parse numeric value for selection field lv_size."},
		{"lv_name=a &&", "Expecting field name"},
		{"lv_name>x", "Operator can be used only with number, size, time or percent fields: lv_name>x"},
		{"lv_size since 5", "Operator can be used only with time fields: lv_size since 5"},
		{"(lv_name=x", "Syntax error: right parenthesis expected at ''"},
		{"!lv_name=x", "Syntax error: left parenthesis expected at 'lv_name=x'"},
		{"lv_name=x)", "Expecting logical operator"},
		{"lv_name='x", "Failed to parse string value for selection field lv_name."},
		{"seg_count>1m", "Found size unit specifier but numeric value expected for selection field seg_count."},
		{"lv_size=5%", "Found percent value but size value expected for selection field lv_size."},
		{"lv_tags=[a && b || c]", "Only one type of logical operator allowed in selection list at a time."},
		{"lv_tags=[a && b}", "List ended with incorrect character, expecting ']'."},
		{"lv_tags=[a", "Invalid operator in selection list."},
		{"lv_time>soon", "Failed to parse time value for selection field lv_time."},
		{"lv_name=~(", "Failed to parse regex value for selection field lv_name."},
		{"lv_size=~5", "dm_report: incompatible comparison type for selection field lv_size"},
		{"pe_start>0", `Can't report LV and PV fields at the same time in report type "lv".`},
	} {
		_, err := New(Spec{Kind: LVs, Fields: "lv_name", Select: tc.criteria})
		var e *Error
		if !errors.As(err, &e) || e.Lines[0] != tc.want {
			t.Errorf("%s: %v, want %q", tc.criteria, err, tc.want)
		}
	}
}

func TestUnits(t *testing.T) {
	const sectors = 390070272 / 512
	for _, tc := range []struct{ units, want, zero string }{
		{"h", "372.00m", "0 "}, {"H", "390.07M", "0 "}, {"r", "372.00m", "0 "}, {"R", "390.07M", "0 "}, {"b", "390070272B", "0B"},
		{"B", "390070272B", "0B"}, {"s", "761856S", "0S"}, {"k", "380928.00k", "0k"}, {"K", "390070.27K", "0K"}, {"g", "0.36g", "0g"},
		{"G", "0.39G", "0G"}, {"t", "0.00t", "0t"}, {"3m", "124.00U", "0U"}, {"1.5m", "248.00m", "0m"}, {"512b", "761856.00U", "0U"},
	} {
		u, err := ParseUnits(tc.units, true)
		if err != nil || u.Size(sectors) != tc.want || u.Size(0) != tc.zero {
			t.Errorf("%s: %v %q %q, want %q %q", tc.units, err, u.Size(sectors), u.Size(0), tc.want, tc.zero)
		}
	}
	for _, bad := range []string{"", "x", "5", "mm", "m5", "9999999e"} {
		if u, err := ParseUnits(bad, true); err == nil {
			t.Errorf("%q: %+v", bad, u)
		}
	}
	for _, tc := range []struct {
		sectors uint64
		want    string
	}{
		{0, "0   "}, {1, "512 B"}, {8192, "4.00 MiB"}, {2043 * 2048, "<2.00 GiB"}, {2049 * 2048, "2.00 GiB"}, {1 << 41, "1.00 PiB"},
	} {
		if got := Size(tc.sectors); got != tc.want {
			t.Errorf("%d sectors: %q, want %q", tc.sectors, got, tc.want)
		}
	}
}

func TestEditFields(t *testing.T) {
	for _, tc := range []struct{ edit, want, compact string }{
		{"+c", "lv_name,lv_size,c", ""}, {"-lv_size", "lv_name", ""}, {"-size", "lv_name", ""}, {"-LVName", "lv_size", ""}, {"a,b", "a,b", ""},
		{"#lv_size", "lv_name,lv_size", "lv_size"},
	} {
		if got, compact := EditFields(LVs, "lv_name,lv_size", tc.edit); got != tc.want || compact != tc.compact {
			t.Errorf("%s: %q %q", tc.edit, got, compact)
		}
	}
}

func TestJSON(t *testing.T) {
	g := group(t)
	for standard, want := range map[bool]string{
		false: `{"lv_name":"plain", "lv_size":"4.00m", "lv_tags":"a.b+c,hello,x/y=1", "seg_count":"1", "raid_write_behind":"", "lv_minor":"-1"}`,
		true:  `{"lv_name":"plain", "lv_size":"4.00m", "lv_tags":["a.b+c","hello","x/y=1"], "seg_count":1, "raid_write_behind":null, "lv_minor":-1}`,
	} {
		r, err := New(Spec{Kind: LVs, Fields: "lv_name,lv_size,lv_tags,seg_count,raid_write_behind,lv_minor"})
		if err != nil {
			t.Fatal(err)
		}
		r.Add(&Row{Group: g, LV: g.VG.LV("plain")})
		j := JSON{Standard: standard}
		j.Append(r)
		var out strings.Builder
		if err := j.Write(&out); err != nil {
			t.Fatal(err)
		}
		const around = "  {\n      \"report\": [\n          {\n              \"lv\": [\n                  ROW\n              ]\n          }\n      ]\n  }\n"
		if d := cmp.Diff(strings.Replace(around, "ROW", want, 1), out.String()); d != "" {
			t.Error(d)
		}
	}
	if got := quoted("a\"b\\c\n<é>"); got != `"a\"b\\c\n<é>"` {
		t.Errorf("quoted: %s", got)
	}
}

// Every field has something to say of every volume, disk and group, and of nothing.
func TestEveryField(t *testing.T) {
	g := group(t)
	s := &Settings{Units: DefaultUnits, Location: time.UTC}
	ids := map[string]bool{}
	for _, f := range fields() {
		if ids[f.id] || f.about == "" || f.heading == "" {
			t.Errorf("%s is there twice or not explained", f.id)
		}
		ids[f.id] = true
		disk := &PV{Name: "a.img"}
		for _, row := range []*Row{{Group: &Group{}, PV: disk}, {Group: g, PV: disk, Run: &Run{Count: 3}}} {
			f.get(s, row)
		}
		for lv := range g.VG.LVs() {
			for i := range lv.Segments {
				f.get(s, &Row{Group: g, PV: disk, LV: lv, Segment: &lv.Segments[i]})
			}
		}
	}
	var help strings.Builder
	WriteFields(&help)
	WriteSelectionHelp(&help)
	for id := range ids {
		if !strings.Contains(help.String(), " "+id+" ") {
			t.Errorf("help lacks %s", id)
		}
	}
}

func FuzzSelect(f *testing.F) {
	for _, s := range []string{"lv_size>4m && (lv_name=~^p || !(lv_tags={a && b}))", "lv_time since '2 days ago'", "a", "lv_tags=['a", "lv_read_ahead=auto#x"} {
		f.Add(s)
	}
	g := group(f)
	f.Fuzz(func(t *testing.T, s string) {
		for _, k := range []Kind{LVs, PVs, VGs} {
			r, err := New(Spec{Kind: k, Fields: "vg_name", Select: s})
			if err != nil {
				if err.Error() == "" {
					t.Error("an error without words")
				}
				continue
			}
			lv := g.VG.LV("plain")
			row := &Row{Group: g, PV: &PV{}, LV: lv, Segment: &lv.Segments[0], Run: &Run{}}
			a := r.Add(row)
			if b := r.Add(row); a != b {
				t.Errorf("%q selects a row once and once not", s)
			}
		}
	})
}

func FuzzUnits(f *testing.F) {
	f.Add("1.5m", uint64(5))
	f.Add("R", uint64(1)<<40)
	f.Fuzz(func(t *testing.T, s string, n uint64) {
		u, err := ParseUnits(s, true)
		if err != nil {
			return
		}
		if n %= 1 << 54; u.Size(n) == "" || u.SizeLong(n) == "" {
			t.Errorf("%q of %d", s, n)
		}
	})
}
