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

// floodLines is how many lines a unikernel writes when it floods the console domain, 69 MiB. One has 67 bytes, a carriage
// return and a newline.
const (
	floodLines  = 1 << 20
	floodLength = 69
)

// domain has the console domain serve guests, and says how long floodStock bytes would take a guest that floods it.
func (c *consoles) domain() float64 {
	t, h := c.t, c.h
	t.Helper()
	p, err := image.BuildProgram(filepath.Join(t.TempDir(), "consoles"), "morgana/stubdoms/consoles", "-tags=crashtest")
	if err != nil {
		t.Fatal(err)
	}
	elf := join(t, h, "consoles", p)
	c.script(time.Minute, "truncate -s %dM /tmp/consoles.img; losetup /dev/loop5 /tmp/consoles.img", 128)
	t.Cleanup(func() { h.Script(within(t, time.Minute), "losetup -d /dev/loop5; rm -f /tmp/consoles.img") })
	dom, err := h.StartDomain(within(t, time.Minute), testbed.DomainConfig{
		Name: "consoles", Kernel: elf, MemoryMiB: 64, Disks: []string{"/dev/loop5,raw,xvda,rw"},
		XLConsole: true, // the daemon starts again
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the console domain's console:\n%.8000s", dom.Console)
		}
		dom.Destroy(within(t, 20*time.Second))
	})
	if _, err := dom.Console.WaitFor(within(t, time.Minute), `generation 0 serves`); err != nil {
		t.Fatalf("%v\n%s", err, dom.Console)
	}
	// The daemon is an agent now. What it served it serves yet: the console domain's own console.
	c.daemon = oursConsoled + " --domain consoles"
	c.restart("")
	until := func(what, script string) {
		t.Helper()
		c.script(time.Minute, "for i in $(seq 500); do %s && exit 0; sleep 0.1; done; echo %s; exit 1", script, what)
	}
	until("no choice", fmt.Sprintf("[ \"$(xenstore-read /tool/xenconsoled/domid 2>/dev/null)\" = %d ]", dom.ID))

	t.Run("domain", func(t *testing.T) {
		c.in(t).guest("pv", times(2, 3), func(i int) {
			if i == 1 { // the agent
				c.restart("-9")
				return
			}
			c.script(time.Minute, "xenstore-write /local/domain/%d/data/crash 1", dom.ID)
			m, err := dom.Console.WaitFor(within(t, time.Minute), fmt.Sprintf(`generation %d serves.*`, (i+2)/2))
			if err != nil {
				t.Fatalf("%v\n%s", err, dom.Console)
			}
			t.Log(m[0])
		})
		// The domain's own log, on its disk, tells of a guest that is gone.
		log := c.script(time.Minute, "/share/xconsole logs con-pv")
		c.in(t).lines(log)
		if file := c.script(time.Minute, "cat %s/guest-con-pv.log", consoleLogs); file != log {
			t.Errorf("the domain's log has %d bytes, dom0's copy of it %d", len(log), len(file))
		}
	})
	if soaks() {
		t.Run("hostile", func(t *testing.T) { c.in(t).hostile(dom) })
		t.Run("many", func(t *testing.T) { c.in(t).many() })
	}
	seconds := c.flood("domain", floodStock)
	c.flooded(c.script(time.Minute, "/share/xconsole logs flood-domain"), floodStock)
	if soaks() {
		t.Run("flood", func(t *testing.T) { c.in(t).fast() })
	}
	// Nobody knows the guests any more that are gone.
	until("guests that are gone are known", fmt.Sprintf("[ -z \"$(xenstore-list /local/domain/%d/data/consoles/guest 2>/dev/null)\" ]", dom.ID))
	if err := dom.Shutdown(within(t, time.Minute)); err != nil {
		t.Errorf("the console domain: %v", err)
	}
	until("a choice is left", "[ -z \"$(xenstore-read /tool/xenconsoled/domid 2>/dev/null)\" ]")
	return seconds
}

