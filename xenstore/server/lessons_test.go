package server

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore/store"
)

// What went wrong in other services, and must not here. Each test is named after what happened; XSA are Xen's security
// advisories (xenbits.xen.org/xsa).

// guests makes introduced domains 1 to n, each with a home of its own.
func guests(t testing.TB, n int) (*machine, []*Conn) {
	t.Helper()
	m := newMachine(t)
	dom0 := m.ConnOf(0)
	conns := []*Conn{dom0}
	for d := xen.DomID(1); d <= xen.DomID(n); d++ {
		conns = append(conns, m.newGuest(t, d))
	}
	return m, conns
}

func (m *machine) newGuest(t testing.TB, d xen.DomID) *Conn {
	t.Helper()
	m.host.states[d] = Running
	if e := m.Introduce(d, 7); e != 0 {
		t.Fatal(e)
	}
	home := xs.DomainPath(d)
	m.must(t, m.ConnOf(0), xs.Mkdir, home+"|")
	m.must(t, m.ConnOf(0), xs.SetPerms, fmt.Sprintf("%s|n%d|", home, d))
	return m.ConnOf(d)
}

// say sends a request, its payload with | for NUL, and returns the reply's payload or the error's name.
func (m *machine) say(t fataler, c *Conn, op xs.Op, payload string) string {
	t.Helper()
	return m.sayIn(t, c, 0, op, payload)
}

func (m *machine) sayIn(t fataler, c *Conn, tx uint32, op xs.Op, payload string) string {
	t.Helper()
	_, b := m.roundTrip(t, c, xs.Header{Op: op, Tx: tx}, []byte(strings.ReplaceAll(payload, "|", "\x00")))
	return strings.TrimSuffix(string(b), "\x00")
}

func (m *machine) must(t fataler, c *Conn, op xs.Op, payload string) {
	t.Helper()
	if got := m.say(t, c, op, payload); got != "OK" {
		t.Fatalf("%v %q: %s", op, payload, got)
	}
}

// drain takes all output and returns the events, as path and token.
func (m *machine) drain(c *Conn) []string {
	var events []string
	for {
		h, payload, _, err := xs.ParseMessage(c.Output())
		if err != nil {
			return events
		}
		if h.Op == xs.WatchEvent {
			events = append(events, strings.ReplaceAll(string(payload), "\x00", "|"))
		}
		m.Sent(c, xs.HeaderSize+len(payload))
	}
}

// send puts a request in and leaves the reply where it is. It reports whether the core took it.
func (m *machine) send(c *Conn, op xs.Op, payload string) bool {
	msg := xs.AppendMessage(nil, xs.Header{Op: op}, []byte(strings.ReplaceAll(payload, "|", "\x00")))
	return m.Input(c, msg) == len(msg)
}

// XSA-72, XSA-420: a length that is too large, or negative for who takes it as signed, ends the connection.
func TestXSA72LengthOfAMessage(t *testing.T) {
	for _, n := range []uint32{4097, 1 << 16, 1 << 31, 1<<32 - 1} {
		m, g := guests(t, 1)
		m.Input(g[1], xs.AppendHeader(nil, xs.Header{Op: xs.Read, Len: n}))
		if !g[1].Ignored() || m.host.failed[g[1]] != xs.RingErrorProto {
			t.Errorf("length %d: ignored %v, told %d", n, g[1].Ignored(), m.host.failed[g[1]])
		}
		s := m.Connect()
		m.Input(s, xs.AppendHeader(nil, xs.Header{Op: xs.Read, Len: n}))
		if !s.Closed() {
			t.Errorf("length %d: a client of the socket stays", n)
		}
		m.verify(t)
	}
}

