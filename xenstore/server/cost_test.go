package server

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"morgana/xen"
	"morgana/xen/wire/xs"
)

// What a write of dom0 costs does not follow how much there is: of whatever, a thousand times as much.
func TestCostDoesNotGrow(t *testing.T) {
	const few, many = 10, 10_000
	for name, more := range map[string]func(t *testing.T, m *machine, from, to int){
		"nodes": func(t *testing.T, m *machine, from, to int) {
			for i := from; i < to; i++ {
				m.must(t, m.ConnOf(0), xs.Write, fmt.Sprintf("/many/d%d/n%d|value", i/100, i))
			}
		},
		"children": func(t *testing.T, m *machine, from, to int) {
			for i := from; i < to; i++ {
				m.must(t, m.ConnOf(0), xs.Write, fmt.Sprintf("/probe/c%d|value", i))
			}
		},
		"watches": func(t *testing.T, m *machine, from, to int) {
			for i := from; i < to; i++ {
				m.must(t, m.ConnOf(0), xs.Watch, fmt.Sprintf("/probe/w%d|%d|", i, i))
				m.drain(m.ConnOf(0))
			}
		},
		"connections": func(t *testing.T, m *machine, from, to int) {
			for i := from; i < to; i++ {
				m.must(t, m.Connect(), xs.Watch, "/elsewhere|t|")
			}
		},
		"domains": func(t *testing.T, m *machine, from, to int) {
			for d := xen.DomID(from + 1); d <= xen.DomID(to); d++ {
				c := m.newGuest(t, d)
				m.must(t, c, xs.Watch, "x|t|") // its first event waits to be read
			}
		},
		"transactions": func(t *testing.T, m *machine, from, to int) {
			for range to - from {
				id := m.say(t, m.ConnOf(0), xs.TransactionStart, "|")
				if strings.HasPrefix(id, "E") {
					t.Fatal(id)
				}
			}
		},
		"unread events": func(t *testing.T, m *machine, from, to int) {
			if from == 0 {
				m.store.Limits.Memory = 0
				m.newGuest(t, 1)
				m.must(t, m.ConnOf(0), xs.SetPerms, "/probe|r0|")
				m.must(t, m.ConnOf(1), xs.Watch, "/probe|t|")
			}
			for i := from; i < to; i++ {
				m.must(t, m.ConnOf(0), xs.Write, fmt.Sprintf("/probe/e%d|", i%100))
				m.must(t, m.ConnOf(0), xs.Remove, fmt.Sprintf("/probe/e%d|", i%100))
				m.must(t, m.ConnOf(0), xs.Write, fmt.Sprintf("/probe/f%d|", i))
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.must(t, m.ConnOf(0), xs.Write, "/probe|")
			next := 0
			cost := func() time.Duration {
				msgs := make([][]byte, 200)
				c, best := m.ConnOf(0), time.Hour
				for range 15 {
					for i := range msgs { // half of them of new nodes
						next += i & 1
						msgs[i] = xs.AppendMessage(nil, xs.Header{Op: xs.Write}, fmt.Appendf(nil, "/probe/p%d\x00%d", next, i))
					}
					begin := time.Now()
					for _, msg := range msgs {
						m.Input(c, msg)
						m.Sent(c, len(c.Output()))
						m.Tick()
						m.TakeLog()
						m.Ready()
					}
					best = min(best, time.Since(begin))
				}
				return best
			}
			more(t, m, 0, few)
			small := cost()
			more(t, m, few, many)
			m.TakeLog()
			large := cost()
			if large > 5*small {
				t.Errorf("200 writes take %v with %d, %v with %d", small, few, large, many)
			}
			t.Logf("%v with %d, %v with %d", small, few, large, many)
		})
	}
}
