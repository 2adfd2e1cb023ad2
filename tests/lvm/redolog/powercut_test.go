package redolog

import (
	"context"
	"fmt"
	"math/rand"
	"os"
	"strings"
	"testing"

	"morgana/block"
	"morgana/block/powercut"
	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/tests/lvm/oracle"
)

const diskSize = 12 << 20

// machine is a group with a redo log on disks in memory that record what is written, under the names of lvm2's disks.
type machine struct {
	t     testing.TB
	env   metadata.Env
	o     lvm.OpenOptions
	rec   *powercut.Recorder
	disks []lvm.Disk
}

func newMachine(t testing.TB, real []oracle.Disk, sector int) *machine {
	t.Helper()
	rnd := rand.New(rand.NewSource(1))
	m := &machine{t: t, env: metadata.Env{Rand: rnd, Now: 1_700_000_000, Host: "test"}}
	m.o = lvm.OpenOptions{Mode: lvm.ReadWrite, Redo: lvm.RedoOptions{KeepPending: true, Rand: rnd}}
	var mems []*block.Mem
	for range real {
		mems = append(mems, block.NewMem(diskSize, sector))
	}
	m.rec = powercut.NewRecorder(mems...)
	var pvs []*lvm.PhysicalVolume
	var news []metadata.NewPV
	for i, d := range m.rec.Disks() {
		m.disks = append(m.disks, lvm.Disk{Name: real[i].Path, Device: d})
		pv, err := lvm.CreatePV(context.Background(), m.disks[i], lvm.PVOptions{Rand: rnd})
		m.must(err)
		pvs, news = append(pvs, pv), append(news, pv.New())
	}
	vg, _, err := metadata.NewVG(m.env, metadata.CreateVG{Name: "vg", ExtentSize: 256, PVs: news})
	m.must(err)
	g, err := lvm.CreateGroup(context.Background(), vg, pvs, nil)
	m.must(err)
	m.must(g.EnableLog(context.Background(), m.env, metadata.AddRedoLog{Size: 512}, m.o.Redo))
	m.must(g.Close(context.Background()))
	return m
}

func (m *machine) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func (m *machine) open() *lvm.Group {
	m.t.Helper()
	inv, err := lvm.Scan(context.Background(), m.disks, lvm.ScanOptions{})
	m.must(err)
	g, err := inv.Open("vg", m.o)
	m.must(err)
	return g
}

func (m *machine) create(g *lvm.Group, names ...string) {
	m.t.Helper()
	for _, n := range names {
		after, op, err := g.VG().CreateLV(m.env, metadata.CreateLV{Name: n, Size: metadata.Extents(1)})
		m.must(err)
		m.must(g.Commit(context.Background(), after, op))
	}
}

// TestPowerCutWithLVM2 shows lvm2 what power cuts leave of a group that is armed, appended to, folded and disarmed. It
// finds a group in order each time, which it either must leave alone or has whole: then with all that was acknowledged.
func TestPowerCutWithLVM2(t *testing.T) {
	r := newRig(t)
	every := 6
	if os.Getenv("SOAK") != "" {
		every = 1
	}
	for _, sector := range []int{512, 4096} {
		o := oracle.New(t)
		real := o.DisksOfSector(2, diskSize, sector)
		r := &rig{t: t, o: o, disks: real, mlvm: r.mlvm}
		for _, s := range []struct {
			name     string
			prepare  []string
			do       func(*machine, *lvm.Group)
			old, new string
		}{
			{"arm", nil, func(m *machine, g *lvm.Group) { m.create(g, "x") }, "", "x"},
			{"append", []string{"a", "b"}, func(m *machine, g *lvm.Group) { m.create(g, "x") }, "a b", "a b x"},
			{"disarm", []string{"a", "b"}, func(m *machine, g *lvm.Group) { m.must(g.Sync(context.Background())) }, "a b", "a b"},
			{"disarm and arm", []string{"a", "b"}, func(m *machine, g *lvm.Group) {
				m.must(g.Sync(context.Background()))
				m.create(g, "x")
			}, "a b", "a b x"},
			{"--redolog n", []string{"a", "b"}, func(m *machine, g *lvm.Group) { m.must(g.DisableLog(context.Background())) }, "a b", "a b"},
		} {
			t.Run(fmt.Sprintf("%s/%d", s.name, sector), func(t *testing.T) {
				m := newMachine(t, real, sector)
				g := m.open()
				m.create(g, s.prepare...)
				m.rec.Start()
				s.do(m, g)
				n, shown := 0, 0
				for st := range m.rec.States(powercut.Options{Exhaustive: 6, Random: 20, Torn: 1}) {
					if n++; n%every != 1 && every > 1 {
						continue
					}
					shown++
					for i, d := range st.Disks {
						put(t, d, real[i])
					}
					r.left(st.Cut, s.old, s.new)
				}
				t.Logf("%d of %d states shown to lvm2, 0 lost", shown, n)
			})
		}
	}
}

func put(t testing.TB, mem *block.Mem, d oracle.Disk) {
	t.Helper()
	b := make([]byte, diskSize)
	if _, err := mem.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.File, b, 0); err != nil {
		t.Fatal(err)
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
}

// left checks a group that a power cut left, with lvm2 and without.
func (r *rig) left(cut, before, after string) {
	r.t.Helper()
	if out := r.o.Must("vgs", "--foreign", "--noheadings", "-o", "name"); strings.TrimSpace(out) != "vg" {
		r.t.Fatalf("%s: lvm2 finds %q", cut, out)
	}
	armed := strings.Contains(r.o.Must("vgs", "--foreign", "--noheadings", "-o", "vg_tags"), "mlvm.armed")
	change := []string{"lvcreate", "-an", "-Zn", "-Wn", "-l1", "-n", "theirs", "vg"}
	if armed {
		if res := r.o.Run(change...); res.Code == 0 {
			r.t.Fatalf("%s: lvm2 changed a group with pending changes", cut)
		}
		r.ours("sync", "vg")
	}
	// From here on it is a group like any other.
	if res := r.o.Run("vgck", "vg"); res.Code != 0 {
		r.t.Fatalf("%s: vgck: %s", cut, res.Stderr)
	}
	names := strings.Join(strings.Fields(r.o.Must("lvs", "--noheadings", "-o", "name", "vg")), " ")
	if names != before && names != after {
		r.t.Fatalf("%s: lvm2 has %q, want %q or %q", cut, names, before, after)
	}
	r.o.Must(change...)
	r.ours("lvcreate", "-an", "-Zn", "-l1", "-n", "ours", "vg")
	r.ours("sync", "vg")
	want := strings.Fields(names + " theirs ours")
	if got := strings.Fields(r.o.Quiet("lvs", "--noheadings", "-o", "name", "-O", "lv_time", "vg")); len(got) != len(want) {
		r.t.Fatalf("%s: after a change by each: %q", cut, got)
	}
}
