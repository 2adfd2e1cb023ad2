package exporter

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"morgana/metrics"
)

// serve serves a counter, and returns the address.
func serve(t *testing.T, collect Collect) string {
	t.Helper()
	e, err := Listen(":0", collect, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Serve(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return e.Address()
}

func counter(_ context.Context, s *metrics.Set) error {
	s.Counter("x_total", "An x.", 7)
	return nil
}

// A client that knows HTTP well gets the metrics, and sees what else there is not.
func TestServe(t *testing.T) {
	at := serve(t, counter)
	if !strings.HasPrefix(at, "127.0.0.1:") {
		t.Errorf("without a host it listens at %s", at)
	}
	for _, c := range []struct {
		method, path, body string
		code               int
	}{
		{"GET", "/metrics", "# HELP x_total An x.\n# TYPE x_total counter\nx_total 7\n", 200},
		{"GET", "/metrics?name=x", "# HELP x_total An x.\n# TYPE x_total counter\nx_total 7\n", 200},
		{"HEAD", "/metrics", "", 200},
		{"GET", "/", "the metrics are at /metrics\n", 200},
		{"GET", "/etc/passwd", "the metrics are at /metrics\n", 404},
		{"POST", "/metrics", "the metrics can be read\n", 405},
	} {
		r, err := http.NewRequest(c.method, "http://"+at+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		a, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(a.Body)
		a.Body.Close()
		if err != nil || a.StatusCode != c.code || string(b) != c.body {
			t.Errorf("%s %s: %s %q, %v", c.method, c.path, a.Status, b, err)
		}
		if c.code == 200 && c.path != "/" && a.Header.Get("Content-Type") != "text/plain; version=0.0.4; charset=utf-8" {
			t.Errorf("%s %s is of type %s", c.method, c.path, a.Header.Get("Content-Type"))
		}
	}
}

// What cannot be collected is told as that, and what is no request too.
func TestFailures(t *testing.T) {
	at := serve(t, func(context.Context, *metrics.Set) error { return errors.New("secret") })
	a, err := http.Get("http://" + at + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	b, _ := io.ReadAll(a.Body)
	a.Body.Close()
	if a.StatusCode != 503 || strings.Contains(string(b), "secret") {
		t.Errorf("%s %q", a.Status, b)
	}
	for _, text := range []string{"\r\n\r\n", "GET /\r\n\r\n", "GET / HTTP/2\r\n\r\n", strings.Repeat("x", 2*requestMax)} {
		c, err := net.Dial("tcp", at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(c, text); err != nil {
			t.Fatal(err)
		}
		c.(*net.TCPConn).CloseWrite()
		got, _ := io.ReadAll(c) // it may be reset: not all was read
		c.Close()
		if s := string(got); s != "" && !strings.HasPrefix(s, "HTTP/1.1 400 ") {
			t.Errorf("%.20q: %q", text, s)
		}
	}
}

// Whatever is sent, a request is read or refused.
func FuzzRequest(f *testing.F) {
	f.Add("GET /metrics?x HTTP/1.1\r\nHost: x\r\n\r\n")
	f.Add("GET / HTTP/1.0\n\n")
	f.Fuzz(func(t *testing.T, s string) {
		method, target, err := readRequest(strings.NewReader(s))
		if err == nil && (method == "" || target == "" && !strings.Contains(s, "?") || strings.ContainsAny(target, "? \r\n")) {
			t.Errorf("%q asks %q for %q", s, method, target)
		}
	})
}