// XSA-115: watches tell of nodes that their owner may not read neither existence nor name.
func TestXSA115EventsOfUnreadableNodes(t *testing.T) {
	m, g := guests(t, 1)
	m.must(t, g[1], xs.Watch, "/|w|")
	m.drain(g[1])
	m.must(t, g[0], xs.Write, "/secret/key|1")
	m.must(t, g[0], xs.Remove, "/secret|")
	id := m.say(t, g[0], xs.TransactionStart, "|")
	if id != "1" {
		t.Fatal(id)
	}
	m.sayIn(t, g[0], 1, xs.Write, "/secret/key|2")
	m.sayIn(t, g[0], 1, xs.TransactionEnd, "T|")
	if e := m.drain(g[1]); e != nil {
		t.Errorf("events %q", e)
	}
}

// XSA-206: guests that write what a transaction is about cannot make it fail for ever.
func TestXSA206WritersStarveNobody(t *testing.T) {
	m, g := guests(t, 3)
	for i, c := range g[1:] {
		m.must(t, c, xs.Write, "data|0")
		m.must(t, c, xs.SetPerms, fmt.Sprintf("data|n%d|", i+1))
	}
	now, won := int64(0), 0
	for range 400 {
		now++
		m.SetNow(now)
		id := m.say(t, g[0], xs.TransactionStart, "|")
		var tx uint32
		fmt.Sscan(id, &tx)
		for i := range g[1:] {
			m.sayIn(t, g[0], tx, xs.Read, fmt.Sprintf("/local/domain/%d/data|", i+1))
		}
		for _, c := range g[1:] {
			if m.CanRead(c) { // as its transport asks
				m.say(t, c, xs.Write, fmt.Sprintf("data|%d", now))
			}
		}
		m.sayIn(t, g[0], tx, xs.Write, "/sum|1")
		if m.sayIn(t, g[0], tx, xs.TransactionEnd, "T|") == "OK" {
			won++
		}
	}
	// Thirty conflicts of credit, 200 a second for all: some 110 in 400 ms.
	if won < 250 || m.Stats().Penalties == 0 {
		t.Errorf("dom0 committed %d of 400 times, penalties %d", won, m.Stats().Penalties)
	}
	if m.SetNow(now + 10_000); !m.CanRead(g[1]) {
		t.Error("a guest waits for ever")
	}
}

// XSA-272: nodes made on the way count.
func TestXSA272ImplicitNodesCount(t *testing.T) {
	m, g := guests(t, 1)
	made := 0
	for i := range 400 {
		if m.say(t, g[1], xs.Write, fmt.Sprintf("%d/a/b/c/d|", i)) == "OK" {
			made++
		}
	}
	if n := m.store.Usage(1).Nodes; n > 1000 || made != 199 {
		t.Errorf("%d nodes by %d requests", n, made)
	}
	m.verify(t)
}

// XSA-322: a new domain gets nothing of an old one with its number: no node, no permission, no watch of specials.
func TestXSA322NumbersComeAgain(t *testing.T) {
	m, g := guests(t, 2)
	m.must(t, g[1], xs.Write, "mine|secret")
	m.must(t, g[0], xs.Write, "/shared/x|1")
	m.must(t, g[0], xs.SetPerms, "/shared/x|n0|b1|")
	m.must(t, g[2], xs.Write, "two|1")
	m.must(t, g[2], xs.SetPerms, "two|n2|r1|")
	m.must(t, g[0], xs.SetPerms, "@releaseDomain|n0|r1|")
	m.must(t, g[0], xs.SetTarget, "2|1|")
	delete(m.host.states, 1)
	m.CheckDomains()
	c := m.newGuest(t, 1)
	for _, p := range []string{"mine|", "/shared/x|", "/local/domain/2/two|"} {
		if got := m.say(t, c, xs.Read, p); got != "ENOENT" && got != "EACCES" {
			t.Errorf("READ %s: %s", p, got)
		}
	}
	if got := m.say(t, g[2], xs.Write, "/local/domain/1/x|1"); got != "EACCES" {
		t.Errorf("the device model of the old domain writes to the new one: %s", got)
	}
	m.must(t, c, xs.Watch, "@releaseDomain|w|")
	m.drain(c)
	delete(m.host.states, 2)
	m.CheckDomains()
	if e := m.drain(c); e != nil {
		t.Errorf("events %q", e)
	}
	m.verify(t)
}

