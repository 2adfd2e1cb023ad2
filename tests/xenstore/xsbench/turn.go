package main

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"time"

	"morgana/xen/wire/xs"
)

// turn is what was measured of one daemon in one turn.
type turn struct {
	rate float64
	cpu  time.Duration // of the daemon, an operation
	load float64       // of the generator's thread: near 1, the daemon could do more
	lat  times         // of each request, in order
}

// latencyRoom is the most requests of one turn whose latencies are kept.
const latencyRoom = 1 << 20

var latencies = make(times, 0, latencyRoom)

// measure lets clients do their operations over and over, each one request at a time, for so long.
func measure(pid int, cs []*client, d time.Duration) (turn, error) {
	runtime.GC()
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	lat := latencies[:0]
	done := 0
	begin, cpu, mine := time.Now(), cpuTime(pid), cpuTime(0)
	end := begin.Add(d)
	for _, c := range cs {
		c.step = 0
		c.sent = time.Now()
		if err := c.next(); err != nil {
			return turn{}, err
		}
	}
	for running := len(cs); running > 0; {
		for _, c := range cs {
			if c.step < 0 {
				continue
			}
			op, b, err := c.receive()
			if err != nil {
				return turn{}, err
			}
			now := time.Now()
			if len(lat) < cap(lat) {
				lat = append(lat, now.Sub(c.sent))
			}
			over, err := c.advance(op, b)
			if err != nil {
				return turn{}, err
			}
			if over {
				if op != xs.ErrorReply {
					done++
				}
				if now.After(end) {
					c.step = -1
					running--
					continue
				}
			}
			if err := c.next(); err != nil {
				return turn{}, err
			}
			c.sent = now
		}
	}
	took := time.Since(begin)
	if done == 0 {
		return turn{}, fmt.Errorf("no operation was done in %v", took)
	}
	return turn{
		rate: float64(done) / took.Seconds(),
		cpu:  (cpuTime(pid) - cpu) / time.Duration(done),
		load: float64(cpuTime(0)-mine) / float64(took),
		lat:  append(times(nil), lat...).sort(),
	}, nil
}

// figures sums up the turns of one daemon: of rate and CPU time the best, for what disturbs a turn is not the daemon's; of
// latencies all, and the quietest turn's.
type figures struct {
	rate, load  float64
	cpu         time.Duration
	all         times
	p999, worst time.Duration // of the quietest turn
}

func (f *figures) add(t turn) {
	if t.rate > f.rate {
		f.rate, f.load = t.rate, t.load
	}
	if f.cpu == 0 || t.cpu < f.cpu {
		f.cpu = t.cpu
	}
	f.all = append(f.all, t.lat...)
	if p := t.lat.at(0.999); f.p999 == 0 || p < f.p999 {
		f.p999 = p
	}
	if w := t.lat.max(); f.worst == 0 || w < f.worst {
		f.worst = w
	}
}
