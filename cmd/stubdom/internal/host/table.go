package host

import (
	"fmt"
	"strings"

	"morgana/cmd/stubdom/internal/host/model"
)

// table is a snapshot for a terminal: a line a domain.
func table(s *model.Snapshot) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%-16s %4s  %-9s %9s %10s %10s %10s %10s %8s\n",
		"domain", "id", "state", "memory", "disk req/s", "read/s", "write/s", "xenstore/s", "lines/s")
	for i := range s.Domains {
		d := &s.Domains[i]
		var disk, store model.Rates
		for _, r := range s.Rings {
			if r.Front != d.ID {
				continue
			}
			switch r.Kind {
			case model.BlockRing:
				disk.Requests += r.PerSec.Requests
				disk.Read += r.PerSec.Read
				disk.Written += r.PerSec.Written
			case model.StoreRing:
				store.Requests += r.PerSec.Requests
			}
		}
		fmt.Fprintf(&b, "%-16.16s %4d  %-9s %9s %10s %10s %10s %10s %8s\n", d.Name, d.ID, d.State, size(float64(d.MemoryKiB)*1024),
			rate(disk.Requests), size(disk.Read), size(disk.Written), rate(store.Requests), rate(d.Console.LineSec))
	}
	if s.Store.Served {
		fmt.Fprintf(&b, "xenstore: %.0f operations/s, %d nodes, %d watches\n", s.Store.PerSec, s.Store.Nodes, s.Store.Watches)
	}
	for _, p := range s.Problems {
		fmt.Fprintf(&b, "! %s\n", p)
	}
	return b.String()
}

func rate(v float64) string {
	if v == 0 {
		return "·"
	}
	return fmt.Sprintf("%.0f", max(v, 1))
}

// size is a number of bytes with a binary prefix.
func size(v float64) string {
	if v == 0 {
		return "·"
	}
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for ; v >= 1024 && i < len(units)-1; i++ {
		v /= 1024
	}
	if v >= 100 || i == 0 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}
