package lvm

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"morgana/block"
	"morgana/block/file"
	"morgana/lvm/metadata"
)

// The group of these tests has extents of 64 KiB on three disks and volumes of every kind that can be opened.
const (
	lvTestExtent = 64 << 10
	lvTestDisk   = 1<<20 + 40*lvTestExtent
)

func lvTestGroup(t testing.TB, lvs ...string) *metadata.VG { return lvTestGroupOf(t, 40, lvs...) }

// lvTestGroupOf is the group with as many extents a disk.
func lvTestGroupOf(t testing.TB, extents int, lvs ...string) *metadata.VG {
	t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, "v {\nid = \"%s\"\nseqno = 1\nformat = \"lvm2\"\nstatus = [\"RESIZEABLE\", \"READ\", \"WRITE\"]\nflags = []\n", lvTestID('v', 0))
	b.WriteString("extent_size = 128\nmax_lv = 0\nmax_pv = 0\nmetadata_copies = 0\nphysical_volumes {\n")
	for i := range 3 {
		fmt.Fprintf(&b, "pv%d {\nid = \"%s\"\ndevice = \"/dev/d%d\"\nstatus = [\"ALLOCATABLE\"]\nflags = []\ndev_size = %d\npe_start = 2048\npe_count = %d\n}\n",
			i, lvTestID('p', i), i, (1<<20+extents*lvTestExtent)/512, extents)
	}
	b.WriteString("}\nlogical_volumes {\n" + strings.Join(lvs, "") + "}\n}\ncontents = \"Text Format Volume Group\"\nversion = 1\n")
	vg, err := metadata.Parse([]byte(b.String()))
	if err != nil {
		t.Fatalf("%v\n%s", err, b.String())
	}
	return vg
}

func lvTestID(kind rune, i int) metadata.UUID {
	id, err := metadata.ParseUUID(strings.Repeat(string(kind), 30) + fmt.Sprintf("%02d", i))
	if err != nil {
		panic(err)
	}
	return id
}

// lvTestLV is an LV's stanza. A segment is "type count area area…", an area "pv:extent".
func lvTestLV(i int, name string, status string, segments ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s {\nid = \"%s\"\nstatus = [%s]\nflags = []\nsegment_count = %d\n", name, lvTestID('l', i), status, len(segments))
	start := 0
	for n, s := range segments {
		f := strings.Fields(s)
		var count int
		fmt.Sscan(f[1], &count)
		fmt.Fprintf(&b, "segment%d {\nstart_extent = %d\nextent_count = %d\ntype = \"%s\"\n", n+1, start, count, f[0])
		if areas := f[2:]; len(areas) > 0 {
			fmt.Fprintf(&b, "stripe_count = %d\n", len(areas))
			if len(areas) > 1 {
				b.WriteString("stripe_size = 32\n")
			}
			b.WriteString("stripes = [\n")
			for j, a := range areas {
				pv, pe, _ := strings.Cut(a, ":")
				fmt.Fprintf(&b, "\"pv%s\", %s", pv, pe)
				if j < len(areas)-1 {
					b.WriteByte(',')
				}
				b.WriteByte('\n')
			}
			b.WriteString("]\n")
		}
		b.WriteString("}\n")
		start += count
	}
	return b.String() + "}\n"
}

const visible = `"READ", "WRITE", "VISIBLE"`

func lvTestDisks() map[metadata.UUID]block.Device {
	disks := map[metadata.UUID]block.Device{}
	for i := range 3 {
		disks[lvTestID('p', i)] = &flushCounter{Device: block.NewMem(lvTestDisk, 512)}
	}
	return disks
}

// flushCounter hides what else the disk can do, but for vectors.
type flushCounter struct {
	block.Device
	mu      sync.Mutex
	flushes int
	err     error
}

func (f *flushCounter) Flush() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushes++
	return f.err
}

// A place is where a byte of a volume is; no disk has it if disk is negative.
type place struct {
	disk int
	at   int64
}

// places are those of all bytes, worked out one by one from the words of the stanza.
func places(segments []string) (all []place) {
	for _, s := range segments {
		f := strings.Fields(s)
		var count int64
		fmt.Sscan(f[1], &count)
		areas := make([]place, len(f)-2)
		for i := range areas {
			fmt.Sscanf(f[2+i], "%d:%d", &areas[i].disk, &areas[i].at)
		}
		for off := range count * lvTestExtent {
			p := place{disk: -1}
			switch n := int64(len(areas)); n {
			case 0:
			case 1:
				p = place{areas[0].disk, 1<<20 + areas[0].at*lvTestExtent + off}
			default:
				const stripe = 32 * 512
				a := areas[off/stripe%n]
				p = place{a.disk, 1<<20 + a.at*lvTestExtent + off/stripe/n*stripe + off%stripe}
			}
			all = append(all, p)
		}
	}
	return all
}

