package store

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"morgana/block"
	"morgana/block/file"
	"morgana/block/powercut"
	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/tests/lvm/oracle"
)

const mib = 1 << 20

var ctx = context.Background()

// machine is disks in memory that record what is written to them, under the names of lvm2's disks.
type machine struct {
	t     testing.TB
	rec   *powercut.Recorder
	disks []lvm.Disk
	rnd   *rand.Rand
}

func newMachine(t testing.TB, real []oracle.Disk, size int64, sector int) *machine {
	var mems []*block.Mem
	for range real {
		mems = append(mems, block.NewMem(size, sector))
	}
	m := &machine{t: t, rec: powercut.NewRecorder(mems...), rnd: rand.New(rand.NewSource(1))}
	for i, d := range m.rec.Disks() {
		m.disks = append(m.disks, lvm.Disk{Name: real[i].Path, Device: d})
	}
	return m
}

func (m *machine) env() metadata.Env { return metadata.Env{Rand: m.rnd, Now: 1700000000, Host: "test"} }

func (m *machine) check(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func scan(t testing.TB, disks []lvm.Disk) *lvm.Inventory {
	t.Helper()
	inv, err := lvm.Scan(ctx, disks, lvm.ScanOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return inv
}

func (m *machine) open(name string) *lvm.Group {
	m.t.Helper()
	g, err := scan(m.t, m.disks).Open(name, lvm.OpenOptions{Mode: lvm.ReadWrite})
	m.check(err)
	return g
}

func (m *machine) pvcreate(o lvm.PVOptions, which ...int) (pvs []*lvm.PhysicalVolume) {
	m.t.Helper()
	for _, i := range which {
		o.Rand = m.rnd
		pv, err := lvm.CreatePV(ctx, m.disks[i], o)
		m.check(err)
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

type request func(*metadata.VG) (*metadata.VG, metadata.Operation, error)

func (m *machine) apply(name string, r request, join ...*lvm.PhysicalVolume) {
	m.t.Helper()
	g := m.open(name)
	after, op, err := r(g.VG())
	m.check(err)
	m.check(g.Commit(ctx, after, op, join...))
}

func (m *machine) lvcreate(name string, n metadata.Extent) request {
	return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) {
		return vg.CreateLV(m.env(), metadata.CreateLV{Name: name, Size: metadata.Extents(n)})
	}
}

func (m *machine) vgcreate(name string, pvs []*lvm.PhysicalVolume) {
	m.t.Helper()
	vg, _, err := metadata.NewVG(m.env(), metadata.CreateVG{Name: name, ExtentSize: 2048, PVs: news(pvs)})
	m.check(err)
	_, err = lvm.CreateGroup(ctx, vg, pvs, nil)
	m.check(err)
}

func (m *machine) resize(disk int, size uint64) {
	m.t.Helper()
	inv := scan(m.t, m.disks)
	g, err := inv.Open("data", lvm.OpenOptions{Mode: lvm.ReadWrite})
	m.check(err)
	pv := inv.PV(m.disks[disk].Name)
	if size == 0 {
		size = pv.DeviceSize()
	}
	r, err := pv.Resizing(size)
	m.check(err)
	after, op, err := g.VG().ResizePV(r)
	m.check(err)
	m.check(g.ResizePV(ctx, pv, size, after, op))
}

// put writes what a power cut left to lvm2's disks; only what may hold metadata.
func put(t testing.TB, mem block.Device, d oracle.Disk) {
	t.Helper()
	f, err := os.OpenFile(d.File, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for _, off := range []int64{0, 38 * mib, mem.Size() - 2*mib} { // 40 MiB is what disks are shrunk to
		b := make([]byte, 2*mib)
		if _, err := mem.ReadAt(b, off); err != nil {
			t.Fatal(err)
		}
		if _, err := f.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
	}
	if err := d.Flush(); err != nil {
		t.Fatal(err)
	}
}

// rows turns a report of lvm2 into sorted lines.
func rows(o *oracle.Oracle, args ...string) string {
	out := o.Run(append(args, "--noheadings", "--separator", ",", "--units", "b", "--nosuffix")...)
	lines := strings.Fields(out.Stdout)
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// seenByLVM2 is what lvm2 makes of its disks: volumes, and who has which disk.
func seenByLVM2(o *oracle.Oracle) string {
	return rows(o, "lvs", "-o", "vg_name,lv_name,lv_size") + "\n--\n" + rows(o, "pvs", "-o", "pv_name,vg_name,pv_uuid")
}

// seenByUs is the same by our engine.
func seenByUs(inv *lvm.Inventory) string {
	var lvs, pvs []string
	for _, f := range inv.Groups() {
		if f.VG == nil {
			continue
		}
		for lv := range f.VG.LVs() {
			if lv.Visible() {
				lvs = append(lvs, fmt.Sprintf("%s,%s,%d", f.Name, lv.Name, f.VG.Size(lv)*512))
			}
		}
	}
	for _, pv := range inv.PVs() {
		name := ""
		if pv.Outdated {
			continue // lvm2 warns of it and does not list it
		}
		if pv.Group != nil {
			name = pv.Group.Name
		}
		pvs = append(pvs, fmt.Sprintf("%s,%s,%s", pv.Disk.Name, name, pv.ID))
	}
	slices.Sort(lvs)
	slices.Sort(pvs)
	return strings.Join(lvs, "\n") + "\n--\n" + strings.Join(pvs, "\n")
}

// outdated reports whether there is a disk that a group has given up and that is not cleared yet.
func outdated(inv *lvm.Inventory) bool {
	return slices.ContainsFunc(inv.PVs(), func(pv *lvm.PhysicalVolume) bool { return pv.Outdated })
}

// crash is a change that the power interrupts.
type crash struct {
	name    string
	prepare func(*machine) // beyond what all have
	change  func(*machine)
	// lost says that lvm2 does not see the old state or the new one at every moment, because it knows no rule for it:
	// then our engine must have repaired it first.
	repaired bool
	// every is how many states go by for one that lvm2 looks at, 0 for 20.
	every int
}

// prepare makes the group "data" of three disks and an orphan.
func prepare(m *machine) {
	pvs := append(m.pvcreate(lvm.PVOptions{}, 0, 1), m.pvcreate(lvm.PVOptions{TwoAreas: true}, 2)...)
	m.pvcreate(lvm.PVOptions{}, 3)
	m.vgcreate("data", pvs)
	m.apply("data", m.lvcreate("a", 10))
	m.apply("data", m.lvcreate("b", 20))
}

func simple(r func(*machine) request) func(*machine) {
	return func(m *machine) { m.apply("data", r(m)) }
}

var crashes = []crash{
	{name: "lvcreate", change: simple(func(m *machine) request { return m.lvcreate("c", 5) })},
	{name: "lvremove", change: simple(func(*machine) request {
		return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) { return vg.RemoveLV("b") }
	})},
	{name: "lvextend", change: simple(func(m *machine) request {
		return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) {
			return vg.ResizeLV(m.env(), metadata.ResizeLV{Name: "a", Size: metadata.Extents(30)})
		}
	})},
	{name: "lvreduce", change: simple(func(m *machine) request {
		return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) {
			return vg.ResizeLV(m.env(), metadata.ResizeLV{Name: "a", Size: metadata.Extents(3)})
		}
	})},
	{name: "lvrename", change: simple(func(*machine) request {
		return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) { return vg.RenameLV("a", "z") }
	})},
	{name: "vgrename", change: simple(func(*machine) request {
		return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) { return vg.Rename("other") }
	})},
	{name: "vgextend", change: func(m *machine) {
		pv := scan(m.t, m.disks).PV(m.disks[3].Name)
		m.apply("data", func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) {
			return vg.AddPVs([]metadata.NewPV{pv.New()})
		}, pv)
	}},
	{name: "vgreduce", change: simple(func(m *machine) request {
		return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) {
			return vg.ReducePVs([]string{m.disks[2].Name})
		}
	})},
	{name: "vgcreate", change: func(m *machine) {
		m.vgcreate("new", []*lvm.PhysicalVolume{scan(m.t, m.disks).PV(m.disks[3].Name)})
	}},
	{name: "vgremove", change: func(m *machine) { m.check(m.open("data").Remove(ctx)) }},
	{name: "pvcreate", change: func(m *machine) { m.pvcreate(lvm.PVOptions{}, 4) }},
	{name: "pvmove", every: 200, change: func(m *machine) {
		m.check(m.open("data").Move(ctx, m.env(), metadata.Move{Source: m.disks[0].Name}, lvm.MoveOptions{Step: 16 * mib}))
	}},
	{name: "vgchange --uuid", change: simple(func(m *machine) request {
		return func(vg *metadata.VG) (*metadata.VG, metadata.Operation, error) {
			return vg.Change(m.env(), metadata.ChangeVG{NewID: true})
		}
	})},
	{name: "pvchange --uuid", repaired: true, change: func(m *machine) {
		g := m.open("data")
		after, op, err := g.VG().ChangePV(m.env(), metadata.ChangePV{Device: m.disks[2].Name, NewID: true})
		m.check(err)
		m.check(g.ChangeID(ctx, g.Members()[2], after, op))
	}},
	{name: "pvresize", change: func(m *machine) { m.resize(2, 40*mib) }},
	{name: "pvresize, larger", prepare: func(m *machine) { m.resize(2, 40*mib) }, change: func(m *machine) { m.resize(2, 0) }},
	{name: "pvchange --metadatasize", every: 60, change: func(m *machine) {
		g := m.open("data")
		m.check(g.EnlargeArea(ctx, m.env(), g.Members()[0], 4*mib, lvm.MoveOptions{}))
	}},
	{name: "vgsplit", repaired: true, change: split},
	{name: "vgmerge", repaired: true, prepare: split, change: func(m *machine) {
		inv := scan(m.t, m.disks)
		g, err := inv.Open("data", lvm.OpenOptions{Mode: lvm.ReadWrite})
		m.check(err)
		other, err := inv.Open("other", lvm.OpenOptions{Mode: lvm.ReadWrite})
		m.check(err)
		after, _, err := g.VG().Merge(m.env(), other.VG())
		m.check(err)
		m.check(g.Merge(ctx, other, after))
	}},
}

