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
	oursConsoled  = `/share/xenconsoled --log=all --log-dir=` + consoleLogs + " --pid-file=/run/consoled.pid"
)

// consoles is the host whose console daemon is ours.
type consoles struct {
	t *testing.T
	h *testbed.Host
	// daemon starts ours.
	daemon string
}

func (c *consoles) script(d time.Duration, format string, args ...any) string {
	c.t.Helper()
	out, err := c.h.Script(within(c.t, d), fmt.Sprintf(format, args...))
	if err != nil {
		c.t.Fatal(err)
	}
	return out
}

// restart ends the daemon that runs, by a signal or with kill's option -9, and starts ours.
func (c *consoles) restart(signal string) {
	c.t.Helper()
	c.script(time.Minute, "%s%s\n", fmt.Sprintf(endConsoled, signal), c.daemon)
}

// in is the same for a part of the test.
func (c *consoles) in(t *testing.T) *consoles { return &consoles{t, c.h, c.daemon} }

// TestConsoles: our console daemon in dom0, with stock xl and stock guests, in place of Xen's; then the console domain.
// xl console, what is typed, logs, Xen's own log, kill -9 while a guest writes, xconsole; floods are compared byte for byte
// with what the guest wrote, and measured; domains are wholly gone when they end. With $SOAK more is killed and flooded, also
// with our daemon in dom0, and a hostile guest and many at once are there too.
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
	c := &consoles{t, h, oursConsoled}
	stock := c.flood("stock", floodStock)
	c.restart("")
	t.Cleanup(func() {
		if _, err := h.Script(within(t, time.Minute), fmt.Sprintf(endConsoled, "")+stockConsoled); err != nil {
			t.Error(err)
		}
	})
	t.Run("daemon", func(t *testing.T) { c.in(t).guest("pvh", times(1, 3), func(int) { c.restart("-9") }) })
	text := fmt.Sprintf("a stock guest writes %d KiB to its console: %.2f s with Xen's daemon", floodStock>>10, stock)
	if soaks() {
		ours := c.flood("ours", floodStock)
		text += fmt.Sprintf(", %.2f s with ours (%.1f times as fast)", ours, stock/ours)
	}
	domain := c.domain()
	report(t, "consoles", text+fmt.Sprintf(", %.2f s with the console domain (%.1f times as fast)\n", domain, stock/domain))
	if log := c.script(time.Minute, "cat "+consoleLogs+"/hypervisor.log"); !strings.Contains(log, "(XEN)") {
		t.Errorf("Xen's own log: %q", log)
	}
	if list := c.script(time.Minute, "xl list"); strings.Contains(list, "(null)") {
		t.Errorf("domains that are not wholly gone:\n%s", list)
	}
}

// guest checks the console of a stock guest that writes lines all the time while disturb is called so many times.
func (c *consoles) guest(kind string, often int, disturb func(int)) {
	t, h := c.t, c.h
	ctx := within(t, 3*time.Minute)
	config, err := h.StockGuest(ctx, "con-"+kind, kind, `
read x </dev/console; echo "typed: $x"
i=0
(while [ ! -e /tmp/stop ]; do
	for k in 1 2 3 4 5 6 7 8; do echo "line $i of a guest that writes all the time"; i=$((i+1)); done; usleep 20000
done; echo "written: $i") &
read x </dev/console; : >/tmp/stop; wait
read x </dev/console`)
	if err != nil {
		t.Fatal(err)
	}
	config.XLConsole = true
	d, err := h.StartDomain(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Destroy(within(t, 20*time.Second)) }) // it would write for ever
	waitFor := func(re string) {
		t.Helper()
		if _, err := d.Console.WaitFor(ctx, re); err != nil {
			t.Fatalf("%s: %v\n%.4000s", re, err, d.Console.String())
		}
	}
	waitFor("GUEST up")
	d.Console.Type("hello\n")
	waitFor("typed: hello")
	for i := range often {
		waitFor(fmt.Sprintf("line %d0 of a guest", 4*(i+1)))
		disturb(i)
	}
	// xl console has followed. What is typed goes to the terminal that there is now, and then through xconsole, which ends
	// with the guest. Until the next daemon has made the terminal, xenstore names the one of the daemon that was killed.
	c.script(time.Minute, `for i in $(seq 1000); do
		tty=$(xenstore-read /local/domain/%d/console/tty)
		grep -qsx "tty-index:[[:space:]]*${tty##*/}" /proc/$(cat /run/consoled.pid)/fdinfo/* && { echo >$tty; exit 0; }
		sleep 0.02
	done
	echo "no terminal $tty of the daemon"; exit 1`, d.ID)
	waitFor(`written: \d+`)
	out := c.script(time.Minute, "/share/xconsole list && /share/xconsole logs -n 5 %s", d.Name)
	if !strings.Contains(out, d.Name) || !strings.Contains(out, "written: ") {
		t.Errorf("xconsole:\n%s", out)
	}
	if out := c.script(time.Minute, "echo | timeout 50 /share/xconsole attach -n 5 %s", d.Name); !strings.Contains(out, "GUEST exit") {
		t.Errorf("xconsole attach:\n%s", out)
	}
	if reason, err := d.Wait(ctx); err != nil || reason != "poweroff" {
		t.Errorf("the guest ended: %q, %v", reason, err)
	}
	c.lines(c.script(time.Minute, "cat %s/guest-%s.log", consoleLogs, d.Name))
}

