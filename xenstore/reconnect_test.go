package xenstore_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// line is a service that a test plays: each connection is handed over, and what comes on it is read as requests.
type line struct {
	t     *testing.T
	conns chan net.Conn
	mu    sync.Mutex
	down  error // why nobody can connect now
}

func newLine(t *testing.T) *line { return &line{t: t, conns: make(chan net.Conn, 10)} }

func (l *line) dial(context.Context) (io.ReadWriteCloser, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down != nil {
		return nil, l.down
	}
	ours, theirs := net.Pipe()
	l.conns <- ours
	return theirs, nil
}

func (l *line) setDown(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.down = err
}

func (l *line) open(lost xenstore.Lost) (*xenstore.Client, net.Conn) {
	l.t.Helper()
	c, err := xenstore.Open(testContext(l.t), xenstore.Options{Dial: l.dial, Lost: lost})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { c.Close() })
	return c, l.next()
}

func (l *line) next() net.Conn {
	l.t.Helper()
	select {
	case conn := <-l.conns:
		l.t.Cleanup(func() { conn.Close() })
		return conn
	case <-time.After(10 * time.Second):
		l.t.Fatal("nobody connects")
		return nil
	}
}

// expect reads a request and checks what it is: its type and its payload, | for NUL.
func expect(t *testing.T, conn net.Conn, op xs.Op, payload string) xs.Header {
	t.Helper()
	_ = conn.SetDeadline(time.Now().Add(10 * time.Second))
	b := make([]byte, xs.HeaderSize)
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatalf("wanted %v %q: %v", op, payload, err)
	}
	h, _ := xs.ParseHeader(b)
	b = make([]byte, h.Len)
	if _, err := io.ReadFull(conn, b); err != nil {
		t.Fatal(err)
	}
	for i := range b {
		if b[i] == 0 {
			b[i] = '|'
		}
	}
	if h.Op != op || string(b) != payload {
		t.Fatalf("%v %q came, want %v %q", h.Op, b, op, payload)
	}
	return h
}

func answer(t *testing.T, conn net.Conn, h xs.Header, payload string) {
	t.Helper()
	if _, err := conn.Write(xs.AppendMessage(nil, h, []byte(payload))); err != nil {
		t.Fatal(err)
	}
}

func started[T any](f func() T) <-chan T {
	c := make(chan T, 1)
	go func() { c <- f() }()
	return c
}

func wait[T any](t *testing.T, c <-chan T) T {
	t.Helper()
	select {
	case x := <-c:
		return x
	case <-time.After(10 * time.Second):
		t.Fatal("it does not return")
		panic("")
	}
}

// A request that only asks is asked again; one that changes something is not, because it may have been done.
func TestReconnectAsksAgain(t *testing.T) {
	l := newLine(t)
	c, conn := l.open(xenstore.Wait)
	ctx := testContext(t)
	type value struct {
		v   string
		err error
	}
	read := started(func() value { v, err := c.Read(ctx, "/a"); return value{v, err} })
	expect(t, conn, xs.Read, "/a|")
	write := started(func() error { return c.Write(ctx, "/b", "1") })
	expect(t, conn, xs.Write, "/b|1")
	conn.Close()
	if err := wait(t, write); !errors.Is(err, xenstore.ErrLost) {
		t.Errorf("a write that was under way: %v, want %v", err, xenstore.ErrLost)
	}
	conn = l.next()
	h := expect(t, conn, xs.Read, "/a|")
	answer(t, conn, h, "yes")
	if got := wait(t, read); got.v != "yes" || got.err != nil {
		t.Errorf("a read that was under way: %+v", got)
	}
	// The client goes on.
	write = started(func() error { return c.Write(ctx, "/b", "2") })
	answer(t, conn, expect(t, conn, xs.Write, "/b|2"), "OK\x00")
	if err := wait(t, write); err != nil {
		t.Error(err)
	}
	if c.Err() != nil {
		t.Errorf("the client is over: %v", c.Err())
	}
}