// XSA-322 again: not even if nothing happens between the death of one and the birth of the other.
func TestXSA322AtOnce(t *testing.T) {
	m, g := guests(t, 1)
	m.must(t, g[0], xs.Write, "/x|1")
	m.must(t, g[0], xs.SetPerms, "/x|n0|r1|")
	delete(m.host.states, 1)
	m.CheckDomains()
	m.host.states[1] = Running
	if e := m.Introduce(1, 7); e != 0 {
		t.Fatal(e)
	}
	if got := m.say(t, m.ConnOf(1), xs.Read, "/x|"); got != "EACCES" {
		t.Errorf("the new domain reads what the old one could: %s", got)
	}
}

// XSA-324: an event that is too long is not sent at all.
func TestXSA324LongEvents(t *testing.T) {
	m, g := guests(t, 1)
	m.must(t, g[0], xs.Watch, "/local|"+strings.Repeat("t", 3000)+"|")
	m.drain(g[0])
	m.must(t, g[1], xs.Write, strings.Repeat("n", 1900)+"|1")
	if n := len(g[0].Output()); n != 0 {
		t.Errorf("%d bytes are to be sent", n)
	}
}

// XSA-323: a path is as long as what it stands for, whoever gives it and however.
func TestXSA323LengthOfAPath(t *testing.T) {
	m, g := guests(t, 1)
	name := strings.Repeat("n", 2049)
	for _, c := range g {
		for _, p := range []string{name, "/local/domain/1/" + name, "/local/domain/0/" + name, "/" + name} {
			for _, op := range []xs.Op{xs.Write, xs.Mkdir, xs.Read, xs.Remove} {
				if got := m.say(t, c, op, p+"|"); got != "EINVAL" {
					t.Errorf("%v of %d bytes: %s", op, len(p), got)
				}
			}
		}
	}
	m.must(t, g[1], xs.Write, name[:2000]+"|1")
}

// XSA-325: a domain that broke its ring is still missed when it dies.
func TestXSA325DeathOfABadGuest(t *testing.T) {
	m, g := guests(t, 1)
	m.must(t, g[0], xs.Watch, "@releaseDomain|w|")
	m.drain(g[0])
	m.must(t, g[1], xs.Write, "x|1")
	m.Fail(g[1], xs.RingErrorIndex)
	if m.CanRead(g[1]) {
		t.Error("it is still read")
	}
	delete(m.host.states, 1)
	m.CheckDomains()
	if e := m.drain(g[0]); len(e) != 1 {
		t.Errorf("events %q", e)
	}
	if m.store.Usage(1).Nodes != 0 || len(m.conns) != 1 {
		t.Error("something of it is left")
	}
}

// XSA-326 (CVE-2022-42311 to 42318), XSA-416: whatever a guest does, what we keep for it is bounded.
func TestXSA326MemoryIsBounded(t *testing.T) {
	limit := store.DefaultLimits().Memory + 64<<10
	big := strings.Repeat("v", 1900)
	for name, attack := range map[string]func(m *machine, c *Conn, i int) bool{
		"replies nobody reads": func(m *machine, c *Conn, i int) bool { return m.send(c, xs.Read, "big|") },
		"events nobody reads": func(m *machine, c *Conn, i int) bool {
			m.say(t, m.ConnOf(0), xs.Write, fmt.Sprintf("/local/domain/1/w/%d-%s|", i, big))
			return true
		},
		"nodes": func(m *machine, c *Conn, i int) bool {
			return m.send(c, xs.Write, fmt.Sprintf("n%d|%s", i, big)) && m.read(c)
		},
		"watches": func(m *machine, c *Conn, i int) bool {
			return m.send(c, xs.Watch, fmt.Sprintf("%s|%d|", big, i)) && m.read(c)
		},
		"a transaction's requests": func(m *machine, c *Conn, i int) bool {
			msg := xs.AppendMessage(nil, xs.Header{Op: xs.Write, Tx: 1}, append([]byte("x\x00"), big...))
			return m.Input(c, msg) == len(msg) && m.read(c)
		},
		"transactions": func(m *machine, c *Conn, i int) bool { return m.send(c, xs.TransactionStart, "|") && m.read(c) },
		"half a request": func(m *machine, c *Conn, i int) bool {
			return m.Input(c, xs.AppendHeader(nil, xs.Header{Op: xs.Write, Len: 4096})) > 0
		},
	} {
		t.Run(name, func(t *testing.T) {
			m, g := guests(t, 1)
			m.must(t, g[1], xs.Write, "big|"+big)
			m.must(t, g[0], xs.Write, "/local/domain/1/w|")
			m.must(t, g[0], xs.SetPerms, "/local/domain/1/w|n0|r1|")
			m.must(t, g[1], xs.Watch, "w|w|")
			m.say(t, g[1], xs.TransactionStart, "|")
			m.drain(g[1])
			for i := range 3000 {
				if !attack(m, g[1], i) {
					break
				}
			}
			if used := g[1].dom.memory + m.store.Usage(1).Bytes; used > limit {
				t.Errorf("%d bytes are kept", used)
			}
			if n := cap(g[1].out.buf) + cap(g[1].in); n > 2*limit {
				t.Errorf("%d bytes of buffers", n)
			}
			m.verify(t)
			m.must(t, g[0], xs.Write, "/dom0|goes on")
		})
	}
}

