package lvm_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"morgana/lvm/metadata"
	"morgana/lvm/report"
	"morgana/tests/lvm/oracle"
)

func TestQuickFixtures(t *testing.T) {
	for _, f := range []string{"every-segment-type.txt", "thin-raid-snapshot.txt"} {
		t.Run(f, func(t *testing.T) {
			b, err := os.ReadFile("../../lvm/text/testdata/" + f)
			if err != nil {
				t.Fatal(err)
			}
			o := oracle.New(t)
			o.Restore(b)
			file := filepath.Join(t.TempDir(), "b")
			o.Must("vgcfgbackup", "-f", file)
			b, _ = os.ReadFile(file)
			vg, err := metadata.Parse(b)
			if err != nil {
				t.Fatal(err)
			}
			g := &report.Group{VG: vg}
			var disks []*report.PV
			for _, pv := range vg.PVs() {
				disks = append(disks, &report.PV{Name: pv.Device, ID: pv.ID, Labelled: true, Meta: pv})
			}
			g.SetDisks(disks)
			for _, kind := range []report.Kind{report.LVs, report.Segments} {
				fields := "lv_all"
				if kind == report.Segments {
					fields = "lv_name,seg_all"
				}
				r, err := report.New(report.Spec{Kind: kind, Fields: fields, Sort: map[bool]string{true: "lv_name,seg_start", false: "lv_name"}[kind == report.Segments], Settings: report.Settings{Location: time.UTC}})
				if err != nil {
					t.Fatal(err)
				}
				for lv := range vg.LVs() {
					if g.Internal(lv) {
						continue
					}
					for i := range lv.Segments {
						if kind == report.LVs && i > 0 {
							break
						}
						r.Add(&report.Row{Group: g, LV: lv, Segment: &lv.Segments[i]})
					}
				}
				var out bytes.Buffer
				j := report.JSON{}
				j.Append(r)
				j.Write(&out)
				got := o.Parse(out.String())
				args := []string{"lvs", "-a", "-o", fields, "-O", map[bool]string{true: "lv_name,seg_start", false: "lv_name"}[kind == report.Segments], "--reportformat", "json"}
				name := "lv"
				if kind == report.Segments {
					args = append(args, "--segments")
					name = "seg"
				}
				want := o.Parse(o.Must(args...))
				w := want[0]["lv"]
				if w == nil {
					w = want[0]["seg"]
				}
				gg := got[0][name]
				if len(w) != len(gg) {
					t.Errorf("%d rows, want %d", len(gg), len(w))
					for _, x := range gg {
						t.Log(x["lv_name"])
					}
					for _, x := range w {
						t.Log("want", x["lv_name"])
					}
				}
				for i := range min(len(w), len(gg)) {
					for k, v := range w[i] {
						if gg[i][k] != v {
							t.Errorf("%s %s: %s = %q, want %q", kind2(kind), w[i]["lv_name"], k, gg[i][k], v)
						}
					}
				}
			}
		})
	}
}

func kind2(k report.Kind) string {
	if k == report.LVs {
		return "lv"
	}
	return "seg"
}
