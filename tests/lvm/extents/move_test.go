package extents

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"morgana/lvm/metadata"
	"morgana/tests/lvm/oracle"
)

// TestMoveSameAsLVM2 compares where pvmove puts extents. Without device-mapper lvm2 stops when it has written its plan,
// a mirror of the source and of the new extents; that is all that is wanted here.
func TestMoveSameAsLVM2(t *testing.T) {
	if testing.Short() {
		t.Skip("runs lvm2 many times")
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	plans, refusals := 0, 0
	for trial := range 10 {
		w := walk{t: t, rand: rand.New(rand.NewPCG(seed, uint64(trial))), o: oracle.New(t)}
		w.env = metadata.Env{Rand: endless{w.rand}, Now: 1, Host: "localhost"}
		w.disks = w.o.Disks(4, 8<<20)
		args := []string{"vgcreate", "-s", "64k", "vg"}
		for _, d := range w.disks {
			args = append(args, d.Path)
		}
		w.o.Must(args...)
		w.vg = w.read()
		for i := range 9 {
			if c := w.small(i); c.args != nil {
				w.compare(c)
			}
		}
		r := metadata.Move{Source: w.disks[w.rand.IntN(4)].Path, Targets: w.where()}
		if w.rand.IntN(2) == 0 {
			r.Source += ":10-60"
		}
		after, _, copies, err := w.vg.MoveExtents(w.env, r)
		got := w.o.Run(append([]string{"pvmove", r.Source}, r.Targets...)...)
		if err != nil {
			first, _, _ := strings.Cut(err.Error(), "\n")
			if got.Code == 0 || !strings.Contains(got.Stdout+got.Stderr, first) {
				t.Errorf("pvmove %v: lvm2 says %d %q, here: %v", r, got.Code, got.Stdout+got.Stderr, err)
			}
			refusals++
			continue
		}
		if strings.Contains(got.Stderr, "Internal error") {
			continue // of lvm2 itself, with some ranges
		}
		vg := w.read()
		plan := vg.LV("pvmove0")
		if plan == nil {
			t.Errorf("pvmove %v: lvm2 says %d %q, here: %v", r, got.Code, got.Stdout+got.Stderr, copies)
			continue
		}
		plans++
		if d := cmp.Diff(byExtent(planOf(vg, plan)), byExtent(copies)); d != "" {
			t.Errorf("pvmove %v: -lvm2 +here\n%s", r, d)
		}
		if after.FreeExtents() != w.vg.FreeExtents() {
			t.Errorf("pvmove %v: %d extents free before, %d after", r, w.vg.FreeExtents(), after.FreeExtents())
		}
	}
	t.Logf("%d plans and %d refusals, the same here and in lvm2", plans, refusals)
}

// planOf is what a volume of LVM2's copies: each segment is a mirror of the old and the new place.
func planOf(vg *metadata.VG, lv *metadata.LV) (copies []metadata.Copy) {
	for _, s := range lv.Segments {
		if len(s.Stripes) == 2 {
			from, to := s.Stripes[0], s.Stripes[1]
			copies = append(copies, metadata.Copy{
				FromPV: vg.PV(from.PV).ID, FromStart: from.Start, ToPV: vg.PV(to.PV).ID, ToStart: to.Start, Count: s.Count,
			})
		}
	}
	return copies
}

func byExtent(copies []metadata.Copy) map[string]string {
	m := map[string]string{}
	for _, c := range copies {
		for i := range c.Count {
			m[fmt.Sprint(c.FromPV, " ", c.FromStart+i)] = fmt.Sprint(c.ToPV, " ", c.ToStart+i)
		}
	}
	return m
}

// small creates small volumes and removes some.
func (w *walk) small(i int) command {
	if w.rand.IntN(4) == 0 {
		return w.remove()
	}
	r := metadata.CreateLV{Name: fmt.Sprintf("v%d", i), Size: metadata.Extents(metadata.Extent(1 + w.rand.IntN(30))), PVs: w.where()}
	args := []string{"lvcreate", "-an", "-Zn", "-Wn", fmt.Sprintf("-l%d", r.Size.Count), "-n", r.Name}
	if w.rand.IntN(3) == 0 {
		r.Stripes = 2
		args = append(args, "-i2")
	}
	args = append(append(args, "vg"), r.PVs...)
	return command{args, func() (*metadata.VG, metadata.Operation, error) { return w.vg.CreateLV(w.env, r) }}
}
