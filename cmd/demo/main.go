// Command demo brings domains up on a Xen host that it boots in QEMU and shows what they say: what `make run` runs.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"

	"morgana/tests/testbed"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, "build/stubdoms"); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dir string) error {
	start := time.Now()
	h, err := testbed.Start(ctx, testbed.Options{Progress: os.Stderr})
	if err != nil {
		return err
	}
	defer h.Close()
	fmt.Fprintf(os.Stderr, "demo: the Xen host is up after %v\n", time.Since(start).Round(time.Second))
	for _, d := range []struct{ image, cmdline string }{{"hello", ""}, {"runtimecheck", "ok"}} {
		c := testbed.DomainConfig{Name: d.image, Kernel: filepath.Join(dir, d.image+".elf"), Cmdline: d.cmdline, MemoryMiB: 96}
		dom, err := h.StartDomain(ctx, c)
		if err != nil {
			return err
		}
		reason, err := dom.Wait(ctx)
		if err != nil {
			return err
		}
		fmt.Printf("--- domain %d, %s: ended with %s\n%s", dom.ID, d.image, reason, dom.Console)
	}
	out, err := h.Output(ctx, "xl", "list")
	if err != nil {
		return err
	}
	fmt.Print(out)
	return nil
}
