package system

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"morgana/tests/ratios"
	"morgana/tests/testbed"
)

// storeSpeed is what the tool stack sees of a xenstore.
type storeSpeed struct {
	read    time.Duration // of a node, by xenstore-read
	pv, pvh time.Duration // xl create
}

// beside compares C xenstored with ours.
func beside(c, ours storeSpeed) string {
	text := "The xenstore domain beside C xenstored in dom0, each in a host of its own: ours, C, ratio\n"
	for _, v := range []struct {
		what    string
		ours, c time.Duration
	}{
		{"read from dom0", ours.read, c.read},
		{"xl create, PV guest", ours.pv, c.pv},
		{"xl create, PVH guest", ours.pvh, c.pvh},
	} {
		text += fmt.Sprintf("%-22s %10v %10v %6.2f\n", v.what, v.ours.Round(10*time.Microsecond), v.c.Round(10*time.Microsecond), float64(v.ours)/float64(v.c))
	}
	return text
}

// readTime is what a read takes in dom0: a thousand of them by one process, which gets them in its command line.
func readTime(t testing.TB, h *testbed.Host) time.Duration {
	t.Helper()
	out, err := h.Script(within(t, 3*time.Minute), `
		set -e
		xenstore-write /test/read something
		args=$(yes /test/read | head -n 1000 | tr '\n' ' ')
		best=999999999
		for i in 1 2 3; do
			a=$(date +%s%N); xenstore-read $args >/dev/null; b=$(date +%s%N)
			xenstore-read /test/read >/dev/null; c=$(date +%s%N)
			v=$(( ((b-a)-(c-b))/999 )); [ $v -lt $best ] && best=$v
		done
		xenstore-rm /test
		echo $best`)
	if err != nil {
		t.Fatal(err)
	}
	ns, err := strconv.Atoi(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	return time.Duration(ns)
}

// createTime is the best of some times that xl takes to create a guest with a disk and a network interface.
func createTime(b *testing.B, h *testbed.Host, kind string, runs int) time.Duration {
	b.Helper()
	ctx := within(b, 15*time.Minute)
	c, err := h.StockGuest(ctx, "speed-"+kind, kind, "sleep 1000")
	if err != nil {
		b.Fatal(err)
	}
	if _, err := h.Output(ctx, "truncate", "-s", "16M", "/tmp/speed.img"); err != nil {
		b.Fatal(err)
	}
	c.Disks, c.Extra, c.Paused = []string{"/tmp/speed.img,raw,xvda,rw"}, []string{`vif=["bridge=xenbr0"]`}, true
	best := time.Duration(0)
	for range runs {
		d, err := h.StartDomain(ctx, c)
		if err != nil {
			b.Fatal(err)
		}
		if err := d.Destroy(ctx); err != nil {
			b.Fatal(err)
		}
		if best == 0 || d.Created < best {
			best = d.Created
		}
	}
	return best
}

// BenchmarkXenstoreDomain boots a host with C xenstored and one with ours, and compares what the tool stack sees. One run
// takes some minutes: -benchtime 1x.
func BenchmarkXenstoreDomain(b *testing.B) {
	for b.Loop() {
		var figures [2]storeSpeed
		for i := range figures {
			h := storeHost(b, i == 1)
			figures[i] = storeSpeed{read: readTime(b, h), pv: createTime(b, h, "pv", 3), pvh: createTime(b, h, "pvh", 3)}
			if err := h.Close(); err != nil { // the emulator of one at a time
				b.Fatal(err)
			}
		}
		c, ours := figures[0], figures[1]
		b.ReportMetric(float64(ours.read)/float64(c.read), "read-ratio")
		b.ReportMetric(float64(ours.pv)/float64(c.pv), "create-pv-ratio")
		b.ReportMetric(float64(ours.pvh)/float64(c.pvh), "create-pvh-ratio")
		b.Log("\n" + beside(c, ours))
		ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
		var rows []ratios.Row
		for _, x := range []struct {
			what    string
			ours, c time.Duration
		}{{"a read in dom0", ours.read, c.read}, {"xl create, pv", ours.pv, c.pv}, {"xl create, pvh", ours.pvh, c.pvh}} {
			rows = append(rows, ratios.Row{
				Part: "the xenstore domain", Peer: "xenstored (C) in dom0", What: x.what, Unit: "ms", Ours: ms(x.ours), Other: ms(x.c), Less: true,
			})
		}
		if err := ratios.Keep("xenstore-domain", rows); err != nil {
			b.Error(err)
		}
	}
}
