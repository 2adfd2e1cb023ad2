package blkback

import (
	"math/bits"
	"sync/atomic"
	"time"

	"morgana/xen/wire/blkif"
)

// Stats counts what a disk served. Readers may look at any time; nothing locks.
type Stats struct {
	requests [statOps]atomic.Uint64
	bytes    [statOps]atomic.Uint64
	failed   atomic.Uint64
	calls    atomic.Uint64
	batches  atomic.Uint64
	latency  [latencyBuckets]atomic.Uint64
	waited   atomic.Uint64 // nanoseconds, of all requests
}

// Stat is a kind of request that is counted.
type Stat int

// What is counted apart. A request that failed counts too, without its bytes.
const (
	StatRead Stat = iota
	StatWrite
	StatFlush
	StatDiscard
	StatOther // what is no operation
	statOps   = iota
)

func statOf(op blkif.Op) Stat {
	switch op {
	case blkif.Read:
		return StatRead
	case blkif.Write, blkif.Barrier:
		return StatWrite
	case blkif.Flush:
		return StatFlush
	case blkif.Discard:
		return StatDiscard
	}
	return StatOther
}

// Requests is how many requests of a kind were answered.
func (s *Stats) Requests(k Stat) uint64 { return s.requests[k].Load() }

// Bytes is how many bytes the requests of a kind moved or discarded.
func (s *Stats) Bytes(k Stat) uint64 { return s.bytes[k].Load() }

// Failed is how many requests were answered with an error.
func (s *Stats) Failed() uint64 { return s.failed.Load() }

// Batches is how often answers were published; each costs a notification at most.
func (s *Stats) Batches() uint64 { return s.batches.Load() }

// Calls is how often the device was called for them.
func (s *Stats) Calls() uint64 { return s.calls.Load() }

// The histogram has four buckets for each doubling, from 1 µs to 2^28 µs, and one for what is beyond.
const (
	latencyDoublings = 28
	latencyBuckets   = 4*latencyDoublings + 1
)

func bucketOf(d time.Duration) int {
	us := uint64(max(d/time.Microsecond, 0))
	if us < 4 {
		return int(us)
	}
	n := bits.Len64(us) // 3 or more: 4 ≤ us
	return min(4*(n-2)+int(us>>(n-3)&3), latencyBuckets-1)
}

// bucketEnd is the smallest duration beyond a bucket.
func bucketEnd(i int) time.Duration {
	if i++; i < 4 {
		return time.Duration(i) * time.Microsecond
	}
	return time.Duration(4+i%4) << (i/4 - 1) * time.Microsecond
}

// Latency is the time below which the given share of requests, 0 to 1, was answered, from when it was taken from the
// ring: an upper bound that is at most a quarter too high. It is 0 if there were none.
func (s *Stats) Latency(share float64) time.Duration {
	var n [latencyBuckets]uint64
	total := uint64(0)
	for i := range n {
		n[i] = s.latency[i].Load()
		total += n[i]
	}
	if total == 0 {
		return 0
	}
	rest := int64(float64(total) * share)
	for i := range n {
		if rest -= int64(n[i]); rest <= 0 && n[i] > 0 {
			return bucketEnd(i)
		}
	}
	return bucketEnd(latencyBuckets - 1)
}

// tally is what one batch adds to Stats. It belongs to one goroutine.
type tally struct {
	requests, bytes [statOps]uint64
	failed, calls   uint64
	waited          uint64
	bucket          int
	inBucket        uint64
	stats           *Stats
}

func (t *tally) add(r *request, now time.Duration) {
	k := statOf(r.Moves())
	t.requests[k]++
	switch {
	case r.err != nil:
		t.failed++
	case k == StatDiscard:
		t.bytes[k] += r.Count * blkif.SectorSize
	default:
		t.bytes[k] += uint64(r.len())
	}
	t.waited += uint64(max(now-r.taken, 0))
	if b := bucketOf(now - r.taken); b != t.bucket {
		t.flushBucket()
		t.bucket = b
	}
	t.inBucket++
}

func (t *tally) flushBucket() {
	if t.inBucket > 0 {
		t.stats.latency[t.bucket].Add(t.inBucket)
		t.inBucket = 0
	}
}

// flush adds the batch to the counters.
func (t *tally) flush() {
	t.flushBucket()
	for k := range t.requests {
		if t.requests[k] > 0 {
			t.stats.requests[k].Add(t.requests[k])
			t.stats.bytes[k].Add(t.bytes[k])
			t.requests[k], t.bytes[k] = 0, 0
		}
	}
	t.stats.failed.Add(t.failed)
	t.stats.calls.Add(t.calls)
	t.stats.batches.Add(1)
	t.stats.waited.Add(t.waited)
	t.failed, t.calls, t.waited = 0, 0, 0
}