// read takes what there is to be read.
func (m *machine) read(c *Conn) bool {
	m.Sent(c, len(c.Output()))
	return true
}

// XSA-326: events that a guest does not read are dropped after a while, and only events.
func TestXSA326EventsTimeOut(t *testing.T) {
	m, g := guests(t, 1)
	m.must(t, g[1], xs.Watch, "a|w|")
	m.drain(g[1])
	m.send(g[1], xs.Read, "|")
	for i := range 5 {
		m.SetNow(int64(i))
		m.must(t, g[0], xs.Write, fmt.Sprintf("/local/domain/1/a/%d|", i))
	}
	m.send(g[1], xs.Read, "|")
	m.Sent(g[1], 3) // the first reply is half sent
	m.SetNow(EventTimeout + 2)
	if in := m.Tick(); in != 1 {
		t.Errorf("the next one is to go in %d ms, want 1", in)
	}
	m.verify(t)
	m.SetNow(EventTimeout + 100)
	if in := m.Tick(); in != -1 {
		t.Errorf("tick again in %d ms", in)
	}
	m.verify(t)
	left := len(g[1].Output())
	if want := 2*(xs.HeaderSize+len("EINVAL\x00")) - 3; left != want {
		t.Errorf("%d bytes wait, want the two replies' %d", left, want)
	}
	if m.Stats().Dropped != 5 {
		t.Errorf("%d events dropped", m.Stats().Dropped)
	}
}

// A request is under way until all events that it caused are delivered: a guest cannot flood others through events.
func TestOutstandingUntilEventsAreDelivered(t *testing.T) {
	m, g := guests(t, 2)
	m.must(t, g[1], xs.Write, "open|")
	m.must(t, g[1], xs.SetPerms, "open|r1|")
	m.must(t, g[2], xs.Watch, "/local/domain/1/open|w|")
	m.drain(g[2])
	n := 0
	for m.send(g[1], xs.Write, fmt.Sprintf("open/%d|", n)) {
		m.drain(g[1]) // it reads its replies; the other one does not read the events
		if n++; n > 100 {
			t.Fatal("it is never stopped")
		}
	}
	if n != m.Limits().Outstanding {
		t.Errorf("stopped after %d requests, want %d", n, m.Limits().Outstanding)
	}
	m.drain(g[2])
	if !m.CanRead(g[1]) {
		t.Error("it is stopped for ever")
	}
}

// XSA-330: RESET_WATCHES forgets the watches for changes too.
func TestXSA330ResetForgetsAll(t *testing.T) {
	m, g := guests(t, 1)
	for i := range 50 {
		m.must(t, g[1], xs.Watch, fmt.Sprintf("a/%d|w|", i))
	}
	m.must(t, g[1], xs.ResetWatches, "|")
	m.verify(t)
	m.must(t, g[0], xs.Write, "/local/domain/1/a/3|1")
	if e := m.drain(g[1]); e != nil {
		t.Errorf("events %q", e)
	}
	for i := range 129 {
		m.must(t, g[1], xs.Watch, fmt.Sprintf("a/%d|w|", i))
	}
}

