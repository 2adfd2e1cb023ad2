package system

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
)

// startTicker starts a domain that tells the time.
func startTicker(t *testing.T, name, cmdline string) (*testbed.Host, *testbed.Domain) {
	t.Helper()
	h := host(t)
	ctx := within(t, time.Minute)
	d, err := h.StartDomain(ctx, testbed.DomainConfig{Name: name, Kernel: unikernel(t, h, "morgana/tests/system/ticker"), Cmdline: cmdline, MemoryMiB: 32})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Destroy(within(t, 20*time.Second)) })
	if _, err := d.Console.WaitFor(ctx, `tick 2 `); err != nil {
		t.Fatal(err)
	}
	return h, d
}

// lastTick is the number and the wall clock (ms) of the last whole line of a ticker.
func lastTick(d *testbed.Domain) (n, unix int64) {
	lines := strings.Split(d.Console.String(), "\n")
	for i := len(lines) - 2; i >= 0; i-- {
		if _, err := fmt.Sscanf(lines[i], "tick %d unix %d", &n, &unix); err == nil {
			return n, unix
		}
	}
	return 0, 0
}

// TestShutdown: xl shutdown and xl reboot reach the program as SIGTERM, and one that does not listen ends as well.
func TestShutdown(t *testing.T) {
	for _, c := range []struct{ name, cmdline, how, says, reason string }{
		{"poweroff", "", "shutdown", "ends on terminated", "poweroff"},
		{"reboot", "", "reboot", "ends on terminated", "reboot"},
		{"deaf", "deaf", "shutdown", "tick", "poweroff"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h, d := startTicker(t, "life-"+c.name, c.cmdline)
			ctx := within(t, time.Minute)
			if _, err := h.Output(ctx, "xl", c.how, strconv.Itoa(d.ID)); err != nil {
				t.Fatal(err)
			}
			if reason, err := d.Wait(ctx); err != nil || reason != c.reason {
				t.Errorf("ended with %q, %v; want %s", reason, err, c.reason)
			}
			if out := d.Console.String(); !strings.Contains(out, c.says) {
				t.Errorf("console without %q:\n%s", c.says, out)
			}
		})
	}
}

// TestRebootAgain: with on_reboot="restart" the domain that reboots comes back, under another number.
func TestRebootAgain(t *testing.T) {
	h := host(t)
	ctx := within(t, 2*time.Minute)
	d, err := h.StartDomain(ctx, testbed.DomainConfig{
		Name: "again", Kernel: unikernel(t, h, "morgana/tests/system/ticker"), MemoryMiB: 32, OnReboot: "restart",
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.Console.WaitFor(ctx, `tick 2 `); err != nil {
		t.Fatal(err)
	}
	if err := d.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	id := strconv.Itoa(d.ID)
	for id == strconv.Itoa(d.ID) {
		if ctx.Err() != nil {
			t.Fatalf("domain %d did not come back\n%s", d.ID, d.Console)
		}
		if out, err := h.Output(ctx, "xl", "domid", d.Name); err == nil {
			id = strings.TrimSpace(out)
		}
	}
	defer func() { _, _ = h.Output(within(t, 20*time.Second), "xl", "destroy", id) }()
	for up := ""; !strings.Contains(up, "running"); {
		if up, err = h.Output(ctx, "xenstore-read", "/local/domain/"+id+"/data/ticker"); err != nil && ctx.Err() != nil {
			t.Fatalf("the domain that came back does not run: %v", ctx.Err())
		}
	}
}

// TestPause: a paused domain stands still, and goes on with the right time.
func TestPause(t *testing.T) {
	h, d := startTicker(t, "paused", "")
	ctx := within(t, time.Minute)
	if err := d.Pause(ctx); err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Second) // what is in the console's ring drains
	before, _ := lastTick(d)
	time.Sleep(3 * time.Second)
	if after, _ := lastTick(d); after != before {
		t.Errorf("a paused domain went from tick %d to %d", before, after)
	}
	if err := d.Unpause(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Console.WaitFor(ctx, fmt.Sprintf("tick %d ", before+4)); err != nil {
		t.Fatal(err)
	}
	checkClock(t, h, d)
}

// checkClock compares the domain's wall clock with dom0's.
func checkClock(t *testing.T, h *testbed.Host, d *testbed.Domain) {
	t.Helper()
	out, err := h.Output(within(t, 20*time.Second), "date", "+%s%3N")
	if err != nil {
		t.Fatal(err)
	}
	dom0, err := strconv.ParseInt(strings.TrimSpace(out), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	if _, unix := lastTick(d); unix < dom0-10_000 || unix > dom0+10_000 {
		t.Errorf("the domain's clock says %d ms, dom0's %d ms", unix, dom0)
	}
}

// TestSaveRestore: the domain goes on from a file where it was, with the right time and a monotonic clock that stood
// still, and still obeys the tool stack.
func TestSaveRestore(t *testing.T) {
	h, d := startTicker(t, "saved", "")
	ctx := within(t, 2*time.Minute)
	if _, err := h.Output(ctx, "xl", "save", strconv.Itoa(d.ID), "/tmp/saved.img"); err != nil {
		t.Fatalf("%v\n%s", err, d.Console)
	}
	before, _ := lastTick(d)
	r, err := h.RestoreDomain(ctx, d.Name, "/tmp/saved.img")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Destroy(within(t, 20*time.Second))
	m, err := r.Console.WaitFor(ctx, `tick (\d+) unix \d+ up (\d+)\n`)
	if err != nil {
		t.Fatal(err)
	}
	n, _ := strconv.ParseInt(m[1], 10, 64)
	if n <= before {
		t.Errorf("tick %d after %d", n, before)
	}
	if _, err := r.Console.WaitFor(ctx, fmt.Sprintf(`tick %d `, n+4)); err != nil {
		t.Fatal(err)
	}
	checkClock(t, h, r)
	if _, err := h.Output(ctx, "xl", "shutdown", strconv.Itoa(r.ID)); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Console.WaitFor(ctx, "ends on terminated"); err != nil {
		t.Fatal(err)
	}
}

// TestBalloon: a smaller memory target takes pages from the domain.
func TestBalloon(t *testing.T) {
	h, d := startTicker(t, "balloon", "")
	ctx := within(t, time.Minute)
	pages := func() int {
		out, err := h.Output(ctx, "xl", "list", strconv.Itoa(d.ID))
		if err != nil {
			t.Fatal(err)
		}
		f := strings.Fields(strings.Split(strings.TrimSpace(out), "\n")[1])
		n, err := strconv.Atoi(f[2])
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	before := pages()
	if _, err := h.Output(ctx, "xl", "mem-set", strconv.Itoa(d.ID), "24"); err != nil {
		t.Fatal(err)
	}
	for pages() > before-6 {
		if ctx.Err() != nil {
			t.Fatalf("memory stays at %d MiB, from %d", pages(), before)
		}
	}
	n, _ := lastTick(d)
	if _, err := d.Console.WaitFor(ctx, fmt.Sprintf("tick %d ", n+3)); err != nil {
		t.Fatal(err)
	}
}
