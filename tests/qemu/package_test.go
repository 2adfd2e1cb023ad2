package qemu

import (
	"path/filepath"
	"strings"
	"testing"
	"time"

	"morgana/unikernel/image"
)

// TestPackageUnikernel runs the tests of package unikernel where it is not on Linux.
func TestPackageUnikernel(t *testing.T) {
	program, err := image.BuildTest(filepath.Join(t.TempDir(), "tests"), "morgana/unikernel")
	if err != nil {
		t.Fatal(err)
	}
	file := join(t, "unikernel.test", program)
	out, end, err := Output(within(t, 2*time.Minute), file, 96, "-test.v")
	if err != nil {
		t.Fatal(err)
	}
	if end != PowerOff || strings.Contains(out, "FAIL") || !strings.Contains(out, "--- PASS: TestArena ") {
		t.Errorf("ended with %s:\n%s", end, out)
	}
}
