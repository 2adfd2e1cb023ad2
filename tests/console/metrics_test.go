package console

import (
	"io"
	"net"
	"net/http"
	"testing"

	"morgana/metrics"
)

// Prometheus is told what a guest wrote: bytes, lines, and that they are in the log.
func TestMetrics(t *testing.T) {
	h := newHost(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := l.Addr().String()
	l.Close()
	h.ours("--log=all", "--metrics", at)
	g := h.guest(5, "one")
	h.terminal(5, "")
	h.say(g, []byte("first\nsecond\nthird"))
	collect := func() map[string]float64 {
		all := make(map[string]float64)
		a, err := http.Get("http://" + at + "/metrics")
		if err != nil {
			return all // not yet
		}
		defer a.Body.Close()
		b, err := io.ReadAll(a.Body)
		if err != nil {
			t.Fatal(err)
		}
		s, err := metrics.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range s.Families {
			if x := f.Samples[0]; x.Label("domain") == "one" && x.Label("id") == "5" {
				all[f.Name] = x.Value
			}
		}
		return all
	}
	eventually(t, "the counters", func() bool {
		s := collect()
		return s["morgana_console_bytes_total"] == 18 && s["morgana_console_lines_total"] == 2 && s["morgana_console_logged_bytes_total"] == 18
	})
}