// While there is no connection, calls wait and are sent in order, or fail and say so; a context ends the waiting.
func TestReconnectWhileDown(t *testing.T) {
	for _, lost := range []xenstore.Lost{xenstore.Wait, xenstore.Fail} {
		l := newLine(t)
		c, conn := l.open(lost)
		ctx := testContext(t)
		l.setDown(errors.New("not now"))
		conn.Close()
		if lost == xenstore.Fail {
			for end := time.Now().Add(10 * time.Second); ; time.Sleep(time.Millisecond) {
				err := c.Write(ctx, "/a", "1")
				if errors.Is(err, xenstore.ErrDown) {
					break
				}
				if time.Now().After(end) {
					t.Fatalf("without a connection: %v, want %v", err, xenstore.ErrDown)
				}
			}
			l.setDown(nil)
			l.next()
			continue
		}
		short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
		if err := c.Write(short, "/never", "1"); !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, xenstore.ErrLost) {
			t.Errorf("a call whose context ends: %v", err)
		}
		cancel()
		var writes []<-chan error
		for _, v := range []string{"1", "2", "3"} {
			writes = append(writes, started(func() error { return c.Write(ctx, "/a", v) }))
			time.Sleep(20 * time.Millisecond) // they are to come in this order
		}
		l.setDown(nil)
		conn = l.next()
		for i, v := range []string{"1", "2", "3"} {
			answer(t, conn, expect(t, conn, xs.Write, "/a|"+v), "OK\x00")
			if err := wait(t, writes[i]); err != nil {
				t.Error(err)
			}
		}
	}
}

// Watches are set again, in their order, before anything else; the first event of each says that others may be lost.
func TestReconnectSetsWatches(t *testing.T) {
	l := newLine(t)
	c, conn := l.open(xenstore.Wait)
	ctx := testContext(t)
	w := wait(t, started(func() *xenstore.Watch {
		go func() {
			for _, p := range []string{"/b", "/a"} {
				tok := map[string]string{"/b": "1", "/a": "2"}[p]
				h := expect(t, conn, xs.Watch, p+"|"+tok+"|")
				answer(t, conn, h, "OK\x00")
				answer(t, conn, xs.Header{Op: xs.WatchEvent}, p+"\x00"+tok+"\x00")
			}
		}()
		w, err := c.Watch(ctx, "/b", "/a")
		if err != nil {
			t.Error(err)
		}
		return w
	}))
	next := func(path string, lost bool) {
		t.Helper()
		if e, err := w.Next(ctx); err != nil || e.Path != path || e.Lost != lost {
			t.Fatalf("event %+v, %v; want %s, lost %v", e, err, path, lost)
		}
	}
	next("/b", false)
	next("/a", false)
	{ // lost while a path is being added, and again before the watches are set
		adding := started(func() error { return w.Add(ctx, "/c") })
		expect(t, conn, xs.Watch, "/c|3|")
		conn.Close()
		conn = l.next()
		expect(t, conn, xs.Watch, "/b|1|")
		conn.Close()
		conn = l.next()
		hb := expect(t, conn, xs.Watch, "/b|1|")
		ha := expect(t, conn, xs.Watch, "/a|2|")
		hc := expect(t, conn, xs.Watch, "/c|3|")
		for i, h := range []xs.Header{hb, ha, hc} {
			answer(t, conn, h, "OK\x00")
			answer(t, conn, xs.Header{Op: xs.WatchEvent}, []string{"/b\x001\x00", "/a\x002\x00", "/c\x003\x00"}[i])
		}
		answer(t, conn, xs.Header{Op: xs.WatchEvent}, "/a/x\x002\x00")
		if err := wait(t, adding); err != nil {
			t.Fatal(err)
		}
		next("/b", true)
		next("/a", true)
		next("/c", false)
		next("/a/x", false)
		removing := started(func() error { return w.Remove(ctx, "/c") })
		answer(t, conn, expect(t, conn, xs.Unwatch, "/c|3|"), "OK\x00")
		if err := wait(t, removing); err != nil {
			t.Fatal(err)
		}
	}
	// One that the service does not take any more ends its Watch, and says why.
	conn.Close()
	conn = l.next()
	hb := expect(t, conn, xs.Watch, "/b|1|")
	ha := expect(t, conn, xs.Watch, "/a|2|")
	answer(t, conn, hb, "OK\x00")
	answer(t, conn, xs.Header{Op: xs.ErrorReply, Req: ha.Req}, "E2BIG\x00")
	next2 := started(func() error { _, err := w.Next(ctx); return err })
	if err := wait(t, next2); !errors.Is(err, xenstore.ErrTooBig) {
		t.Errorf("a watch that is refused: %v", err)
	}
}

