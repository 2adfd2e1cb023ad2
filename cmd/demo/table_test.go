package main

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"morgana/tests/testbed"
	"morgana/xen/xentest"
)

func TestTable(t *testing.T) {
	s := &summary{
		report: &xentest.Report{Results: []xentest.Result{
			{Case: "grant/map", Took: 12345678},
			{Case: "event/close", Took: 2e6, Err: "no progress"},
			{Case: "death/waiting", NotRun: "nobody can"},
			{Case: "measure/events", Took: 1e9, Figures: []xentest.Figure{{Name: "event round trip", Value: 123.4, Unit: "µs"}}},
		}},
		domains: []*testbed.Domain{{ID: 7, Name: "responder", Created: 1234 * time.Millisecond}},
		storage: []step{{"it powers off", "poweroff", 1500 * time.Millisecond}},
		list:    "Name ID\nDomain-0 0\n", boot: 9 * time.Second, ran: 20 * time.Second, total: 31 * time.Second,
	}
	const want = `
What two domains do to each other

  pass  grant/map                        12.3 ms      -   death/waiting
  FAIL  event/close                       2.0 ms

  FAIL event/close: no progress

  2 passed, 1 failed, 1 not run (nobody can)

How fast

         123 µs  event round trip

A stock guest on a logical volume, with no Linux between it and the disk

  pass  it powers off                                        poweroff                    1.5 s

xl list, meanwhile

  Name ID
  Domain-0 0

Times

     9.0 s  to boot Xen and dom0 in QEMU
     1.2 s  to create domain 7, responder
    20.0 s  for the suite
    31.0 s  in all

  This host is emulated: compare times with each other, not with other machines'.
`
	var b strings.Builder
	s.write(&b, false)
	if d := cmp.Diff(want, b.String()); d != "" {
		t.Error(d)
	}
	b.Reset()
	s.write(&b, true)
	if !strings.Contains(b.String(), red+"FAIL"+plain) {
		t.Errorf("no colour in\n%s", b.String())
	}
}

// TestFollow: results are told from other words of a console, and the report is found.
func TestFollow(t *testing.T) {
	l := newLines()
	l.Write([]byte("conformance: domain 3, initiator\n" + xentest.Result{Case: "grant/map", Took: 1e6}.String() + "\n{\"results\":[{\"case\":\"grant/map\",\"took_ns\":1}]}\nbye\n"))
	l.close()
	begun := 0
	rep := follow(l, 1, func() { begun++ })
	if rep == nil || len(rep.Results) != 1 || begun != 1 {
		t.Errorf("report %v, begun %d times", rep, begun)
	}
	if name, what, ok := result("grant/map      12.0ms  FAIL no\n"); !ok || name != "grant/map" || what != "FAIL no in 12.0 ms" {
		t.Errorf("%q %q %v", name, what, ok)
	}
	if _, _, ok := result("panic: ms  oh\n"); ok {
		t.Error("a panic is taken for a result")
	}
	cut := newLines()
	cut.close()
	if follow(cut, 1, func() {}) != nil {
		t.Error("a report of nothing")
	}
}