func split(m *machine) {
	g := m.open("data")
	stay, _, other, _, err := g.VG().Split(m.env(), metadata.Split{Name: "other", PVs: []string{m.disks[2].Name}})
	m.check(err)
	_, err = g.Split(ctx, stay, other)
	m.check(err)
}

// What a power cut leaves is the old state or the new one, for lvm2 too, and lvm2 finds nothing wrong with it that keeps
// it from going on. SOAK lets lvm2 look at every state.
func TestPowerCutAgreedByLVM2(t *testing.T) {
	var report strings.Builder
	fmt.Fprintf(&report, "Power cuts: states that disks may be left in, old or new for mlvm, and for lvm2 of those it looked at\n\n"+
		"%-28s %7s %8s %8s %6s\n", "change", "sector", "states", "by lvm2", "lost")
	var all tally
	for _, sector := range []int{512, 4096} {
		o := oracle.New(t)
		real := o.DisksOfSector(5, 64*mib, sector)
		for i, c := range crashes {
			if testing.Short() && (i > 0 || sector != 512) {
				continue
			}
			t.Run(fmt.Sprintf("%s/%d", c.name, sector), func(t *testing.T) {
				n := c.run(t, o, real, sector)
				fmt.Fprintf(&report, "%-28s %7d %8d %8d %6d\n", c.name, sector, n.states, n.byLVM2, 0) // a lost one ends the test
				all.states, all.byLVM2 = all.states+n.states, all.byLVM2+n.byLVM2
			})
		}
	}
	fmt.Fprintf(&report, "%-28s %7s %8d %8d %6d\n", "all", "", all.states, all.byLVM2, 0)
	states, lost := withoutFlushes(t)
	fmt.Fprintf(&report, "\nvgsplit, vgmerge, pvchange --uuid: lvm2 looked after mlvm vgck --updatemetadata\n")
	fmt.Fprintf(&report, "The same order of writes without the flushes, as lvm2 writes: %d of %d states of an lvcreate lose the group\n", lost, states)
	if lost == 0 {
		t.Error("without the flushes nothing is lost: the test does not notice what it is for")
	}
	t.Log("\n" + report.String())
	if testing.Short() || t.Failed() {
		return
	}
	dir := filepath.Join("..", "..", "..", "build", "reports")
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, "lvm-powercut.txt"), []byte(report.String()), 0o644)); err != nil {
		t.Fatal(err)
	}
}

