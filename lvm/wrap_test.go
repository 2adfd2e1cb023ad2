package lvm_test

import (
	"bytes"
	"context"
	"fmt"
	"math/rand"
	"testing"

	"morgana/block"
	"morgana/block/powercut"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// smallAreas makes the group "data" with the smallest metadata areas, so that texts soon go around their ends.
func smallAreas(b *bench) {
	b.vgcreate("data", b.pvcreate(lvm.PVOptions{AreaSize: 32 << 10, Alignment: 4096}, 0, 1))
	for i := range 8 {
		b.change("data", b.lvcreate(fmt.Sprintf("lv%d", i), 1))
	}
}

// Many changes in a row, with texts that go around the end of the ring, under power cuts: nothing is lost at any of
// them, whichever way the texts lie.
func TestPowerCutAroundTheRing(t *testing.T) {
	rounds := 60
	if testing.Short() {
		rounds = 12
	}
	for _, sector := range []int{512, 4096} {
		b := newBench(t, 2, 64*mib, sector)
		smallAreas(b)
		states, around := 0, 0
		for i := range rounds {
			old := picture(b.scan())
			b.rec.Start()
			if i%2 == 0 {
				b.change("data", b.lvcreate("more", 1))
			} else {
				b.change("data", func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) { return vg.RemoveLV("more") })
			}
			inv := b.scan()
			now := picture(inv)
			for _, pv := range inv.PVs() {
				h := pv.Areas[0].Header
				if ps, err := h.Pieces(h.Slots[0]); err == nil && len(ps) == 2 {
					around++
				}
			}
			for s := range b.rec.States(powercut.Options{Torn: 4, Seed: int64(i)}) {
				states++
				if got := picture(b.after(s).scan()); got != old && got != now {
					t.Fatalf("sectors of %d, round %d, %s: neither old nor new:\n%s", sector, i, s.Cut, got)
				}
			}
		}
		t.Logf("sectors of %d: %d states tried, 0 lost; %d texts went around the end", sector, states, around)
		if sector == 512 && around == 0 {
			t.Error("no text went around the end")
		}
		b.heal("at the end")
	}
}

// Whatever is on a disk, scanning it neither fails the others nor writes.
func FuzzScan(f *testing.F) {
	seed := newBench(f, 2, 4*mib, 512)
	seed.vgcreate("data", seed.pvcreate(lvm.PVOptions{AreaSize: 32 << 10, Alignment: 4096, TwoAreas: true}, 0))
	seed.change("data", seed.lvcreate("a", 1))
	head := make([]byte, 40<<10)
	if _, err := seed.disks[0].Device.ReadAt(head, 0); err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.TrimRight(head, "\x00"), uint16(0), byte(0))
	f.Add(bytes.TrimRight(head, "\x00"), uint16(600), byte(1))
	f.Add(bytes.TrimRight(head, "\x00"), uint16(4096+50), byte(9))
	f.Fuzz(func(t *testing.T, b []byte, at uint16, c byte) {
		if len(b) > len(head) {
			return
		}
		d := block.NewMem(4*mib, 512)
		if _, err := d.WriteAt(b, 0); err != nil {
			t.Fatal(err)
		}
		if _, err := d.WriteAt([]byte{c}, int64(at)); err != nil {
			t.Fatal(err)
		}
		rec := powercut.NewRecorder(d)
		good := newBench(t, 1, 4*mib, 512)
		good.rnd = rand.New(rand.NewSource(99)) // its UUIDs are its own
		good.vgcreate("good", good.pvcreate(lvm.PVOptions{}, 0))
		inv, err := lvm.Scan(context.Background(), []lvm.Disk{{Name: "odd", Device: rec.Disks()[0]}, good.disks[0]}, lvm.ScanOptions{})
		if err != nil {
			t.Fatal(err)
		}
		if g, err := inv.Group("good"); err != nil || g.VG == nil {
			t.Fatal("the good disk is not found:", err)
		}
		for _, f := range inv.Groups() {
			_, _ = inv.Open(f.Name, lvm.OpenOptions{})
			_, _ = inv.Open(f.Name, lvm.OpenOptions{Mode: lvm.ReadWrite})
		}
		if w, f, _ := rec.Counts(); w+f > 0 {
			t.Fatalf("%d writes, %d flushes", w, f)
		}
	})
}
