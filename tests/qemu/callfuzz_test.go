package qemu

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"morgana/unikernel/image"
)

// TestRandomCalls: no system call with whatever arguments makes the kernel fault. On Xen, with its devices:
// tests/system.
func TestRandomCalls(t *testing.T) {
	dir := t.TempDir()
	program, err := image.BuildProgram(filepath.Join(dir, "callfuzz"), "morgana/tests/system/callfuzz")
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := image.Join(program, image.Options{Name: "callfuzz"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "callfuzz.elf")
	if err := os.WriteFile(file, b, 0o755); err != nil {
		t.Fatal(err)
	}
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
