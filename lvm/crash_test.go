package lvm_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/block"
	"morgana/block/powercut"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// scenario is a change, and what is there before it.
type scenario struct {
	name    string
	prepare func(*bench)
	change  func(*bench) error
	// between says whether a state is one of those between old and new, for what takes several changes.
	between func(*bench) error
}

// three makes a group of three disks, the third with two metadata areas, and an orphan of the fourth.
func three(b *bench) {
	pvs := b.pvcreate(lvm.PVOptions{}, 0, 1)
	pvs = append(pvs, b.pvcreate(lvm.PVOptions{TwoAreas: true}, 2)...)
	b.pvcreate(lvm.PVOptions{}, 3)
	b.vgcreate("data", pvs)
	b.change("data", b.lvcreate("a", 10))
	b.change("data", b.lvcreate("b", 20, "/dev/d1"))
}

// threeIgnored is three with the area of the second disk ignored.
func threeIgnored(b *bench) {
	three(b)
	g := b.open("data")
	b.check(g.SetIgnored(context.Background(), g.Members()[1], true))
}

func simple(r func(*bench) request) func(*bench) error {
	return func(b *bench) error { return apply(b.open("data"), r(b)) }
}

var scenarios = []scenario{
	{name: "lvcreate", prepare: three, change: simple(func(b *bench) request { return b.lvcreate("c", 5) })},
	{name: "lvcreate, an area ignored", prepare: threeIgnored, change: simple(func(b *bench) request { return b.lvcreate("c", 5) })},
	{name: "lvremove", prepare: three, change: simple(func(*bench) request {
		return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) { return vg.RemoveLV("b") }
	})},
	{name: "lvextend", prepare: three, change: simple(func(b *bench) request { return resize(b, "a", 30) })},
	{name: "lvreduce", prepare: three, change: simple(func(b *bench) request { return resize(b, "a", 2) })},
	{name: "lvrename", prepare: three, change: simple(func(*bench) request {
		return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) { return vg.RenameLV("a", "z") }
	})},
	{name: "vgrename", prepare: three, change: simple(func(*bench) request {
		return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) { return vg.Rename("other") }
	})},
	{name: "vgchange --uuid", prepare: three, change: simple(func(b *bench) request {
		return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) {
			return vg.Change(b.env(), metadata.ChangeVG{NewID: true})
		}
	})},
	{name: "pvchange --uuid", prepare: three, change: func(b *bench) error {
		g := b.open("data")
		after, op, err := g.VG().ChangePV(b.env(), metadata.ChangePV{Device: "/dev/d2", NewID: true})
		if err != nil {
			return err
		}
		return g.ChangeID(context.Background(), g.Members()[2], after, op)
	}},
	{name: "pvresize, smaller", prepare: three, change: func(b *bench) error { return resizePV(b, "/dev/d0", 40*mib) }},
	{name: "pvresize, smaller, two areas", prepare: three, change: func(b *bench) error { return resizePV(b, "/dev/d2", 40*mib) }},
	{name: "pvresize, larger, two areas", prepare: func(b *bench) {
		three(b)
		b.check(resizePV(b, "/dev/d2", 40*mib))
	}, change: func(b *bench) error { return resizePV(b, "/dev/d2", 0) }},
	{name: "pvchange --metadatasize", prepare: func(b *bench) {
		three(b)
		b.fill("a")
	}, between: func(b *bench) error { return b.filled("a") }, change: func(b *bench) error {
		g := b.open("data")
		return g.EnlargeArea(context.Background(), b.env(), g.Members()[0], 4*mib, lvm.MoveOptions{})
	}},
	{name: "vgextend", prepare: three, change: func(b *bench) error {
		pvs := b.orphans(3)
		return apply(b.open("data"), func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) {
			return vg.AddPVs(news(pvs))
		}, pvs...)
	}},
	{name: "vgreduce", prepare: three, change: simple(func(*bench) request {
		return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) {
			return vg.ReducePVs([]string{"/dev/d2"})
		}
	})},
	{name: "vgcreate", prepare: func(b *bench) { b.pvcreate(lvm.PVOptions{}, 0, 1, 2, 3) }, change: func(b *bench) error {
		_, err := b.tryVgcreate("data", b.orphans(0, 1, 2, 3))
		return err
	}},
	{name: "vgremove", prepare: threeIgnored, change: func(b *bench) error {
		return b.open("data").Remove(context.Background())
	}},
	{name: "pvcreate", prepare: func(*bench) {}, change: func(b *bench) error {
		_, err := lvm.CreatePV(context.Background(), b.disks[0], lvm.PVOptions{ID: fixedID, TwoAreas: true})
		return err
	}},
	{name: "pvremove", prepare: func(b *bench) { b.pvcreate(lvm.PVOptions{}, 0) }, change: func(b *bench) error {
		return lvm.RemovePV(context.Background(), b.orphans(0)[0], false)
	}},
	{name: "pvchange --metadataignore", prepare: three, change: func(b *bench) error {
		g := b.open("data")
		return g.SetIgnored(context.Background(), g.Members()[2], true)
	}},
	{name: "pvchange --metadataignore n", prepare: threeIgnored, change: func(b *bench) error {
		g := b.open("data")
		return g.SetIgnored(context.Background(), g.Members()[1], false)
	}},
	{name: "vgsplit", prepare: three, change: func(b *bench) error {
		g := b.open("data")
		stay, _, other, _, err := g.VG().Split(b.env(), metadata.Split{Name: "other", PVs: []string{"/dev/d1"}})
		if err != nil {
			return err
		}
		_, err = g.Split(context.Background(), stay, other)
		return err
	}},
	{name: "vgmerge", prepare: func(b *bench) {
		three(b)
		g := b.open("data")
		stay, _, other, _, err := g.VG().Split(b.env(), metadata.Split{Name: "other", PVs: []string{"/dev/d1", "/dev/d2"}})
		b.check(err)
		_, err = g.Split(context.Background(), stay, other)
		b.check(err)
	}, change: func(b *bench) error {
		inv := b.scan()
		g, err := inv.Open("data", lvm.OpenOptions{Mode: lvm.ReadWrite})
		if err != nil {
			return err
		}
		o, err := inv.Open("other", lvm.OpenOptions{Mode: lvm.ReadWrite})
		if err != nil {
			return err
		}
		after, _, err := g.VG().Merge(b.env(), o.VG())
		if err != nil {
			return err
		}
		return g.Merge(context.Background(), o, after)
	}},
	{name: "vgcfgrestore", prepare: three, change: func(b *bench) error {
		inv := b.scan()
		f, err := inv.Group("data")
		if err != nil {
			return err
		}
		old, _, err := f.VG.RemoveLV("a")
		if err != nil {
			return err
		}
		_, err = inv.Restore(context.Background(), old, lvm.OpenOptions{})
		return err
	}},
	{name: "pvmove", prepare: func(b *bench) { three(b); b.fill("b") }, between: func(b *bench) error { return b.filled("b") }, change: func(b *bench) error {
		return b.open("data").Move(context.Background(), b.env(), metadata.Move{Source: "/dev/d1"}, lvm.MoveOptions{Step: 7 * mib})
	}},
}

