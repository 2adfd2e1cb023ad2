//go:build consoles

package system

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
)

const consoleLogs = "/var/log/xen/console"

// stockConsoled starts Xen's console daemon, oursConsoled ours, in place of the one that runs.
const (
	endConsoled = `for f in /run/xen/xenconsoled.pid /run/consoled.pid; do
	[ -e $f ] || continue
	p=$(cat $f); kill %s $p 2>/dev/null
	for i in $(seq 250); do grep -qs '^State:.[^Z]' /proc/$p/status || break; sleep 0.02; done
	rm -f $f
done
`
	stockConsoled = `xenconsoled --log=guest --log-dir=` + consoleLogs + "\n"
	oursConsoled  = `/share/xenconsoled --log=all --log-dir=` + consoleLogs + " --pid-file=/run/consoled.pid\n"
)

// TestConsoles: our console daemon in dom0, with stock xl and stock guests: xl console, what is typed, logs, Xen's own log,
// kill -9 while a guest writes, xconsole; domains are wholly gone when they end. A flood is measured with both daemons.
func TestConsoles(t *testing.T) {
	h := host(t)
	if h.Own {
		t.Skip("the console daemon of a host that is in use is not replaced")
	}
	for name, pkg := range map[string]string{"xenconsoled": "morgana/cmd/xenconsoled", "xconsole": "morgana/cmd/xconsole"} {
		c := exec.Command("go", "build", "-o", filepath.Join(h.Share, name), pkg)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	script := func(text string) string {
		t.Helper()
		out, err := h.Script(within(t, time.Minute), text)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	stock := flood(t, h, "stock")
	script(fmt.Sprintf(endConsoled, "") + oursConsoled)
	t.Cleanup(func() {
		if _, err := h.Script(within(t, time.Minute), fmt.Sprintf(endConsoled, "")+stockConsoled); err != nil {
			t.Error(err)
		}
	})
	for _, kind := range []string{"pvh", "pv"} {
		t.Run(kind, func(t *testing.T) { consoleOf(t, h, kind) })
	}
	ours := flood(t, h, "ours")
	report(t, "consoles", fmt.Sprintf("a stock guest writes 256 KiB to its console: %.1f s with Xen's daemon, %.1f s with ours (%.1f times as fast)\n",
		stock, ours, stock/ours))
	if log := script("cat " + consoleLogs + "/hypervisor.log"); !strings.Contains(log, "(XEN)") {
		t.Errorf("Xen's own log: %q", log)
	}
	if list := script("xl list"); strings.Contains(list, "(null)") {
		t.Errorf("domains that are not wholly gone:\n%s", list)
	}
}

// consoleOf checks the console of a stock guest.
func consoleOf(t *testing.T, h *testbed.Host, kind string) {
	ctx := within(t, 5*time.Minute)
	const lines = 1500
	name := "con-" + kind
	c, err := h.StockGuest(ctx, name, kind, fmt.Sprintf(`
read x </dev/console; echo "typed: $x"
i=0; while [ $i -lt %d ]; do echo "line $i of a guest that writes while its daemon is killed"; i=$((i+1)); done
echo "written"; read x </dev/console`, lines))
	if err != nil {
		t.Fatal(err)
	}
	d, err := h.StartDomain(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	waitFor := func(re string) {
		t.Helper()
		if _, err := d.Console.WaitFor(ctx, re); err != nil {
			t.Fatalf("%s: %v\n%s", re, err, d.Console.String())
		}
	}
	waitFor("GUEST up")
	d.Console.Type("hello\n")
	waitFor("typed: hello")
	for range 5 {
		if _, err := h.Script(ctx, fmt.Sprintf(endConsoled, "-9")+"sleep 0.1\n"+oursConsoled+"sleep 0.1"); err != nil {
			t.Fatal(err)
		}
	}
	waitFor("written") // xl console has followed
	out, err := h.Script(ctx, "/share/xconsole list && /share/xconsole logs -n 5 "+d.Name)
	if err != nil || !strings.Contains(out, d.Name) || !strings.Contains(out, "written") {
		t.Errorf("xconsole: %v\n%s", err, out)
	}
	// What is typed goes through xconsole now, which ends with the guest.
	if out, err := h.Script(ctx, "echo | timeout 60 /share/xconsole attach -n 5 "+d.Name); err != nil || !strings.Contains(out, "GUEST exit") {
		t.Errorf("xconsole attach: %v\n%s", err, out)
	}
	if reason, err := d.Wait(ctx); err != nil || reason != "poweroff" {
		t.Errorf("the guest ended: %q, %v", reason, err)
	}
	log, err := h.Script(ctx, "cat "+consoleLogs+"/guest-"+d.Name+".log")
	if err != nil {
		t.Fatal(err)
	}
	next := 0
	for _, m := range regexp.MustCompile(`line (\d+) of a guest`).FindAllStringSubmatch(log, -1) {
		if m[1] != strconv.Itoa(next) {
			t.Fatalf("line %s follows line %d in the log", m[1], next-1)
		}
		next++
	}
	if next != lines {
		t.Errorf("%d of %d lines are in the log", next, lines)
	}
}

// flood has a guest write 256 KiB, and says how many seconds it took by the guest's clock.
func flood(t *testing.T, h *testbed.Host, name string) float64 {
	t.Helper()
	ctx := within(t, 5*time.Minute)
	c, err := h.StockGuest(ctx, "flood-"+name, "pvh", `
yes "a line of a guest that floods its console with text" | head -c 262144 >/tmp/text
a=$(cut -d' ' -f1 /proc/uptime); cat /tmp/text >/dev/hvc0; b=$(cut -d' ' -f1 /proc/uptime)
echo; echo "FLOOD from $a to $b"`)
	if err != nil {
		t.Fatal(err)
	}
	d, err := h.StartDomain(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	m, err := d.Console.WaitFor(ctx, `FLOOD from ([\d.]+) to ([\d.]+)`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	from, err1 := strconv.ParseFloat(m[1], 64)
	to, err2 := strconv.ParseFloat(m[2], 64)
	if err1 != nil || err2 != nil || to <= from {
		t.Fatalf("from %q to %q", m[1], m[2])
	}
	return to - from
}
