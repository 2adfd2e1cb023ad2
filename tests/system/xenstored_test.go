package system

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
	"morgana/unikernel/image"
)

// TestXenstoredOnXen: our daemon in dom0 in place of Xen's, on real rings. It is killed while a guest works, and the next
// one goes on: the guest, the tool stack and who watches notice nothing.
func TestXenstoredOnXen(t *testing.T) {
	o := testbed.Options{Emulated: true, Share: t.TempDir(), Xenstored: "/share/xenstored"}
	if _, err := image.BuildProgram(filepath.Join(o.Share, "xenstored"), "morgana/cmd/xenstored"); err != nil {
		t.Fatal(err)
	}
	h, err := testbed.Start(within(t, 8*time.Minute), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(h.XenLog(within(t, 20*time.Second)))
		}
		h.Close()
	})
	ctx := within(t, 8*time.Minute)
	script := func(s string) string {
		t.Helper()
		out, err := h.Script(ctx, "set -e\n"+s)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	hostile, err := image.BuildProgram(filepath.Join(t.TempDir(), "hostile"), "morgana/tests/system/hostile")
	if err != nil {
		t.Fatal(err)
	}
	script(`ip link add xenbr0 type bridge; ip link set xenbr0 up; ip addr add 10.7.0.1/24 dev xenbr0`)
	g := storeGuest(t, h, "pv", 1, hostile)
	report(t, "xenstored", fmt.Sprintf("Our xenstored in dom0 on Xen: a read takes %v, xl create %v\n", readTime(t, h), g.Created.Round(time.Millisecond)))
	// What dom0's programs have of the socket ends with the daemon. xenconsoled is one of them, and is started again.
	out := script(fmt.Sprintf(`
		for i in 1 2 3 4 5; do
			xenstore-write /before/n$i $i
			kill -9 $(cat /run/xenstored.pid)
			for _ in $(seq 100); do kill -0 $(cat /run/xenstored.pid) 2>/dev/null || break; sleep 0.05; done
			/share/xenstored --pid-file /run/xenstored.pid
			xenstore-write /after/n$i $i
			xl list >/dev/null
			xl rename %[1]d again$i
			[ "$(xl domname %[1]d)" = again$i ]
		done
		for _ in $(seq 100); do pgrep -x xenconsoled >/dev/null || break; sleep 0.05; done
		xenconsoled --log=guest --log-dir=/var/log/xen/console
		xenstore-list /before | wc -l; xenstore-list /after | wc -l; xl block-list %[1]d | wc -l
	`, g.ID))
	if got := strings.Join(strings.Fields(out), " "); got != "5 5 2" {
		t.Errorf("nodes before, after, and lines of xl block-list: %s; want 5 5 2", got)
	}
	// The guest reads and is answered, and hears what it watches.
	out = script(fmt.Sprintf(`
		log() { cat /var/log/xen/console/guest-*; }
		wait() { for _ in $(seq 300); do "$@" && return; sleep 0.2; done; log; echo "waited for $*" >&2; return 1; }
		xenstore-write %[1]s known; xenstore-chmod %[1]s n0 r%[2]d
		wait eval 'log | grep -q "GUEST secret known"'
		n=$(log | grep -c "GUEST disk")
		wait eval '[ $(log | grep -c "GUEST disk") -ge $((n+3)) ]'
		xl shutdown %[2]d
		wait eval '! xl list %[2]d 2>/dev/null | grep -v " ---s-" | grep -q " %[2]d "'
		xl destroy %[2]d 2>/dev/null || true
		log
	`, secretNode, g.ID))
	if strings.Contains(out, "failed") || strings.Contains(out, "differs") || !strings.Contains(out, "System halted") {
		t.Errorf("the guest has trouble, or did not power off:\n%s", out)
	}
}
