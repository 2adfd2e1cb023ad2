package server

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore/migration"
	"morgana/xenstore/store"
)

// whole is all that a handover says, for comparison: rings alone, because a client of the socket ends with its process.
func (m *machine) whole() []byte {
	return m.AppendHandover(nil, func(*Conn) int32 { return -1 }, func(*Conn) []byte { return nil })
}

// startLog takes a snapshot, as a journal begins.
func (m *machine) snapshot() {
	head, more := m.Snapshot()
	m.log = [][]byte{bytes.Clone(head)}
	for going := true; going; {
		var b []byte
		b, going = more(nil)
		m.log = append(m.log, b)
	}
}

// checkpoint takes what changed into the log.
func (m *machine) checkpoint() { m.log = append(m.log, bytes.Clone(m.TakeLog())) }

// restored makes a core of the log.
func (m *machine) restored(t fataler) *machine {
	t.Helper()
	r := NewRestorer(Config{Limits: store.DefaultLimits(), EventTimeout: EventTimeout, Host: m.host, Journal: true})
	for _, b := range m.log {
		for len(b) > 0 {
			typ, body, rest, err := migration.Parse(b)
			if err != nil {
				t.Fatalf("%v", err)
			}
			if err := r.Record(typ, body); err != nil {
				t.Fatalf("record %#x: %v", typ, err)
			}
			b = rest
		}
	}
	return &machine{Core: r.Finish(), host: m.host}
}

// compare checks that the log makes the same core again.
func (m *machine) compare(t fataler) {
	t.Helper()
	r := m.restored(t)
	r.verify(t)
	for i, c := range m.rings() { // the ring's index tells how much was sent
		d := r.rings()[i]
		r.Sent(d, int(c.out.pos-d.out.pos))
	}
	if got, want := r.whole(), m.whole(); !bytes.Equal(got, want) {
		t.Fatalf("the journal makes something else, - want, + got:\n%s", cmp.Diff(told(want), told(got)))
	}
	for i, c := range m.rings() {
		d := r.rings()[i]
		if c.taken != d.taken || c.remote != d.remote || c.ignored != d.ignored || c.nextTx != d.nextTx || len(c.txs) != len(d.txs) ||
			c.dom.shutdown != d.dom.shutdown || c.out.pos+uint64(len(c.out.bytes())) != d.out.pos+uint64(len(d.out.bytes())) {
			t.Fatalf("connection of domain %d: %+v, want %+v", c.dom.id, d, c)
		}
	}
	if r.Limits() != m.Limits() {
		t.Fatalf("limits %+v, want %+v", r.Limits(), m.Limits())
	}
}

// told is records as text.
func told(b []byte) (all []string) {
	for len(b) > 0 {
		typ, body, rest, err := migration.Parse(b)
		if err != nil {
			return append(all, err.Error())
		}
		var x any = body
		switch typ {
		case migration.ConnType:
			x, _ = migration.ParseConn(body)
		case migration.WatchType:
			x, _ = migration.ParseWatch(body)
		case migration.NodeType:
			x, _ = migration.ParseNode(body)
		}
		all = append(all, fmt.Sprintf("%x %#v", uint32(typ), x))
		b = rest
	}
	return all
}

func (m *machine) rings() []*Conn {
	var all []*Conn
	for _, c := range m.conns {
		if c.dom != nil {
			all = append(all, c)
		}
	}
	return all
}

// A snapshot and the records after it make the very core again, at any moment: nodes, permissions, watches, half
// requests, what waits to be sent.
func TestJournalMakesTheCoreAgain(t *testing.T) {
	for seed := range uint64(150) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		m, g := guests(t, 3)
		m.snapshot()
		for i := range 300 {
			m.random(rnd, g)
			if rnd.IntN(1+int(seed%12)) == 0 {
				m.checkpoint()
			}
			if i == 150 {
				m.snapshot()
			}
			if i%50 == 49 {
				m.checkpoint()
				m.compare(t)
			}
			for d := xen.DomID(1); d <= 3; d++ {
				g[d] = m.ConnOf(d)
				if g[d] == nil {
					m.host.states[d] = Running
					m.Introduce(d, xen.Port(7+i))
					g[d] = m.ConnOf(d)
					g[d].SetPosition(uint64(i) << 30)
				}
			}
		}
	}
}