// fast floods the domain with what a unikernel can write, nobody attached: its log has every line.
func (c *consoles) fast() {
	t, h := c.t, c.h
	const lines = floodLines
	d, err := h.StartDomain(within(t, time.Minute), testbed.DomainConfig{
		Name: "fast", Kernel: unikernel(t, h, "morgana/tests/system/flooder"), Cmdline: fmt.Sprint(lines), MemoryMiB: 16, Paused: true, XLConsole: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	c.script(time.Minute, "for p in $(pgrep -f '[x]enconsole %d '); do kill $p; done", d.ID)
	if err := d.Unpause(within(t, time.Minute)); err != nil {
		t.Fatal(err)
	}
	if reason, err := d.Wait(within(t, 5*time.Minute)); err != nil || reason != "poweroff" {
		t.Errorf("it ended: %q, %v", reason, err)
	}
	// The log would be long for this side: awk reads it.
	out := c.script(2*time.Minute, `/share/xconsole logs fast | tr -d '\r' | awk '
		/of a flood/ { if ($1+0 != n || length($0) != %d) { print "line " n " is " $0; exit 1 } n++ }
		/FLOODED/ { print n, $3 }'`, floodLength-2)
	var got, ms int
	if _, err := fmt.Sscan(out, &got, &ms); err != nil || got != lines {
		t.Errorf("%d lines were written, the log says %q", lines, out)
		return
	}
	report(t, "console-flood", fmt.Sprintf("a unikernel floods the console domain with %.1f MiB, logged on disk: %.2f MiB/s; every line is in the log\n",
		float64(lines*floodLength)/(1<<20), float64(lines*floodLength)/(1<<20)/(float64(ms)/1000)))
}

// hostile has a guest write an impossible index: it alone has no console any more.
func (c *consoles) hostile(dom *testbed.Domain) {
	t := c.t
	h, bad := startTicker(t, "bad", "")
	bad2 := process(t, h, "morgana/tests/system/badring")
	frame := strings.TrimSpace(c.script(time.Minute, "xenstore-read /local/domain/%d/console/ring-ref", bad.ID))
	c.script(time.Minute, "%s %d %s", bad2, bad.ID, frame)
	if _, err := dom.Console.WaitFor(within(t, time.Minute), fmt.Sprintf("domain %d: impossible index", bad.ID)); err != nil {
		t.Errorf("%v\n%s", err, dom.Console)
	}
	_, good := startTicker(t, "good", "")
	n, _ := lastTick(good)
	if _, err := good.Console.WaitFor(within(t, time.Minute), fmt.Sprintf("tick %d ", n+2)); err != nil {
		t.Error(err)
	}
	// SIGHUP, as logrotate sends it, begins the copy of the log anew.
	log := consoleLogs + "/guest-" + good.Name + ".log"
	c.script(time.Minute, "mv %s %s.1; kill -HUP $(cat /run/consoled.pid); for i in $(seq 300); do grep -qs tick %s && exit 0; sleep 0.1; done; exit 1", log, log, log)
}

// many starts some guests at once, each of which says a line and ends: the domain's logs have them all.
func (c *consoles) many() {
	t, h := c.t, c.h
	const guests = 5
	elf := unikernel(t, h, "morgana/stubdoms/hello")
	c.script(2*time.Minute, `for i in $(seq %d); do
		printf 'name="many-%%s"\ntype="pvh"\nkernel="%s"\nmemory=6\nvcpus=1\non_poweroff="destroy"\n' $i >/tmp/many-$i.cfg
		xl create -q -p /tmp/many-$i.cfg || exit 1
	done
	for i in $(seq %d); do xl unpause many-$i; done
	for k in $(seq 300); do xl list | grep -q many- || exit 0; sleep 0.1; done; exit 1`, guests, h.Path(filepath.Base(elf)), guests)
	for i := range guests {
		out := c.script(time.Minute, "/share/xconsole logs many-%d", i+1)
		if !strings.Contains(out, "hello from a domain of its own") {
			t.Errorf("guest %d: %q", i+1, out)
		}
	}
}
