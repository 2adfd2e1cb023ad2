package domain_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"
	"testing"
	"time"

	"morgana/xen"
	"morgana/xen/duplex"
	"morgana/xen/ring"
	"morgana/xen/sim"
	"morgana/xen/wire/console"
	"morgana/xenconsoled"
	"morgana/xenconsoled/attach"
	"morgana/xenconsoled/domain"
)

// The whole road, once: a guest's bytes are in the log, what is typed gets to it, and it is in the list.
func TestServes(t *testing.T) {
	w := newWorld(t, 4)
	w.serve()
	w.startAgent()
	g := w.guest("web")
	want := text("web", 100_000) // more than the scrollback
	go g.say(want)
	if got := w.follow("web", len(want)); !bytes.Equal(got, want) {
		t.Fatalf("%d of %d bytes were read, or others", len(got), len(want))
	}
	if got := w.logs("web"); !bytes.Equal(got, want) {
		t.Errorf("the log has %d of %d bytes, or others", len(got), len(want))
	}
	c, info := w.open(attach.Request{Op: attach.OpAttach, Guest: "web", Lines: 2})
	if info.Name != "web" || info.End != uint64(len(want)) || info.Lines != uint64(bytes.Count(want, []byte("\n"))) {
		t.Errorf("%+v", info)
	}
	if _, err := c.Write([]byte("hello\n")); err != nil {
		t.Error(err)
	}
	if got := g.hear(6); got != "hello\n" {
		t.Errorf("the guest heard %q", got)
	}
	list, err := w.agent.List(w.ctx())
	if err != nil || len(list) != 1 || list[0].Typed != 6 || list[0].Writers != 1 {
		t.Errorf("%+v, %v", list, err)
	}
}

// The domain's program is started again and again while guests write and somebody follows: nothing is lost, before, during
// or after.
func TestDomainStartsAgain(t *testing.T) {
	w := newWorld(t, 4)
	stop := w.serve()
	w.startAgent()
	a, b := w.guest("a"), w.guest("b")
	texts := map[string][]byte{"a": text("a", 150_000), "b": text("b", 40_000)}
	var all sync.WaitGroup
	for _, g := range []*guest{a, b} {
		all.Go(func() {
			for p := texts[g.name]; len(p) > 0; {
				n := min(len(p), 3000)
				g.say(p[:n])
				p = p[n:]
				time.Sleep(time.Millisecond)
			}
		})
		all.Go(func() {
			if got := w.follow(g.name, len(texts[g.name])); !bytes.Equal(got, texts[g.name]) {
				t.Errorf("%s: %d of %d bytes were read, or others", g.name, len(got), len(texts[g.name]))
			}
		})
	}
	for range 5 {
		time.Sleep(10 * time.Millisecond)
		stop()
		stop = w.serve()
	}
	all.Wait()
	for name, want := range texts {
		if got := w.logs(name); !bytes.Equal(got, want) {
			t.Errorf("%s: the log has %d of %d bytes, or others", name, len(got), len(want))
		}
	}
}

// The agent is killed: guests do not notice, and the next one goes on. Guests that came and went meanwhile are found.
func TestAgentStartsAgain(t *testing.T) {
	w := newWorld(t, 4)
	w.serve()
	stop := w.startAgent()
	g, short := w.guest("web"), w.guest("short")
	want := text("web", 60_000)
	g.say(want[:20_000])
	short.say([]byte("last words"))
	w.eventually("both are served", func() bool { return len(w.service.Consoles()) == 2 })
	stop()
	g.say(want[20_000:40_000])
	late := w.guest("late")
	late.say([]byte("nobody told of me")) // in the ring
	short.dom.Destroy()
	w.startAgent()
	g.say(want[40_000:])
	if got := w.follow("web", len(want)); !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes were read, or others", len(got), len(want))
	}
	if got := w.follow("late", 17); string(got) != "nobody told of me" {
		t.Errorf("%q", got)
	}
	w.eventually("the end of the guest that is gone", func() bool { _, ok := w.service.Find("short"); return !ok })
	if got := w.logs("short"); string(got) != "last words" {
		t.Errorf("its log: %q", got)
	}
}