// lines checks that a log has every line of a guest once.
func (c *consoles) lines(log string) {
	c.t.Helper()
	m := regexp.MustCompile(`written: (\d+)`).FindStringSubmatch(log)
	if m == nil {
		c.t.Errorf("the end is not in the log:\n%.2000s", log)
		return
	}
	next := 0
	for _, m := range regexp.MustCompile(`line (\d+) of a guest that writes all the time\r?\n`).FindAllStringSubmatch(log, -1) {
		if m[1] != strconv.Itoa(next) {
			c.t.Errorf("line %s follows line %d in the log", m[1], next-1)
			return
		}
		next++
	}
	if m[1] != strconv.Itoa(next) {
		c.t.Errorf("%d of %s lines are in the log", next, m[1])
	}
	c.t.Logf("%d lines, each once", next)
}

// floodStock is how much a stock guest writes when it floods, in bytes: its driver hands 256 bytes at a time to the ring,
// which takes an emulated host seconds for this much, whoever reads.
var floodStock = times(32<<10, 128<<10)

const floodLine = "a line of a guest that floods its console with text"

// flood has a guest write size bytes with nobody attached, and says how many seconds it took by the guest's clock. The log
// has to have them all.
func (c *consoles) flood(name string, size int) float64 {
	t, h := c.t, c.h
	t.Helper()
	ctx := within(t, 3*time.Minute)
	config, err := h.StockGuest(ctx, "flood-"+name, "pvh", fmt.Sprintf(`
yes "%s" | head -c %d >/tmp/text
a=$(cut -d' ' -f1 /proc/uptime); cat /tmp/text >/dev/hvc0; b=$(cut -d' ' -f1 /proc/uptime)
echo; echo "FLOOD from $a to $b"`, floodLine, size))
	if err != nil {
		t.Fatal(err)
	}
	config.Paused, config.XLConsole = true, true
	d, err := h.StartDomain(ctx, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Destroy(within(t, 20*time.Second)) })
	c.script(time.Minute, "for p in $(pgrep -f '[x]enconsole %d '); do kill $p; done", d.ID)
	if err := d.Unpause(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	log := c.script(time.Minute, "cat %s/guest-%s.log", consoleLogs, d.Name)
	return c.flooded(log, size)
}

// flooded checks a log that a flooding guest left.
func (c *consoles) flooded(log string, size int) float64 {
	c.t.Helper()
	want := strings.Repeat(floodLine+"\r\n", size/(len(floodLine)+1)+1)
	want = want[:size/(len(floodLine)+1)*(len(floodLine)+2)+size%(len(floodLine)+1)]
	if !strings.Contains(log, want+"\r\nFLOOD") {
		c.t.Errorf("the log, of %d bytes, does not have the %d that the guest wrote", len(log), len(want))
	}
	m := regexp.MustCompile(`FLOOD from ([\d.]+) to ([\d.]+)`).FindStringSubmatch(log)
	if m == nil {
		c.t.Fatalf("the guest's end is not in the log, of %d bytes:\n%.2000s", len(log), log)
	}
	from, err1 := strconv.ParseFloat(m[1], 64)
	to, err2 := strconv.ParseFloat(m[2], 64)
	if err1 != nil || err2 != nil || to <= from {
		c.t.Fatalf("from %q to %q", m[1], m[2])
	}
	c.t.Logf("%d bytes in the log, which are the guest's", len(want))
	return to - from
}
