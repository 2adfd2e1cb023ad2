package mux

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math/rand"
	"net"
	"sync"
	"testing"
	"time"
)

func pair(t testing.TB) (d, a *Session) {
	t.Helper()
	x, y := net.Pipe()
	d, a = Dialer(x), Acceptor(y)
	t.Cleanup(func() { d.Close(); a.Close() })
	return d, a
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func both(t testing.TB, d, a *Session) (x, y *Conn) {
	t.Helper()
	x, err := d.Dial()
	if err != nil {
		t.Fatal(err)
	}
	if y, err = a.Accept(within(t)); err != nil {
		t.Fatal(err)
	}
	return x, y
}

// Many connections at once, each with its own bytes, both ways.
func TestManyConnections(t *testing.T) {
	d, a := pair(t)
	var all sync.WaitGroup
	for i := range 20 {
		x, y := both(t, d, a)
		want := make([]byte, 200_000)
		rand.New(rand.NewSource(int64(i))).Read(want)
		all.Go(func() {
			if n, err := x.Write(want); n != len(want) || err != nil {
				t.Errorf("%d bytes, %v", n, err)
			}
		})
		all.Go(func() {
			got, err := io.ReadAll(x)
			if err != nil || !bytes.Equal(got, want) {
				t.Errorf("connection %d: %d bytes came back, %v", i, len(got), err)
			}
			x.Close()
		})
		all.Go(func() {
			if _, err := io.CopyN(y, y, int64(len(want))); err != nil {
				t.Error(err)
			}
			y.Close()
		})
	}
	all.Wait()
	for _, s := range []*Session{d, a} {
		s.mu.Lock()
		if len(s.conns) > 0 || s.err != nil {
			t.Errorf("%d connections are left, %v", len(s.conns), s.err)
		}
		s.mu.Unlock()
	}
}

// A connection that nobody reads holds up its writer and no other.
func TestStalled(t *testing.T) {
	d, a := pair(t)
	stalled, _ := both(t, d, a)
	wrote := make(chan error, 1)
	go func() {
		_, err := stalled.Write(make([]byte, 10*window))
		wrote <- err
	}()
	for range 5 {
		x, y := both(t, d, a)
		want := bytes.Repeat([]byte("others go on "), 10_000)
		go func() { _, _ = y.Write(want); y.Close() }()
		if got, err := io.ReadAll(x); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		x.Close()
	}
	select {
	case err := <-wrote:
		t.Errorf("all was taken: %v", err)
	default:
	}
	stalled.Close()
	if err := <-wrote; !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

// What was written before Close is read, and then comes the end.
func TestCloseLeavesNothingOut(t *testing.T) {
	d, a := pair(t)
	x, y := both(t, d, a)
	if _, err := x.Write([]byte("last words")); err != nil {
		t.Fatal(err)
	}
	x.Close()
	if got, err := io.ReadAll(y); string(got) != "last words" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := y.Write([]byte("no")); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}

// The end of the session is no end of a stream.
func TestSessionEnds(t *testing.T) {
	d, a := pair(t)
	x, y := both(t, d, a)
	a.Close()
	if _, err := x.Read(make([]byte, 1)); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("Read: %v", err)
	}
	if _, err := y.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
		t.Errorf("Write: %v", err)
	}
	<-d.Done()
	if _, err := d.Dial(); err == nil {
		t.Error("there is a connection after the end")
	}
	if _, err := a.Accept(within(t)); err == nil {
		t.Error("there is one to accept")
	}
}

func TestTooMany(t *testing.T) {
	d, _ := pair(t)
	for range Connections {
		if _, err := d.Dial(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := d.Dial(); !errors.Is(err, ErrFull) {
		t.Error(err)
	}
	// Who does not count is refused.
	x, y := net.Pipe()
	a := Acceptor(y)
	defer a.Close()
	go func() {
		for n := range uint32(Connections + 1) {
			if _, err := x.Write(appendHead(nil, head{conn: n + 1, kind: kindOpen})); err != nil {
				return
			}
		}
	}()
	b := make([]byte, headSize)
	if _, err := io.ReadFull(x, b); err != nil {
		t.Fatal(err)
	}
	if h, err := parseHead(b); err != nil || h.kind != kindClose || h.conn != Connections+1 {
		t.Errorf("%v, %v", h, err)
	}
}

// What nobody sends ends the session, with an error that says so.
func TestHostile(t *testing.T) {
	frame := func(conn uint32, kind byte, body []byte) []byte {
		return append(appendHead(nil, head{conn: conn, kind: kind, size: len(body)}), body...)
	}
	open := frame(1, kindOpen, nil)
	flood := bytes.Repeat(frame(1, kindData, make([]byte, dataMax)), 3)
	grant := binary.LittleEndian.AppendUint32(nil, 1)
	for name, b := range map[string][]byte{
		"a kind that is not known":          frame(1, 'x', nil),
		"open with a body":                  frame(1, kindOpen, []byte("x")),
		"open twice":                        append(open, open...),
		"number 0":                          frame(0, kindOpen, nil),
		"data for nobody":                   frame(9, kindData, []byte("x")),
		"no data":                           append(open, frame(1, kindData, nil)...),
		"more data than a frame may have":   frame(1, kindData, make([]byte, dataMax+1)),
		"more data than the window":         append(open, flood...),
		"a window that grows":               append(open, frame(1, kindWindow, grant)...),
		"a window of the wrong size":        append(open, frame(1, kindWindow, []byte{1})...),
		"a window of four thousand million": append(open, frame(1, kindWindow, []byte{255, 255, 255, 255})...),
	} {
		x, y := net.Pipe()
		a := Acceptor(y)
		go func() { _, _ = x.Write(b) }()
		select {
		case <-a.Done():
			if err := a.Err(); !errors.Is(err, ErrProtocol) {
				t.Errorf("%s: %v", name, err)
			}
		case <-time.After(5 * time.Second):
			t.Errorf("%s: the session goes on", name)
		}
		x.Close()
		a.Close()
	}
}

// stream is a connection whose other side has said all it will, and takes everything.
type stream struct{ io.Reader }

func (stream) Write(p []byte) (int, error) { return len(p), nil }
func (stream) Close() error                { return nil }

// Whatever comes, the session ends, and nobody has more than a window to read.
func FuzzAcceptor(f *testing.F) {
	open := appendHead(nil, head{conn: 1, kind: kindOpen})
	f.Add(open)
	f.Add(append(append([]byte(nil), open...), append(appendHead(nil, head{conn: 1, kind: kindData, size: 3}), "abc"...)...))
	f.Add(append(append([]byte(nil), open...), appendHead(nil, head{conn: 1, kind: kindClose})...))
	f.Add(append(append([]byte(nil), open...), appendHead(nil, head{conn: 1, kind: kindWindow, size: 4})...))
	f.Fuzz(func(t *testing.T, b []byte) {
		a := Acceptor(stream{bytes.NewReader(b)})
		<-a.Done()
		a.parts.Wait()
		for {
			select {
			case c := <-a.accept:
				if n := len(c.buf) - c.at; n > window {
					t.Errorf("%d bytes wait", n)
				}
				continue
			default:
			}
			return
		}
	})
}

func FuzzParseHead(f *testing.F) {
	f.Add([]byte{1, 0, 0, 0, 'D', 1, 0, 0})
	f.Add([]byte{1, 0, 0, 0, 'W', 4, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) < headSize {
			return
		}
		if h, err := parseHead(b[:headSize]); err == nil && !bytes.Equal(appendHead(nil, h), b[:headSize]) {
			t.Errorf("%x is %+v", b[:headSize], h)
		}
	})
}