// Whatever is written where in a volume lies on the disks where the metadata say, and nowhere else.
func TestLVMapsAsTheMetadataSay(t *testing.T) {
	segments := []string{"striped 5 0:3", "striped 4 1:0 2:7", "striped 1 2:0", "zero 2", "striped 9 0:20 1:10 2:20", "striped 3 1:30"}
	vg := lvTestGroup(t, lvTestLV(0, "a", visible, segments...))
	disks := lvTestDisks()
	lv, err := OpenVolume(vg, "a", disks, false)
	if err != nil {
		t.Fatal(err)
	}
	if lv.Size() != 24*lvTestExtent {
		t.Fatalf("%d bytes", lv.Size())
	}
	model, where := make([]byte, lv.Size()), places(segments)
	r := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		off := r.Int64N(lv.Size())
		n := 1 + r.Int64N(min(lv.Size()-off, 1<<uint(r.IntN(20))))
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		switch r.IntN(5) {
		case 0:
			clear(b)
			err = lv.WriteZeroes(off, n)
		case 1:
			k := r.Int64N(n + 1)
			err = lv.WriteVec([][]byte{b[:k], b[k:]}, off)
		case 2:
			k := r.Int64N(n + 1)
			err = lv.ReadVec([][]byte{b[:k], b[k:]}, off)
		case 3:
			_, err = lv.ReadAt(b, off)
		default:
			_, err = lv.WriteAt(b, off)
		}
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range b { // the zero segment keeps nothing
			if where[off+int64(i)].disk >= 0 {
				model[off+int64(i)] = c
			}
		}
	}
	got := make([]byte, lv.Size())
	if _, err := lv.ReadAt(got, 0); err != nil || !bytes.Equal(got, model) {
		t.Errorf("reading all: %v, equal %v", err, bytes.Equal(got, model))
	}
	content := make([][]byte, 3)
	for i := range content {
		content[i] = make([]byte, lvTestDisk)
		if _, err := disks[lvTestID('p', i)].ReadAt(content[i], 0); err != nil {
			t.Fatal(err)
		}
	}
	for off, want := range model {
		p := where[off]
		if p.disk < 0 {
			continue
		}
		if content[p.disk][p.at] != want {
			t.Fatalf("byte %d is not at %d of disk %d", off, p.at, p.disk)
		}
		content[p.disk][p.at] = 0
	}
	for i, c := range content {
		if at := bytes.IndexFunc(c, func(r rune) bool { return r != 0 }); at >= 0 {
			t.Errorf("byte %d of disk %d belongs to nobody and was written", at, i)
		}
	}
}

// A flush reaches the disks that were written, once, and what failed is tried again.
func TestLVFlushesWhatWasWritten(t *testing.T) {
	vg := lvTestGroup(t, lvTestLV(0, "a", visible, "striped 2 0:0", "striped 2 1:0", "striped 2 2:0"))
	disks := lvTestDisks()
	lv, err := OpenVolume(vg, "a", disks, false)
	if err != nil {
		t.Fatal(err)
	}
	disk := func(i int) *flushCounter { return disks[lvTestID('p', i)].(*flushCounter) }
	expect := func(when string, want ...int) {
		t.Helper()
		for i, w := range want {
			if got := disk(i).flushes; got != w {
				t.Errorf("%s: disk %d was flushed %d times, want %d", when, i, got, w)
			}
		}
	}
	flush := func() {
		t.Helper()
		if err := lv.Flush(); err != nil {
			t.Error(err)
		}
	}
	flush()
	expect("nothing written", 0, 0, 0)
	lv.WriteAt([]byte{1}, 0)
	lv.ReadAt([]byte{1}, 3*lvTestExtent)
	flush()
	flush()
	expect("the first extent written", 1, 0, 0)
	lv.WriteAt(make([]byte, 512), 4*lvTestExtent-256)
	flush()
	expect("across a border", 1, 1, 1)
	disk(1).err = errors.New("disk on fire")
	lv.WriteZeroes(2*lvTestExtent, 1)
	if err := lv.Flush(); err == nil || !strings.Contains(err.Error(), "v/a") {
		t.Errorf("a failing flush: %v", err)
	}
	disk(1).err = nil
	flush()
	expect("after a failure", 1, 3, 1)
}

