package system

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
)

// storeCrashes kills the service again and again, at different points of its work and in different ways, while guests
// use their disks and the tool stack works: nobody but its console tells.
func storeCrashes(t *testing.T, h *testbed.Host, guests ...*testbed.Domain) {
	const crashes = 20
	ctx := within(t, 10*time.Minute)
	var before []int
	for _, g := range guests {
		before = append(before, strings.Count(g.Console.String(), "GUEST disk"))
	}
	// Three rounds without a crash show what the commands of xl take here anyway.
	out, err := h.Script(ctx, fmt.Sprintf(`
		set -e
		now() { date +%%s%%N; }
		xenstore-write /test/watched 0 /test/mode 0
		xenstore-chmod /test/mode n0 r%[2]d
		xenstore-watch /test/watched >/tmp/events &
		watcher=$!
		trap 'kill $watcher' EXIT
		for round in $(seq %[4]d); do
			begun=$(now) i=$((round-3))
			if [ $i -gt 0 ]; then
				xenstore-write "/test/before/n$i" "$i"
				xenstore-control crash $((i %% 7 + 1)) $((i %% 3)) >/dev/null
				xenstore-write "/test/after/n$i" "$i"
			fi
			a=$(now); xl list >/dev/null; b=$(now)
			xl block-list %[2]d >/dev/null; c=$(now)
			xl rename %[3]d "round$round"; d=$(now)
			echo "$((b-a)) $((c-b)) $((d-c))"
			xenstore-write /test/watched "$round"
			while [ $(($(now)-begun)) -lt 2000000000 ]; do sleep 0.1; done
		done
		for i in $(seq %[1]d); do
			[ "$(xenstore-read /test/before/n$i /test/after/n$i | tr '\n' ' ')" = "$i $i " ] || { echo "lost $i" >&2; exit 1; }
		done
	`, crashes, guests[0].ID, guests[1].ID, crashes+3))
	if err != nil {
		t.Fatal(err)
	}
	var calm, worst time.Duration
	for i, f := range strings.Fields(out) {
		ns, err := strconv.Atoi(f)
		if err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		if took := time.Duration(ns); i < 3*3 {
			calm = max(calm, took)
		} else {
			worst = max(worst, took)
		}
	}
	// A command that takes a second without crashes may take that longer with one.
	if most := max(2*time.Second, calm+time.Second); worst > most {
		t.Errorf("a command of xl took %v; want %v at most: without crashes the slowest took %v", worst, most, calm)
	}
	left, err := h.Script(ctx, `
		xenstore-ls -p /test | grep mode; xenstore-list /test/before | wc -l; xenstore-list /test/after | wc -l
		grep -c 'generation .* serves' /var/log/xen/console/guest-Xenstore.log; grep -c '^/test/watched' /tmp/events`)
	if err != nil {
		t.Fatal(err)
	}
	var mode string
	var nodesBefore, nodesAfter, generations, events int
	first, rest, _ := strings.Cut(left, "\n")
	mode = strings.TrimSpace(regexp.MustCompile(`[ .]{2,}`).ReplaceAllString(first, " ")) // xenstore-ls fills with dots
	if _, err := fmt.Sscan(rest, &nodesBefore, &nodesAfter, &generations, &events); err != nil {
		t.Fatalf("%v in\n%s", err, left)
	}
	if want := fmt.Sprintf(`mode = "0" (n0,r%d)`, guests[0].ID); mode != want || nodesBefore != crashes || nodesAfter != crashes {
		t.Errorf("left are %s, %d and %d nodes; want %s and %d each", mode, nodesBefore, nodesAfter, want, crashes)
	}
	if generations != crashes+1 {
		t.Errorf("%d generations, want %d", generations, crashes+1)
	}
	if events < crashes+1 {
		t.Errorf("the watch fired %d times, want %d at least", events, crashes+1)
	}
	for i, g := range guests {
		n := strings.Count(g.Console.String(), "GUEST disk")
		if n-before[i] < crashes {
			t.Errorf("%s wrote to its disk %d times while the service died %d times", g.Name, n-before[i], crashes)
		}
		if _, err := g.Console.WaitFor(within(t, time.Minute), fmt.Sprintf("GUEST disk %d", n+2)); err != nil {
			t.Errorf("%s stands still: %v", g.Name, err)
		}
		if s := g.Console.String(); strings.Contains(s, "failed") || strings.Contains(s, "differs") {
			t.Errorf("%s has trouble with its disk:\n%s", g.Name, s)
		}
	}
	console, err := h.Script(ctx, "grep 'serves' /var/log/xen/console/guest-Xenstore.log")
	if err != nil {
		t.Fatal(err)
	}
	report(t, "xenstore-crashes", fmt.Sprintf("The xenstore domain, killed %d times while guests and the tool stack work\nworst command of xl: %v; without crashes: %v\n%s",
		crashes, worst.Round(time.Millisecond), calm.Round(time.Millisecond), lastLines(console, 3)))
}
