package blkback

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"morgana/xen"
	"morgana/xen/wire/blkif"
)

// Domain is what a backend needs of Xen; a xen.Domain has it.
type Domain interface {
	xen.Mapper
	xen.Copier
	Connect(peer xen.DomID, port xen.Port) (xen.Event, error)
}

// Options bound what one disk may use and say how it is served. Zero fields stand for the defaults.
type Options struct {
	// MaxQueues is how many rings a frontend may have, 1 to 64. Default: the number of processors that this program
	// may use.
	MaxQueues int
	// RingPages is the size of the largest ring in pages: 1, 2, 4, 8 or 16, the default.
	RingPages int
	// IndirectSegments is the most segments of an indirect request, at most 256, the default; negative: no indirect
	// requests. A segment is up to 4 KiB.
	IndirectSegments int
	// PersistentGrants is how many pages of the frontend a ring keeps mapped. Default 1056, which is 32 requests of
	// 11 pages thrice, and what Linux keeps; negative: none.
	PersistentGrants int
	// BufferPages bounds the memory that the requests of a ring may use at a time, in pages of 4 KiB: 256 to 65536,
	// default 1024. Memory is taken as it is needed and given back after a minute without use.
	BufferPages int
	// MemoryPages bounds these pages for all rings together, at least 256; beyond it a ring has one call of the device
	// at a time, whose up to 256 pages it always gets. Default: a quarter of Go's memory limit, at most 64 MiB.
	MemoryPages int
	// Parallel is how many calls of the device may be under way for a ring at a time, 1 to 1024, default 32. With 1
	// the goroutine that reads the ring makes them itself, one after the other.
	Parallel int
	// MapPages is from how many pages on a call of the device maps the frontend's pages instead of copying them,
	// where they are not kept mapped. Default 1<<30: never. Mapping costs four system calls and a flush of the TLB,
	// copying one system call for all requests of a batch (TestBlockBackendFigures in tests/system).
	MapPages int
	// Resumable answers the requests of a ring in the order in which they were asked, although they are served in any.
	// Only then does a ring tell which requests were not answered yet, and only so can a program that was killed be
	// started again under guests that use its disks: it takes the rings up where they were, and serves again what was
	// not answered. It costs the time that a request waits for slower ones before it.
	Resumable bool
	// CloseTimeout is how long the end of a connection waits for calls that the device does not return from.
	// Default 5 s: a tool stack gives up after 10.
	CloseTimeout time.Duration
	// Clock is the time that requests and grants are aged by, from any start. Default: the machine's monotonic clock.
	// Safe for concurrent use.
	Clock func() time.Duration

	pool *pool // of MemoryPages
}

const (
	maxQueues = 64

	// callPages is the most pages of one call of the device, and the most segments of a request.
	callPages = 256

	defaultPersistent  = 1056
	defaultBufferPages = 1024
	defaultParallel    = 32
	neverMap           = 1 << 30
	mostMemory         = 64 << 20
)

// fill checks the options and puts in the defaults.
func (o *Options) fill() error {
	set := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	set(&o.MaxQueues, min(runtime.GOMAXPROCS(0), maxQueues))
	set(&o.RingPages, 1<<blkif.MaxRingOrder)
	set(&o.IndirectSegments, callPages)
	set(&o.PersistentGrants, defaultPersistent)
	set(&o.BufferPages, defaultBufferPages)
	set(&o.MemoryPages, int(max(min(debug.SetMemoryLimit(-1)/4, mostMemory), callPages*xen.PageSize)/xen.PageSize))
	set(&o.Parallel, defaultParallel)
	set(&o.MapPages, neverMap)
	o.IndirectSegments = max(o.IndirectSegments, 0)
	o.PersistentGrants = max(o.PersistentGrants, 0)
	if o.CloseTimeout == 0 {
		o.CloseTimeout = 5 * time.Second
	}
	if o.Clock == nil {
		start := time.Now()
		o.Clock = func() time.Duration { return time.Since(start) }
	}
	for _, x := range []struct {
		name          string
		v, least, top int
	}{
		{"MaxQueues", o.MaxQueues, 1, maxQueues},
		{"RingPages", o.RingPages, 1, 1 << blkif.MaxRingOrder},
		{"IndirectSegments", o.IndirectSegments, 0, callPages},
		{"PersistentGrants", o.PersistentGrants, 0, 1 << 16},
		{"BufferPages", o.BufferPages, callPages, 1 << 16},
		{"MemoryPages", o.MemoryPages, callPages, 1 << 24},
		{"Parallel", o.Parallel, 1, 1024},
		{"MapPages", o.MapPages, 1, neverMap},
	} {
		if x.v < x.least || x.v > x.top {
			return fmt.Errorf("blkback: %s is %d: %d to %d wanted", x.name, x.v, x.least, x.top)
		}
	}
	if o.RingPages&(o.RingPages-1) != 0 {
		return fmt.Errorf("blkback: RingPages is %d: a power of two wanted", o.RingPages)
	}
	o.pool = &pool{limit: int64(o.MemoryPages)}
	if o.CloseTimeout < 0 {
		return fmt.Errorf("blkback: CloseTimeout is %v: a positive one wanted", o.CloseTimeout)
	}
	return nil
}

// ringOrder is the logarithm of RingPages.
func (o *Options) ringOrder() int {
	for n := range blkif.MaxRingOrder {
		if 1<<n == o.RingPages {
			return n
		}
	}
	return blkif.MaxRingOrder
}
