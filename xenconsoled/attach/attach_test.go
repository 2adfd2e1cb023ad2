package attach

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"morgana/xen"
	"morgana/xen/ring"
	"morgana/xen/wire/console"
	"morgana/xenconsoled"
)

// one is a service with a console, whose guest nobody is.
type one struct {
	c    *xenconsoled.Console
	page []byte
}

func newOne(t *testing.T) *one {
	t.Helper()
	s, err := xenconsoled.NewStream(make([]byte, xenconsoled.StreamHeader+4096), "guest")
	if err != nil {
		t.Fatal(err)
	}
	o := &one{page: make([]byte, xen.PageSize)}
	o.c, err = xenconsoled.New(xenconsoled.Config{Dom: 5, Name: "web", Page: o.page, Event: nobody{}, Stream: s})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func (o *one) Consoles() []*xenconsoled.Console { return []*xenconsoled.Console{o.c} }

func (o *one) Find(guest string) (*xenconsoled.Console, bool) { return o.c, guest == "web" }

type nobody struct{}

func (nobody) Port() xen.Port { return 1 }
func (nobody) Notify() error  { return nil }
func (nobody) Close() error   { return nil }
func (nobody) Wait(ctx context.Context) error {
	<-ctx.Done()
	return context.Cause(ctx)
}

// connect makes a client, and serves it.
func (o *one) connect(t *testing.T) *Client {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- (&Server{Consoles: o}).Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; !errors.Is(err, context.Canceled) {
			t.Errorf("Serve: %v", err)
		}
	})
	conn, err := net.Dial("unix", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	c := NewClient(conn)
	t.Cleanup(func() { c.Close() })
	return c
}

func (o *one) says(text string) { o.c.Stream().Append([]byte(text), nil) }

func TestList(t *testing.T) {
	o := newOne(t)
	o.says("hello")
	list, err := o.connect(t).List()
	if diff := cmp.Diff([]Info{{Dom: 5, Name: "web", End: 5}}, list); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestLogs(t *testing.T) {
	o := newOne(t)
	o.says("one\ntwo\nthree")
	for want, r := range map[string]Request{
		"one\ntwo\nthree": {},
		"two\nthree":      {Lines: 2},
		"three":           {Lines: 1},
		"wo\nthree":       {From: ptr(5)},
		"":                {From: ptr(1000)},
	} {
		r.Op, r.Guest = OpLogs, "web"
		c := o.connect(t)
		if _, err := c.Open(r); err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(c)
		if err != nil || string(got) != want || c.End().Gone || c.End().Next != 13 || c.Lost() != 0 {
			t.Errorf("%+v: %q, %v, %+v", r, got, err, c.End())
		}
	}
	// What is not kept any more is told of.
	o.says(strings.Repeat("x", 4090))
	c := o.connect(t)
	if _, err := c.Open(Request{Op: OpLogs, Guest: "web", From: ptr(0)}); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(c)
	if err != nil || len(got) != 4096 || c.Lost() != 7 || c.Next() != 4103 {
		t.Errorf("%d bytes, %v, next %d", len(got), err, c.Next())
	}
}

func ptr(n uint64) *uint64 { return &n }

func TestAttach(t *testing.T) {
	o := newOne(t)
	o.says("login: ")
	c := o.connect(t)
	info, err := c.Open(Request{Op: OpAttach, Guest: "web", Lines: 10})
	if err != nil || info.Name != "web" {
		t.Fatal(info, err)
	}
	buf := make([]byte, 100)
	if n, err := c.Read(buf); err != nil || string(buf[:n]) != "login: " {
		t.Errorf("%q, %v", buf[:n], err)
	}
	if _, err := c.Write([]byte("root\n")); err != nil {
		t.Fatal(err)
	}
	typed, err := ring.Word(o.page, console.InProd)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); typed.Load() != 5; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d bytes were typed", typed.Load())
		}
	}
	if got := string(o.page[console.In:][:5]); got != "root\n" {
		t.Errorf("typed is %q", got)
	}
	_, err = o.connect(t).Open(Request{Op: OpAttach, Guest: "web", Mode: ModeSole})
	if !errors.Is(err, xenconsoled.ErrTaken) {
		t.Errorf("the only one beside another: %v", err)
	}
	o.says("bye")
	o.c.Stream().Close()
	got, err := io.ReadAll(c)
	if err != nil || string(got) != "bye" || !c.End().Gone {
		t.Errorf("%q, %v, %+v", got, err, c.End())
	}
}