// slowFlush is a disk whose flush takes until it is told.
type slowFlush struct {
	block.Device
	began, end chan struct{}
	stable     atomic.Bool
}

func (s *slowFlush) Flush() error {
	s.began <- struct{}{}
	<-s.end
	s.stable.Store(true)
	return nil
}

// A flush that finds its work being done by another call waits for that.
func TestLVFlushWaitsForTheOther(t *testing.T) {
	vg := lvTestGroup(t, lvTestLV(0, "a", visible, "striped 2 0:0"))
	slow := &slowFlush{Device: block.NewMem(lvTestDisk, 512), began: make(chan struct{}), end: make(chan struct{})}
	lv, err := OpenVolume(vg, "a", map[metadata.UUID]block.Device{lvTestID('p', 0): slow}, false)
	if err != nil {
		t.Fatal(err)
	}
	lv.WriteAt([]byte{1}, 0)
	var first, second sync.WaitGroup
	first.Go(func() { lv.Flush() })
	<-slow.began
	second.Go(func() {
		lv.Flush()
		if !slow.stable.Load() {
			t.Error("a flush returned before the data was stable")
		}
	})
	close(slow.end)
	first.Wait()
	second.Wait()
}

func TestLVHoles(t *testing.T) {
	vg := lvTestGroup(t, lvTestLV(0, "a", visible, "striped 4 0:0", "striped 4 1:0 2:0", "zero 2"))
	disks := map[metadata.UUID]block.Device{}
	for i := range 3 {
		f, err := file.Create(filepath.Join(t.TempDir(), "d"), lvTestDisk)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		disks[lvTestID('p', i)] = f
	}
	lv, err := OpenVolume(vg, "a", disks, false)
	if err != nil {
		t.Fatal(err)
	}
	lv.WriteAt(bytes.Repeat([]byte{1}, 2*lvTestExtent), 3*lvTestExtent)
	var got []string
	for off := int64(0); off < lv.Size(); {
		n, hole, err := lv.Hole(off, lv.Size()-off)
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%d:%v", n/1024, hole))
		off += n
	}
	if s := strings.Join(got, " "); s != "192:true 64:false 64:false 192:true 128:true" {
		t.Error(s)
	}
	if err := lv.Discard(3*lvTestExtent, 2*lvTestExtent); err != nil {
		t.Error(err)
	}
	if n, hole, _ := lv.Hole(3*lvTestExtent, lvTestExtent); !hole || n != lvTestExtent {
		t.Errorf("a discarded extent: %d, %v", n, hole)
	}
}

