package system

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"morgana/tests/gostd"
	"morgana/tests/testbed"
	"morgana/unikernel/image"
)

// runtimeTests are the tests of package runtime that run on Xen: goroutines, channels, the collector, maps, preemption,
// stacks, timers. All of them run in QEMU (tests/gostd).
const runtimeTests = "-test.run=Chan|Map|GC|Select|Goroutine|Preempt|Stack|Defer|Panic|Finalizer|Timer|Weak|Cleanup"

// TestGoStandardLibrary: Go's own tests pass in a domain as they do on Linux; what differs is in tests/gostd.
func TestGoStandardLibrary(t *testing.T) {
	list, err := gostd.ReadDifferences("../gostd/differences.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		pkg  string
		args []string
	}{
		{pkg: "strings"},
		{pkg: "sync/atomic"},
		{pkg: "fmt"},
		{pkg: "runtime", args: []string{runtimeTests}},
	} {
		t.Run(c.pkg, func(t *testing.T) {
			p, ok := gostd.Find(c.pkg)
			if !ok {
				t.Fatalf("tests/gostd has no package %s", c.pkg)
			}
			h := host(t)
			ctx := within(t, 10*time.Minute)
			dir := t.TempDir()
			file, err := p.Build(ctx, dir)
			if err != nil {
				t.Fatal(err)
			}
			linux, err := p.Linux(file, dir)
			if err != nil {
				t.Fatal(err)
			}
			img, err := p.Join(file)
			if err != nil {
				t.Fatal(err)
			}
			name := "go-" + strings.ReplaceAll(c.pkg, "/", "-")
			elf := filepath.Join(h.Share, name+".elf")
			if err := os.WriteFile(elf, img, 0o755); err != nil {
				t.Fatal(err)
			}
			domain := gostd.Runner(func(ctx context.Context, args ...string) (string, error) {
				d, err := h.StartDomain(ctx, testbed.DomainConfig{Name: name, Kernel: elf, Cmdline: image.Cmdline(p.Words(args...)...), MemoryMiB: min(p.Memory(), 1024)})
				if err != nil {
					return "", err
				}
				_, err = d.Wait(ctx)
				return d.Console.String(), err
			})
			l, log, err := linux.Run(ctx, p.Skip, c.args...)
			if err != nil {
				t.Fatalf("on Linux: %v\n%s", err, log)
			}
			g, log, err := domain.Run(ctx, p.Skip, c.args...)
			if err != nil {
				t.Fatalf("in the domain: %v\n%s", err, log)
			}
			found, again, err := p.Compare(ctx, linux, domain, l, g, gostd.Of(c.pkg, list))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d tests pass on Linux, %d in the domain; run again: %q", l.Count(gostd.Pass), g.Count(gostd.Pass), again)
			if wrong := gostd.Check(gostd.Of(c.pkg, list), found, l); len(wrong) > 0 {
				t.Errorf("differences that are not in tests/gostd/differences.txt, or are there in vain:\n%s\n%s", strings.Join(wrong, "\n"), log)
			}
		})
	}
}
