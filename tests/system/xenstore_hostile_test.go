package system

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
)

// storeHostile has guests that mean harm: only they lose their connection, and dom0 is served all the time.
func storeHostile(t *testing.T, h *testbed.Host, program []byte, others ...*testbed.Domain) {
	latency := process(t, h, "morgana/tests/system/storelatency")
	ctx := within(t, 12*time.Minute)
	text := "Reads of dom0 by the xenstore domain, µs: half of them, 99 of 100, worst; how many\n"
	// measure returns the 99 of 100 of the better half of some windows: one in which this machine did something else
	// says nothing.
	measure := func(what string, windows int) int {
		t.Helper()
		var high []int
		for range windows {
			out, err := h.Output(ctx, latency, "4s")
			if err != nil {
				t.Fatal(err)
			}
			var half, most, worst, n int
			if _, err := fmt.Sscan(out, &half, &most, &worst, &n); err != nil {
				t.Fatalf("%v in %q", err, out)
			}
			high = append(high, most)
			text += fmt.Sprintf("%s: %d %d %d; %d\n", what, half, most, worst, n)
		}
		slices.Sort(high)
		return high[(len(high)-1)/2]
	}
	start := func(name, script string) *testbed.Domain {
		t.Helper()
		g, err := h.StockGuest(ctx, "bad-"+name, "pvh", "echo GUEST ready\n"+script, testbed.Files{"hostile": program})
		if err != nil {
			t.Fatal(err)
		}
		d, err := h.StartDomain(ctx, g)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Console.WaitFor(ctx, `GUEST ready`); err != nil {
			t.Fatal(err)
		}
		return d
	}
	says := func(d *testbed.Domain, re string) []string {
		t.Helper()
		m, err := d.Console.WaitFor(ctx, re)
		if err != nil {
			t.Fatalf("%s: %v\n%s", d.Name, err, d.Console)
		}
		return m
	}
	bad := start("ring", `/hostile quota; read x; /hostile compute 18s; read x; /hostile flood 18s; read x; /hostile unread 18s; read x; /hostile length; read x`)

	// The limits are xenstored's, less what the guest has already. Of transactions one more than the limit is granted.
	for _, q := range []struct {
		what, errno string
		most, least int
	}{{"transactions", "ENOSPC", 11, 11}, {"watches", "E2BIG", 128, 100}, {"nodes", "ENOSPC", 1000, 900}} {
		m := says(bad, `HOSTILE `+q.what+` (\d+) (\S+)`)
		if n, err := strconv.Atoi(m[1]); err != nil || n > q.most || n < q.least || m[2] != q.errno {
			t.Errorf("after %s %s: %s; want %d to %d and %s", m[1], q.what, m[2], q.least, q.most, q.errno)
		}
	}

	// The guest and the service have one processor here. What a guest costs dom0 that only computes is Xen's scheduler's
	// doing; what one costs beyond that which floods the service is the service's.
	quiet := measure("quiet", 3)
	beside := func(command, what string) int {
		t.Helper()
		bad.Console.Type("\n")
		says(bad, `HOSTILE begins `+command)
		p99 := measure("beside a guest that "+what, 3)
		says(bad, `HOSTILE ends `+command+` \d+`)
		return p99
	}
	calm := max(quiet, beside("compute", "computes"))
	for _, is := range []struct{ command, what string }{{"flood", "floods its ring"}, {"unread", "floods its ring and reads no replies"}} {
		// Below a slice of Xen's scheduler it is not the service that is measured.
		if p99 := beside(is.command, is.what); p99 > max(2*calm, 20_000) {
			t.Errorf("beside a guest that %s 99 of 100 reads of dom0 take up to %d µs, beside one that computes %d", is.what, p99, calm)
		}
	}

	used, err := h.Output(ctx, "xenstore-control", "quota", strconv.Itoa(bad.ID))
	if err != nil {
		t.Fatal(err)
	}
	var memory int
	if m := regexp.MustCompile(`memory +: +(\d+)`).FindStringSubmatch(used); m != nil {
		memory, _ = strconv.Atoi(m[1])
	}
	if memory == 0 || memory > 5<<19 {
		t.Errorf("the guest keeps\n%s\nwant 2.5 MiB at most", used)
	}
	text += fmt.Sprintf("memory that it keeps: %d bytes\n", memory)
	bad.Console.Type("\n")
	says(bad, `HOSTILE error 3`)
	if err := bad.Destroy(ctx); err != nil {
		t.Error(err)
	}

	worse := start("index", `/hostile index; read x`)
	says(worse, `HOSTILE error 2`)
	if err := worse.Destroy(ctx); err != nil {
		t.Error(err)
	}

	out, err := h.Script(ctx, `cd /var/log/xen/console; grep -c 'broke the protocol' guest-Xenstore.log; grep -c serves guest-Xenstore.log; xenstore-control stats`)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out, "2\n1\n") {
		t.Errorf("guests that were cut off, generations, counters:\n%s\nwant 2, 1", out)
	}
	m := regexp.MustCompile(`(?m)^least-free-kib (\d+)$`).FindStringSubmatch(out)
	if m == nil {
		t.Fatalf("no least-free-kib in\n%s", out)
	}
	if free, err := strconv.Atoi(m[1]); err != nil || free < 8<<10 {
		t.Errorf("of the domain's 64 MiB %s KiB were free at the worst; want 8 MiB at least", m[1])
	}
	text += "free at the worst, of 64 MiB: " + m[1] + " KiB\n"
	for _, g := range others {
		n := strings.Count(g.Console.String(), "GUEST disk")
		if _, err := g.Console.WaitFor(ctx, fmt.Sprintf("GUEST disk %d", n+2)); err != nil {
			t.Errorf("%s stands still: %v", g.Name, err)
		}
	}
	report(t, "xenstore-hostile", text)
}