// A guest that ends gets its last words read, leaves its log, and its memory goes to the next.
func TestGuestEnds(t *testing.T) {
	w := newWorld(t, 1)
	w.serve()
	w.startAgent()
	for i := range 3 {
		g := w.guest("web")
		c, _ := w.open(attach.Request{Op: attach.OpAttach, Guest: "web"})
		g.say(fmt.Appendf(nil, "guest %d says goodbye", i))
		g.dom.Destroy()
		got, err := io.ReadAll(c)
		if err != nil || string(got) != fmt.Sprintf("guest %d says goodbye", i) || !c.End().Gone {
			t.Errorf("%q, %v, %+v", got, err, c.End())
		}
		w.eventually("its end", func() bool { return len(w.service.Consoles()) == 0 })
		if got := w.logs("web"); string(got) != fmt.Sprintf("guest %d says goodbye", i) {
			t.Errorf("its log: %q", got)
		}
	}
	if v := w.read(domain.Path(w.dom.ID(), domain.NodeGuests)); v != "" {
		t.Error(v)
	}
	if names, err := w.store.List(w.ctx(), domain.Path(w.dom.ID(), domain.NodeGuests)); err != nil || len(names) > 0 {
		t.Errorf("%q, %v", names, err)
	}
}

// The log of a guest that is gone is read as that of one that is there: all, the last lines, from a byte on.
func TestLogOfTheGone(t *testing.T) {
	w := newWorld(t, 1)
	w.serve()
	w.startAgent()
	g := w.guest("web")
	all := append(text("web", 40_000), "\none\ntwo\nthree"...)
	g.say(all)
	w.follow("web", len(all))
	g.dom.Destroy()
	w.eventually("its end", func() bool { return len(w.service.Consoles()) == 0 })
	end := uint64(len(all))
	from := func(n uint64) *uint64 { return &n }
	for want, r := range map[string]attach.Request{
		string(all):       {},
		"three":           {Lines: 1},
		"two\nthree":      {Lines: 2},
		"wo\nthree":       {From: from(end - 8)},
		"":                {From: from(end)},
		string(all[100:]): {From: from(100), Follow: true},
	} {
		r.Op, r.Guest = attach.OpLogs, "web"
		c, _ := w.open(r)
		got, err := io.ReadAll(c)
		if err != nil || string(got) != want || !c.End().Gone || c.End().Next != end || c.Lost() != 0 {
			t.Errorf("%+v: %d bytes, want %d, %v, %+v", r, len(got), len(want), err, c.End())
		}
	}
	conn, err := w.agent.Dial(w.ctx())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attach.NewClient(conn).Open(attach.Request{Op: attach.OpAttach, Guest: "web"}); !errors.Is(err, attach.ErrNotFound) {
		t.Errorf("attaching to it: %v", err)
	}
}

// Many guests at once, with a domain that may have few nodes and watches: all are served.
func TestManyGuests(t *testing.T) {
	const guests = 64
	w := newWorld(t, guests)
	w.serve()
	w.startAgent()
	var all sync.WaitGroup
	for i := range guests {
		g := w.guest(fmt.Sprintf("g%d", i))
		all.Go(func() { g.say(text(g.name, 5000)) })
	}
	all.Wait()
	for i := range guests {
		name := fmt.Sprintf("g%d", i)
		if got := w.follow(name, 5000); !bytes.Equal(got, text(name, 5000)) {
			t.Errorf("%s: %d bytes, or others", name, len(got))
		}
	}
}

// A guest with impossible indexes harms itself.
func TestHostileGuest(t *testing.T) {
	w := newWorld(t, 2)
	w.serve()
	w.startAgent()
	bad, good := w.guest("bad"), w.guest("good")
	bad.say([]byte("so far so good"))
	w.follow("bad", 14)
	for _, off := range []int{console.OutProd, console.InCons, console.OutCons, console.InProd} {
		v, err := ring.Word(bad.page, off)
		if err != nil {
			t.Fatal(err)
		}
		v.Store(0xdead_beef)
		_ = bad.event.Notify()
	}
	want := text("good", 50_000)
	go good.say(want)
	if got := w.follow("good", len(want)); !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes", len(got), len(want))
	}
}

