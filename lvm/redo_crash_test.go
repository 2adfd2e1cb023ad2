package lvm_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"morgana/block"
	"morgana/block/powercut"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// redoStep is something that happens to a group with a redo log.
type redoStep struct {
	name string
	logs int // replicas
	// prepare leads to where the step begins, which is the state that power cuts must not lose.
	prepare func(*redoRig, *lvm.Group)
	do      func(*redoRig, *lvm.Group) error
}

func create(names ...string) func(*redoRig, *lvm.Group) {
	return func(r *redoRig, g *lvm.Group) {
		for _, n := range names {
			r.must(r.lvcreate(g, n))
		}
	}
}

func nothing(*redoRig, *lvm.Group) {}

var background = context.Background()

var redoSteps = []redoStep{
	{name: "arm", logs: 1, prepare: nothing, do: func(r *redoRig, g *lvm.Group) error { return r.lvcreate(g, "x") }},
	{name: "append", logs: 1, prepare: create("a", "b"), do: func(r *redoRig, g *lvm.Group) error { return r.lvcreate(g, "x") }},
	{name: "append, two replicas", logs: 2, prepare: create("a", "b"), do: func(r *redoRig, g *lvm.Group) error {
		return r.lvremove(g, "b")
	}},
	{name: "disarm", logs: 1, prepare: create("a", "b", "c"), do: func(_ *redoRig, g *lvm.Group) error { return g.Sync(background) }},
	{name: "disarm with nothing pending", logs: 1, prepare: create("a"), do: func(_ *redoRig, g *lvm.Group) error {
		return g.Sync(background)
	}},
	{name: "disarm and arm", logs: 1, prepare: create("a", "b"), do: func(r *redoRig, g *lvm.Group) error {
		r.must(g.Sync(background))
		return r.lvcreate(g, "x")
	}},
	{name: "a change as text while armed", logs: 1, prepare: create("a", "b"), do: func(r *redoRig, g *lvm.Group) error {
		after, op, err := g.VG().Change(r.env, metadata.ChangeVG{AddTags: []string{"tag"}})
		r.must(err)
		return g.Commit(background, after, op)
	}},
	{name: "vgreduce while armed", logs: 1, prepare: create("a", "b"), do: func(r *redoRig, g *lvm.Group) error {
		after, op, err := g.VG().ReducePVs([]string{r.disks[len(r.disks)-1].Name})
		r.must(err)
		return g.Commit(background, after, op)
	}},
	{name: "--redolog n", logs: 1, prepare: create("a", "b"), do: func(_ *redoRig, g *lvm.Group) error { return g.DisableLog(background) }},
	{name: "--redolog y", logs: 1, prepare: func(r *redoRig, g *lvm.Group) { r.must(g.DisableLog(background)) }, do: func(r *redoRig, g *lvm.Group) error {
		return g.EnableLog(background, r.env, metadata.AddRedoLog{Size: 256, Replicas: 2}, r.o)
	}},
	{name: "fold in the background, twice", logs: 1, prepare: create("a"), do: func(r *redoRig, g *lvm.Group) error {
		for i := range 260 { // both halves, and the first one again
			name := fmt.Sprintf("x%d", i%2)
			if i > 1 {
				r.must(r.lvremove(g, name))
			}
			r.must(r.lvcreate(g, name))
		}
		return g.Close(background) // waits, and leaves the group armed
	}},
}

// logical is what users see of a group: all but seqno and what belongs to the redo log.
func logical(vg *metadata.VG) string {
	var b strings.Builder
	fmt.Fprintln(&b, vg.Name(), vg.SystemID(), vg.Status(), vg.Tags())
	for _, pv := range vg.PVs() {
		fmt.Fprintln(&b, pv.ID, pv.PECount)
	}
	for lv := range vg.LVs() {
		if lv.Visible() {
			fmt.Fprintln(&b, lv.Name, lv.ID)
			for _, s := range lv.Segments {
				fmt.Fprintln(&b, s.Start, s.Count, s.Stripes)
			}
		}
	}
	return b.String()
}