// XSA-352, XSA-353: only dom0 gives a node away, and the root has permissions too.
func TestXSA353Root(t *testing.T) {
	m, g := guests(t, 1)
	for _, r := range []struct {
		op      xs.Op
		payload string
	}{
		{xs.Read, "/|"},
		{xs.Write, "/|x"},
		{xs.SetPerms, "/|n1|"},
		{xs.Remove, "/|"},
		{xs.Directory, "/|"},
		{xs.GetPerms, "/|"},
	} {
		if got := m.say(t, g[1], r.op, r.payload); got != "EACCES" {
			t.Errorf("%v: %s", r.op, got)
		}
	}
	m.must(t, g[1], xs.Write, "x|")
	if got := m.say(t, g[1], xs.SetPerms, "x|n0|"); got != "EPERM" {
		t.Errorf("given away: %s", got)
	}
}

// XSA-414, XSA-415: what fails half way leaves nothing, and spoils its transaction.
func TestXSA414NothingHalfMade(t *testing.T) {
	m, g := guests(t, 1)
	before := m.Root()
	if got := m.say(t, g[1], xs.Write, "a/b/c|"+strings.Repeat("x", 2100)); got != "ENOSPC" {
		t.Fatal(got)
	}
	if m.Root() != before {
		t.Error("the tree changed")
	}
	m.say(t, g[1], xs.TransactionStart, "|")
	m.sayIn(t, g[1], 1, xs.Write, "a/b/c|"+strings.Repeat("x", 2100))
	if got := m.sayIn(t, g[1], 1, xs.TransactionEnd, "T|"); got != "ENOMEM" {
		t.Errorf("committed: %s", got)
	}
	m.verify(t)
}

// XSA-417: permissions may name domains that are not there; they mean nobody, but an owner must exist.
func TestXSA417UnknownDomains(t *testing.T) {
	m, g := guests(t, 1)
	if got := m.say(t, g[0], xs.SetPerms, "/tool|n9|"); got != "ENOENT" {
		t.Errorf("owner: %s", got)
	}
	m.must(t, g[0], xs.SetPerms, "/tool|n0|r9|")
	c := m.newGuest(t, 9)
	if got := m.say(t, c, xs.Read, "/tool|"); got != "EACCES" {
		t.Errorf("read by the domain that came later: %s", got)
	}
}

// XSA-418: a deep tree takes no deep stack; XSA-419: what a dead domain owned goes, wherever it is.
func TestXSA419DeepOrphans(t *testing.T) {
	m, g := guests(t, 1)
	m.must(t, g[0], xs.Write, "/pub|")
	m.must(t, g[0], xs.SetPerms, "/pub|b0|")
	m.must(t, g[1], xs.Write, "/pub"+strings.Repeat("/d", 900)+"|1")
	m.must(t, g[0], xs.Watch, "/pub"+strings.Repeat("/d", 900)+"|w|")
	m.drain(g[0])
	delete(m.host.states, 1)
	m.CheckDomains()
	if e := m.drain(g[0]); len(e) != 1 {
		t.Errorf("%d events", len(e))
	}
	if m.store.Usage(1) != (store.Usage{}) || m.Root().Lookup("/pub/d") != nil {
		t.Error("orphans are left")
	}
	m.verify(t)
}

// XSA-421: made and removed in one transaction.
func TestXSA421MadeAndRemoved(t *testing.T) {
	m, g := guests(t, 1)
	m.must(t, g[0], xs.Watch, "/|w|")
	m.drain(g[0])
	m.say(t, g[1], xs.TransactionStart, "|")
	m.sayIn(t, g[1], 1, xs.Write, "a/b|1")
	m.sayIn(t, g[1], 1, xs.Remove, "a|")
	if got := m.sayIn(t, g[1], 1, xs.TransactionEnd, "T|"); got != "OK" {
		t.Error(got)
	}
	if e := m.drain(g[0]); e != nil {
		t.Errorf("events %q", e)
	}
	m.verify(t)
}

