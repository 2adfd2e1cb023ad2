package bench

import (
	"bytes"
	"debug/elf"
	"encoding/binary"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"morgana/unikernel/measure"
)

func TestRows(t *testing.T) {
	ours := []measure.Figure{
		{Name: "system call", Value: 300, Unit: "ns"},
		{Name: "thread switch", Value: 500, Unit: "ns"},
		{Name: "time.Now", Value: 70, Unit: "ns"},
		{Name: figureMain, Value: 50, Unit: "ms"},
	}
	peers := []measure.Figure{{Name: "system call", Value: 200, Unit: "ns"}, {Name: "time.Now", Value: 140, Unit: "ns"}}
	got := Rows(ours, peers, 100)
	want := []Row{
		{Name: "system call", Unit: "ns", Ours: 300, Peer: 200, Ratio: 1.5, Goal: 1},
		{Name: "thread switch", Unit: "ns", Ours: 500}, // no peer: nothing to miss
		{Name: "time.Now", Unit: "ns", Ours: 70, Peer: 140, Ratio: 0.5},
		{Name: figureMain + "; peer: a trivial kernel's life", Unit: "ms", Ours: 50, Peer: 100, Ratio: 0.5, Goal: 2},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	var missed []string
	for _, r := range got {
		if r.Missed() {
			missed = append(missed, r.Name)
		}
	}
	if d := cmp.Diff([]string{"system call"}, missed); d != "" {
		t.Error(d)
	}
}

func TestWriteText(t *testing.T) {
	r := Report{
		Host:    "Xen 4.17",
		Images:  []Life{NewLife(Image{Name: "x.elf", Size: 1000, Kernel: 400, MemoryMiB: 6}, "poweroff", []time.Duration{3e6, 1e6, 2e6}, []time.Duration{5e6, 4e6, 9e6})},
		Machine: []Row{{Name: "system call", Unit: "ns", Ours: 300, Peer: 200, Ratio: 1.5, Goal: 1}, {Name: "other", Unit: "µs", Ours: 1}},
	}
	var b strings.Builder
	if err := r.WriteText(&b); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"1/2/3", "4/5/9", "x.elf", "1.50  ≤ 1.0  missed", "1.00"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestBest(t *testing.T) {
	f := func(v ...float64) []measure.Figure {
		return []measure.Figure{{Name: "a", Value: v[0]}, {Name: "b", Value: v[1]}}
	}
	if d := cmp.Diff(f(1, 2), best(best(nil, f(3, 2)), f(1, 4))); d != "" {
		t.Error(d)
	}
}

// TestTrivial: Xen's loader and QEMU's find the entry and all that the kernel touches is loaded.
func TestTrivial(t *testing.T) {
	f, err := elf.NewFile(bytes.NewReader(Trivial()))
	if err != nil {
		t.Fatal(err)
	}
	load, note := f.Progs[0], f.Progs[1]
	if load.Type != elf.PT_LOAD || note.Type != elf.PT_NOTE || load.Paddr != trivialBase || load.Paddr+load.Memsz < trivialStack {
		t.Errorf("segments %+v and %+v", load.ProgHeader, note.ProgHeader)
	}
	b := make([]byte, note.Filesz)
	if _, err := note.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if kind, entry := binary.LittleEndian.Uint32(b[8:]), binary.LittleEndian.Uint32(b[16:]); kind != 18 || entry != trivialBase {
		t.Errorf("note of type %d says entry %#x", kind, entry)
	}
}