// tally is how many states were tried.
type tally struct{ states, byLVM2 int }

// noFlush is a disk whose user flushes nothing, as lvm2.
type noFlush struct{ block.Device }

func (noFlush) Flush() error { return nil }

// withoutFlushes counts the states of an lvcreate on three disks that lose the group if nothing is flushed.
func withoutFlushes(t *testing.T) (states, lost int) {
	m := newMachine(t, make([]oracle.Disk, 3), 64*mib, 512)
	for i := range m.disks {
		m.disks[i].Name = fmt.Sprintf("disk%d", i)
	}
	m.vgcreate("data", m.pvcreate(lvm.PVOptions{}, 0, 1, 2))
	for i := range m.disks {
		m.disks[i].Device = noFlush{m.disks[i].Device}
	}
	m.rec.Start()
	m.apply("data", m.lvcreate("a", 10))
	for s := range m.rec.States(powercut.Options{Torn: -1}) {
		states++
		var disks []lvm.Disk
		for i, d := range s.Disks {
			disks = append(disks, lvm.Disk{Name: m.disks[i].Name, Device: d})
		}
		if len(scan(t, disks).Groups()) == 0 {
			lost++
		}
	}
	return states, lost
}

func (c crash) run(t *testing.T, o *oracle.Oracle, real []oracle.Disk, sector int) (n tally) {
	m := newMachine(t, real, 64*mib, sector)
	prepare(m)
	if c.prepare != nil {
		c.prepare(m)
	}
	before := seenByUs(scan(t, m.disks))
	m.rec.Start()
	c.change(m)
	after := seenByUs(scan(t, m.disks))
	every := c.every
	if every == 0 {
		every = 20
	}
	if os.Getenv("SOAK") != "" {
		every = 1
	}
	var last []lvm.Disk
	for s := range m.rec.States(powercut.Options{}) {
		var disks []lvm.Disk
		for j, d := range s.Disks {
			disks = append(disks, lvm.Disk{Name: real[j].Path, Device: d})
		}
		inv := scan(t, disks)
		if ours := seenByUs(inv); ours != before && ours != after && c.name != "pvmove" && !outdated(inv) {
			t.Fatalf("%s: neither old nor new:\n%s\n%v", s.Cut, ours, inv.Problems())
		}
		if n.states%every == 0 {
			c.ask(t, o, real, disks, s.Cut)
			n.byLVM2++
			disks = nil
		}
		n.states++
		last = disks
	}
	if last != nil {
		c.ask(t, o, real, last, "at the end")
		n.byLVM2++
	}
	return n
}

