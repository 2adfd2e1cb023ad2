package measure

import (
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// node is what Collector allocates: with pointers, so that the collector has to follow them.
type node struct {
	left *node
	_    [7]uint64
}

// Collector measures Go's memory: what an object takes to allocate under a working collector, and for how long the
// collector stops the program. It uses about 8 MiB and takes about a second on an emulated host.
func Collector(objects int) []Figure {
	defer debug.SetGCPercent(debug.SetGCPercent(100))
	live := make([]*node, 1<<14)
	for i := range live {
		live[i] = &node{left: live[i/2]}
	}
	runtime.GC()
	var before, after debug.GCStats
	debug.ReadGCStats(&before)
	start := time.Now()
	for i := range objects {
		at := i * 7919 % len(live)
		live[at] = &node{left: live[at/2]}
		if at == 0 {
			live[0].left = nil // or this chain grew without bound
		}
	}
	took := time.Since(start)
	debug.ReadGCStats(&after)
	runtime.KeepAlive(live)
	figures := []Figure{{"allocation of 64 bytes", float64(took.Nanoseconds()) / float64(objects), "ns"}}
	n := min(int(after.NumGC-before.NumGC), len(after.Pause)) // the latest are first
	if n == 0 {
		return figures
	}
	pauses := slices.Sorted(slices.Values(after.Pause[:n]))
	return append(figures,
		Figure{"GC pause, median", micro(pauses[n/2]), "µs"},
		Figure{"GC pause, worst", micro(pauses[n-1]), "µs"},
	)
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
