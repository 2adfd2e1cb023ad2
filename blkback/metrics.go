package blkback

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"morgana/metrics"
	"morgana/xen/wire/blkif"
)

// Names of the families that Server.Collect adds to.
const (
	MetricRequests = "morgana_blkback_requests_total"
	MetricBytes    = "morgana_blkback_bytes_total"
	MetricFailed   = "morgana_blkback_failed_total"
	MetricBatches  = "morgana_blkback_batches_total"
	MetricCalls    = "morgana_blkback_device_calls_total"
	MetricLatency  = "morgana_blkback_request_seconds"
	MetricRings    = "morgana_blkback_rings"
	MetricSize     = "morgana_blkback_size_bytes"
)

var statText = [statOps]string{"read", "write", "flush", "discard", "other"}

// Collect adds what all disks served to a set: requests and bytes by operation, and how long requests took. The labels
// are the frontend's domain, the disk's number there, and its target.
func (s *Server) Collect(set *metrics.Set) {
	all := s.Attached()
	slices.SortFunc(all, func(a, b *Attachment) int {
		return cmp.Or(cmp.Compare(a.Frontend, b.Frontend), cmp.Compare(a.Number, b.Number))
	})
	for _, a := range all {
		a.collect(set)
	}
}

func (a *Attachment) collect(set *metrics.Set) {
	labels := []string{
		"frontend", strconv.Itoa(int(a.Frontend)), "device", strconv.FormatUint(uint64(a.Number), 10), "target", a.Target,
	}
	s := a.Stats()
	for k, op := range statText {
		with := append(labels[:len(labels):len(labels)], "op", op)
		set.Counter(MetricRequests, "Requests answered, failed ones too.", float64(s.Requests(Stat(k))), with...)
		set.Counter(MetricBytes, "Bytes that requests moved or discarded.", float64(s.Bytes(Stat(k))), with...)
	}
	set.Counter(MetricFailed, "Requests answered with an error.", float64(s.Failed()), labels...)
	set.Counter(MetricBatches, "Publications of answers; each costs a notification at most.", float64(s.Batches()), labels...)
	set.Counter(MetricCalls, "Calls of the device for these requests.", float64(s.Calls()), labels...)
	set.Histogram(MetricLatency, "Time from when a request was taken from its ring until it was answered.", s.histogram(), labels...)
	set.Gauge(MetricRings, "Rings that are connected.", float64(a.Connected()), labels...)
	set.Gauge(MetricSize, "Size of the disk.", float64(a.disk.sectors()*blkif.SectorSize), labels...)
}

// histogramEvery is how many of the buckets of Stats become one of the histogram that is collected: two doublings.
const histogramEvery = 8

// histogram is the latency in fewer buckets: from 4 µs, each four times the one before, to 17 s, and one for all beyond.
func (s *Stats) histogram() metrics.Histogram {
	const bounds = 12
	h := metrics.Histogram{Counts: make([]uint64, bounds+1), Sum: time.Duration(s.waited.Load()).Seconds()}
	for i := range bounds {
		h.Bounds = append(h.Bounds, bucketEnd(histogramEvery*i+3).Seconds())
	}
	for i := range s.latency {
		h.Counts[min((i+4)/histogramEvery, bounds)] += s.latency[i].Load()
	}
	return h
}