// ask lets lvm2 look at what disks hold, and go on from there.
func (c crash) ask(t *testing.T, o *oracle.Oracle, real []oracle.Disk, disks []lvm.Disk, cut string) {
	t.Helper()
	if c.repaired {
		for _, f := range scan(t, disks).Groups() {
			g, err := scan(t, disks).Open(f.Name, lvm.OpenOptions{Mode: lvm.ReadWrite})
			if err == nil {
				err = g.UpdateMetadata(ctx)
			}
			if err != nil {
				t.Fatalf("%s: %v", cut, err)
			}
		}
	}
	for j, d := range disks {
		put(t, d.Device, real[j])
	}
	ours := seenByUs(scan(t, disks))
	if got := seenByLVM2(o); got != ours {
		t.Fatalf("%s: lvm2 sees\n%s\nwe see\n%s\n%s", cut, got, ours, o.Run("vgs").Stderr)
	}
	for _, f := range scan(t, disks).Groups() {
		if r := o.Run("vgck", f.Name); r.Code != 0 {
			t.Fatalf("%s: vgck %s: %d: %s", cut, f.Name, r.Code, r.Stderr)
		}
		// It goes on, and puts right what it warned of.
		if r := o.Run("lvcreate", "-an", "-Zn", "-Wn", "-l1", "-n", "next", f.Name); r.Code != 0 {
			t.Fatalf("%s: lvcreate: %d: %s", cut, r.Code, r.Stderr)
		}
		if r := o.Run("vgck", "--updatemetadata", f.Name); r.Code != 0 {
			t.Fatalf("%s: vgck --updatemetadata: %d: %s", cut, r.Code, r.Stderr)
		}
		if r := o.Run("vgck", f.Name); r.Code != 0 || r.Stderr+r.Stdout != "" {
			t.Fatalf("%s: vgck %s: %d: %s", cut, f.Name, r.Code, r.Stderr)
		}
	}
}

