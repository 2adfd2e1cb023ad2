package metadata

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// bigVG has n logical volumes of one extent on two disks, every hundredth striped.
func bigVG(tb testing.TB, n int) *VG {
	tb.Helper()
	env := testEnv(1)
	vg := testVG(tb, "vg", env, 40000, 40000)
	for i := range n {
		r := CreateLV{Name: fmt.Sprintf("lv%d", i), Size: Extents(1)}
		if i%100 == 99 {
			r.Size, r.Stripes = Extents(2), 2
		}
		after, _, err := vg.CreateLV(env, r)
		if err != nil {
			tb.Fatal(err)
		}
		vg = after
	}
	vg.TextSize(Stamp{})
	return vg
}

// BenchmarkRequests is what a change costs with few logical volumes and with many: the new group, the record for a redo
// log, and how long the text would be.
func BenchmarkRequests(b *testing.B) {
	requests := []struct {
		name string
		do   func(*VG, Env) (*VG, Operation, error)
	}{
		{"lvcreate", func(vg *VG, env Env) (*VG, Operation, error) {
			return vg.CreateLV(env, CreateLV{Name: "new", Size: Extents(3)})
		}},
		{"auto-name", func(vg *VG, env Env) (*VG, Operation, error) { return vg.CreateLV(env, CreateLV{Size: Extents(3)}) }},
		{"lvextend", func(vg *VG, env Env) (*VG, Operation, error) {
			return vg.ResizeLV(env, ResizeLV{Name: "lv0", Size: Amount{Count: 1, Sign: Plus}})
		}},
		{"lvremove", func(vg *VG, env Env) (*VG, Operation, error) { return vg.RemoveLV("lv0") }},
		{"lvrename", func(vg *VG, env Env) (*VG, Operation, error) { return vg.RenameLV("lv0", "other") }},
		{"addtag", func(vg *VG, env Env) (*VG, Operation, error) {
			return vg.ChangeLV(ChangeLV{Name: "lv0", AddTags: []string{"t"}})
		}},
	}
	for _, r := range requests {
		for _, n := range []int{1, 100, 10000} {
			b.Run(fmt.Sprintf("%s/%d", r.name, n), func(b *testing.B) {
				vg, env := bigVG(b, n), testEnv(2)
				var times []time.Duration
				var record []byte
				b.ReportAllocs()
				for b.Loop() {
					start := time.Now()
					after, op, err := r.do(vg, env)
					if err != nil {
						b.Fatal(err)
					}
					record = op.Append(record[:0])
					after.TextSize(Stamp{})
					times = append(times, time.Since(start))
				}
				slices.Sort(times)
				b.ReportMetric(float64(times[len(times)/2].Nanoseconds()), "p50-ns")
				b.ReportMetric(float64(len(record)), "record-bytes")
			})
		}
	}
}

// BenchmarkText is reading and writing a text of many logical volumes.
func BenchmarkText(b *testing.B) {
	for _, n := range []int{100, 5000} {
		raw := bigVG(b, n).AppendText(nil, Stamp{})
		b.Run(fmt.Sprintf("parse/%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := Parse(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(fmt.Sprintf("parse-create-append/%d", n), func(b *testing.B) {
			b.SetBytes(int64(len(raw)))
			env := testEnv(2)
			var out []byte
			for b.Loop() {
				vg, err := Parse(raw)
				if err != nil {
					b.Fatal(err)
				}
				if vg, _, err = vg.CreateLV(env, CreateLV{Size: Extents(1)}); err != nil {
					b.Fatal(err)
				}
				out = vg.AppendText(out[:0], Stamp{})
			}
		})
	}
}

// BenchmarkFragmented allocates from thousands of small holes.
func BenchmarkFragmented(b *testing.B) {
	env := testEnv(1)
	vg := bigVG(b, 10000)
	for i := 0; i < 10000; i += 2 {
		after, _, err := vg.RemoveLV(fmt.Sprintf("lv%d", i))
		if err != nil {
			b.Fatal(err)
		}
		vg = after
	}
	for _, size := range []Extent{1, 10, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			for b.Loop() {
				if _, _, err := vg.CreateLV(env, CreateLV{Size: Extents(size), PVs: []string{"/dev/vg0:0-9998"}}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
