package unikernel_test

import (
	"errors"
	"strings"
	"testing"
	"unsafe"

	"morgana/unikernel"
	"morgana/xen"
)

// These tests run on Linux and, compiled and joined with the kernel, as a domain (tests/qemu, tests/system).

func TestArena(t *testing.T) {
	a, err := unikernel.Arena("first", 5000)
	if err != nil {
		t.Fatal(err)
	}
	if len(a) != 5000 || cap(a) != 5000 {
		t.Errorf("an arena of 5000 bytes has %d, capacity %d", len(a), cap(a))
	}
	for i := range a {
		if a[i] != 0 {
			t.Fatalf("byte %d of a new arena is %d", i, a[i])
		}
		a[i] = byte(i)
	}
	again, err := unikernel.Arena("first", 5000)
	if err != nil {
		t.Fatal(err)
	}
	if unsafe.SliceData(again) != unsafe.SliceData(a) {
		t.Error("the same name gives other memory")
	}
	if _, err := unikernel.Arena("first", 50000); !errors.Is(err, unikernel.ErrArenaSize) {
		t.Errorf("another size: %v, want %v", err, unikernel.ErrArenaSize)
	}
	b, err := unikernel.Arena("second", xen.PageSize)
	if err != nil {
		t.Fatal(err)
	}
	b[0] = 0xff
	if a[0] != 0 || a[1] != 1 {
		t.Error("two arenas share memory")
	}
}

func TestArenaRefuses(t *testing.T) {
	for _, c := range []struct {
		name string
		size int
	}{
		{"", 1},
		{strings.Repeat("n", unikernel.ArenaNameMax+1), 1},
		{"none", 0},
		{"negative", -1},
		{"large", unikernel.ArenaMax + 1},
	} {
		if _, err := unikernel.Arena(c.name, c.size); err == nil {
			t.Errorf("arena %q of %d bytes was given", c.name, c.size)
		}
	}
	if !unikernel.Booted() {
		return
	}
	if _, err := unikernel.Arena("more than there is", unikernel.ArenaMax); !errors.Is(err, xen.ErrNoMemory) {
		t.Errorf("more memory than there is: %v, want %v", err, xen.ErrNoMemory)
	}
}

// A program asks for what is not a domain's on Linux, and hears so.
func TestWhereItRuns(t *testing.T) {
	in := unikernel.Info()
	if unikernel.Booted() {
		if in.Kernel == "" || in.Boot <= 0 || in.Memory < 1<<20 {
			t.Errorf("the kernel says of itself %+v", in)
		}
		before := unikernel.Counters()
		after := unikernel.Counters()
		if before.TotalPages == 0 || after.Syscalls <= before.Syscalls {
			t.Errorf("counters went from %+v to %+v", before, after)
		}
		return
	}
	if in != (unikernel.Machine{}) || unikernel.OnXen() || unikernel.Generation() != 0 || unikernel.Counters() != (unikernel.Stats{}) {
		t.Errorf("Linux passes for a domain: %+v", in)
	}
	for name, err := range map[string]error{
		"Restart":        unikernel.Restart(),
		"RestartOnFatal": unikernel.RestartOnFatal(true),
		"KeepEvent":      unikernel.KeepEvent(1, true),
		"Shutdown":       unikernel.Shutdown(unikernel.Reboot),
		"EndShare":       unikernel.EndShare(8),
	} {
		if !errors.Is(err, unikernel.ErrNotBooted) {
			t.Errorf("%s on Linux: %v, want %v", name, err, unikernel.ErrNotBooted)
		}
	}
	if _, _, err := unikernel.XenVersion(); !errors.Is(err, unikernel.ErrNotBooted) {
		t.Errorf("XenVersion on Linux: %v, want %v", err, unikernel.ErrNotBooted)
	}
}

func TestEntropy(t *testing.T) {
	if q := unikernel.EntropyQuality(); unikernel.OnXen() && q == unikernel.EntropyNone {
		t.Errorf("entropy %v on Xen, which gives every domain a seed of its own", q)
	}
	for _, n := range []int{0, 15, 4097} {
		if err := unikernel.AddSeed(make([]byte, n)); err == nil {
			t.Errorf("a seed of %d bytes was taken", n)
		}
	}
	if err := unikernel.AddSeed([]byte("sixteen bytes, at least")); err != nil {
		t.Error(err)
	}
	if q := unikernel.EntropyQuality(); q == unikernel.EntropyNone {
		t.Errorf("entropy %v after a seed", q)
	}
}
