package metrics_test

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"morgana/metrics"
)

func example() *metrics.Set {
	s := &metrics.Set{}
	s.Counter("requests_total", "Requests\nanswered \\.", 17, "op", "read", "device", `x"v\d`+"\na")
	s.Gauge("nodes", "", 0.25)
	s.Histogram("latency_seconds", "How long.", metrics.Histogram{Bounds: []float64{0.001, 1}, Counts: []uint64{3, 0, 2}, Sum: 7.5}, "dom", "3")
	s.Counter("requests_total", "", 1e300, "op", "write")
	s.Gauge("odd", "", math.Inf(-1), "guest", "\xff\x1b[31m")
	return s
}

// The text as the format's own description has it: escapes, cumulative buckets, each family in one piece.
func TestText(t *testing.T) {
	const want = `# HELP requests_total Requests\nanswered \\.
# TYPE requests_total counter
requests_total{op="read",device="x\"v\\d\na"} 17
requests_total{op="write"} 1e+300
# TYPE nodes gauge
nodes 0.25
# HELP latency_seconds How long.
# TYPE latency_seconds histogram
latency_seconds_bucket{dom="3",le="0.001"} 3
latency_seconds_bucket{dom="3",le="1"} 3
latency_seconds_bucket{dom="3",le="+Inf"} 5
latency_seconds_sum{dom="3"} 7.5
latency_seconds_count{dom="3"} 5
# TYPE odd gauge
odd{guest="�` + "\x1b" + `[31m"} -Inf
`
	if diff := cmp.Diff(want, string(example().Append(nil))); diff != "" {
		t.Error(diff)
	}
}

// A text that Prometheus' documentation gives as an example, with what it allows and few programs write.
func TestParse(t *testing.T) {
	const text = `# HELP http_requests_total The total number of HTTP requests.
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{method="post",code="400"}    3 1395066363000

# Escaping in label values:
msdos_file_access_time_seconds{path="C:\\DIR\\FILE.TXT",error="Cannot find file:\n\"FILE.TXT\""} 1.458255915e9

# Minimalistic line:
metric_without_timestamp_and_labels 12.47

# A weird metric from before the epoch:
something_weird{problem="division by zero",} +Inf -3982045

# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{le="0.05"} 24054
http_request_duration_seconds_bucket{le="+Inf"} 144320
http_request_duration_seconds_sum 53423
http_request_duration_seconds_count 144320
# TYPE rpc_duration_seconds summary
rpc_duration_seconds{ quantile = "0.01" } 3102
`
	s, err := metrics.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	f := s.Family("http_requests_total")
	if f == nil || f.Kind != metrics.CounterKind || len(f.Samples) != 2 || f.Samples[1].Value != 3 || f.Samples[1].Label("code") != "400" {
		t.Errorf("http_requests_total is %+v", f)
	}
	if f := s.Family("msdos_file_access_time_seconds"); f == nil || f.Samples[0].Label("error") != "Cannot find file:\n\"FILE.TXT\"" || f.Samples[0].Label("path") != `C:\DIR\FILE.TXT` {
		t.Errorf("escapes: %+v", f)
	}
	if f := s.Family("http_request_duration_seconds"); f == nil || len(f.Samples) != 4 || f.Samples[0].Suffix != "_bucket" || f.Samples[3].Suffix != "_count" {
		t.Errorf("the histogram is %+v", f)
	}
	for _, bad := range []string{
		"x", "x 1", "x \n", "1x 1\n", "x{ 1\n", "x{a=1} 1\n", `x{a="} 1` + "\n", `x{a="\q"} 1` + "\n", `x{a="b"c="d"} 1` + "\n", "x 0x1p3\n",
		"x 1 2 3\n", "x 1 y\n", "# TYPE x tally\n", "# TYPE 1 counter\n", "x 1\n# TYPE x counter\n", "x{:=\"\"} 1\n", "\xff 1\n",
	} {
		if _, err := metrics.Parse([]byte(bad)); !errors.Is(err, metrics.ErrFormat) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

var alike = cmp.Options{cmpopts.IgnoreUnexported(metrics.Set{}), cmpopts.EquateNaNs(), cmpopts.EquateEmpty()}

// What is written is read as it was.
func TestThereAndBack(t *testing.T) {
	s := example()
	got, err := metrics.Parse(s.Append(nil))
	if err != nil {
		t.Fatal(err)
	}
	s.Families[3].Samples[0].Labels[0].Value = "�\x1b[31m"
	if diff := cmp.Diff(s, got, alike); diff != "" {
		t.Error(diff)
	}
}

func TestMerge(t *testing.T) {
	var s, a, b metrics.Set
	a.Counter("x_total", "An x.", 1)
	b.Counter("x_total", "An x.", 2, "op", "read")
	s.Merge(&a, "domain", "storage")
	s.Merge(&b, "domain", "dom0")
	want := "# HELP x_total An x.\n# TYPE x_total counter\nx_total{domain=\"storage\"} 1\nx_total{domain=\"dom0\",op=\"read\"} 2\n"
	if got := string(s.Append(nil)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// Whatever is read can be written, and is then the same.
func FuzzParse(f *testing.F) {
	f.Add(string(example().Append(nil)))
	f.Add("a{b=\"c\",} 1 2\n# TYPE d histogram\nd_bucket{le=\"1\"} 0\nd_sum NaN\n")
	f.Fuzz(func(t *testing.T, text string) {
		s, err := metrics.Parse([]byte(text))
		if err != nil {
			return
		}
		out := s.Append(nil)
		again, err := metrics.Parse(out)
		if err != nil {
			t.Fatalf("%v in %q", err, out)
		}
		if diff := cmp.Diff(s, again, alike); diff != "" && !strings.Contains(text, "# ") {
			t.Error(diff)
		}
	})
}