var fixedID = metadata.UUID([]byte("0123456789abcdefghijABCDEFGHIJ01"))

func resizePV(b *bench, disk string, size uint64) error {
	inv := b.scan()
	g, err := inv.Open("data", lvm.OpenOptions{Mode: lvm.ReadWrite})
	if err != nil {
		return err
	}
	pv := inv.PV(disk)
	if size == 0 {
		size = pv.DeviceSize()
	}
	r, err := pv.Resizing(size)
	if err != nil {
		return err
	}
	after, op, err := g.VG().ResizePV(r)
	if err != nil {
		return err
	}
	return g.ResizePV(context.Background(), pv, size, after, op)
}

func resize(b *bench, name string, n metadata.Extent) request {
	return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) {
		return vg.ResizeLV(b.env(), metadata.ResizeLV{Name: name, Size: metadata.Extents(n)})
	}
}

// A power cut at any moment of any change, whatever disks made of the writes under way, leaves the old state or the
// new one. What was left can be changed further, and then nothing is wrong with it any more.
func TestPowerCut(t *testing.T) {
	total := 0
	for _, sector := range []int{512, 4096} {
		if testing.Short() && sector == 4096 {
			continue
		}
		for _, s := range scenarios {
			t.Run(fmt.Sprintf("%s/%d", s.name, sector), func(t *testing.T) { total += s.run(t, sector) })
		}
	}
	t.Logf("%d states tried, 0 lost", total)
}

func (s scenario) run(t *testing.T, sector int) (states int) {
	b := newBench(t, 4, 64*mib, sector)
	s.prepare(b)
	old := picture(b.scan())
	b.rec.Start()
	b.check(s.change(b))
	now := b.scan()
	if ps := now.Problems(); len(ps) > 0 {
		t.Fatalf("after the change: %v", ps)
	}
	allowed := []string{old, picture(now)}
	if old == allowed[1] && !strings.HasPrefix(s.name, "pvchange") { // which shows in no picture
		t.Fatal("nothing was changed")
	}
	o := powercut.Options{}
	if testing.Short() {
		o = powercut.Options{Exhaustive: 4, Random: 12, Torn: 1}
	}
	seen := map[string]int{}
	for st := range b.rec.States(o) {
		states++
		c := b.after(st)
		inv := c.scan()
		got := picture(inv)
		seen[got]++
		if !slices.Contains(allowed, got) && s.between == nil {
			t.Fatalf("%s: neither old nor new:\n%s\nproblems: %v", st.Cut, cmp.Diff(old, got), inv.Problems())
		}
		if s.between != nil {
			if err := s.between(c); err != nil {
				t.Fatalf("%s: %v", st.Cut, err)
			}
		}
		if states%7 == 0 || seen[got] == 1 {
			c.heal(st.Cut)
		}
	}
	if old != allowed[1] && (seen[old] == 0 || seen[allowed[1]] == 0) {
		t.Errorf("not both states were seen: %d of %d old", seen[old], states)
	}
	return states
}

