//go:build storedomain

package system

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"morgana/tests/testbed"
	"morgana/unikernel/image"
)

// storeHost boots a host whose xenstore is a domain of ours, or C xenstored. With ours the build is one that CONTROL
// crash kills. A domain was started and ended before on the other, so that guests have the same numbers on both.
func storeHost(t *testing.T, ours bool) *testbed.Host {
	t.Helper()
	o := testbed.Options{Emulated: true, Share: t.TempDir()}
	begun := time.Now()
	write := func(name string, b []byte) {
		if err := os.WriteFile(filepath.Join(o.Share, name), b, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if ours {
		p, err := image.BuildProgram(filepath.Join(t.TempDir(), "xenstore"), "morgana/stubdoms/xenstore", "-tags=crashtest")
		if err != nil {
			t.Fatal(err)
		}
		b, _, err := image.Join(p, image.Options{Name: "xenstore"})
		if err != nil {
			t.Fatal(err)
		}
		write("xenstore.elf", b)
		script, err := os.ReadFile("../../stubdoms/xenstore/start-xenstore-domain")
		if err != nil {
			t.Fatal(err)
		}
		write("start-xenstore-domain", script)
		if _, err := image.BuildProgram(filepath.Join(o.Share, "nativetsc"), "morgana/tests/system/nativetsc"); err != nil {
			t.Fatal(err)
		}
		// As the testbed does with what xl starts: domains stay off dom0's CPU, and their TSC is native.
		write("start", []byte("#!/bin/sh\nKERNEL=/share/xenstore.elf /share/start-xenstore-domain \"$@\" && xl vcpu-pin Xenstore 0 1 && /share/nativetsc 1\n"))
		o.Xenstored = "/share/start"
	}
	h, err := testbed.Start(within(t, 6*time.Minute), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			console, _ := h.Script(ctx, "tail -n 60 /var/log/xen/console/guest-Xenstore.log")
			t.Logf("the xenstore domain's console:\n%s\n%s", console, h.XenLog(ctx))
		}
		h.Close()
	})
	setUp := "ip link add xenbr0 type bridge && ip link set xenbr0 up && ip addr add 10.7.0.1/24 dev xenbr0\n"
	if !ours {
		setUp += "printf 'name=\"first\"\\ntype=\"pv\"\\nkernel=\"/nowhere\"\\n' >/tmp/first.cfg; xl create -q /tmp/first.cfg 2>/dev/null; true\n"
	}
	if _, err := h.Script(within(t, time.Minute), setUp); err != nil {
		t.Fatal(err)
	}
	t.Logf("the host is there after %v, it booted in %v", time.Since(begun).Round(time.Second), h.BootTime.Round(time.Second))
	return h
}

