package system

import (
	"fmt"
	"regexp"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
)

// ramdisk starts a domain that serves disks of its memory.
func ramdisk(t testing.TB, h *testbed.Host, name, args string) *testbed.Domain {
	t.Helper()
	d, err := h.StartDomain(within(t, 2*time.Minute), testbed.DomainConfig{
		Name: name, Kernel: unikernel(t, h, "morgana/stubdoms/ramdisk"), MemoryMiB: 160, Cmdline: args,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = h.Output(within(t, time.Minute), "xl", "destroy", name) }) // where it is not gone yet
	if _, err := d.Console.WaitFor(within(t, time.Minute), "ramdisk: serving"); err != nil {
		t.Fatal(err)
	}
	return d
}

// TestBlockBackendBearsEverything: a domain that misbehaves in every way towards the backend of its disk, beside a
// healthy one whose disk is served by the same program and checked all the while.
func TestBlockBackendBearsEverything(t *testing.T) {
	h := host(t)
	ctx := within(t, 10*time.Minute)
	back := ramdisk(t, h, "ramdisk", "")
	on := func(target string) []string {
		return []string{fmt.Sprintf("format=raw,vdev=xvda,access=rw,backend=%s,target=%s", back.Name, target)}
	}
	healthy, err := h.StartDomain(ctx, testbed.DomainConfig{
		Name: "healthy", Kernel: unikernel(t, h, blkcheck), MemoryMiB: 64, Disks: on("8-healthy"),
		Cmdline: "--steps=2000 device/vbd/51712",
	})
	if err != nil {
		t.Fatal(err)
	}
	img := unikernel(t, h, "morgana/stubdoms/badfront")
	for i, args := range []string{"--requests=1000", "--ways=vanish"} {
		bad, err := h.StartDomain(ctx, testbed.DomainConfig{
			Name: fmt.Sprintf("badfront-%d", i), Kernel: img, MemoryMiB: 64, Disks: on("8-bad"), Cmdline: args + " device/vbd/51712",
		})
		if err != nil {
			t.Fatal(err)
		}
		reason, err := bad.Wait(ctx)
		out := bad.Console.String()
		if err != nil || reason != "poweroff" || strings.Contains(out, "FAIL") {
			t.Fatalf("the hostile domain ended with %q, %v:\n%s\nthe backend:\n%s", reason, err, out, back.Console)
		}
		t.Log(lines(out, "badfront: "))
	}
	reason, err := healthy.Wait(ctx)
	if out := healthy.Console.String(); err != nil || reason != "poweroff" || !strings.Contains(out, "blkcheck: all is well") {
		t.Fatalf("the healthy domain ended with %q, %v:\n%s\nthe backend:\n%s", reason, err, out, back.Console)
	}
	// A domain whose pages are still mapped stays, dying, without a name.
	if out, err := h.Script(ctx, `for n in $(seq 100); do xl list | grep -e badfront -e '(null)' || exit 0; sleep 0.2; done; exit 1`); err != nil {
		t.Errorf("hostile domains are left: %v\n%s", err, out)
	}
	if out := back.Console.String(); strings.Contains(out, "panic") || strings.Contains(out, "FAIL") {
		t.Errorf("the backend:\n%s", out)
	}
}

// BenchmarkBlockBackend measures what a request costs in a unikernel, by the way that its data takes. Run it once:
// -benchtime 1x.
func BenchmarkBlockBackend(b *testing.B) {
	h := host(b)
	cost := regexp.MustCompile(`(?m)^ramdisk: \d+ requests.*$`)
	for _, c := range []struct{ name, args string }{
		{"persistent", ""}, {"copied", "--persistent=-1"}, {"mapped", "--persistent=-1 --map-pages=1"},
	} {
		b.Run(c.name, func(b *testing.B) {
			for b.Loop() {
				ctx := within(b, 5*time.Minute)
				back := ramdisk(b, h, "ramdisk-"+c.name, c.args)
				d, err := h.StartDomain(ctx, testbed.DomainConfig{
					Name: "figures-" + c.name, Kernel: unikernel(b, h, blkcheck), MemoryMiB: 64,
					Disks:   []string{fmt.Sprintf("format=raw,vdev=xvda,access=rw,backend=%s,target=16", back.Name)},
					Cmdline: "--steps=20 --figures=2000 device/vbd/51712",
				})
				if err != nil {
					b.Fatal(err)
				}
				reason, err := d.Wait(ctx)
				out := d.Console.String()
				if err != nil || reason != "poweroff" || !strings.Contains(out, "blkcheck: all is well") {
					b.Fatalf("ended with %q, %v:\n%s\nthe backend:\n%s", reason, err, out, back.Console)
				}
				said := back.Console.String()
				if len(cost.FindAllString(said, -1)) == 0 {
					b.Errorf("the backend tells of no requests:\n%s", said)
				}
				b.Logf("Memory in a unikernel, %s, our frontend in another\n%s\n%s", c.name, lines(out, "blkcheck: "), lines(said, "ramdisk: "))
				if _, err := h.Output(ctx, "xl", "destroy", back.Name); err != nil {
					b.Error(err)
				}
			}
		})
	}
}
