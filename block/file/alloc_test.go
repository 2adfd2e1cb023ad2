package file_test

import (
	"path/filepath"
	"testing"

	"morgana/block"
	"morgana/block/file"
)

// Moving data allocates nothing, so that a busy volume makes no work for the garbage collector.
func TestNoAllocation(t *testing.T) {
	d, err := file.Create(filepath.Join(t.TempDir(), "disk"), 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := make([]byte, 8192)
	bufs := [][]byte{b[:4096], b[4096:]}
	for name, do := range map[string]func() error{
		"ReadAt":      func() error { _, err := d.ReadAt(b, 4096); return err },
		"WriteAt":     func() error { _, err := d.WriteAt(b, 4096); return err },
		"ReadVec":     func() error { return block.ReadVec(d, bufs, 4096) },
		"WriteVec":    func() error { return block.WriteVec(d, bufs, 4096) },
		"WriteZeroes": func() error { return block.WriteZeroes(d, 4096, 4096) },
		"Flush":       d.Flush,
	} {
		if n := testing.AllocsPerRun(20, func() {
			if err := do(); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s allocates %.0f times", name, n)
		}
	}
}