// storeGuest starts a stock Linux guest with a disk and a network interface. It writes to its disk again and again, reads
// it back, and says so.
func storeGuest(t *testing.T, h *testbed.Host, kind string, n int) *testbed.Domain {
	t.Helper()
	ctx := within(t, 3*time.Minute)
	disk := fmt.Sprintf("/tmp/disk%d.img", n)
	if _, err := h.Output(ctx, "truncate", "-s", "16M", disk); err != nil {
		t.Fatal(err)
	}
	c, err := h.StockGuest(ctx, "store-"+kind, kind, fmt.Sprintf(`
		mkdir -p /sbin; printf '#!/bin/sh\n/bin/poweroff -f\n' >/sbin/poweroff; chmod +x /sbin/poweroff
		ifconfig eth0 10.7.0.%d up && ping -c 2 10.7.0.1 >/tmp/ping && echo GUEST net
		n=0
		while true; do
			n=$((n+1))
			dd if=/dev/urandom of=/tmp/block bs=4k count=32 2>/dev/null
			dd if=/tmp/block of=/dev/xvda bs=4k seek=$((n%%100*32)) conv=fsync 2>/dev/null || echo GUEST write failed
			echo 3 >/proc/sys/vm/drop_caches
			dd if=/dev/xvda of=/tmp/back bs=4k skip=$((n%%100*32)) count=32 2>/dev/null || echo GUEST read failed
			cmp /tmp/block /tmp/back || echo GUEST differs
			echo GUEST disk $n
			usleep 200000 # the service has the same CPU here
		done`, 10+n))
	if err != nil {
		t.Fatal(err)
	}
	c.Disks = []string{disk + ",raw,xvda,rw"}
	c.Extra = []string{
		fmt.Sprintf(`vif=["bridge=xenbr0,mac=00:16:3e:00:00:%02x"]`, n),
		fmt.Sprintf(`uuid="00000000-0000-0000-0000-00000000000%d"`, n),
	}
	d, err := h.StartDomain(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s is domain %d, created in %v", d.Name, d.ID, d.Created.Round(time.Millisecond))
	for _, want := range []string{`GUEST net`, `GUEST disk 1`} {
		if _, err := d.Console.WaitFor(ctx, want); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// steadyTree is what xenstore-ls shows, sorted, without what differs from boot to boot or belongs to the daemon.
func steadyTree(t *testing.T, h *testbed.Host) string {
	t.Helper()
	out, err := h.Output(within(t, time.Minute), "xenstore-ls", "-f", "-p")
	if err != nil {
		t.Fatal(err)
	}
	changes := regexp.MustCompile(`/(port|ring-ref|event-channel\S*|\S*-ring-ref|tty|start_time|physical-device|pid) = "[^"]*"`)
	daemons := regexp.MustCompile(`^(/tool/xenstored|/local/domain/1|/local/domain/0/backend/console/1)(/| )`)
	var lines []string
	for l := range strings.Lines(out) {
		if !daemons.MatchString(l) {
			lines = append(lines, changes.ReplaceAllString(l, `/$1 = "…"`))
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

// storeLife starts guests and does with them what a tool stack does. It returns the tree when they run, and figures.
func storeLife(t *testing.T, h *testbed.Host) (tree string, created map[string]time.Duration) {
	created = make(map[string]time.Duration)
	pv := storeGuest(t, h, "pv", 1)
	pvh := storeGuest(t, h, "pvh", 2)
	created["pv"], created["pvh"] = pv.Created, pvh.Created
	tree = steadyTree(t, h)
	ctx := within(t, 4*time.Minute)
	xl := func(args ...string) string {
		out, err := h.Output(ctx, append([]string{"xl"}, args...)...)
		if err != nil {
			t.Fatalf("%v\n%s", err, pv.Console)
		}
		return out
	}
	list := xl("list")
	for _, d := range []*testbed.Domain{pv, pvh} {
		if !strings.Contains(list, fmt.Sprintf("%s %*d", d.Name, 42-len(d.Name), d.ID)) && !strings.Contains(list, d.Name) {
			t.Errorf("xl list without %s:\n%s", d.Name, list)
		}
	}
	xl("rename", strconv.Itoa(pv.ID), "renamed")
	if id := strings.TrimSpace(xl("domid", "renamed")); id != strconv.Itoa(pv.ID) {
		t.Errorf("the renamed domain is %s, was %d", id, pv.ID)
	}
	xl("save", "renamed", "/tmp/saved")
	r, err := h.RestoreDomain(ctx, "renamed", "/tmp/saved")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Console.WaitFor(ctx, `GUEST disk \d+\r?\n[^$]*GUEST disk`); err != nil {
		t.Fatal(err)
	}
	if err := r.Shutdown(within(t, time.Minute)); err != nil {
		t.Fatalf("%v\n%s", err, r.Console)
	}
	if err := pvh.Destroy(ctx); err != nil {
		t.Fatal(err)
	}
	for _, d := range []*testbed.Domain{pv, pvh, r} {
		if s := d.Console.String(); strings.Contains(s, "failed") || strings.Contains(s, "differs") {
			t.Errorf("%s has trouble with its disk:\n%s", d.Name, s)
		}
	}
	for end := time.Now().Add(30 * time.Second); ; {
		left, err := h.Script(ctx, "xenstore-list /local/domain /local/domain/0/backend/vbd /local/domain/0/backend/vif 2>/dev/null | tr '\\n' ' '")
		if err != nil {
			left = err.Error()
		}
		if gone := strings.Trim(left, " 01"); gone == "" {
			return tree, created
		} else if time.Now().After(end) {
			t.Errorf("of domains that ended is left: %s", left)
			return tree, created
		}
	}
}

// storeCrashes kills the service again and again, at different points of its work and in different ways, while guests
// use their disks and the tool stack works: nobody but its console tells.
func storeCrashes(t *testing.T, h *testbed.Host) {
	const crashes = 20
	guests := []*testbed.Domain{storeGuest(t, h, "pv", 3), storeGuest(t, h, "pvh", 4)}
	ctx := within(t, 6*time.Minute)
	out, err := h.Script(ctx, fmt.Sprintf(`
		set -e
		now() { date +%%s%%N; }
		xenstore-write /test/watched 0 /test/mode 0
		xenstore-chmod /test/mode n0 r%[2]d
		xenstore-watch /test/watched >/tmp/events &
		watcher=$!
		for i in $(seq %[1]d); do
			begun=$(now)
			xenstore-write "/test/before/n$i" "$i"
			xenstore-control crash $((i %% 7 + 1)) $((i %% 3)) >/dev/null
			xenstore-write "/test/after/n$i" "$i"
			a=$(now); xl list >/dev/null; b=$(now)
			xl block-list %[2]d >/dev/null; c=$(now)
			xl rename %[3]d "crashed$i"; d=$(now)
			echo "$((b-a)) $((c-b)) $((d-c))"
			xenstore-write /test/watched "$i"
			while [ $(($(now)-begun)) -lt 2500000000 ]; do sleep 0.1; done
		done
		for i in $(seq %[1]d); do
			[ "$(xenstore-read /test/before/n$i /test/after/n$i | tr '\n' ' ')" = "$i $i " ] || { echo "lost $i" >&2; exit 1; }
		done
		kill $watcher
	`, crashes, guests[0].ID, guests[1].ID))
	if err != nil {
		t.Fatal(err)
	}
	var worst time.Duration
	for _, f := range strings.Fields(out) {
		ns, err := strconv.Atoi(f)
		if err != nil {
			t.Fatalf("%v in\n%s", err, out)
		}
		worst = max(worst, time.Duration(ns))
	}
	// A busy machine's emulator is slow with or without crashes.
	if worst > 5*time.Second {
		t.Errorf("a command of xl took %v; want two seconds at most, on a busy emulator five", worst)
	}
	left, err := h.Script(ctx, `
		xenstore-ls -p /test | grep mode; xenstore-list /test/before | wc -l; xenstore-list /test/after | wc -l
		grep -c 'generation .* serves' /var/log/xen/console/guest-Xenstore.log; grep -c '^/test/watched' /tmp/events`)
	if err != nil {
		t.Fatal(err)
	}
	var mode string
	var before, after, generations, events int
	first, rest, _ := strings.Cut(left, "\n")
	mode = strings.Join(strings.Fields(first), " ")
	if _, err := fmt.Sscan(rest, &before, &after, &generations, &events); err != nil {
		t.Fatalf("%v in\n%s", err, left)
	}
	if want := fmt.Sprintf(`mode = "0" (n0,r%d)`, guests[0].ID); mode != want || before != crashes || after != crashes {
		t.Errorf("left are %s, %d and %d nodes; want %s and %d each", mode, before, after, want, crashes)
	}
	if generations != crashes+1 {
		t.Errorf("%d generations, want %d", generations, crashes+1)
	}
	if events < crashes+1 {
		t.Errorf("the watch fired %d times, want %d at least", events, crashes+1)
	}
	for _, g := range guests {
		n := strings.Count(g.Console.String(), "GUEST disk")
		if _, err := g.Console.WaitFor(within(t, time.Minute), fmt.Sprintf("GUEST disk %d", n+2)); err != nil {
			t.Errorf("%s stands still: %v", g.Name, err)
		}
		if err := g.Shutdown(within(t, time.Minute)); err != nil {
			t.Errorf("%s does not hear xl shutdown any more: %v", g.Name, err)
		}
		if s := g.Console.String(); strings.Contains(s, "failed") || strings.Contains(s, "differs") {
			t.Errorf("%s has trouble with its disk:\n%s", g.Name, s)
		}
	}
	console, err := h.Script(ctx, "grep 'serves' /var/log/xen/console/guest-Xenstore.log")
	if err != nil {
		t.Fatal(err)
	}
	report(t, "xenstore-crashes", fmt.Sprintf("The xenstore domain, killed %d times while guests and the tool stack work\nworst command of xl: %v\n%s",
		crashes, worst.Round(time.Millisecond), lastLines(console, 3)))
}

// storeHostile has guests that mean harm: only they lose their connection, and dom0 is served all the time.
func storeHostile(t *testing.T, h *testbed.Host) {
	latency := process(t, h, "morgana/tests/system/storelatency")
	measure := func() (half, most, worst int) {
		t.Helper()
		out, err := h.Output(within(t, time.Minute), latency, "5s")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fmt.Sscan(out, &half, &most, &worst); err != nil {
			t.Fatal(err)
		}
		return half, most, worst
	}
	hostile, err := image.BuildProgram(filepath.Join(t.TempDir(), "hostile"), "morgana/tests/system/hostile")
	if err != nil {
		t.Fatal(err)
	}
	half, most, worst := measure()
	text := fmt.Sprintf("Reads of dom0 by the xenstore domain, µs: half of them, 99 of 100, worst\nquiet: %d %d %d\n", half, most, worst)
	for _, c := range []struct {
		name, script, want string
	}{
		{"length", "/hostile flood length", "HOSTILE error 3"},
		{"index", "/hostile index", "HOSTILE error 2"},
	} {
		ctx := within(t, 4*time.Minute)
		g, err := h.StockGuest(ctx, "bad-"+c.name, "pvh", c.script, testbed.Files{"hostile": hostile})
		if err != nil {
			t.Fatal(err)
		}
		d, err := h.StartDomain(ctx, g)
		if err != nil {
			t.Fatal(err)
		}
		if c.name == "length" {
			if _, err := d.Console.WaitFor(ctx, "HOSTILE begins"); err != nil {
				t.Fatal(err)
			}
			half, most, worst := measure()
			text += fmt.Sprintf("beside a guest that floods its ring: %d %d %d\n", half, most, worst)
		}
		if _, err := d.Console.WaitFor(ctx, c.want); err != nil {
			t.Errorf("%s: %v\n%s", c.name, err, d.Console)
		}
		if _, err := d.Wait(ctx); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	out, err := h.Script(within(t, time.Minute), "grep -c 'broke the protocol' /var/log/xen/console/guest-Xenstore.log; grep -c serves /var/log/xen/console/guest-Xenstore.log; xenstore-control stats")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(out, "2\n1\n") {
		t.Errorf("guests that were cut off, generations, counters:\n%s\nwant 2, 1", out)
	}
	report(t, "xenstore-hostile", text)
}

// roundTrip is what a read takes in dom0: a thousand of them by one process, which reads its commands from a pipe.
func roundTrip(t *testing.T, h *testbed.Host) time.Duration {
	t.Helper()
	out, err := h.Script(within(t, 2*time.Minute), `
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

// TestXenstoreDomain: a host whose xenstore is a domain of ours is like one with C xenstored, to dom0, to the tool stack
// and to guests.
func TestXenstoreDomain(t *testing.T) {
	type host struct {
		tree    string
		created map[string]time.Duration
		trip    time.Duration
	}
	var hosts [2]host
	for i, name := range []string{"xenstored", "a domain"} {
		if !t.Run(name, func(t *testing.T) {
			h := storeHost(t, i == 1)
			hosts[i].trip = roundTrip(t, h)
			hosts[i].tree, hosts[i].created = storeLife(t, h)
			t.Logf("a read takes %v; xl create %v", hosts[i].trip, hosts[i].created)
			if i == 1 {
				t.Run("hostile guests", func(t *testing.T) { storeHostile(t, h) })
				t.Run("crashes", func(t *testing.T) { storeCrashes(t, h) })
			}
		}) {
			return
		}
	}
	c, ours := hosts[0], hosts[1]
	if d := cmp.Diff(strings.Split(c.tree, "\n"), strings.Split(ours.tree, "\n")); d != "" {
		t.Errorf("the tree with C xenstored, and with ours:\n%s", d)
	}
	ratio := func(a, b time.Duration) string { return fmt.Sprintf("%.2f", float64(a)/float64(b)) }
	report(t, "xenstore", fmt.Sprintf(`The xenstore domain beside C xenstored in dom0, each in a host of its own
read from dom0: %v, C %v, ratio %s
xl create, PV guest: %v, C %v, ratio %s; PVH guest: %v, C %v, ratio %s
`, ours.trip, c.trip, ratio(ours.trip, c.trip),
		ours.created["pv"].Round(time.Millisecond), c.created["pv"].Round(time.Millisecond), ratio(ours.created["pv"], c.created["pv"]),
		ours.created["pvh"].Round(time.Millisecond), c.created["pvh"].Round(time.Millisecond), ratio(ours.created["pvh"], c.created["pvh"])))
}
