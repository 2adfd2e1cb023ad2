package xenstore

import (
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"morgana/metrics"
	"morgana/xenstore"
)

// collect asks for the metrics at an address until somebody listens there.
func collect(t *testing.T, at string) *metrics.Set {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		a, err := http.Get("http://" + at + "/metrics")
		if err != nil {
			if time.Now().After(end) {
				t.Fatal(err)
			}
			continue
		}
		b, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil || a.StatusCode != 200 {
			t.Fatalf("%s, %v: %s", a.Status, err, b)
		}
		s, err := metrics.Parse(b)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
}

// freeAddress is one of this machine that nobody listens at.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// Prometheus is told what happened between two collections.
func TestMetrics(t *testing.T) {
	at := freeAddress(t)
	d := startOurs(t, host(t), "--metrics", at)
	value := func(family string, labels ...string) float64 {
		t.Helper()
		f := collect(t, at).Family(family)
		if f == nil {
			t.Fatalf("there is no %s", family)
		}
		for _, x := range f.Samples {
			if len(labels) == 0 || x.Label(labels[0]) == labels[1] {
				return x.Value
			}
		}
		return 0
	}
	nodes, writes := value("morgana_xenstore_nodes"), value("morgana_xenstore_operations_total", "op", "write")
	c, err := xenstore.DialPath(t.Context(), d.Socket())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for _, p := range []string{"/a", "/b", "/b/c"} {
		if err := c.Write(t.Context(), p, "x"); err != nil {
			t.Fatal(err)
		}
	}
	if got := value("morgana_xenstore_nodes") - nodes; got != 3 {
		t.Errorf("%v nodes were made, want 3", got)
	}
	if got := value("morgana_xenstore_operations_total", "op", "write") - writes; got != 3 {
		t.Errorf("%v writes, want 3", got)
	}
}