// heal makes another change to every group and repairs what vgck --updatemetadata repairs.
func (b *bench) heal(cut string) {
	b.t.Helper()
	ctx := context.Background()
	for _, f := range b.scan().Groups() {
		g := b.open(f.Name)
		if err := apply(g, b.lvcreate("healed", 1)); err != nil {
			b.t.Fatalf("%s: then lvcreate: %v", cut, err)
		}
		if len(g.Warnings) > 0 {
			b.t.Fatalf("%s: then lvcreate: %v", cut, g.Warnings)
		}
		inv := b.scan()
		outdated := false
		for _, p := range inv.PVs() {
			outdated = outdated || p.Outdated
		}
		if len(inv.Problems()) > 0 && !outdated {
			b.t.Fatalf("%s: then lvcreate: %v", cut, inv.Problems())
		}
		b.check(b.open(f.Name).UpdateMetadata(ctx))
	}
	inv := b.scan()
	if ps := inv.Problems(); len(ps) > 0 {
		b.t.Fatalf("%s: healed, and yet %v", cut, ps)
	}
	for _, f := range inv.Groups() {
		if f.VG.LV("healed") == nil || len(f.Stale)+len(f.Bad)+len(f.Unmarked)+len(f.Outdated)+len(f.Mismatch) > 0 {
			b.t.Fatalf("%s: healed, and yet %+v", cut, f)
		}
	}
}

// A disk that fails at any write of a change keeps nobody from knowing what is: an error means the old state, none the
// new one, and only at the very write of the change an error says that it is not known.
func TestFailingDisk(t *testing.T) {
	for disk := range 3 {
		for n := range 40 {
			if testing.Short() && n%4 != disk {
				continue
			}
			b := newBench(t, 4, 64*mib, 512)
			three(b)
			g := b.open("data")
			old := groupText(g.VG())
			b.rec.FailAfter(disk, n)
			err := apply(g, b.lvcreate("c", 5))
			b.rec.FailAfter(disk, -1)
			got := groupText(b.scan().Groups()[0].VG)
			switch {
			case err == nil && got == old:
				t.Fatalf("disk %d fails after %d: the change was acknowledged and is not there", disk, n)
			case err != nil && got != old && !errors.Is(err, lvm.ErrUncertain):
				t.Fatalf("disk %d fails after %d: %v, and yet the change is there", disk, n, err)
			case err != nil && !errors.Is(err, powercut.ErrFailed):
				t.Fatal(err)
			}
			b.heal(fmt.Sprintf("disk %d failed after %d", disk, n))
		}
	}
}

// noFlush is a disk whose user flushes nothing, as LVM2.
type noFlush struct{ block.Device }

func (noFlush) Flush() error { return nil }

// The order of writes alone does not save a group: without the flushes, as LVM2 writes, a disk may store all three
// headers and none of the texts. With them it cannot.
func TestOrderWithoutFlushLosesTheGroup(t *testing.T) {
	for _, flush := range []bool{false, true} {
		b := newBench(t, 3, 64*mib, 512)
		b.vgcreate("data", b.pvcreate(lvm.PVOptions{}, 0, 1, 2))
		old := picture(b.scan())
		for i := range b.disks {
			if !flush {
				b.disks[i].Device = noFlush{b.disks[i].Device}
			}
		}
		g := b.open("data")
		b.rec.Start()
		b.check(apply(g, b.lvcreate("a", 10)))
		writes, _, _ := b.rec.Counts()
		states, lost := 0, 0
		now := picture(b.scan())
		for st := range b.rec.States(powercut.Options{Torn: -1}) {
			states++
			switch picture(b.after(st).scan()) {
			case old, now:
			default:
				lost++
			}
		}
		t.Logf("flushes %v: %d writes, %d states, %d lost", flush, writes, states, lost)
		if flush && lost > 0 || !flush && lost != 8 { // any of the three announcements, all three headers, no text
			t.Errorf("flushes %v: %d of %d states are lost", flush, lost, states)
		}
	}
}