// A power cut at any moment leaves one of the states that the group went through, and the group can be used on.
func TestRedoPowerCut(t *testing.T) {
	total := 0
	for _, sector := range []int{512, 4096} {
		for _, s := range redoSteps {
			t.Run(fmt.Sprintf("%s/%d", s.name, sector), func(t *testing.T) { total += s.run(t, sector) })
		}
	}
	t.Logf("%d states tried, 0 lost", total)
}

func (s redoStep) run(t *testing.T, sector int) int {
	r, rec := recordedRig(t, 3, sector, s.logs)
	g := r.open()
	s.prepare(r, g)
	allowed := map[string]bool{logical(g.VG()): true}
	many := strings.HasPrefix(s.name, "fold")
	r.seen = func(vg *metadata.VG) { allowed[logical(vg)] = true }
	rec.Start()
	r.must(s.do(r, g))
	allowed[logical(r.scan().VG)] = true
	o := powercut.Options{Exhaustive: 8, Random: 60, Torn: 2}
	if testing.Short() {
		o = powercut.Options{Exhaustive: 4, Random: 10, Torn: 1}
	}
	if many {
		o = powercut.Options{Exhaustive: 2, Random: 3, Torn: 1}
	}
	states := 0
	for st := range rec.States(o) {
		if states++; many && states%9 != 0 {
			continue
		}
		q := &redoRig{t: t, env: r.env, o: r.o}
		for i, d := range st.Disks {
			q.disks = append(q.disks, lvm.Disk{Name: r.disks[i].Name, Device: d})
		}
		f := q.scan()
		if f.Log != nil && f.Log.Err != nil {
			t.Fatalf("%s: %v", st.Cut, f.Log.Err)
		}
		if got := logical(f.VG); !allowed[got] {
			t.Fatalf("%s: neither old nor new:\n%s", st.Cut, got)
		}
		if states%5 == 0 || many {
			q.goOn(st)
		}
	}
	return states
}

// goOn uses a group that a power cut left.
func (r *redoRig) goOn(st powercut.State) {
	r.t.Helper()
	g, err := r.tryOpen(lvm.ReadWrite)
	if err != nil {
		r.t.Fatalf("%s: %v", st.Cut, err)
	}
	before := names(g.VG())
	if err := r.lvcreate(g, "on"); err != nil {
		r.t.Fatalf("%s: %v", st.Cut, err)
	}
	if err := r.lvcreate(g, "and-on"); err != nil {
		r.t.Fatalf("%s: %v", st.Cut, err)
	}
	r.must(g.Close(background))
	want := strings.TrimSpace(before + " on and-on")
	r.want(r.scan().VG, want)
	g = r.open()
	if err := g.Sync(background); err != nil {
		r.t.Fatalf("%s: %v", st.Cut, err)
	}
	f := r.scan()
	if f.Log != nil {
		r.want(f.Log.Text, want)
		if f.Log.Armed {
			r.t.Fatalf("%s: still armed", st.Cut)
		}
	}
}

// recordedRig is a rig whose disks are recorded.
func recordedRig(t testing.TB, disks, sector, logs int) (*redoRig, *powercut.Recorder) {
	var mems []*block.Mem
	for range disks {
		mems = append(mems, block.NewMem(16<<20, sector))
	}
	rec := powercut.NewRecorder(mems...)
	r := &redoRig{t: t, env: metadata.Env{Rand: seeded(1), Now: 1_700_000_000, Host: "host"}}
	r.o = lvm.RedoOptions{Rand: seeded(2), KeepPending: true}
	for i, d := range rec.Disks() {
		r.disks = append(r.disks, lvm.Disk{Name: fmt.Sprintf("/dev/d%d", i), Device: d})
	}
	r.create(0, logs)
	return r, rec
}
