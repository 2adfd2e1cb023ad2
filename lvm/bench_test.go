package lvm_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"testing"

	"morgana/block"
	"morgana/block/powercut"
	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/lvm/text"
)

const mib = 1 << 20

// bench is a few disks in memory, whose writes are recorded, and what is done with them.
type bench struct {
	t     testing.TB
	rec   *powercut.Recorder
	disks []lvm.Disk
	rnd   *rand.Rand
}

func newBench(t testing.TB, n int, size int64, sector int) *bench {
	var mems []*block.Mem
	for range n {
		mems = append(mems, block.NewMem(size, sector))
	}
	b := &bench{t: t, rec: powercut.NewRecorder(mems...), rnd: rand.New(rand.NewSource(1))}
	for i, d := range b.rec.Disks() {
		b.disks = append(b.disks, lvm.Disk{Name: fmt.Sprintf("/dev/d%d", i), Device: d})
	}
	return b
}

// after is a bench with the disks that a power cut left.
func (b *bench) after(s powercut.State) *bench {
	c := &bench{t: b.t, rec: powercut.NewRecorder(s.Disks...), rnd: rand.New(rand.NewSource(2))}
	for i, d := range c.rec.Disks() {
		c.disks = append(c.disks, lvm.Disk{Name: b.disks[i].Name, Device: d})
	}
	return c
}

func (b *bench) env() metadata.Env {
	return metadata.Env{Rand: b.rnd, Now: 1700000000, Host: "test"}
}

func (b *bench) check(err error) {
	b.t.Helper()
	if err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) scan(which ...int) *lvm.Inventory {
	b.t.Helper()
	disks := b.disks
	if len(which) > 0 {
		disks = nil
		for _, i := range which {
			disks = append(disks, b.disks[i])
		}
	}
	inv, err := lvm.Scan(context.Background(), disks, lvm.ScanOptions{})
	b.check(err)
	return inv
}

func (b *bench) open(name string, which ...int) *lvm.Group {
	b.t.Helper()
	g, err := b.scan(which...).Open(name, lvm.OpenOptions{Mode: lvm.ReadWrite})
	b.check(err)
	return g
}

// pvcreate makes physical volumes.
func (b *bench) pvcreate(o lvm.PVOptions, which ...int) []*lvm.PhysicalVolume {
	b.t.Helper()
	var pvs []*lvm.PhysicalVolume
	for _, i := range which {
		o.Rand = b.rnd
		pv, err := lvm.CreatePV(context.Background(), b.disks[i], o)
		b.check(err)
		pvs = append(pvs, pv)
	}
	return pvs
}

func news(pvs []*lvm.PhysicalVolume) (out []metadata.NewPV) {
	for _, pv := range pvs {
		out = append(out, pv.New())
	}
	return out
}

// vgcreate makes a group with extents of 1 MiB of orphans.
func (b *bench) vgcreate(name string, pvs []*lvm.PhysicalVolume) *lvm.Group {
	b.t.Helper()
	g, err := b.tryVgcreate(name, pvs)
	b.check(err)
	return g
}

func (b *bench) tryVgcreate(name string, pvs []*lvm.PhysicalVolume) (*lvm.Group, error) {
	vg, _, err := metadata.NewVG(b.env(), metadata.CreateVG{Name: name, ExtentSize: 2048, PVs: news(pvs)})
	if err != nil {
		return nil, err
	}
	return lvm.CreateGroup(context.Background(), vg, pvs, nil)
}

// orphans are the orphans on some disks.
func (b *bench) orphans(which ...int) (out []*lvm.PhysicalVolume) {
	b.t.Helper()
	inv := b.scan()
	for _, i := range which {
		pv := inv.PV(b.disks[i].Name)
		if pv == nil {
			b.t.Fatalf("disk %d is no physical volume", i)
		}
		out = append(out, pv)
	}
	return out
}

// request is a change of a group as metadata makes it.
type request func(*metadata.VG) (*metadata.VG, metadata.Operation, error)

