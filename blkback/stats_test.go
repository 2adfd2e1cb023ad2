package blkback

import (
	"testing"
	"time"
)

// Every duration is below the end of its bucket, and at least three quarters of it.
func TestLatencyBuckets(t *testing.T) {
	last := -1
	for us := int64(0); us < 1<<28; us += 1 + us/50 {
		d := time.Duration(us) * time.Microsecond
		b := bucketOf(d)
		if b < last || b >= latencyBuckets {
			t.Fatalf("%v is in bucket %d after %d", d, b, last)
		}
		last = b
		if end := bucketEnd(b); d >= end || us >= 4 && float64(end-time.Microsecond) > float64(d)*1.25 {
			t.Fatalf("%v is in a bucket that ends at %v", d, end)
		}
	}
	if b := bucketOf(1 << 62); b != latencyBuckets-1 {
		t.Errorf("a very long time is in bucket %d", b)
	}
	if b := bucketOf(-1); b != 0 {
		t.Errorf("a negative time is in bucket %d", b)
	}
}

func TestLatencyShares(t *testing.T) {
	var s Stats
	if s.Latency(0.5) != 0 {
		t.Error("no request has a latency")
	}
	s.latency[bucketOf(10*time.Microsecond)].Add(98)
	s.latency[bucketOf(time.Millisecond)].Add(2)
	for _, c := range []struct {
		share     float64
		from, end time.Duration
	}{
		{0.5, 10 * time.Microsecond, 13 * time.Microsecond},
		{0.98, 10 * time.Microsecond, 13 * time.Microsecond},
		{0.99, time.Millisecond, 1300 * time.Microsecond},
		{1, time.Millisecond, 1300 * time.Microsecond},
	} {
		if got := s.Latency(c.share); got <= c.from || got > c.end {
			t.Errorf("%v of all: below %v, want between %v and %v", c.share, got, c.from, c.end)
		}
	}
}
