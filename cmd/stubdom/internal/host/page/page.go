package page

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"morgana/cmd/stubdom/internal/host/feed"
	"morgana/cmd/stubdom/internal/host/model"
	"morgana/xenstore"
)

//go:embed assets
var assets embed.FS

// Page is a listener and what it shows.
type Page struct {
	listener net.Listener
	feed     *feed.Feed
	streams  chan struct{} // a place for each that follows events
}

// Bounds of what browsers may ask for.
const (
	streamsMax = 32
	foundMax   = 200
	findTime   = 5 * time.Second
	answerTime = 10 * time.Second
)

// Listen listens at an address, such as "127.0.0.1:8080"; without a host it is this machine alone, and port 0 is any that is
// free.
func Listen(address string, f *feed.Feed) (*Page, error) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w; 127.0.0.1:8080 is one", address, err)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	l, err := net.Listen("tcp", net.JoinHostPort(host, port))
	if err != nil {
		return nil, err
	}
	return &Page{listener: l, feed: f, streams: make(chan struct{}, streamsMax)}, nil
}

// URL is where the page is.
func (p *Page) URL() string { return "http://" + p.listener.Addr().String() + "/" }

// Serve serves until ctx ends.
func (p *Page) Serve(ctx context.Context) error {
	s := &http.Server{
		Handler: p.Handler(), ReadHeaderTimeout: answerTime, WriteTimeout: 2 * answerTime, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
		BaseContext: func(net.Listener) context.Context { return ctx },
	}
	stop := context.AfterFunc(ctx, func() { s.Close() })
	defer stop()
	if err := s.Serve(p.listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return context.Cause(ctx)
}

// policy is the content security policy: nothing but what the program itself serves.
const policy = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"

// Handler is what answers.
func (p *Page) Handler() http.Handler {
	mux := http.NewServeMux()
	files, err := fs.Sub(assets, "assets")
	if err != nil {
		panic(err) // embedded: cannot fail
	}
	mux.Handle("/", http.FileServerFS(files))
	mux.HandleFunc("/events", p.events)
	mux.HandleFunc("/snapshot", p.snapshot)
	mux.HandleFunc("/node", p.node)
	mux.HandleFunc("/find", p.find)
	mux.HandleFunc("/console", p.console)
	own := p.listener.Addr().String()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		switch {
		case !ours(r.Host, own):
			http.Error(w, "this page is reached by the machine's own name: "+p.URL(), http.StatusMisdirectedRequest)
		case r.Method != http.MethodGet && r.Method != http.MethodHead:
			h.Set("Allow", "GET, HEAD")
			http.Error(w, "the page only shows", http.StatusMethodNotAllowed)
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// ours reports whether a request's Host is this listener: its address, or this machine's own name with its port.
func ours(host, own string) bool {
	if host == own {
		return true
	}
	_, port, err := net.SplitHostPort(own)
	if err != nil {
		return false
	}
	name, p, err := net.SplitHostPort(host)
	if err != nil {
		name, p = strings.Trim(host, "[]"), "80"
	}
	if p != port {
		return false
	}
	if name == "localhost" {
		return true
	}
	// A number cannot be made to point elsewhere; one that is not this machine's own does not get here.
	_, err = netip.ParseAddr(name)
	return err == nil
}

func answer(w http.ResponseWriter, v any, err error) {
	switch {
	case errors.Is(err, xenstore.ErrNotExist):
		http.Error(w, err.Error(), http.StatusNotFound)
		return
	case errors.Is(err, xenstore.ErrInvalid):
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	case err != nil:
		http.Error(w, model.Clean(err.Error(), model.LineMax), http.StatusServiceUnavailable)
		return
	}
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(b) // who left needs no answer
}

func (p *Page) snapshot(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	for seen := (feed.Seen{}); ; {
		n, err := p.feed.Next(ctx, &seen)
		if err != nil || n.Snapshot != nil || n.Failure != nil {
			answer(w, n.Snapshot, errors.Join(err, n.Failure))
			return
		}
	}
}

func (p *Page) node(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	n, err := p.feed.Source().Node(ctx, r.URL.Query().Get("path"))
	answer(w, n, err)
}

func (p *Page) find(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), findTime)
	defer cancel()
	text := r.URL.Query().Get("text")
	if text == "" || len(text) > model.NameMax {
		http.Error(w, "text: 1 to 64 bytes are wanted", http.StatusBadRequest)
		return
	}
	found, more, err := p.feed.Source().Find(ctx, text, foundMax)
	if found == nil {
		found = []model.Node{}
	}
	answer(w, struct {
		Found []model.Node `json:"found"`
		More  bool         `json:"more"`
	}{found, more}, err)
}

func (p *Page) console(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), answerTime)
	defer cancel()
	d, err := strconv.ParseUint(r.URL.Query().Get("domain"), 10, 15)
	if err != nil {
		http.Error(w, "domain: a number is wanted", http.StatusBadRequest)
		return
	}
	t, err := p.feed.Source().Tail(ctx, int(d))
	answer(w, t, err)
}

// events sends what is new as it comes.
func (p *Page) events(w http.ResponseWriter, r *http.Request) {
	select {
	case p.streams <- struct{}{}:
		defer func() { <-p.streams }()
	default:
		http.Error(w, "too many look on", http.StatusServiceUnavailable)
		return
	}
	c := http.NewResponseController(w)
	w.Header().Set("Content-Type", "text/event-stream")
	send := func(event string, v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		if err := c.SetWriteDeadline(time.Now().Add(answerTime)); err != nil {
			return err
		}
		_, err = fmt.Fprintf(w, "event: %s\ndata: %s\n\n", event, b)
		return err
	}
	for seen := (feed.Seen{}); ; {
		n, err := p.feed.Next(r.Context(), &seen)
		if err != nil {
			return
		}
		if n.Snapshot != nil {
			err = errors.Join(err, send("snapshot", n.Snapshot))
		}
		if len(n.Words) > 0 {
			err = errors.Join(err, send("words", n.Words))
		}
		if n.Failure != nil {
			err = errors.Join(err, send("failure", model.Clean(n.Failure.Error(), model.LineMax)))
		}
		if err = errors.Join(err, c.Flush()); err != nil {
			return // who left is not told
		}
	}
}
