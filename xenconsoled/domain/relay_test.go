package domain_test

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"testing"

	"morgana/xenconsoled/attach"
)

// The socket in dom0 has the consoles of the domain as if they were dom0's: xconsole needs to know nothing of it.
func TestRelay(t *testing.T) {
	w := newWorld(t, 2)
	stop := w.serve()
	w.startAgent()
	server := &attach.Server{Consoles: nothing{}, Elsewhere: w.agent.Dial}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1000)
	dial := func() *attach.Client {
		here, there := net.Pipe()
		go func() { ended <- server.ServeConn(ctx, there) }()
		return attach.NewClient(here)
	}
	g := w.guest("web")
	want := text("web", 50_000)
	g.say(want)
	w.follow("web", len(want))

	c := dial()
	if list, err := c.List(); err != nil || len(list) != 1 || list[0].Name != "web" || list[0].End != uint64(len(want)) {
		t.Errorf("%+v, %v", list, err)
	}
	c = dial()
	if _, err := c.Open(attach.Request{Op: attach.OpLogs, Guest: "web"}); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(c); err != nil || string(got) != string(want) {
		t.Errorf("%d of %d bytes, %v", len(got), len(want), err)
	}
	c.Close()
	if _, err := dial().Open(attach.Request{Op: attach.OpAttach, Guest: "nobody"}); !errors.Is(err, attach.ErrNotFound) {
		t.Error(err)
	}
	c = dial()
	if _, err := c.Open(attach.Request{Op: attach.OpAttach, Guest: "web"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Write([]byte("typed")); err != nil || g.hear(5) != "typed" {
		t.Error(err)
	}
	g.say([]byte("heard"))
	b := make([]byte, 5)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != "heard" {
		t.Errorf("%q, %v", b, err)
	}

	// The domain starts again: the client is cut off, and goes on with the next byte.
	stop()
	if _, err := c.Read(b); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("the domain went away: %v", err)
	}
	dials := 0
	w.eventually("nobody is there", func() bool { // the agent may not have seen it yet
		dials++
		_, err := dial().Open(attach.Request{Op: attach.OpAttach, Guest: "web"})
		if !errors.Is(err, attach.ErrAway) && !errors.Is(err, io.EOF) {
			t.Fatalf("nobody is there: %v", err)
		}
		return errors.Is(err, attach.ErrAway)
	})
	from := c.Next()
	g.say([]byte(", and on"))
	w.serve()
	w.open(attach.Request{Op: attach.OpAttach, Guest: "web"})
	c = dial()
	if _, err := c.Open(attach.Request{Op: attach.OpAttach, Guest: "web", From: &from}); err != nil {
		t.Fatal(err)
	}
	b = make([]byte, 8)
	if _, err := io.ReadFull(c, b); err != nil || string(b) != ", and on" {
		t.Errorf("%q, %v", b, err)
	}
	cancel()
	for range 5 + dials {
		<-ended
	}
}

// What xconsole types by the socket in dom0 gets to the guest once, over the relay too, when the domain restarts.
func TestTypedOverRelay(t *testing.T) {
	w := newWorld(t, 1)
	stop := w.serve()
	w.startAgent()
	server := &attach.Server{Consoles: nothing{}, Elsewhere: w.agent.Dial}
	var relays sync.WaitGroup
	defer relays.Wait()
	g := w.guest("web")
	k := w.typist("web", func(ctx context.Context) (io.ReadWriteCloser, error) {
		here, there := net.Pipe()
		relays.Go(func() { _ = server.ServeConn(ctx, there) })
		return here, nil
	})
	defer k.Close()
	want := string(text("typed", 20_000))
	go func() { _, _ = k.Write(w.ctx(), []byte(want)) }()
	for at := 0; at < len(want); at += 400 {
		if got := g.hear(400); got != want[at:at+400] {
			t.Fatalf("after %d bytes the guest heard %.60q, want %.60q", at, got, want[at:])
		}
		if at%2000 == 0 {
			stop()
			stop = w.serve()
		}
	}
	w.silent(g)
}
