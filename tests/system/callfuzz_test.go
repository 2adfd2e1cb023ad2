package system

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"morgana/tests/testbed"
)

// TestRandomCalls: no system call with whatever arguments makes the kernel fault or touch what is not the program's:
// the console, which is grant 0, still works at the end.
func TestRandomCalls(t *testing.T) {
	h := host(t)
	img := unikernel(t, h, "morgana/tests/system/callfuzz")
	seed := time.Now().UnixNano() % 1_000_000
	for i := range int64(3) {
		t.Run(fmt.Sprint("seed ", seed+i), func(t *testing.T) {
			for try := 1; ; try++ {
				d, err := h.StartDomain(within(t, time.Minute), testbed.DomainConfig{
					Name: fmt.Sprint("calls-", i), Kernel: img, MemoryMiB: 96, Cmdline: fmt.Sprint(seed+i, " 20000"),
				})
				if err != nil {
					t.Fatal(err)
				}
				ctx := within(t, 3*time.Minute)
				reason, err := d.Wait(ctx)
				out := d.Console.String()
				switch {
				case err == nil && reason == "poweroff" && strings.Contains(out, "callfuzz: done"):
					return
				case d.EmulatorFault(ctx) && try < 3:
					t.Logf("the emulator failed in try %d; again", try)
					continue
				}
				t.Fatalf("ended with %q, %v:\n%s", reason, err, out)
			}
		})
	}
}