// The domain goes: guests to come are dom0's, until there is another one.
func TestDomainIsDestroyed(t *testing.T) {
	w := newWorld(t, 2)
	stop := w.serve()
	w.startAgent()
	w.guest("web")
	old := w.dom.ID()
	w.eventually("the choice", func() bool { return w.read(domain.Chosen) == fmt.Sprint(old) })
	w.dom.Destroy()
	w.eventually("no choice", func() bool { return w.read(domain.Chosen) == "" })
	stopped := make(chan struct{})
	go func() { stop(); close(stopped) }()
	<-stopped
	w.newDomain()
	w.arena = make([]byte, len(w.arena))
	w.serve()
	w.eventually("the next choice", func() bool { return w.read(domain.Chosen) == fmt.Sprint(w.dom.ID()) })
	g := w.guest("next")
	g.say([]byte("hello"))
	if got := w.follow("next", 5); string(got) != "hello" {
		t.Errorf("%q", got)
	}
}

// An agent finds that the domain that was chosen is gone, and that there is no other yet.
func TestChosenIsGone(t *testing.T) {
	w := newWorld(t, 1)
	w.write(domain.Chosen, fmt.Sprint(w.dom.ID()))
	w.dom.Destroy()
	w.startAgent()
	w.eventually("no choice", func() bool { return w.read(domain.Chosen) == "" })
	w.newDomain()
	w.serve()
	g := w.guest("web")
	g.say([]byte("hello"))
	if got := w.follow("web", 5); string(got) != "hello" {
		t.Errorf("%q", got)
	}
}

// Pages full of nonsense where the agent's should be: the domain says so, drops them, and guests go on; so does the agent,
// with other pages.
func TestHostileLink(t *testing.T) {
	w := newWorld(t, 1)
	w.serve()
	w.startAgent()
	g := w.guest("web")
	g.say([]byte("one "))
	w.follow("web", 4)
	link := domain.Path(w.dom.ID(), domain.NodeLink)
	serving, err := domain.ParseServing(w.read(domain.Path(w.dom.ID(), domain.NodeServing)))
	if err != nil {
		t.Fatal(err)
	}
	before := w.read(link)
	conn, offer, err := duplex.Listen(w.host.Dom0(), w.dom.ID(), duplex.Sizes{In: 1, Out: 1})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(bytes.Repeat([]byte("nonsense"), 100)); err != nil {
		t.Fatal(err)
	}
	w.write(link, domain.AppendLink(serving.Run, "x", offer))
	w.eventually("another offer of the agent's", func() bool {
		v := w.read(link)
		return v != "" && v != before && v != domain.AppendLink(serving.Run, "x", offer)
	})
	for _, v := range []string{"x", serving.Run + " x 1 2 3 4", serving.Run + " x 0 0 0 0", serving.Run + " 1 2", "other x 1 2 3 4"} {
		w.write(link, v)
		w.eventually("another offer", func() bool { n := w.read(link); return n != "" && n != v })
	}
	w.write(domain.Path(w.dom.ID(), "guest/x"), "{}")
	w.write(domain.Path(w.dom.ID(), "guest/77"), "{nonsense")
	w.write(domain.Path(w.dom.ID(), "guest/78"), `{"port":1,"ref":1,"vm":"x","name":"y","limit":-5}`)
	g.say([]byte("two"))
	if got := w.follow("web", 7); string(got) != "one two" {
		t.Errorf("%q", got)
	}
}

// A session that does not read holds up neither the guest nor others.
func TestStalledSession(t *testing.T) {
	w := newWorld(t, 1)
	w.serve()
	w.startAgent()
	g := w.guest("web")
	w.open(attach.Request{Op: attach.OpAttach, Guest: "web"}) // and never reads
	want := text("web", 400_000)
	g.say(want)
	if got := w.follow("web", len(want)); !bytes.Equal(got, want) {
		t.Errorf("%d of %d bytes", len(got), len(want))
	}
}