// A guest that makes a tree 900 deep, directly or in a transaction, makes us write little: the directories on the way are
// one record. Nor does it take long to be read again.
func TestDeepTreesAreShortRecords(t *testing.T) {
	m, g := guests(t, 1)
	m.snapshot()
	deep := "data" + strings.Repeat("/a", 900)
	for _, tx := range []bool{false, true} {
		before := m.Logged()
		if tx {
			m.say(t, g[1], xs.TransactionStart, "|")
			m.sayIn(t, g[1], 1, xs.Write, deep+"|v")
			m.sayIn(t, g[1], 1, xs.TransactionEnd, "T|")
		} else {
			m.must(t, g[1], xs.Write, deep+"|v")
		}
		if n := m.Logged() - before; n < len(deep) || n > 2*len(deep)+200 {
			t.Errorf("in a transaction: %v: records of %d bytes for a path of %d", tx, n, len(deep))
		}
		m.checkpoint()
		m.compare(t)
		m.must(t, g[1], xs.Remove, "data/a|")
		m.checkpoint()
		m.compare(t)
	}
}

var randomOps = []xs.Op{
	xs.Read, xs.Write, xs.Write, xs.Mkdir, xs.Remove, xs.Watch, xs.Watch, xs.Unwatch, xs.TransactionStart, xs.TransactionEnd,
	xs.SetPerms, xs.ResetWatches, xs.Directory,
}

// random does something: a request of anybody, or what else happens.
func (m *machine) random(rnd *rand.Rand, g []*Conn) {
	c := g[rnd.IntN(len(g))]
	p := []string{"a", "a/b", "/local/domain/1/a", "/local/domain/2", "/x/y", "/x"}[rnd.IntN(6)] + "\x00"
	op := randomOps[rnd.IntN(len(randomOps))]
	switch op {
	case xs.Watch, xs.Unwatch:
		p += "t\x00"
	case xs.SetPerms:
		if rnd.IntN(5) == 0 {
			p = "@releaseDomain\x00"
		}
		p += []string{"b0\x00r1\x00", "n1\x00b2\x00", "r2\x00w9\x00", "n3\x00"}[rnd.IntN(4)]
	case xs.TransactionEnd:
		p = "T\x00"
	case xs.TransactionStart:
		p = "\x00"
	case xs.Write:
		p += []string{"", "v", "longer"}[rnd.IntN(3)]
	}
	d := xen.DomID(1 + rnd.IntN(3))
	switch rnd.IntN(30) {
	case 0:
		m.host.states[d] = DomainState(rnd.IntN(3))
		m.CheckDomains()
	case 1:
		m.SetNow(m.now + 5000)
		m.Tick()
	case 2:
		m.Introduce(d, xen.Port(rnd.IntN(50)+1))
	case 3:
		m.sayQuietly(g[0], xs.SetTarget, "1|2|")
	case 4:
		m.sayQuietly(g[0], xs.Control, "quota|set|watches|200|")
	case 5:
		if rnd.IntN(10) == 0 {
			m.Fail(m.ConnOf(d), xs.RingErrorIndex)
		}
	default:
		msg := xs.AppendMessage(nil, xs.Header{Op: op, Tx: uint32(max(0, rnd.IntN(6)-3))}, []byte(p))
		if c.closed {
			return
		}
		if n := rnd.IntN(len(msg)); rnd.IntN(4) == 0 {
			m.Input(c, msg[:n])
			m.Input(c, msg[n:])
		} else if rnd.IntN(6) == 0 && len(c.in) == 0 {
			m.Input(c, msg[:n])
			return
		} else {
			m.Input(c, msg)
		}
		c.Consumed(rnd.Uint32())
		if rnd.IntN(3) > 0 {
			m.Sent(c, rnd.IntN(len(c.Output())+1))
		}
	}
}

