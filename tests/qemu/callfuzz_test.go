package qemu

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"morgana/unikernel/image"
)

// TestRandomCalls: no system call with whatever arguments makes the kernel fault. On Xen, with its devices:
// tests/system.
func TestRandomCalls(t *testing.T) {
	program, err := image.BuildProgram(filepath.Join(t.TempDir(), "callfuzz"), "morgana/tests/system/callfuzz")
	if err != nil {
		t.Fatal(err)
	}
	file := join(t, "callfuzz", program)
	seed := time.Now().UnixNano() % 1_000_000
	for i := range int64(2) {
		t.Run(fmt.Sprint("seed ", seed+i), func(t *testing.T) {
			out, end, err := Output(within(t, 3*time.Minute), file, 96, fmt.Sprint(seed+i), "20000")
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			if end != PowerOff || !strings.Contains(out, "callfuzz: done") {
				t.Errorf("ended with %s:\n%s", end, out)
			}
		})
	}
}
