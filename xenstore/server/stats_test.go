package server

import (
	"strings"
	"testing"

	"morgana/xen/wire/xs"
)

// CONTROL stats of a domain counts its own requests, errors and events, and nobody else's.
func TestStatsOfADomain(t *testing.T) {
	m, g := guests(t, 2)
	of := func(d string) map[string]string {
		all := make(map[string]string)
		for line := range strings.Lines(m.say(t, g[0], xs.Control, "stats|"+d+"|")) {
			name, n, _ := strings.Cut(strings.TrimSpace(line), " ")
			all[name] = n
		}
		return all
	}
	was := of("1")
	m.say(t, g[1], xs.Watch, "data|token|") // its first event comes at once
	m.must(t, g[1], xs.Write, "data/x|1")
	if got := m.say(t, g[1], xs.Read, "none|"); got != "ENOENT" {
		t.Fatal(got)
	}
	m.must(t, g[2], xs.Write, "data/y|1")
	is := of("1")
	for name, n := range map[string]string{"requests": "3", "errors": "1", "events": "2", "watches": "1"} {
		if was[name] != "0" || is[name] != n {
			t.Errorf("%s: %s before, %s after, want 0 and %s", name, was[name], is[name], n)
		}
	}
	for arg, want := range map[string]string{"7": "ENOENT", "70000": "EINVAL", "1|2": "EINVAL"} {
		if got := m.say(t, g[0], xs.Control, "stats|"+arg+"|"); got != want {
			t.Errorf("stats %s: %s, want %s", arg, got, want)
		}
	}
	if got := m.say(t, g[1], xs.Control, "stats|1|"); got != "EACCES" {
		t.Errorf("a guest asks: %s", got)
	}
}
