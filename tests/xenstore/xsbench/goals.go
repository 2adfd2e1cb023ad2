package main

import (
	"fmt"
	"time"
)

// goals holds what was measured against what was promised, and collects what was missed.
type goals struct{ missed []string }

func (g *goals) miss(format string, a ...any) { g.missed = append(g.missed, fmt.Sprintf(format, a...)) }

// What is promised.
const (
	oneClient   = 1.0 // times xenstored's rate
	manyClients = 1.5
	nearly      = 0.85 // of the wanted rate, for a row that is judged by CPU time
	p999Max     = 5 * time.Millisecond
	worstMax    = 20 * time.Millisecond
	memoryMax   = 3.0 // times xenstored's
	flatMin     = 0.8 // of the rate with the fewest watches
)

// ratio judges a row by the rate, or by the CPU time that an operation takes, if the rate is near: with many clients the
// generator is about as busy as the daemon, and other programs on the machine disturb rates more than CPU time.
func (g *goals) ratio(row string, clients int, rate, cpu, load float64) {
	want := oneClient
	if clients > 1 {
		want = manyClients
	}
	if rate >= want || cpu >= want && rate >= nearly*want {
		return
	}
	g.miss("%s: %.2f times xenstored's rate, %.2f by CPU time, want %.1f (generator %.0f%% busy)", row, rate, cpu, want, 100*load)
}

func (g *goals) latency(nodes int, f figures) {
	if f.p999 >= p999Max || f.worst >= worstMax {
		g.miss("%d nodes: p99.9 %v, worst %v, want below %v and %v", nodes, f.p999, f.worst, p999Max, worstMax)
	}
}

func (g *goals) memory(nodes int, ours, theirs float64) {
	if ours >= memoryMax*theirs {
		g.miss("%d nodes: %.1f MB, xenstored %.1f", nodes, ours, theirs)
	}
}

// flat judges rates that are not to depend on the number of watches.
func (g *goals) flat(few, many int, f, m figures) {
	if m.rate < flatMin*f.rate && float64(m.cpu)*flatMin > float64(f.cpu) {
		g.miss("write rate %.0f with %d watches, %.0f with %d", f.rate, few, m.rate, many)
	}
}
