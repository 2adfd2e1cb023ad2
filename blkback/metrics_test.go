package blkback

import (
	"testing"
	"time"
)

// Every duration is counted in the bucket of the histogram that its bounds say.
func TestHistogram(t *testing.T) {
	for d := time.Microsecond; d < 30*time.Second; d += d/7 + 1 {
		var s Stats
		s.latency[bucketOf(d)].Add(1)
		h := s.histogram()
		if len(h.Counts) != len(h.Bounds)+1 {
			t.Fatalf("%d counts, %d bounds", len(h.Counts), len(h.Bounds))
		}
		for i, n := range h.Counts {
			if n == 0 {
				continue
			}
			if i > 0 && d.Seconds() < h.Bounds[i-1] || i < len(h.Bounds) && d.Seconds() >= h.Bounds[i] {
				t.Errorf("%v is in bucket %d of %v", d, i, h.Bounds)
			}
		}
	}
}
