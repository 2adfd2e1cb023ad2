package qemu

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"morgana/unikernel/image"
)

// TestPackageUnikernel runs the tests of package unikernel where it is not on Linux.
func TestPackageUnikernel(t *testing.T) {
	dir := t.TempDir()
	program, err := image.BuildTest(filepath.Join(dir, "tests"), "morgana/unikernel")
	if err != nil {
		t.Fatal(err)
	}
	b, _, err := image.Join(program, image.Options{Name: "unikernel.test"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "tests.elf")
	if err := os.WriteFile(file, b, 0o755); err != nil {
		t.Fatal(err)
	}
	out, end, err := Output(within(t, 2*time.Minute), file, 96, "-test.v")
	if err != nil {
		t.Fatal(err)
	}
	if end != PowerOff || strings.Contains(out, "FAIL") || !strings.Contains(out, "--- PASS: TestArena ") {
		t.Errorf("ended with %s:\n%s", end, out)
	}
}
