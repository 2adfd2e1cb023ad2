package main

import (
	"fmt"
	"slices"
	"time"
)

// goals holds what was measured against what was promised, and collects what was missed.
type goals struct{ missed []string }

func (g *goals) miss(format string, a ...any) { g.missed = append(g.missed, fmt.Sprintf(format, a...)) }

// What is promised.
const (
	oneClient   = 1.0 // times xenstored's rate
	manyClients = 1.5
	busy        = 0.9 // the generator's thread had no time left: the rate is its own
	p999Max     = 5 * time.Millisecond
	worstMax    = 20 * time.Millisecond
	memoryMax   = 3.0 // times xenstored's
	flatMin     = 0.8 // of the rate with the fewest watches
)

// ratio judges a row by the rate. Where the generator was what had no time left, by the CPU time an operation takes too.
func (g *goals) ratio(row string, clients int, rate, cpu, load float64) {
	want := oneClient
	if clients > 1 {
		want = manyClients
	}
	if rate >= want || load >= busy && cpu >= want {
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
func (g *goals) flat(watches []int, rates []float64) {
	if len(rates) > 0 && slices.Min(rates) < flatMin*rates[0] {
		g.miss("write rate %.0f with %v watches", rates, watches)
	}
}
