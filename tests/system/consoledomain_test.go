//go:build consoles

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

// floodDomain is how much a guest writes when it floods the console domain, in bytes.
const floodDomain = 4 << 20

// domain has the console domain serve guests, and says how long floodStock bytes would take a guest that floods it.
func (c *consoles) domain() float64 {
	t, h := c.t, c.h
	t.Helper()
	p, err := image.BuildProgram(filepath.Join(t.TempDir(), "consoles"), "morgana/stubdoms/consoles", "-tags=crashtest")
	if err != nil {
		t.Fatal(err)
	}
	elf := join(t, h, "consoles", p)
	c.script(time.Minute, "truncate -s 64M /tmp/consoles.img; losetup /dev/loop5 /tmp/consoles.img")
	t.Cleanup(func() { h.Script(within(t, time.Minute), "losetup -d /dev/loop5; rm -f /tmp/consoles.img") })
	dom, err := h.StartDomain(within(t, time.Minute), testbed.DomainConfig{
		Name: "consoles", Kernel: elf, MemoryMiB: 64, Disks: []string{"/dev/loop5,raw,xvda,rw"},
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
		c.in(t).guest("pv", func(i int) {
			if i == 1 { // the agent
				c.restart("-9")
				return
			}
			c.script(time.Minute, "xenstore-write /local/domain/%d/data/crash 1", dom.ID)
			if _, err := dom.Console.WaitFor(within(t, time.Minute), fmt.Sprintf(`generation %d serves`, (i+2)/2)); err != nil {
				t.Fatalf("%v\n%s", err, dom.Console)
			}
		})
		// The domain's own log, on its disk, tells of a guest that is gone.
		log := c.script(time.Minute, "/share/xconsole logs con-pv")
		c.in(t).lines(log)
		if file := c.script(time.Minute, "cat %s/guest-con-pv.log", consoleLogs); file != log {
			t.Errorf("the domain's log has %d bytes, dom0's copy of it %d", len(log), len(file))
		}
	})
	t.Run("hostile", func(t *testing.T) { c.in(t).hostile(dom) })
	t.Run("many", func(t *testing.T) { c.in(t).many() })
	seconds := c.flood("domain", floodDomain)
	c.flooded(c.script(time.Minute, "/share/xconsole logs flood-domain"), floodDomain)
	// Nobody knows the guests any more that are gone.
	until("guests that are gone are known", fmt.Sprintf("[ -z \"$(xenstore-list /local/domain/%d/data/consoles/guest 2>/dev/null)\" ]", dom.ID))
	if err := dom.Shutdown(within(t, time.Minute)); err != nil {
		t.Errorf("the console domain: %v", err)
	}
	until("a choice is left", "[ -z \"$(xenstore-read /tool/xenconsoled/domid 2>/dev/null)\" ]")
	return seconds * floodStock / floodDomain
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
}

// many starts some guests at once, each of which says a line and ends: the domain's logs have them all.
func (c *consoles) many() {
	t, h := c.t, c.h
	const guests = 8
	elf := unikernel(t, h, "morgana/stubdoms/hello")
	c.script(2*time.Minute, `for i in $(seq %d); do
		printf 'name="many-%%s"\ntype="pvh"\nkernel="%s"\nmemory=6\non_poweroff="destroy"\n' $i >/tmp/many-$i.cfg
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