// XSA-425: RELEASE and a second INTRODUCE of a domain with everything under way; XSA-233: and of one that is a target.
func TestXSA425ReleaseInUse(t *testing.T) {
	for _, end := range []string{"release", "introduce", "die", "reset"} {
		t.Run(end, func(t *testing.T) {
			m, g := guests(t, 2)
			m.must(t, g[0], xs.SetTarget, "2|1|")
			m.must(t, g[1], xs.Watch, "x|w|")
			m.say(t, g[1], xs.TransactionStart, "|")
			m.sayIn(t, g[1], 1, xs.Write, "x|1")
			m.send(g[1], xs.Write, "x/y|2")
			m.Input(g[1], xs.AppendHeader(nil, xs.Header{Op: xs.Write, Len: 100}))
			switch end {
			case "release":
				m.must(t, g[0], xs.Release, "1|")
			case "introduce":
				m.must(t, g[0], xs.Introduce, "1|1|9|")
			case "die":
				delete(m.host.states, 1)
				m.CheckDomains()
			case "reset":
				m.reset(g[1])
			}
			m.verify(t)
			if got := m.say(t, g[2], xs.Write, "/local/domain/1/z|1"); got == "OK" && end != "introduce" && end != "reset" {
				t.Errorf("the target's rights outlive it")
			}
			m.must(t, g[0], xs.Write, "/local/domain/1/x|1")
			m.verify(t)
		})
	}
}

// A guest releases itself in dom0's name, and dom0 itself: nothing of the connection that asks may be used afterwards.
func TestReleaseOfOneself(t *testing.T) {
	m, _ := guests(t, 1)
	if got := m.say(t, m.ConnOf(0), xs.Release, "0|"); got != "EINVAL" {
		t.Errorf("dom0 released: %s", got)
	}
	m.verify(t)
}

// A domain's connection to rings that are never emptied costs others nothing: random floods of three bad guests.
func TestFloods(t *testing.T) {
	m, g := guests(t, 3)
	rnd := rand.New(rand.NewPCG(1, 2))
	ops := []xs.Op{xs.Read, xs.Write, xs.Mkdir, xs.Remove, xs.Watch, xs.Unwatch, xs.TransactionStart, xs.TransactionEnd, xs.SetPerms, xs.ResetWatches, xs.Directory}
	for i := range 30_000 {
		c := g[1+rnd.IntN(3)]
		p := fmt.Sprintf("%d/%d", rnd.IntN(4), rnd.IntN(4))
		payload := p + "\x00"
		switch op := ops[rnd.IntN(len(ops))]; op {
		case xs.Watch, xs.Unwatch:
			payload += "t\x00"
		case xs.SetPerms:
			payload += fmt.Sprintf("b%d\x00r%d\x00", rnd.IntN(4), rnd.IntN(4))
		case xs.TransactionEnd:
			payload = "T\x00"
		case xs.TransactionStart:
			payload = "\x00"
		default:
			if op == xs.Write {
				payload += strings.Repeat("x", rnd.IntN(2000))
			}
		}
		m.SetNow(int64(i))
		msg := xs.AppendMessage(nil, xs.Header{Op: ops[rnd.IntN(len(ops))], Tx: uint32(rnd.IntN(3))}, []byte(payload))
		m.Input(c, msg)
		if rnd.IntN(3) == 0 {
			m.Sent(c, rnd.IntN(len(c.Output())+1))
		}
		if i%1000 == 0 {
			m.Tick()
			m.verify(t)
			if got := m.say(t, g[0], xs.Write, "/dom0|x"); got != "OK" {
				t.Fatal(got)
			}
		}
	}
	for _, c := range g[1:] {
		if c.dom.outstanding > m.Limits().Outstanding {
			t.Errorf("%d requests outstanding", c.dom.outstanding)
		}
	}
}
