package page

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"morgana/cmd/stubdom/internal/host/feed"
	"morgana/cmd/stubdom/internal/host/model"
	"morgana/xenstore"
)

// hostile is a source of a host whose guests write what a page must not obey.
type hostile struct{}

const evil = `</script><img src=x onerror=alert(1)>`

func (hostile) Look(context.Context) (*model.Snapshot, error) {
	return &model.Snapshot{At: time.Now(), Host: evil, Domains: []model.Domain{{ID: 1, Name: evil}}}, nil
}

func (hostile) Node(_ context.Context, path string) (*model.Node, error) {
	if path != "/" {
		return nil, fmt.Errorf("%q: %w", path, xenstore.ErrNotExist)
	}
	return &model.Node{Path: "/", Value: evil}, nil
}

func (hostile) Find(context.Context, string, int) ([]model.Node, bool, error) { return nil, false, nil }

func (hostile) Tail(_ context.Context, d int) (model.Tail, error) {
	return model.Tail{Domain: d, Lines: []string{evil}}, nil
}

func serve(t *testing.T) *Page {
	t.Helper()
	f := feed.New(hostile{}, time.Millisecond)
	p, err := Listen("127.0.0.1:0", f)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{}, 2)
	go func() { _ = f.Run(ctx); done <- struct{}{} }()
	go func() { _ = p.Serve(ctx); done <- struct{}{} }()
	t.Cleanup(func() { cancel(); <-done; <-done })
	return p
}

func get(t *testing.T, p *Page, method, path, host string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, strings.TrimSuffix(p.URL(), "/")+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		r.Host = host
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	b, err := io.ReadAll(a.Body)
	if err != nil {
		t.Fatal(err)
	}
	return a, string(b)
}

// The page is there, and nothing but GET does anything; every answer has a policy that allows only what is ours.
func TestAnswers(t *testing.T) {
	p := serve(t)
	for _, c := range []struct {
		method, path, kind string
		code               int
	}{
		{"GET", "/", "text/html; charset=utf-8", 200},
		{"GET", "/app.js", "text/javascript; charset=utf-8", 200},
		{"GET", "/style.css", "text/css; charset=utf-8", 200},
		{"GET", "/icon.svg", "image/svg+xml", 200},
		{"GET", "/snapshot", "application/json", 200},
		{"GET", "/node?path=/", "application/json", 200},
		{"GET", "/node?path=/x", "text/plain; charset=utf-8", 404},
		{"GET", "/find?text=x", "application/json", 200},
		{"GET", "/find?text=", "text/plain; charset=utf-8", 400},
		{"GET", "/console?domain=1", "application/json", 200},
		{"GET", "/console?domain=x", "text/plain; charset=utf-8", 400},
		{"GET", "/../page.go", "text/plain; charset=utf-8", 404},
		{"POST", "/", "text/plain; charset=utf-8", 405},
		{"DELETE", "/node?path=/", "text/plain; charset=utf-8", 405},
	} {
		a, body := get(t, p, c.method, c.path, "")
		if a.StatusCode != c.code || a.Header.Get("Content-Type") != c.kind {
			t.Errorf("%s %s: %s, %s", c.method, c.path, a.Status, a.Header.Get("Content-Type"))
		}
		if a.Header.Get("Content-Security-Policy") != policy || a.Header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("%s %s has no policy", c.method, c.path)
		}
		if c.kind == "application/json" && (!json.Valid([]byte(body)) || strings.Contains(body, "<")) {
			t.Errorf("%s: %s", c.path, body)
		}
	}
}

// DNS rebinding: a site whose name points to this machine asks in its own name, and gets nothing.
func TestForeignNames(t *testing.T) {
	p := serve(t)
	own := strings.TrimSuffix(strings.TrimPrefix(p.URL(), "http://"), "/")
	_, port, _ := strings.Cut(own, ":")
	for host, code := range map[string]int{
		own: 200, "localhost:" + port: 200, "127.0.0.1:" + port: 200, "[::1]:" + port: 200,
		"evil.example:" + port: 421, "evil.example": 421, "localhost": 421, "localhost.evil.example:" + port: 421, "127.0.0.1:1": 421,
		"127.0.0.1.evil.example:" + port: 421,
	} {
		for _, path := range []string{"/", "/snapshot", "/node?path=/"} {
			if a, _ := get(t, p, "GET", path, host); a.StatusCode != code {
				t.Errorf("%s as %s: %s, want %d", path, host, a.Status, code)
			}
		}
	}
}

// The page asks for nothing from elsewhere, and has neither script nor style in itself.
func TestThePageIsWhole(t *testing.T) {
	files, err := assets.ReadDir("assets")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		b, err := assets.ReadFile("assets/" + f.Name())
		if err != nil {
			t.Fatal(err)
		}
		text := strings.ReplaceAll(string(b), "http://www.w3.org/2000/svg", "")
		for _, bad := range []string{"http://", "https://", "innerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=\"", " onclick=", "<style"} {
			if strings.Contains(text, bad) {
				t.Errorf("%s has %q", f.Name(), bad)
			}
		}
	}
}

// Events are snapshots as they come.
func TestEvents(t *testing.T) {
	p := serve(t)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, "GET", p.URL()+"events", nil)
	if err != nil {
		t.Fatal(err)
	}
	a, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer a.Body.Close()
	p.feed.Tell("word", "hello")
	var got strings.Builder
	b := make([]byte, 4096)
	for strings.Count(got.String(), "event: snapshot\ndata: {") < 3 || !strings.Contains(got.String(), `"text":"hello"`) {
		n, err := a.Body.Read(b)
		got.Write(b[:n])
		if err != nil {
			t.Fatalf("%v after %q", err, got.String())
		}
	}
	if strings.Contains(got.String(), "<") {
		t.Errorf("what guests wrote is not escaped: %s", got.String())
	}
}
