package blkback

import (
	"context"
	"fmt"
	"math/rand"
	"runtime"
	"testing"

	"morgana/block"
	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/xen"
	"morgana/xen/wire/blkif"
)

// benchLV is a linear volume of 64 MiB on a disk in memory.
func benchLV(tb testing.TB) block.Device {
	tb.Helper()
	check := func(err error) {
		tb.Helper()
		if err != nil {
			tb.Fatal(err)
		}
	}
	ctx, rnd := context.Background(), rand.New(rand.NewSource(1))
	env := metadata.Env{Rand: rnd, Now: 1700000000, Host: "bench"}
	disk := block.NewMem(128*mib, 512)
	pv, err := lvm.CreatePV(ctx, lvm.Disk{Name: "/dev/a", Device: disk}, lvm.PVOptions{Rand: rnd})
	check(err)
	vg, _, err := metadata.NewVG(env, metadata.CreateVG{Name: "vg", ExtentSize: 2048, PVs: []metadata.NewPV{pv.New()}})
	check(err)
	g, err := lvm.CreateGroup(ctx, vg, []*lvm.PhysicalVolume{pv}, nil)
	check(err)
	after, op, err := g.VG().CreateLV(env, metadata.CreateLV{Name: "lv", Size: metadata.Extents(64)})
	check(err)
	check(g.Commit(ctx, after, op))
	lv, err := lvm.OpenVolume(g.VG(), "lv", map[metadata.UUID]block.Device{pv.New().ID: disk}, false)
	check(err)
	full := make([]byte, mib)
	for i := range full {
		full[i] = byte(i)
	}
	for off := int64(0); off < lv.Size(); off += mib {
		_, err := lv.WriteAt(full, off)
		check(err)
	}
	return lv
}

// steady is a frontend that keeps a ring full of requests of the same kind, without allocating.
type steady struct {
	*front
	slots [][]byte
	depth int
	rsp   [128]byte
}

func newSteady(f *front, op blkif.Op, depth, pages int, sectors int64) *steady {
	s := &steady{front: f, depth: depth}
	rng := rand.New(rand.NewSource(1))
	for i := range 4096 {
		r := f.whole(op, uint64(rng.Int63n(sectors/int64(8*pages))*int64(8*pages)), i%depth*pages%(dataPages-pages), pages)
		r.ID = uint64(i)
		slot := make([]byte, f.abi.SlotSize())
		f.abi.PutRequest(slot, &r)
		s.slots = append(s.slots, slot)
	}
	return s
}

// round puts depth requests, has them served and takes the answers.
func (s *steady) round(i int) int {
	for range s.depth {
		s.ring.Put(s.slots[i%len(s.slots)])
		i++
	}
	s.ring.Push()
	s.queue.kick()
	for range s.depth {
		ok, err := s.ring.Take(s.rsp[:])
		if !ok || err != nil || s.abi.DecodeResponse(s.rsp[:]).Status != blkif.OK {
			s.t.Fatal("no good response", ok, err)
		}
	}
	return i
}

// BenchmarkRing measures a ring and its device on one processor, the frontend's own work included.
func BenchmarkRing(b *testing.B) {
	for _, c := range []struct {
		name  string
		w     wiring
		op    blkif.Op
		depth int
		pages int
		lv    bool
	}{
		{"read-4k-depth32-lv", wiring{persistent: true}, blkif.Read, 32, 1, true},
		{"write-4k-depth32-lv", wiring{persistent: true}, blkif.Write, 32, 1, true},
		{"read-4k-depth1-lv", wiring{persistent: true}, blkif.Read, 1, 1, true},
		{"read-44k-depth32-lv", wiring{persistent: true}, blkif.Read, 32, 11, true},
		{"read-4k-depth32-copied", wiring{}, blkif.Read, 32, 1, true},
		{"read-4k-depth32-nothing", wiring{persistent: true}, blkif.Read, 32, 1, false},
	} {
		b.Run(c.name, func(b *testing.B) {
			var dev block.Device = nothing{}
			if c.lv {
				dev = benchLV(b)
			}
			f := connect(b, dev, c.w)
			s := newSteady(f, c.op, c.depth, c.pages, 64*mib/512)
			i := s.round(0)
			b.SetBytes(int64(c.pages) * xen.PageSize)
			b.ReportAllocs()
			b.ResetTimer()
			n := 0
			for ; n < b.N; n += c.depth {
				i = s.round(i)
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "requests/s")
		})
	}
}

// nothing is a disk that does nothing, to measure the ring alone.
type nothing struct{}

func (nothing) ReadAt(p []byte, _ int64) (int, error)  { return len(p), nil }
func (nothing) WriteAt(p []byte, _ int64) (int, error) { return len(p), nil }
func (nothing) Flush() error                           { return nil }
func (nothing) Size() int64                            { return 64 * mib }
func (nothing) SectorSize() int                        { return 512 }

// A request costs no memory once the ring is warm, whatever way its data takes.
func TestNoAllocationPerRequest(t *testing.T) {
	for name, w := range map[string]wiring{
		"persistent": {persistent: true}, "copied": {}, "copied, 32 bit": {abi: blkif.ABI32},
		"persistent, parallel": {persistent: true, options: Options{Parallel: 4}},
	} {
		for _, op := range []blkif.Op{blkif.Read, blkif.Write} {
			t.Run(fmt.Sprintf("%s, %v", name, op), func(t *testing.T) {
				parallel := w.options.Parallel > 1
				f := connect(t, benchLV(t), w)
				s := newSteady(f, op, 8, 3, 64*mib/512)
				at := 0
				round := func() {
					if parallel {
						s.wait(&at)
					} else {
						at = s.round(at)
					}
				}
				for range 50 {
					round()
				}
				if n := testing.AllocsPerRun(200, round); n != 0 {
					t.Errorf("%v allocations for %d requests, want none", n, s.depth)
				}
			})
		}
	}
}

// wait is round where other goroutines make the calls.
func (s *steady) wait(at *int) {
	for range s.depth {
		s.ring.Put(s.slots[*at%len(s.slots)])
		*at++
	}
	s.ring.Push()
	s.queue.kick()
	for n := 0; n < s.depth; {
		ok, err := s.ring.Take(s.rsp[:])
		if err != nil {
			s.t.Fatal(err)
		}
		if ok {
			n++
		} else {
			runtime.Gosched()
		}
	}
}
