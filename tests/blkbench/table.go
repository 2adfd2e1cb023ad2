package main

import (
	"fmt"
	"io"
	"slices"
	"text/tabwriter"
	"time"

	"morgana/tests/ratios"
)

// table is the results, by load and road.
type table struct {
	roads []road
	loads []load
	cells map[[2]int][]result
}

func (t *table) add(load, road int, r result) {
	if t.cells == nil {
		t.cells = make(map[[2]int][]result)
	}
	k := [2]int{load, road}
	t.cells[k] = append(t.cells[k], r)
}

// median is the result whose rate is in the middle.
func median(rs []result) result {
	s := slices.Clone(rs)
	slices.SortFunc(s, func(a, b result) int { return int(a.rate - b.rate) })
	return s[len(s)/2]
}

func (r result) perRequest() time.Duration { return time.Duration(float64(r.cpu) / r.requests) }

// ratios are our roads beside Linux's, for the table of all parts.
func (t *table) ratios() (rows []ratios.Row) {
	for j, r := range t.roads {
		if j == 0 || t.roads[0].name != "linux" {
			continue
		}
		for i, l := range t.loads {
			ours, linux := median(t.cells[[2]int{i, j}]), median(t.cells[[2]int{i, 0}])
			rows = append(rows, ratios.Row{
				Part: map[string]string{"process": "blkback", "domain": "the storage domain"}[r.name], Peer: "Linux's backend", What: l.name, Unit: "/s", Ours: ours.rate, Other: linux.rate,
			})
		}
	}
	return rows
}

// print writes a line for each load: each road's rate and CPU time for a request, and both as ratios to the first's.
func (t *table) print(w io.Writer) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(tw, "load\t")
	for j, r := range t.roads {
		fmt.Fprintf(tw, "%s req/s\tCPU µs\t", r.name)
		if j > 0 {
			fmt.Fprintf(tw, "rate : %s\tCPU : %s\t", t.roads[0].name, t.roads[0].name)
		}
	}
	fmt.Fprintln(tw)
	for i, l := range t.loads {
		fmt.Fprintf(tw, "%s\t", l.name)
		first := median(t.cells[[2]int{i, 0}])
		for j := range t.roads {
			m := median(t.cells[[2]int{i, j}])
			fmt.Fprintf(tw, "%.0f\t%d\t", m.rate, m.perRequest().Microseconds())
			if j > 0 {
				fmt.Fprintf(tw, "%.2f\t%.2f\t", m.rate/first.rate, float64(m.perRequest())/float64(max(first.perRequest(), 1)))
			}
		}
		fmt.Fprintln(tw)
	}
	return tw.Flush()
}
