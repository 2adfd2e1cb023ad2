package server

import (
	"fmt"
	"strconv"
	"strings"

	"morgana/metrics"
)

// gauges are the counters of CONTROL stats that go down too.
var gauges = map[string]bool{
	"connections": true, "domains": true, "nodes": true, "watches": true, "transactions": true, "free-kib": true,
	"least-free-kib": true, "heap-kib": true, "uptime-ms": true,
}

// Collect adds a counter of CONTROL stats to a set, as a metric: "events-dropped" as morgana_xenstore_events_dropped_total,
// "op-read" as morgana_xenstore_operations_total of operation "read". Names that no metric can have are left out.
func Collect(set *metrics.Set, name string, n uint64) {
	if strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-_") != "" || name == "" {
		return
	}
	if op, ok := strings.CutPrefix(name, "op-"); ok {
		set.Counter("morgana_xenstore_operations_total", "Requests by operation.", float64(n), "op", op)
		return
	}
	metric := "morgana_xenstore_" + strings.ReplaceAll(name, "-", "_")
	if gauges[name] {
		set.Gauge(metric, "What xenstore's CONTROL stats calls "+name+".", float64(n))
		return
	}
	set.Counter(metric+"_total", "What xenstore's CONTROL stats calls "+name+".", float64(n))
}

// CollectText adds all that CONTROL stats answered.
func CollectText(set *metrics.Set, text string) error {
	for line := range strings.Lines(text) {
		name, number, _ := strings.Cut(strings.Trim(line, "\n\x00"), " ")
		n, err := strconv.ParseUint(number, 10, 64)
		if err != nil {
			return fmt.Errorf("stats: %.60q is no counter", line)
		}
		Collect(set, name, n)
	}
	return nil
}