func apply(g *lvm.Group, r request, join ...*lvm.PhysicalVolume) error {
	after, op, err := r(g.VG())
	if err != nil {
		return err
	}
	return g.Commit(context.Background(), after, op, join...)
}

func (b *bench) lvcreate(name string, extents metadata.Extent, pvs ...string) request {
	return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) {
		return vg.CreateLV(b.env(), metadata.CreateLV{Name: name, Size: metadata.Extents(extents), PVs: pvs})
	}
}

// change applies a request to a group that is opened for it.
func (b *bench) change(name string, r request) {
	b.t.Helper()
	b.check(apply(b.open(name), r))
}

// groupText is a group's text without what changes with every commit.
func groupText(vg *metadata.VG) string {
	return string(text.Printer{}.Stanza(nil, vg.Name(), vg.Section().Without("seqno"), text.Group, 0))
}

// picture is all that a user sees: groups, and what each disk is. A disk that a group gave up is nobody's, marked or
// not.
func picture(inv *lvm.Inventory) string {
	var out []string
	for _, f := range inv.Groups() {
		if f.VG == nil {
			out = append(out, fmt.Sprintf("unreadable %s: %v\n", f.Name, f.Err))
			continue
		}
		out = append(out, groupText(f.VG))
	}
	slices.Sort(out)
	pvs := slices.Clone(inv.PVs())
	slices.SortFunc(pvs, func(x, y *lvm.PhysicalVolume) int { return cmp.Compare(x.Disk.Name, y.Disk.Name) })
	for _, pv := range pvs {
		is := "orphan"
		switch {
		case pv.Missing():
			is = "missing from " + pv.Group.Name
		case pv.Duplicate:
			is = "duplicate"
		case pv.Unowned():
			is = "marked, and nobody's"
		case pv.Group != nil && !pv.Outdated:
			is = "of " + pv.Group.Name
		}
		out = append(out, fmt.Sprintf("%s %s: %s\n", pv.Disk.Name, pv.ID, is))
	}
	for _, d := range inv.Unlabelled() {
		out = append(out, d.Name+": nothing\n")
	}
	return strings.Join(out, "")
}

// extents calls do with the disk and place of each extent of a linear volume of the group "data".
func (b *bench) extents(name string, do func(d block.Device, off int64, le int) error) error {
	g, err := b.scan().Open("data", lvm.OpenOptions{})
	if err != nil {
		return err
	}
	lv := g.VG().LV(name)
	if lv == nil {
		return fmt.Errorf("no logical volume %s", name)
	}
	size := g.VG().ExtentSize() * 512
	le := 0
	for _, s := range lv.Segments {
		for i := range s.Count {
			pv := g.VG().PV(s.Stripes[0].PV)
			if err := do(g.Device(pv.Key), int64(pv.PEStart*512+uint64(s.Stripes[0].Start+i)*size), le); err != nil {
				return err
			}
			le++
		}
	}
	return nil
}

// fill writes data to a logical volume that filled knows again.
func (b *bench) fill(name string) {
	b.t.Helper()
	b.check(b.extents(name, func(d block.Device, off int64, le int) error {
		for i := range int64(mib / 4096) {
			if _, err := d.WriteAt(fmt.Appendf(nil, "%s %d %d", name, le, i), off+i*4096); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (b *bench) filled(name string) error {
	buf := make([]byte, 32)
	return b.extents(name, func(d block.Device, off int64, le int) error {
		for _, i := range []int64{0, 100, mib/4096 - 1} {
			if _, err := d.ReadAt(buf, off+i*4096); err != nil {
				return err
			}
			if want := fmt.Sprintf("%s %d %d\x00", name, le, i); !strings.HasPrefix(string(buf), want) {
				return fmt.Errorf("logical volume %s, extent %d, block %d: %q", name, le, i, buf)
			}
		}
		return nil
	})
}

// shorter is a disk that has lost its end.
type shorter struct {
	block.Device
	size int64
}

func (s shorter) Size() int64 { return s.size }