// Disks are laid out as lvm2 lays them out, whatever is asked for.
func TestLayoutIsLVM2s(t *testing.T) {
	o := oracle.New(t)
	rnd := rand.New(rand.NewSource(7))
	tries := 60
	if testing.Short() {
		tries = 12
	}
	pick := func(list ...uint64) uint64 { return list[rnd.Intn(len(list))] }
	for i := range tries {
		size := pick(2*mib, 3*mib, 9_000_000/512*512, 20*mib, 64*mib, 128*mib, 100*mib+512*37)
		d := o.Disks(1, int64(size))[0]
		args := []string{"pvcreate", "-y"}
		p := lvm.PVOptions{Rand: rnd}
		if i > 0 {
			switch rnd.Intn(3) {
			case 0:
				p.NoAreas = true
				args = append(args, "--pvmetadatacopies", "0")
			case 1:
				p.TwoAreas = true
				args = append(args, "--pvmetadatacopies", "2")
			}
			if rnd.Intn(2) == 0 {
				p.AreaSize = pick(100<<10, 512<<10, mib, 3*mib/2, 2*mib, 5*mib, 17*mib)
				args = append(args, "--metadatasize", fmt.Sprintf("%db", p.AreaSize))
			}
			if rnd.Intn(2) == 0 {
				p.Alignment = pick(64<<10, 256<<10, 768<<10, mib, 4*mib)
				args = append(args, "--dataalignment", fmt.Sprintf("%db", p.Alignment))
				if rnd.Intn(2) == 0 {
					p.AlignShift = pick(512, 4096, 32<<10)
					args = append(args, "--dataalignmentoffset", fmt.Sprintf("%db", p.AlignShift))
				}
			}
			if rnd.Intn(3) == 0 {
				p.Bootloader = pick(512, 100<<10, mib, 3*mib/2)
				args = append(args, "--bootloaderareasize", fmt.Sprintf("%db", p.Bootloader))
			}
			if rnd.Intn(4) == 0 {
				p.LabelSector = pick(1, 2, 3)
				args = append(args, "--labelsector", fmt.Sprint(p.LabelSector))
			}
		}
		r := o.Run(append(args, d.Path)...)
		want, err := lvm.Layout(size, p)
		if (r.Code == 0) != (err == nil) {
			t.Errorf("%d bytes, %s: lvm2 %d %s, we %v", size, strings.Join(args[2:], " "), r.Code, r.Stderr, err)
			o.Detach(d)
			continue
		}
		if err == nil {
			dev, err := file.OpenReadOnly(d.File)
			if err != nil {
				t.Fatal(err)
			}
			if err := d.Flush(); err != nil {
				t.Fatal(err)
			}
			pv := scan(t, []lvm.Disk{{Name: d.Path, Device: dev}}).PVs()[0]
			want.UUID = pv.Label.UUID
			if got, w := fmt.Sprintf("%+v", pv.Label), fmt.Sprintf("%+v", want); got != w {
				t.Errorf("%d bytes, %s:\nlvm2 %s\nwe   %s", size, strings.Join(args[2:], " "), got, w)
			}
			dev.Close()
		}
		o.Detach(d)
	}
}
