package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"morgana/tests/testbed"
)

// load is what fio does.
type load struct {
	name, rw, size string
	depth          int
}

var allLoads = []load{
	{"4K read 1", "randread", "4k", 1},
	{"4K read 32", "randread", "4k", 32},
	{"4K write 1", "randwrite", "4k", 1},
	{"4K write 32", "randwrite", "4k", 32},
	{"64K read 8", "read", "64k", 8},
	{"64K write 8", "write", "64k", 8},
	{"1M read 4", "read", "1m", 4},
	{"1M write 4", "write", "1m", 4},
}

// script is the guest's: before each run it waits for a line, so that what the host measures begins with it.
func (b *bench) script(rows []load) string {
	var s strings.Builder
	s.WriteString("mkdir -p /dev/shm; echo 3 >/proc/sys/kernel/printk\n")
	for _, r := range b.roads {
		fmt.Fprintf(&s, "# %s\n", r.name)
	}
	s.WriteString(`f() { echo "FIO $1 begins"; read x </dev/hvc0
o=$(/usr/bin/fio --name=x --filename=/dev/$2 --rw=$3 --bs=$4 --iodepth=$5 --direct=1 --ioengine=libaio --thread --norandommap \
 --time_based --runtime=$6 --output-format=terse --terse-version=3 2>&1 | tail -n 1); echo "FIO $1 ends: $o"; }
`)
	k := 0
	for range b.turns {
		for _, l := range rows {
			for j := range b.roads {
				fmt.Fprintf(&s, "f %d xvd%c %s %s %d %d\n", k, 'a'+j, l.rw, l.size, l.depth, b.seconds)
				k++
			}
		}
	}
	return s.String()
}

// result is one run of fio.
type result struct {
	requests float64
	rate     float64       // requests a second
	cpu      time.Duration // of all who serve
}

// parseTerse reads fio's terse output, version 3 (fio's HOWTO, "Terse output"): fields separated by semicolons, of which
// 5 to 8 are what was read, in KiB, KiB/s, requests a second, and ms, and 46 to 49 what was written.
func parseTerse(line string) (result, error) {
	f := strings.Split(strings.TrimSpace(line), ";")
	if len(f) < 50 || f[0] != "3" || f[4] != "0" {
		return result{}, fmt.Errorf("fio says %.200q", line)
	}
	var r result
	for _, at := range []int{5, 46} {
		rate, err := strconv.ParseFloat(f[at+2], 64)
		if err != nil {
			return r, fmt.Errorf("fio says %q in place of a rate", f[at+2])
		}
		ms, err := strconv.ParseFloat(f[at+3], 64)
		if err != nil {
			return r, fmt.Errorf("fio says %q in place of a time", f[at+3])
		}
		r.rate += rate
		r.requests += rate * ms / 1000
	}
	if r.requests == 0 {
		return r, errors.New("fio did nothing")
	}
	return r, nil
}

// cpu is the CPU time that dom0 and other domains used so far.
func cpu(ctx context.Context, h *testbed.Host, domains []string) (time.Duration, error) {
	out, err := h.Output(ctx, "xl", "list")
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for l := range strings.Lines(out) {
		f := strings.Fields(l)
		if len(f) < 6 || f[0] != "Domain-0" && !slices.Contains(domains, f[0]) {
			continue
		}
		s, err := strconv.ParseFloat(f[len(f)-1], 64)
		if err != nil {
			return 0, fmt.Errorf("xl list says %q", l)
		}
		sum += time.Duration(s * float64(time.Second))
	}
	return sum, nil
}
