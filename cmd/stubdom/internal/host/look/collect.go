package look

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"morgana/cmd/stubdom/internal/host/model"
	"morgana/metrics"
	"morgana/xenstore/server"
)

// CollectStore adds xenstore's counters to a set.
func CollectStore(set *metrics.Set, s *model.Store) {
	for _, name := range slices.Sorted(maps.Keys(s.Counters)) {
		server.Collect(set, name, s.Counters[name])
	}
}

// Collect adds all that is known of a host to a set: it looks, and then tells the domains, their consoles, and what the
// parts told.
func (l *Looker) Collect(ctx context.Context, set *metrics.Set) error {
	s, err := l.Look(ctx)
	if err != nil {
		return err
	}
	for _, d := range s.Domains {
		labels := []string{"domain", d.Name, "id", strconv.Itoa(d.ID)}
		set.Gauge("morgana_domain_info", "A domain, and what it is.", 1, append(labels[:4:4], "role", string(d.Role), "state", string(d.State))...)
		set.Gauge("morgana_domain_memory_bytes", "Memory that the domain has.", float64(d.MemoryKiB)*1024, labels...)
		set.Counter("morgana_domain_cpu_seconds_total", "Time of all its processors.", d.CPU, labels...)
		if d.Console.Served {
			set.Counter("morgana_console_bytes_total", "Bytes written to its console.", float64(d.Console.Bytes), labels...)
			set.Counter("morgana_console_lines_total", "Lines written to its console.", float64(d.Console.Lines), labels...)
		}
	}
	for _, r := range s.Rings {
		if r.Kind == model.StoreRing {
			d := s.Domain(r.Front)
			labels := []string{"domain", d.Name, "id", strconv.Itoa(d.ID)}
			set.Counter("morgana_xenstore_domain_requests_total", "Requests of the domain to xenstore.", float64(r.Total.Requests), labels...)
			set.Counter("morgana_xenstore_domain_events_total", "Watch events to the domain.", float64(r.Total.Events), labels...)
		}
	}
	for _, g := range s.Groups {
		for _, v := range g.Volumes {
			set.Gauge("morgana_volume_size_bytes", "Size of a logical volume.", float64(v.Extents*g.Extent), "group", g.Name, "volume", v.Name)
		}
	}
	l.mu.Lock()
	set.Merge(&l.figures)
	l.mu.Unlock()
	up := 1.0
	if len(s.Problems) > 0 {
		up = 0
	}
	set.Gauge("morgana_host_complete", "1 if every part of the host answered; else problems are in the log.", up, "host", strings.TrimSpace(s.Host))
	return nil
}
