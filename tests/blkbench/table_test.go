package main

import (
	"os"
	"strings"
	"testing"
	"time"
)

// What fio 3.33 writes is understood.
func TestParseTerse(t *testing.T) {
	for _, name := range []string{"randwrite", "read"} {
		b, err := os.ReadFile("testdata/" + name + ".terse")
		if err != nil {
			t.Fatal(err)
		}
		r, err := parseTerse(string(b))
		if err != nil || r.rate < 1000 || r.requests < r.rate/2 || r.requests > 2*r.rate {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	for _, bad := range []string{"", "fio: no such file", "3;fio-3.33;x;0;5" + strings.Repeat(";1", 50), "3;fio-3.33;x;0;0" + strings.Repeat(";0", 50)} {
		if r, err := parseTerse(bad); err == nil {
			t.Errorf("%q is understood as %+v", bad, r)
		}
	}
}

// The table shows the median of the turns, and ratios to the first road.
func TestTable(t *testing.T) {
	b := table{roads: allRoads[:2], loads: allLoads[:1]}
	for _, rate := range []float64{100, 300, 200} {
		b.add(0, 0, result{requests: rate, rate: rate, cpu: time.Second})
		b.add(0, 1, result{requests: rate, rate: rate / 2, cpu: 2 * time.Second})
	}
	var s strings.Builder
	if err := b.print(&s); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"200", "5000", "100", "10000", "0.50", "2.00"} {
		if !strings.Contains(s.String(), want) {
			t.Errorf("no %s in\n%s", want, s.String())
		}
	}
}
