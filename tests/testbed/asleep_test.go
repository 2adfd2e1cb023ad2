package testbed

import (
	"os"
	"path/filepath"
	"testing"
)

// TestStateKey: machines that differ do not wake from each other's state, and those that differ in names only do.
func TestStateKey(t *testing.T) {
	dir := t.TempDir()
	disk := func(name string, size int64) string {
		f := filepath.Join(dir, name)
		if err := os.WriteFile(f, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(f, size); err != nil {
			t.Fatal(err)
		}
		return f
	}
	small, same, large := disk("a", 1<<20), disk("b", 1<<20), disk("c", 2<<20)
	key := func(share string, o Options) string {
		o.fill()
		k, err := stateKey(qemuArgs("/bed", share, o), o)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	plain := key("/one", Options{Disks: []string{small}})
	if k := key("/two", Options{Disks: []string{same}}); k != plain {
		t.Error("names make another machine")
	}
	for what, o := range map[string]Options{
		"no disk":    {},
		"two":        {Disks: []string{small, same}},
		"large":      {Disks: []string{large}},
		"memory":     {Disks: []string{small}, MemoryMiB: 2048},
		"one CPU":    {Disks: []string{small}, CPUs: 1},
		"Xen's line": {Disks: []string{small}, XenArgs: "sched=credit"},
	} {
		if key("/one", o) == plain {
			t.Errorf("%s: the same machine", what)
		}
	}
}