func TestLVRefusals(t *testing.T) {
	vg := lvTestGroup(t,
		lvTestLV(0, "rw", visible, "striped 1 0:0"),
		lvTestLV(1, "ro", `"READ", "VISIBLE"`, "striped 1 0:1"),
		lvTestLV(2, "bad", visible, "error 1", "striped 1 0:2"),
		lvTestLV(3, "far", visible, "striped 1 2:0"),
		lvTestLV(4, "moving", visible+`, "LOCKED"`, "striped 1 0:5"))
	disks := lvTestDisks()
	disks[lvTestID('p', 1)] = block.NewMem(4096, 512)
	delete(disks, lvTestID('p', 2))
	for _, c := range []struct {
		name     string
		readOnly bool
		want     error
	}{
		{"none", false, metadata.ErrNotFound},
		{"ro", false, metadata.ErrReadOnly},
		{"ro", true, nil},
		{"far", true, metadata.ErrMissing},
		{"moving", true, metadata.ErrInUse},
		{"rw", false, nil},
	} {
		if _, err := OpenVolume(vg, c.name, disks, c.readOnly); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	disks[lvTestID('p', 2)] = block.NewMem(1<<20, 512)
	if _, err := OpenVolume(vg, "far", disks, true); !errors.Is(err, block.ErrOutOfRange) {
		t.Errorf("a disk that is too small: %v", err)
	}
	lv, err := OpenVolume(vg, "rw", disks, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lv.WriteAt([]byte{1}, 0); !errors.Is(err, block.ErrReadOnly) {
		t.Errorf("writing what is open for reading: %v", err)
	}
	if _, err := lv.ReadAt(make([]byte, 2), lv.Size()-1); !errors.Is(err, block.ErrOutOfRange) {
		t.Errorf("reading across the end: %v", err)
	}
	if lv, err = OpenVolume(vg, "bad", disks, false); err != nil {
		t.Fatal(err)
	}
	if _, err := lv.ReadAt(make([]byte, 512), 0); !errors.Is(err, ErrTarget) {
		t.Errorf("reading an error segment: %v", err)
	}
	if _, err := lv.ReadAt(make([]byte, 512), lvTestExtent); err != nil {
		t.Errorf("reading what is behind it: %v", err)
	}
}

// The origin of a snapshot and the parts of a thin pool are not for writing.
func TestLVThatOthersNeed(t *testing.T) {
	vg := lvTestGroup(t, lvTestLV(0, "o", visible, "striped 1 0:0"), lvTestLV(1, "cow", `"READ", "WRITE"`, "striped 1 0:1"),
		"snapshot0 {\nid = \""+lvTestID('l', 2).String()+"\"\nstatus = [\"READ\", \"WRITE\", \"VISIBLE\"]\nflags = []\nsegment_count = 1\n"+
			"segment1 {\nstart_extent = 0\nextent_count = 1\ntype = \"snapshot\"\nchunk_size = 8\norigin = \"o\"\ncow_store = \"cow\"\n}\n}\n")
	for _, name := range []string{"o", "cow"} {
		if _, err := OpenVolume(vg, name, lvTestDisks(), false); !errors.Is(err, metadata.ErrInUse) {
			t.Errorf("%s for writing: %v", name, err)
		}
		if _, err := OpenVolume(vg, name, lvTestDisks(), true); err != nil {
			t.Errorf("%s for reading: %v", name, err)
		}
	}
}

func TestLVAllocatesNothing(t *testing.T) {
	vg := lvTestGroup(t, lvTestLV(0, "a", visible, "striped 4 0:0", "striped 4 1:0 2:0"))
	lv, err := OpenVolume(vg, "a", lvTestDisks(), false)
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 64<<10)
	vec := [][]byte{b[:4096], b[4096:8192]}
	off := int64(3*lvTestExtent + 512)
	if n := testing.AllocsPerRun(100, func() {
		lv.WriteAt(b, off)
		lv.ReadAt(b, off)
		lv.WriteVec(vec, 0)
		lv.ReadVec(vec, 0)
		lv.WriteZeroes(off, int64(len(b)))
		lv.Flush()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// The map beside the raw file below it.
func BenchmarkLV(b *testing.B) {
	const extents = 4000 // 250 MiB
	f, err := file.Create(filepath.Join(b.TempDir(), "d"), 1<<20+extents*lvTestExtent)
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for off := int64(0); off < f.Size(); off += int64(len(buf)) {
		if _, err := f.WriteAt(buf[:min(int64(len(buf)), f.Size()-off)], off); err != nil {
			b.Fatal(err)
		}
	}
	// One segment, and as many as there can be: every extent on its own.
	one, many := []string{fmt.Sprintf("striped %d 0:0", extents)}, []string{}
	for i := range extents {
		many = append(many, fmt.Sprintf("striped 1 0:%d", (i*1999)%extents))
	}
	open := func(segments []string) *LV {
		vg := lvTestGroupOf(b, extents, lvTestLV(0, "a", visible, segments...))
		lv, err := OpenVolume(vg, "a", map[metadata.UUID]block.Device{lvTestID('p', 0): f}, false)
		if err != nil {
			b.Fatal(err)
		}
		return lv
	}
	raw, err := block.Sub(f, 1<<20, extents*lvTestExtent)
	if err != nil {
		b.Fatal(err)
	}
	devices := []struct {
		name string
		d    block.Device
	}{{"raw", f}, {"sub", raw}, {"linear", open(one)}, {"4000-segments", open(many)}}
	for _, size := range []int{4 << 10, 64 << 10} {
		for _, write := range []bool{false, true} {
			for _, d := range devices {
				b.Run(fmt.Sprintf("%dk-write-%v/%s", size>>10, write, d.name), func(b *testing.B) {
					b.SetBytes(int64(size))
					r := rand.New(rand.NewPCG(1, 1))
					p := buf[:size]
					for b.Loop() {
						off := r.Int64N(extents*lvTestExtent/int64(size)) * int64(size)
						var err error
						if write {
							_, err = d.d.WriteAt(p, off)
						} else {
							_, err = d.d.ReadAt(p, off)
						}
						if err != nil {
							b.Fatal(err)
						}
					}
				})
			}
		}
	}
}