func (m *machine) sayQuietly(c *Conn, op xs.Op, payload string) {
	m.send(c, op, payload)
	m.Sent(c, len(c.Output()))
}

// What is changed in place before and after a commit of others, between two records, is not lost.
func TestInPlaceAroundACommit(t *testing.T) {
	m, g := guests(t, 1)
	m.snapshot()
	m.must(t, g[0], xs.Write, "/x/n|1")
	m.must(t, g[0], xs.Write, "/y|1")
	m.checkpoint()
	m.must(t, g[0], xs.Write, "/x/n|2")
	m.say(t, g[0], xs.TransactionStart, "|")
	m.must(t, g[0], xs.Write, "/x/n|3") // a version of its own
	m.must(t, g[0], xs.Write, "/x/m|3")
	m.checkpoint()
	m.sayIn(t, g[0], 1, xs.Write, "/y|2")
	if got := m.sayIn(t, g[0], 1, xs.TransactionEnd, "T|"); got != "OK" {
		t.Fatal(got)
	}
	m.must(t, g[0], xs.Write, "/x/n|4") // in place, if nothing stops it
	m.must(t, g[0], xs.Write, "/x/o|4")
	m.checkpoint()
	m.drain(g[0])
	r := m.restored(t)
	for path, want := range map[string]string{"/x/n|": "4", "/x/m|": "3", "/x/o|": "4", "/y|": "2"} {
		if got := r.say(t, r.Connect(), xs.Read, path); got != want {
			t.Errorf("%s is %s, want %s", path, got, want)
		}
	}
}

// A transaction that was open when the process ended reads and writes on, and cannot be committed.
func TestTransactionsOverARestart(t *testing.T) {
	m, g := guests(t, 1)
	m.snapshot()
	m.must(t, g[1], xs.Write, "a|1")
	m.say(t, g[1], xs.TransactionStart, "|")
	m.sayIn(t, g[1], 1, xs.Write, "a|2")
	m.checkpoint()
	r := m.restored(t)
	c := r.ConnOf(1)
	if got := r.sayIn(t, c, 1, xs.Read, "a|"); got != "1" {
		t.Errorf("read: %s", got)
	}
	if got := r.sayIn(t, c, 1, xs.Write, "a|3"); got != "OK" {
		t.Errorf("write: %s", got)
	}
	if got := r.sayIn(t, c, 1, xs.TransactionEnd, "T|"); got != "EAGAIN" {
		t.Errorf("commit: %s", got)
	}
	if got := r.say(t, c, xs.TransactionStart, "|"); got != "2" {
		t.Errorf("the next transaction is %s", got)
	}
	if got := r.say(t, c, xs.Read, "a|"); got != "1" {
		t.Errorf("a is %s", got)
	}
}

// FuzzRestorer takes any records: it refuses what is wrong, and what it takes makes a sound core.
func FuzzRestorer(f *testing.F) {
	m, g := guests(f, 2)
	m.snapshot()
	rnd := rand.New(rand.NewPCG(7, 7))
	for range 40 {
		m.random(rnd, g)
		m.checkpoint()
	}
	f.Add(bytes.Join(m.log, nil))
	f.Add(m.whole())
	f.Fuzz(func(t *testing.T, b []byte) {
		h := newFakeHost()
		r := NewRestorer(Config{Limits: store.DefaultLimits(), EventTimeout: EventTimeout, Host: h, Journal: true})
		for len(b) > 0 {
			typ, body, rest, err := migration.Parse(b)
			if err != nil || r.Record(typ, body) != nil {
				break
			}
			b = rest
		}
		m := &machine{Core: r.Finish(), host: h}
		m.verify(t)
		s := m.Connect()
		m.say(t, s, xs.Read, "/|")
		m.CheckDomains()
	})
}
