package server

import (
	"fmt"
	"strings"
	"testing"

	"morgana/xen/wire/xs"
	"morgana/xenstore/store"
)

// XSA-440: a transaction that cannot be committed for two reasons at once, a conflict and a limit, ends as any other: it
// is answered, it leaves nothing, and the service goes on.
func TestXSA440ConflictAtALimit(t *testing.T) {
	for _, end := range []string{"conflict", "limit", "both"} {
		t.Run(end, func(t *testing.T) {
			m, g := guests(t, 1)
			home := m.store.Usage(1).Nodes
			m.must(t, g[1], xs.Write, "seen|0")
			m.say(t, g[1], xs.TransactionStart, "|")
			m.sayIn(t, g[1], 1, xs.Read, "seen|")
			for i := range 10 {
				if got := m.sayIn(t, g[1], 1, xs.Write, fmt.Sprintf("n%d|", i)); got != "OK" {
					t.Fatal(got)
				}
			}
			want := "ENOSPC"
			if end != "limit" {
				m.must(t, g[0], xs.Write, "/local/domain/1/seen|1")
			}
			if end != "conflict" {
				m.must(t, g[0], xs.Control, fmt.Sprintf("quota|set|nodes|%d|", home+5))
			} else {
				want = "EAGAIN"
			}
			before := m.Root()
			if got := m.sayIn(t, g[1], 1, xs.TransactionEnd, "T|"); got != want {
				t.Errorf("commit: %s, want %s", got, want)
			}
			if m.Root() != before || m.Transactions() != 0 {
				t.Errorf("it left something: %d transactions", m.Transactions())
			}
			m.verify(t)
			m.must(t, g[1], xs.Write, "seen|2")
		})
	}
}

// XSA-481: paths of which nothing follows the domain's place, or that are odd there, are refused as what they are.
func TestXSA481OddPaths(t *testing.T) {
	m, g := guests(t, 1)
	for _, p := range []string{"/local/domain/", "/local/domain//", "/local/", "//", "/local/domain/1/", "/local/domain/1//x", "", "@"} {
		for _, op := range []xs.Op{xs.Read, xs.Write, xs.Mkdir, xs.Remove, xs.Directory, xs.GetPerms} {
			for who, c := range g {
				got := m.say(t, c, op, p+"|")
				if got != "EINVAL" {
					t.Errorf("domain %d: %v %q: %s, want EINVAL", who, op, p, got)
				}
			}
		}
		if got := m.say(t, g[1], xs.Watch, p+"|t|"); got != "EINVAL" && p != "@" {
			t.Errorf("WATCH %q: %s, want EINVAL", p, got)
		}
	}
	m.verify(t)
}

// XSA-483: what a domain used up is nobody's when it is gone: the next one of its number begins at zero, and may have all
// of it again, no more.
func TestXSA483QuotasOfTheDead(t *testing.T) {
	m, _ := guests(t, 1)
	l := m.store.Limits
	for round := range 3 {
		c := m.ConnOf(1)
		for made := 0; ; made++ {
			got := m.say(t, c, xs.Mkdir, fmt.Sprintf("d%d/n%d|", made/100, made))
			if got == "ENOSPC" {
				break
			}
			if got != "OK" || made > 2*l.Nodes {
				t.Fatalf("%d nodes, then %s", made, got)
			}
		}
		if n := m.store.Usage(1).Nodes; n != l.Nodes {
			t.Errorf("round %d: %d nodes", round, n)
		}
		watches, txs := 0, 0
		for m.say(t, c, xs.Watch, fmt.Sprintf("n%d|t|", watches)) == "OK" {
			m.drain(c)
			watches++
		}
		for !strings.HasPrefix(m.say(t, c, xs.TransactionStart, "|"), "E") {
			txs++
		}
		if watches != l.Watches+1 || txs != l.Tx+1 {
			t.Errorf("round %d: %d watches, %d transactions", round, watches, txs)
		}
		delete(m.host.states, 1)
		m.CheckDomains()
		if u := m.store.Usage(1); u != (store.Usage{}) || m.Transactions() != 0 {
			t.Errorf("round %d: %+v is left, %d transactions", round, u, m.Transactions())
		}
		m.verify(t)
		m.newGuest(t, 1)
	}
}

// XSA-484: RESET_WATCHES within a transaction ends it, the request's own, without harm.
func TestXSA484ResetWithinATransaction(t *testing.T) {
	m, g := guests(t, 1)
	m.must(t, g[1], xs.Watch, "a|w|")
	m.drain(g[1])
	m.say(t, g[1], xs.TransactionStart, "|")
	m.sayIn(t, g[1], 1, xs.Write, "a|1")
	if got := m.sayIn(t, g[1], 1, xs.ResetWatches, "|"); got != "OK" {
		t.Errorf("reset: %s", got)
	}
	if got := m.sayIn(t, g[1], 1, xs.Write, "a|2"); got != "ENOENT" {
		t.Errorf("in the transaction afterwards: %s", got)
	}
	if got := m.sayIn(t, g[1], 1, xs.TransactionEnd, "T|"); got != "ENOENT" {
		t.Errorf("its end: %s", got)
	}
	m.must(t, g[1], xs.Write, "a|3")
	if e := m.drain(g[1]); e != nil {
		t.Errorf("events %q", e)
	}
	m.verify(t)
}
