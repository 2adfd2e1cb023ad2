package model

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"morgana/blkback"
	"morgana/metrics"
)

// What xl 4.17 lists, with a name that holds a blank, and a domain of each state.
const listed = `Name                                        ID   Mem VCPUs	State	Time(s)
Domain-0                                     0  1024     1     r-----      19.9
Xenstore                                     1    63     1     -b----       0.4
storage                                      2   128     1     -b----       3.1
a b                                         13   256     2     --p---       0.0
gone                                        14     0     1     --psc-       7.5
`

func TestParseList(t *testing.T) {
	got, err := ParseList(listed)
	if err != nil {
		t.Fatal(err)
	}
	want := []Domain{
		{ID: 0, Name: "Domain-0", State: Running, MemoryKiB: 1 << 20, CPU: 19.9},
		{ID: 1, Name: "Xenstore", State: Blocked, MemoryKiB: 63 << 10, CPU: 0.4},
		{ID: 2, Name: "storage", State: Blocked, MemoryKiB: 128 << 10, CPU: 3.1},
		{ID: 13, Name: "a b", State: Paused, MemoryKiB: 256 << 10},
		{ID: 14, Name: "gone", State: Crashed, CPU: 7.5},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, bad := range []string{"x y 1 1 r----- 2.0", "x 1 -5 1 r----- 2.0", "x 1 5 1 r----- NaN", "x 1 5 1 r----- +Inf"} {
		if _, err := ParseList(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzParseList(f *testing.F) {
	f.Add(listed)
	f.Add("\x1b[2J 1 1 1 r 1\n")
	f.Fuzz(func(t *testing.T, s string) {
		all, err := ParseList(s)
		if err != nil {
			return
		}
		for _, d := range all {
			harmless(t, d.Name, NameMax)
			marshals(t, d)
		}
	})
}

func TestParseStats(t *testing.T) {
	s, err := ParseStats("requests 12\nerrors 1\nnodes 40\nop-read 9\nuptime-ms 7\n\x00")
	if err != nil {
		t.Fatal(err)
	}
	if !s.Served || s.Requests != 12 || s.Errors != 1 || s.Nodes != 40 || s.Ops["read"] != 9 || s.Counters["uptime-ms"] != 7 {
		t.Errorf("%+v", s)
	}
	for _, bad := range []string{"requests", "requests -1\n", " 5\n", "requests x\n"} {
		if _, err := ParseStats(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

func FuzzParseStats(f *testing.F) {
	f.Add("requests 12\nop-read 9\n\x00")
	f.Fuzz(func(t *testing.T, text string) {
		if s, err := ParseStats(text); err == nil {
			for name := range s.Counters {
				harmless(t, name, NameMax)
			}
			marshals(t, s)
		}
	})
}

// A report of lvm2 2.03, whose values are strings.
const report = `{
  "report": [
    {"pvseg": [
      {"pv_name":"/dev/xvda", "vg_name":"vg0", "vg_extent_size":"4194304", "pv_pe_count":"10", "pvseg_start":"0", "pvseg_size":"2", "lv_name":"web"},
      {"pv_name":"/dev/xvda", "vg_name":"vg0", "vg_extent_size":"4194304", "pv_pe_count":"10", "pvseg_start":"5", "pvseg_size":"5", "lv_name":""},
      {"pv_name":"/dev/xvda", "vg_name":"vg0", "vg_extent_size":"4194304", "pv_pe_count":"10", "pvseg_start":"2", "pvseg_size":"3", "lv_name":"[log]"},
      {"pv_name":"/dev/xvdb", "vg_name":"", "vg_extent_size":"0", "pv_pe_count":"0", "pvseg_start":"0", "pvseg_size":"0", "lv_name":""}
    ]}
  ]
}`

func TestParseReport(t *testing.T) {
	got, err := ParseReport([]byte(report))
	if err != nil {
		t.Fatal(err)
	}
	want := []Group{{
		Name: "vg0", Extent: 4 << 20,
		Disks:   []PV{{Name: "/dev/xvda", Extents: 10, Runs: []Run{{0, 2, "web"}, {2, 3, "log"}, {5, 5, ""}}}},
		Volumes: []Volume{{"log", 3, -1}, {"web", 2, -1}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func FuzzParseReport(f *testing.F) {
	f.Add([]byte(report))
	f.Fuzz(func(t *testing.T, b []byte) {
		groups, err := ParseReport(b)
		if err != nil {
			return
		}
		for _, g := range groups {
			harmless(t, g.Name, NameMax)
			for _, d := range g.Disks {
				if len(d.Runs) > RunsMax {
					t.Errorf("%d runs", len(d.Runs))
				}
			}
		}
		marshals(t, groups)
	})
}

// Figures of a backend become rings, whose rates and median are those of the time between two looks.
func TestDisks(t *testing.T) {
	look := func(at int64, reads, fast, slow float64) *Snapshot {
		var set metrics.Set
		labels := []string{"frontend", "3", "device", "51712", "target", "vg0/web"}
		set.Counter(blkback.MetricRequests, "", reads, append(labels, "op", "read")...)
		set.Counter(blkback.MetricRequests, "", 5, append(labels, "op", "write")...)
		set.Counter(blkback.MetricBytes, "", 4096*reads, append(labels, "op", "read")...)
		set.Gauge(blkback.MetricSize, "", 1<<20, labels...)
		set.Histogram(blkback.MetricLatency, "", metrics.Histogram{Bounds: []float64{0.001, 0.1}, Counts: []uint64{uint64(fast), uint64(slow), 0}}, labels...)
		set.Counter(blkback.MetricRequests, "", 1, "frontend", "x", "device", "1", "op", "read") // nonsense
		return &Snapshot{At: time.Unix(at, 0), Rings: Disks(&set, 2)}
	}
	before, now := look(0, 10, 100, 0), look(2, 30, 100, 20)
	now.Since(before)
	if len(now.Rings) != 1 {
		t.Fatalf("%+v", now.Rings)
	}
	r := now.Rings[0]
	if r.Front != 3 || r.Back != 2 || r.Device != "xvda" || r.Target != "vg0/web" || r.Total.Requests != 35 || r.Bytes != 1<<20 {
		t.Errorf("%+v", r)
	}
	if r.PerSec.Requests != 10 || r.PerSec.Read != 40960 || r.Latency != 0.1 {
		t.Errorf("%+v, latency %v", r.PerSec, r.Latency)
	}
	// A counter that began anew counts from there.
	again := look(3, 4, 0, 0)
	again.Since(now)
	if got := again.Rings[0].PerSec.Requests; got != 9 {
		t.Errorf("%v requests a second after a restart, want the 9 that there were", got)
	}
	marshals(t, now)
}

// Nothing that a guest wrote moves a cursor, turns the writing, or hides.
func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain é 漢": "plain é 漢", "a\x1b[2Jb": "a�[2Jb", "a\nb\x00": "a�b�", "\u202eevil": "�evil", "\xff": "�", "a\u200bb": "a�b",
		strings.Repeat("x", 70): strings.Repeat("x", 64) + "…",
	} {
		if got := Clean(in, 64); got != want {
			t.Errorf("%q becomes %q, want %q", in, got, want)
		}
	}
}

func TestLines(t *testing.T) {
	out := "lost\r\none\r\n\x1b[31mred\x1b[0m\tend\r\n 10%\r100%\r\n\x1b]0;title\x07plain\x1b(B\r\n"
	if diff := cmp.Diff([]string{"one", "red    end", "100%", "plain"}, Lines([]byte(out), 4)); diff != "" {
		t.Error(diff)
	}
	if got := Lines([]byte("\r\n"), 5); got != nil {
		t.Errorf("%q", got)
	}
}

func FuzzLines(f *testing.F) {
	f.Add([]byte("a\x1b[1;2Hb\n\x1b]0;x\x1b\\y\r\nz\x1b"), 3)
	f.Fuzz(func(t *testing.T, out []byte, most int) {
		if most < 1 || most > 1000 {
			return
		}
		lines := Lines(out, most)
		if len(lines) > most {
			t.Errorf("%d lines, want at most %d", len(lines), most)
		}
		for _, l := range lines {
			harmless(t, l, LineMax)
		}
	})
}

// harmless checks that text has nothing that a terminal obeys.
func harmless(t *testing.T, s string, most int) {
	t.Helper()
	if !utf8.ValidString(s) || utf8.RuneCountInString(s) > most+1 {
		t.Errorf("%q is not UTF-8 or has more than %d characters", s, most)
	}
	for _, r := range s {
		if r != utf8.RuneError && !shown(r) {
			t.Errorf("%q has %q", s, r)
		}
	}
}

func marshals(t *testing.T, v any) {
	t.Helper()
	if _, err := json.Marshal(v); err != nil {
		t.Error(err)
	}
}
