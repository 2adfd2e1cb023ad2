package bench

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"morgana/block"
	"morgana/block/file"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// Goals of the library with a redo log.
const (
	growth    = 1.25 // a change with 10 000 volumes takes at most so much longer than with one
	changeMax = time.Millisecond
	deviceMax = 1.05 // reading and writing through a volume's map, against the file itself
)

// library is a group in a file that was opened once.
type library struct {
	t   testing.TB
	env metadata.Env
	dev *file.Device
	g   *lvm.Group
}

// openLibrary makes a group of n volumes in a new file, with a redo log if log is set.
func openLibrary(t testing.TB, n int, log bool) *library {
	t.Helper()
	ctx := context.Background()
	l := &library{t: t, env: metadata.Env{Rand: rand.Reader, Now: time.Now().Unix(), Host: "bench"}}
	l.dev = newFile(t, filepath.Join(t.TempDir(), "disk.img"), 4<<30)
	pv, err := lvm.CreatePV(ctx, lvm.Disk{Name: "disk.img", Device: l.dev}, lvm.PVOptions{Rand: rand.Reader, AreaSize: 32 << 20})
	l.must(err)
	vg, _, err := metadata.NewVG(l.env, metadata.CreateVG{Name: "vg", ExtentSize: 256, PVs: []metadata.NewPV{pv.New()}})
	l.must(err)
	seqno := vg.Seqno()
	for i := range n {
		vg, _, err = vg.CreateLV(l.env, metadata.CreateLV{Name: fmt.Sprintf("lv%d", i), Size: metadata.Extents(1)})
		l.must(err)
	}
	vg, err = vg.Replay(metadata.Operation{Name: vg.Name(), Seqno: seqno})
	l.must(err)
	l.g, err = lvm.CreateGroup(ctx, vg, []*lvm.PhysicalVolume{pv}, nil)
	l.must(err)
	if log {
		l.must(l.g.EnableLog(ctx, l.env, metadata.AddRedoLog{}, lvm.RedoOptions{}))
	}
	t.Cleanup(func() { l.must(l.g.Close(ctx)) })
	return l
}

func (l *library) must(err error) {
	l.t.Helper()
	if err != nil {
		l.t.Fatal(err)
	}
}

// change makes a volume, or removes the one before, and tells how long that took.
func (l *library) change(i int) time.Duration {
	l.t.Helper()
	start := time.Now()
	after, op, err := l.g.VG().CreateLV(l.env, metadata.CreateLV{Name: fmt.Sprintf("new%d", i), Size: metadata.Extents(1)})
	if i%2 == 1 {
		after, op, err = l.g.VG().RemoveLV(fmt.Sprintf("new%d", i-1))
	}
	l.must(err)
	l.must(l.g.Commit(context.Background(), after, op))
	return time.Since(start)
}

func percentile(d []time.Duration, p int) time.Duration {
	s := slices.Clone(d)
	slices.Sort(s)
	return s[len(s)*p/100]
}

// TestLibrary measures changes of a group that stays open: computing, appending and flushing. The sizes take turns, so
// that what else the machine does falls on all of them.
func TestLibrary(t *testing.T) {
	ns, rounds := sizes, 2000
	if !*full {
		ns, rounds = []int{1, 1000}, 200
	}
	if testing.Short() {
		rounds = 20
	}
	groups := make([]*library, len(ns))
	took := make([][]time.Duration, len(ns))
	for i, n := range ns {
		groups[i] = openLibrary(t, n, true)
		for k := range 4 {
			groups[i].change(k) // arms, and warms up
		}
	}
	for k := range rounds {
		for i := range ns {
			took[i] = append(took[i], groups[i].change(4+k))
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%6s | %10s %10s | %s\n", "LVs", "p50", "p99", "against one volume")
	base := percentile(took[0], 50)
	for i, n := range ns {
		p50 := percentile(took[i], 50)
		fmt.Fprintf(&b, "%6d | %10v %10v | %.2f\n", n, p50, percentile(took[i], 99), float64(p50)/float64(base))
	}
	t.Logf("a change of an open group with a redo log, with its flush\n%s", b.String())
	keep(t, "lvm-library.txt", b.String())
	if !*full {
		return
	}
	last := percentile(took[len(ns)-1], 50)
	if r := float64(last) / float64(base); r > growth {
		t.Errorf("a change takes %.2f times as long with %d volumes as with one; the goal is %.2f", r, ns[len(ns)-1], growth)
	}
	if last > changeMax {
		t.Errorf("a change takes %v; the goal is %v", last, changeMax)
	}
}

// TestDeviceThroughput reads and writes a volume and the same bytes of the file under it, in turns.
func TestDeviceThroughput(t *testing.T) {
	size, rounds := int64(64<<20), 15
	if !*full {
		size, rounds = 4<<20, 3
	}
	l := openLibrary(t, 1, false)
	after, op, err := l.g.VG().CreateLV(l.env, metadata.CreateLV{Name: "data", Size: metadata.Sectors(uint64(size / 512))})
	l.must(err)
	l.must(l.g.Commit(context.Background(), after, op))
	lv, err := lvm.OpenVolume(l.g.VG(), "data", map[metadata.UUID]block.Device{l.g.VG().PVs()[0].ID: l.dev}, false)
	l.must(err)
	s := l.g.VG().LV("data").Segments[0].Stripes[0]
	pv := l.g.VG().PVs()[0]
	raw, err := block.Sub(l.dev, int64(pv.PEStart+uint64(s.Start)*l.g.VG().ExtentSize())*512, size)
	l.must(err)
	var out bytes.Buffer
	for _, c := range []struct {
		name string
		unit int
		run  func(d block.Device, b []byte) error
	}{
		{"write 1 MiB", 1 << 20, func(d block.Device, b []byte) error { return sweep(b, size, d.WriteAt) }},
		{"read 1 MiB", 1 << 20, func(d block.Device, b []byte) error { return sweep(b, size, d.ReadAt) }},
		{"write 4 KiB", 4 << 10, func(d block.Device, b []byte) error { return sweep(b, size, d.WriteAt) }},
		{"read 4 KiB", 4 << 10, func(d block.Device, b []byte) error { return sweep(b, size, d.ReadAt) }},
	} {
		b := bytes.Repeat([]byte{1}, c.unit)
		best := [2]time.Duration{1 << 62, 1 << 62}
		for range rounds {
			for i, d := range []block.Device{raw, lv} {
				start := time.Now()
				l.must(c.run(d, b))
				best[i] = min(best[i], time.Since(start))
			}
		}
		r := float64(best[1]) / float64(best[0])
		rate := func(d time.Duration) float64 { return float64(size) / (1 << 20) / d.Seconds() }
		fmt.Fprintf(&out, "%-12s | file %8.0f MiB/s | volume %8.0f MiB/s | %.3f of the file's time\n", c.name, rate(best[0]), rate(best[1]), r)
		if *full && r > deviceMax {
			t.Errorf("%s: %.3f of the file's time; the goal is %.2f", c.name, r, deviceMax)
		}
	}
	t.Logf("a volume against the file under it, the best of %d\n%s", rounds, out.String())
	keep(t, "lvm-device.txt", out.String())
}

// sweep calls f for each piece of a device.
func sweep(b []byte, size int64, f func([]byte, int64) (int, error)) error {
	for off := int64(0); off < size; off += int64(len(b)) {
		if _, err := f(b, off); err != nil {
			return err
		}
	}
	return nil
}