// A transaction ends with its connection: its calls are EAGAIN, and Transact does it again. Only of a commit under way
// nobody knows.
func TestReconnectEndsTransactions(t *testing.T) {
	l := newLine(t)
	c, conn := l.open(xenstore.Wait)
	ctx := testContext(t)
	begin := func() *xenstore.Tx {
		t.Helper()
		tx := started(func() *xenstore.Tx { tx, _ := c.Begin(ctx); return tx })
		answer(t, conn, expect(t, conn, xs.TransactionStart, "|"), "7\x00")
		return wait(t, tx)
	}
	tx := begin()
	write := started(func() error { return tx.Write(ctx, "/a", "1") })
	expect(t, conn, xs.Write, "/a|1")
	conn.Close()
	conn = l.next()
	if err := wait(t, write); !errors.Is(err, xenstore.ErrAgain) {
		t.Errorf("a write under way: %v", err)
	}
	if err := tx.Write(ctx, "/a", "1"); !errors.Is(err, xenstore.ErrAgain) {
		t.Errorf("a write afterwards: %v", err)
	}
	if err := tx.Commit(ctx); !errors.Is(err, xenstore.ErrAgain) {
		t.Errorf("commit: %v", err)
	}
	if err := tx.Abort(ctx); err != nil {
		t.Errorf("abort: %v", err)
	}
	tx = begin()
	commit := started(func() error { return tx.Commit(ctx) })
	expect(t, conn, xs.TransactionEnd, "T|")
	conn.Close()
	conn = l.next()
	if err := wait(t, commit); !errors.Is(err, xenstore.ErrLost) || errors.Is(err, xenstore.ErrAgain) {
		t.Errorf("a commit under way: %v", err)
	}
	// Transact: lost once before the commit, then done.
	did := started(func() error {
		return c.Transact(ctx, func(tx *xenstore.Tx) error { return tx.Write(ctx, "/n", "1") })
	})
	answer(t, conn, expect(t, conn, xs.TransactionStart, "|"), "1\x00")
	expect(t, conn, xs.Write, "/n|1")
	conn.Close()
	conn = l.next()
	answer(t, conn, expect(t, conn, xs.TransactionStart, "|"), "1\x00")
	answer(t, conn, expect(t, conn, xs.Write, "/n|1"), "OK\x00")
	answer(t, conn, expect(t, conn, xs.TransactionEnd, "T|"), "OK\x00")
	if err := wait(t, did); err != nil {
		t.Error(err)
	}
}

// A directory that is read in parts is read anew when the connection changes in between, whatever the generation says.
func TestReconnectWithinAList(t *testing.T) {
	l := newLine(t)
	c, conn := l.open(xenstore.Wait)
	ctx := testContext(t)
	names := started(func() []string { n, _ := c.List(ctx, "/d"); return n })
	h := expect(t, conn, xs.Directory, "/d|")
	answer(t, conn, xs.Header{Op: xs.ErrorReply, Req: h.Req}, "E2BIG\x00")
	answer(t, conn, expect(t, conn, xs.DirectoryPart, "/d|0|"), "5\x00old\x00")
	expect(t, conn, xs.DirectoryPart, "/d|4|")
	conn.Close()
	conn = l.next()
	answer(t, conn, expect(t, conn, xs.DirectoryPart, "/d|4|"), "5\x00tail\x00\x00")
	answer(t, conn, expect(t, conn, xs.DirectoryPart, "/d|0|"), "5\x00new\x00tail\x00\x00")
	if got := wait(t, names); len(got) != 2 || got[0] != "new" {
		t.Errorf("names: %q", got)
	}
}

// Close ends a client that is just connecting, and all who wait; a service that breaks the protocol ends it too.
func TestReconnectEnds(t *testing.T) {
	l := newLine(t)
	c, conn := l.open(xenstore.Wait)
	ctx := testContext(t)
	l.setDown(errors.New("never again"))
	conn.Close()
	read := started(func() error { _, err := c.Read(ctx, "/a"); return err })
	time.Sleep(10 * time.Millisecond)
	c.Close()
	if err := wait(t, read); !errors.Is(err, xenstore.ErrClosed) {
		t.Errorf("a read that waits: %v", err)
	}
	l = newLine(t)
	c, conn = l.open(xenstore.Wait)
	read = started(func() error { _, err := c.Read(ctx, "/a"); return err })
	h := expect(t, conn, xs.Read, "/a|")
	answer(t, conn, xs.Header{Op: xs.Write, Req: h.Req}, "")
	if err := wait(t, read); !errors.Is(err, xenstore.ErrProtocol) || !errors.Is(c.Err(), xenstore.ErrProtocol) {
		t.Errorf("after nonsense: %v, %v", err, c.Err())
	}
}
