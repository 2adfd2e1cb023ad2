package host

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/cmd/stubdom/internal/host/model"
)

func TestTable(t *testing.T) {
	s := &model.Snapshot{
		Domains: []model.Domain{
			{ID: 0, Name: "Domain-0", State: model.Running, MemoryKiB: 1 << 20},
			{ID: 4, Name: "a name that is too long", State: model.Blocked, MemoryKiB: 128 << 10, Console: model.Console{LineSec: 0.4}},
		},
		Rings: []model.Ring{
			{Kind: model.BlockRing, Front: 4, PerSec: model.Rates{Requests: 812.4, Read: 3 << 20, Written: 700}},
			{Kind: model.StoreRing, Front: 4, PerSec: model.Rates{Requests: 12}},
		},
		Store:    model.Store{Served: true, PerSec: 40, Nodes: 300, Watches: 9},
		Problems: []string{"storage: it does not answer"},
	}
	const want = `domain             id  state        memory disk req/s     read/s    write/s xenstore/s  lines/s
Domain-0            0  running     1.0 GiB          ·          ·          ·          ·        ·
a name that is t    4  blocked     128 MiB        812    3.0 MiB      700 B         12        1
xenstore: 40 operations/s, 300 nodes, 9 watches
! storage: it does not answer
`
	if diff := cmp.Diff(want, table(s)); diff != "" {
		t.Error(diff)
	}
}

// Keys edit a line: what cannot be shown, and sequences of keys that mean nothing, leave it as it is.
func TestEditor(t *testing.T) {
	for typed, want := range map[string]string{
		"lvs\r": "lvs", "lvx\x7fs vg0\n": "lvs vg0", "wrong\x15quit\r": "quit", "a\x1b[Ab\x1bOPc\r": "abc", "  x \r": "x",
		"é\x7fe\r": "e", "\x7f\x7fok\r": "ok", "\x04": "quit", "a\x04b\r": "ab",
	} {
		var e editor
		got, done := "", false
		for i := 0; i < len(typed) && !done; i++ {
			got, done = e.key(typed[i])
		}
		if !done || got != want {
			t.Errorf("%q typed is %q, %v; want %q", typed, got, done, want)
		}
	}
}
