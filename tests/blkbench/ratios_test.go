package main

import (
	"testing"
	"time"
)

// Our roads are kept beside Linux's, by the median of their turns; without Linux's there is nothing to compare.
func TestRatios(t *testing.T) {
	x := &table{roads: allRoads, loads: []load{{name: "random reads"}}}
	for j, rates := range [][]float64{{100, 90, 400}, {200, 210, 10}, {50, 50, 50}} {
		for _, rate := range rates {
			x.add(0, j, result{rate: rate, requests: 1, cpu: time.Microsecond})
		}
	}
	rows := x.ratios()
	if len(rows) != 2 || rows[0].Part != "blkback" || rows[0].Better() != 2 || rows[1].Part != "the storage domain" || rows[1].Better() != 0.5 {
		t.Errorf("%+v", rows)
	}
	x.roads = allRoads[1:]
	if rows := x.ratios(); rows != nil {
		t.Errorf("without Linux: %+v", rows)
	}
}
