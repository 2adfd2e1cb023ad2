package attach

import (
	"strconv"

	"morgana/metrics"
)

// Collect adds the counters of consoles to a set. The labels are the guest's name and number.
func Collect(set *metrics.Set, consoles []Info) {
	for _, i := range consoles {
		labels := []string{"domain", i.Name, "id", strconv.Itoa(int(i.Dom))}
		set.Counter("morgana_console_bytes_total", "Bytes written to its console.", float64(i.End), labels...)
		set.Counter("morgana_console_lines_total", "Lines written to its console.", float64(i.Lines), labels...)
		set.Counter("morgana_console_logged_bytes_total", "Bytes that are in its log.", float64(i.Logged), labels...)
		set.Gauge("morgana_console_lost_bytes", "Bytes that the log could not take, and has not told of yet.", float64(i.Lost), labels...)
		set.Counter("morgana_console_dropped_bytes_total", "Bytes that terminals and sessions missed because they lagged.", float64(i.Dropped), labels...)
		set.Counter("morgana_console_typed_bytes_total", "Bytes that the guest was given.", float64(i.Typed), labels...)
		set.Gauge("morgana_console_writers", "Sessions that may type.", float64(i.Writers), labels...)
	}
}
