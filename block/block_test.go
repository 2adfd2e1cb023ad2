package block_test

import (
	"bytes"
	"errors"
	"math/rand"
	"path/filepath"
	"testing"

	"morgana/block"
	"morgana/block/file"
)

// devices are every kind of device, 1 MiB and an odd sector big.
func devices(t *testing.T) map[string]block.Device {
	t.Helper()
	const size = 1<<20 + 512
	f, err := file.Create(filepath.Join(t.TempDir(), "disk"), size)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	s, err := block.Sub(block.NewMem(3<<20, 512), 1<<20, size)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]block.Device{
		"memory": block.NewMem(size, 4096), "file": f, "part": s,
		"plain": struct{ block.Device }{block.NewMem(size, 512)}, // can do nothing beyond Device
	}
}

// A device holds what a slice of bytes does, whatever calls move it.
func TestDevices(t *testing.T) {
	for name, d := range devices(t) {
		t.Run(name, func(t *testing.T) {
			rnd := rand.New(rand.NewSource(1))
			model := make([]byte, d.Size())
			check := func(err error) {
				t.Helper()
				if err != nil {
					t.Fatal(err)
				}
			}
			for range 300 {
				off := rnd.Int63n(d.Size())
				n := min(rnd.Int63n(200<<10), d.Size()-off)
				b := make([]byte, n)
				rnd.Read(b)
				switch rnd.Intn(6) {
				case 0:
					_, err := d.WriteAt(b, off)
					check(err)
					copy(model[off:], b)
				case 1:
					k := rnd.Int63n(n + 1)
					check(block.WriteVec(d, [][]byte{b[:k], nil, b[k:]}, off))
					copy(model[off:], b)
				case 2:
					check(block.WriteZeroes(d, off, n))
					clear(model[off : off+n])
				case 3:
					_, err := d.ReadAt(b, off)
					check(err)
					if !bytes.Equal(b, model[off:off+n]) {
						t.Fatalf("%d bytes at %d differ", n, off)
					}
				case 4:
					k := rnd.Int63n(n + 1)
					check(block.ReadVec(d, [][]byte{b[:k], b[k:]}, off))
					if !bytes.Equal(b, model[off:off+n]) {
						t.Fatalf("%d bytes at %d differ", n, off)
					}
				case 5:
					// What was discarded may be anything until it is written.
					check(block.Discard(d, off, n))
					check(block.WriteZeroes(d, off, n))
					clear(model[off : off+n])
				}
			}
			check(d.Flush())
			for _, r := range []struct{ off, n int64 }{{-1, 1}, {d.Size(), 1}, {d.Size() - 1, 2}, {1 << 62, 1}} {
				b := make([]byte, r.n)
				for what, err := range map[string]error{
					"ReadAt":      second(d.ReadAt(b, r.off)),
					"WriteAt":     second(d.WriteAt(b, r.off)),
					"WriteZeroes": block.WriteZeroes(d, r.off, r.n),
					"Discard":     block.Discard(d, r.off, r.n),
					"ReadVec":     block.ReadVec(d, [][]byte{b}, r.off),
					"WriteVec":    block.WriteVec(d, [][]byte{b}, r.off),
				} {
					if !errors.Is(err, block.ErrOutOfRange) {
						t.Errorf("%s of %d at %d: %v", what, r.n, r.off, err)
					}
				}
			}
			if n, err := d.ReadAt(nil, d.Size()); n != 0 || err != nil {
				t.Error("nothing at the end:", n, err)
			}
		})
	}
}

func second(_ int, err error) error { return err }

// A clone and its origin do not see each other's writes.
func TestClone(t *testing.T) {
	m := block.NewMem(1<<20, 512)
	put := func(d *block.Mem, c byte) {
		if _, err := d.WriteAt(bytes.Repeat([]byte{c}, 100), 1000); err != nil {
			t.Fatal(err)
		}
	}
	get := func(d *block.Mem) byte {
		b := make([]byte, 1)
		if _, err := d.ReadAt(b, 1050); err != nil {
			t.Fatal(err)
		}
		return b[0]
	}
	put(m, 'a')
	c := m.Clone()
	d := c.Clone()
	put(m, 'b')
	put(c, 'c')
	if err := d.WriteZeroes(1040, 20); err != nil {
		t.Fatal(err)
	}
	if get(m) != 'b' || get(c) != 'c' || get(d) != 0 {
		t.Error(get(m), get(c), get(d))
	}
}

func TestSub(t *testing.T) {
	m := block.NewMem(1<<20, 512)
	for _, r := range []struct{ off, n int64 }{{-1, 10}, {0, 1<<20 + 1}, {1 << 20, 1}, {1, 1 << 62}} {
		if _, err := block.Sub(m, r.off, r.n); !errors.Is(err, block.ErrOutOfRange) {
			t.Error(r, err)
		}
	}
}