// Who types alone is not disturbed by a terminal, which may type again afterwards.
func TestTerminalAndSole(t *testing.T) {
	w := newWorld(t, 1)
	w.serve()
	w.startAgent()
	g := w.guest("web")
	terminal, _ := w.open(attach.Request{Op: attach.OpType, Guest: "web"})
	sole, _ := w.open(attach.Request{Op: attach.OpAttach, Guest: "web", Mode: attach.ModeSole})
	if _, err := terminal.Write([]byte("dropped")); err != nil {
		t.Fatal(err)
	}
	if n, index, err := terminal.Given(); n != 7 || index != 0 || err != nil {
		t.Errorf("of what is dropped it is told %d, %d, %v", n, index, err)
	}
	c, ok := w.service.Find("web")
	if !ok {
		t.Fatal("it is not there")
	}
	if _, err := sole.Write([]byte("alone")); err != nil || g.hear(5) != "alone" {
		t.Errorf("typing alone: %v", err)
	}
	sole.Close()
	w.eventually("the end of the one who types alone", func() bool { return c.Writers() == 0 })
	if _, err := terminal.Write([]byte("again")); err != nil || g.hear(5) != "again" {
		t.Errorf("the terminal: %v", err)
	}
}

func FuzzParseGuest(f *testing.F) {
	f.Add(`{"port":5,"ref":1048575,"vm":"/vm/x","name":"web","limit":1048576}`)
	f.Add(`{"port":-1}`)
	f.Add(`[]`)
	f.Fuzz(func(t *testing.T, v string) {
		g, err := domain.ParseGuest(5, v)
		if err != nil {
			if !errors.Is(err, domain.ErrNode) {
				t.Error(err)
			}
			return
		}
		again, err := domain.ParseGuest(5, domain.AppendGuest(g))
		if err == nil && again != g {
			t.Errorf("%+v becomes %+v", g, again)
		}
	})
}

func FuzzParseLink(f *testing.F) {
	f.Add("run nonce 1 2 3 4")
	f.Add("run")
	f.Fuzz(func(t *testing.T, v string) {
		run, nonce, o, err := domain.ParseLink(v)
		if err != nil {
			return
		}
		run2, nonce2, o2, err := domain.ParseLink(domain.AppendLink(run, nonce, o))
		if err != nil || run2 != run || nonce2 != nonce || o2.String() != o.String() {
			t.Errorf("%q: %v", v, err)
		}
	})
}

func FuzzParseServing(f *testing.F) {
	f.Add(`{"run":"1","logs":"disk"}`)
	f.Add(`{}`)
	f.Fuzz(func(t *testing.T, v string) {
		s, err := domain.ParseServing(v)
		if err != nil {
			return
		}
		if again, err := domain.ParseServing(domain.AppendServing(s)); err != nil || again != s {
			t.Errorf("%+v becomes %+v, %v", s, again, err)
		}
	})
}

// FuzzLink: whatever the agent sends, the domain goes on. The bytes are what is in its ring.
func FuzzLink(f *testing.F) {
	f.Add([]byte("nonsense"))
	f.Add([]byte{1, 0, 0, 0, 'O', 0, 0, 0, 1, 0, 0, 0, 'D', 18, 0, 0, 'R', 14, 0, 0, '{', '"', 'o', 'p', '"', ':', '"', 'l', 'i', 's', 't', '"', '}', ' '})
	h := sim.New(1)
	f.Cleanup(h.Close)
	dom, err := h.NewDomain()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 4000 {
			return
		}
		conn, offer, err := duplex.Listen(h.Dom0(), dom.ID(), duplex.Sizes{In: 1, Out: 1})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write(b); err != nil {
			t.Fatal(err)
		}
		end, err := domain.ServeLink(dom, offer, nothing{})
		if err != nil {
			t.Fatal(err)
		}
		end()
		if err := conn.Close(); err != nil && !errors.Is(err, xen.ErrInUse) {
			t.Fatal(err)
		}
	})
}

// nothing has no consoles.
type nothing struct{}

func (nothing) Consoles() []*xenconsoled.Console         { return nil }
func (nothing) Find(string) (*xenconsoled.Console, bool) { return nil, false }