func TestRefused(t *testing.T) {
	o := newOne(t)
	for want, r := range map[error]Request{
		ErrNotFound: {Op: OpLogs, Guest: "nobody"},
		ErrRequest:  {Op: "dance"},
	} {
		if _, err := o.connect(t).Open(r); !errors.Is(err, want) {
			t.Errorf("%+v: %v, want %v", r, err, want)
		}
	}
	for _, text := range []string{"", "R", "R\x01\x00\x00", "I\x00\x00\x00", "X\x00\x00\x00", "R\xff\xff\xff", "R\x02\x00\x00{}", "O\x00\x00\x00"} {
		c := o.connect(t)
		if _, err := c.conn.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
		if u, ok := c.conn.(*net.UnixConn); ok {
			_ = u.CloseWrite()
		}
		if _, err := io.ReadAll(c.conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("%q: the connection does not end: %v", text, err)
		}
	}
}

// Whatever the other side sends: no panic, no frame larger than allowed, and what is read can be sent again.
func FuzzFrames(f *testing.F) {
	f.Add([]byte("R\x0f\x00\x00{\"op\":\"list\"}\n\n"))
	f.Add([]byte("O\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00ab"))
	f.Add([]byte("L\xff\xff\xff"))
	f.Add(appendGiven(nil, 5, 7))
	f.Fuzz(func(t *testing.T, b []byte) {
		in := frames{r: bytes.NewReader(b)}
		var again []byte
		for {
			kind, body, err := in.next()
			if err != nil {
				break
			}
			if len(body) > frameMax && kind != kindList {
				t.Fatalf("a frame %q of %d bytes", kind, len(body))
			}
			switch kind {
			case kindOutput:
				parseOutput(body)
			case kindGiven:
				parseGiven(body)
			}
			again = append(appendHead(again, kind, len(body)), body...)
		}
		if !bytes.HasPrefix(b, again) {
			t.Fatalf("%q became %q", b, again)
		}
	})
}

// Whatever a client asks for is served or refused.
func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"op":"attach","guest":"web","mode":"sole","from":5,"lines":3}`))
	f.Add([]byte(`{"op":"logs","from":-1}`))
	f.Add([]byte(`[]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, mode, err := parseRequest(b)
		if err != nil {
			if !errors.Is(err, ErrRequest) {
				t.Fatal(err)
			}
			return
		}
		if r.Lines < 0 || mode != xenconsoled.ReadOnly && r.Op != OpAttach {
			t.Fatalf("%+v, %v", r, mode)
		}
	})
}

// Whatever a service answers, the client ends.
func FuzzClient(f *testing.F) {
	f.Add([]byte("A\x02\x00\x00{}O\x0a\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00abZ\x02\x00\x00{}"))
	f.Add([]byte("A\x02\x00\x00{}E\x02\x00\x00{}"))
	f.Add([]byte("A\x02\x00\x00{}A\x02\x00\x00{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := NewClient(struct {
			io.Reader
			io.Writer
			io.Closer
		}{bytes.NewReader(b), io.Discard, io.NopCloser(nil)})
		if _, err := c.Open(Request{Op: OpLogs, Guest: "web"}); err != nil {
			return
		}
		got, err := io.ReadAll(c)
		if len(got) > len(b) || err == nil && c.end == nil {
			t.Fatalf("%d bytes of %d, %v", len(got), len(b), err)
		}
	})
}
