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
func storeHost(t testing.TB, ours bool) *testbed.Host {
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
	h, err := testbed.Start(within(t, 8*time.Minute), o)
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
// it back, and says so. Now and then it reads a node too.
func storeGuest(t *testing.T, h *testbed.Host, kind string, n int, hostile []byte) *testbed.Domain {
	t.Helper()
	ctx := within(t, 5*time.Minute)
	disk := fmt.Sprintf("/tmp/disk%d.img", n)
	if _, err := h.Output(ctx, "truncate", "-s", "16M", disk); err != nil {
		t.Fatal(err)
	}
	// A PV guest's command line has no room for it.
	life := fmt.Sprintf(`
		mkdir -p /sbin; printf '#!/bin/sh\n/bin/poweroff -f\n' >/sbin/poweroff; chmod +x /sbin/poweroff
		ifconfig eth0 10.7.0.%d up && ping -c 2 10.7.0.1 >/tmp/ping && echo GUEST net
		n=0 secret=
		while true; do
			n=$((n+1))
			dd if=/dev/urandom of=/tmp/block bs=4k count=16 2>/dev/null
			dd if=/tmp/block of=/dev/xvda bs=4k seek=$((n%%100*16)) conv=fsync 2>/dev/null || echo GUEST write failed
			echo 3 >/proc/sys/vm/drop_caches
			dd if=/dev/xvda of=/tmp/back bs=4k skip=$((n%%100*16)) count=16 2>/dev/null || echo GUEST read failed
			cmp /tmp/block /tmp/back || echo GUEST differs
			echo GUEST disk $n
			if [ $((n%%4)) = 1 ]; then
				now=$(/hostile read %s)
				[ "$now" = "$secret" ] || echo "GUEST secret $now"
				secret=$now
			fi
			usleep 300000 # the service has the same CPU here
		done`, 10+n, secretNode)
	c, err := h.StockGuest(ctx, "store-"+kind, kind, "sh /life", testbed.Files{"life": []byte(life), "hostile": hostile})
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
	for _, want := range []string{`GUEST net`, `GUEST disk 1`, `GUEST secret E[A-Z]+`} {
		if _, err := d.Console.WaitFor(ctx, want); err != nil {
			t.Fatal(err)
		}
	}
	return d
}

// secretNode is one that a guest may read whom dom0 allows it.
const secretNode = "/test/secret"

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

// storeLife does with guests what a tool stack does.
func storeLife(t *testing.T, h *testbed.Host, pv, pvh *testbed.Domain) {
	ctx := within(t, 8*time.Minute)
	xl := func(args ...string) string {
		t.Helper()
		out, err := h.Output(ctx, append([]string{"xl"}, args...)...)
		if err != nil {
			t.Fatalf("%v\n%s", err, pv.Console)
		}
		return out
	}
	list := xl("list")
	for _, d := range []*testbed.Domain{pv, pvh} {
		if !regexp.MustCompile(fmt.Sprintf(`(?m)^\S+ +%d `, d.ID)).MatchString(list) {
			t.Errorf("xl list without domain %d:\n%s", d.ID, list)
		}
	}
	xl("rename", strconv.Itoa(pv.ID), "renamed")
	if id := strings.TrimSpace(xl("domid", "renamed")); id != strconv.Itoa(pv.ID) {
		t.Errorf("the renamed domain is %s, was %d", id, pv.ID)
	}
	// The domain that is restored gets its number again, but is another one: what its predecessor was allowed it is not.
	if _, err := h.Script(ctx, fmt.Sprintf("xenstore-write %[1]s known && xenstore-chmod %[1]s n0 r%[2]d", secretNode, pv.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := pv.Console.WaitFor(ctx, `GUEST secret known`); err != nil {
		t.Fatal(err)
	}
	xl("save", "-D", "renamed", "/tmp/saved")
	if _, err := h.Output(ctx, "rm", "-f", "/run/xen/domid-history"); err != nil { // or the number is not used again so soon
		t.Fatal(err)
	}
	r, err := h.RestoreDomain(ctx, "renamed", "/tmp/saved")
	if err != nil {
		t.Fatal(err)
	}
	if r.ID != pv.ID {
		t.Errorf("the restored domain is %d, was %d", r.ID, pv.ID)
	}
	for _, want := range []string{`GUEST secret EACCES`, `GUEST disk \d+\n[^$]*GUEST disk`} {
		if _, err := r.Console.WaitFor(ctx, want); err != nil {
			t.Fatalf("after the restore: %v", err)
		}
	}
	if err := r.Shutdown(within(t, 2*time.Minute)); err != nil {
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
	for end := time.Now().Add(time.Minute); ; {
		left, err := h.Script(ctx, "xenstore-list /local/domain /local/domain/0/backend/vbd /local/domain/0/backend/vif 2>/dev/null | tr '\\n' ' '")
		if err != nil {
			left = err.Error()
		}
		if gone := strings.Trim(left, " 01"); gone == "" {
			return
		} else if time.Now().After(end) {
			t.Errorf("of domains that ended is left: %s", left)
			return
		}
	}
}

// TestXenstoreDomain: a host whose xenstore is a domain of ours is like one with C xenstored, to dom0, to the tool stack
// and to guests; and it stays so while guests do their worst and the service dies again and again.
func TestXenstoreDomain(t *testing.T) {
	hostile, err := image.BuildProgram(filepath.Join(t.TempDir(), "hostile"), "morgana/tests/system/hostile")
	if err != nil {
		t.Fatal(err)
	}
	var trees [2]string
	var figures [2]storeSpeed
	for i, name := range []string{"xenstored", "a domain"} {
		if !t.Run(name, func(t *testing.T) {
			h := storeHost(t, i == 1)
			figures[i].read = readTime(t, h)
			pv, pvh := storeGuest(t, h, "pv", 1, hostile), storeGuest(t, h, "pvh", 2, hostile)
			figures[i].pv, figures[i].pvh = pv.Created, pvh.Created
			trees[i] = steadyTree(t, h)
			if i == 1 {
				t.Run("hostile guests", func(t *testing.T) { storeHostile(t, h, hostile, pv, pvh) })
				t.Run("crashes", func(t *testing.T) { storeCrashes(t, h, pv, pvh) })
				t.Run("life", func(t *testing.T) { storeLife(t, h, pv, pvh) })
			}
		}) {
			return
		}
	}
	if d := cmp.Diff(strings.Split(trees[0], "\n"), strings.Split(trees[1], "\n")); d != "" {
		t.Errorf("the tree with C xenstored, and with ours:\n%s", d)
	}
	report(t, "xenstore", beside(figures[0], figures[1]))
}
