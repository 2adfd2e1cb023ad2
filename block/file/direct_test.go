package file_test

import (
	"bytes"
	"errors"
	"math/rand"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"unsafe"

	"morgana/block/file"
)

// loopDevice is a block device over a new file of size bytes.
func loopDevice(tb testing.TB, size int64) string {
	tb.Helper()
	name := filepath.Join(tb.TempDir(), "disk")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		tb.Fatal(err)
	}
	if err := os.Truncate(name, size); err != nil {
		tb.Fatal(err)
	}
	out, err := exec.Command("losetup", "--show", "-f", name).Output()
	if err != nil {
		tb.Skip("no loop device to be had:", err)
	}
	loop := strings.TrimSpace(string(out))
	tb.Cleanup(func() {
		if out, err := exec.Command("losetup", "-d", loop).CombinedOutput(); err != nil {
			tb.Errorf("%v: %s", err, out)
		}
	})
	return loop
}

// alignedTo is n bytes whose address is shift bytes behind a page's.
func alignedTo(n, shift int) []byte {
	b := make([]byte, n+2*4096)
	skip := 4096 - int(uintptr(unsafe.Pointer(&b[0]))%4096) + shift
	return b[skip : skip+n]
}

// Past the page cache and through it, by many at a time, the device is the same one.
func TestDirect(t *testing.T) {
	const part, parts = 1 << 20, 8
	d, err := file.Open(loopDevice(t, part*parts), file.Direct())
	if err != nil {
		t.Fatal(err)
	}
	if !d.IsDirect() {
		t.Fatal("it is not read past the page cache")
	}
	var all sync.WaitGroup
	for k := range parts {
		all.Go(func() {
			rnd := rand.New(rand.NewSource(int64(k)))
			model := make([]byte, part)
			for range 300 {
				shift := []int{0, 0, 512, 7}[rnd.Intn(4)]
				n := 512 * (1 + rnd.Intn(64))
				off := 512 * rnd.Intn((part-n)/512)
				b := alignedTo(n, shift)
				bufs := [][]byte{b}
				if cut := n / 1024 * 512; rnd.Intn(2) == 0 && cut > 0 {
					bufs = [][]byte{b[:cut], b[cut:]}
				}
				at := int64(k*part + off)
				var err error
				switch rnd.Intn(4) {
				case 0:
					rnd.Read(b)
					copy(model[off:], b)
					_, err = d.WriteAt(b, at)
				case 1:
					rnd.Read(b)
					copy(model[off:], b)
					err = d.WriteVec(bufs, at)
				case 2:
					_, err = d.ReadAt(b, at)
				default:
					err = d.ReadVec(bufs, at)
				}
				if err != nil || !bytes.Equal(b, model[off:off+n]) {
					t.Errorf("part %d, %d bytes at %d: %v, or other bytes than were written", k, n, off, err)
					return
				}
			}
		})
	}
	all.Wait()
	if err := d.Flush(); err != nil {
		t.Error(err)
	}
	if !d.IsDirect() {
		t.Error("it gave up reading past the page cache")
	}
	if err := d.Close(); err != nil {
		t.Error(err)
	}
	if _, err := d.ReadAt(alignedTo(512, 0), 0); !errors.Is(err, os.ErrClosed) {
		t.Errorf("a read of a closed device: %v", err)
	}
}

// A plain file is what it was.
func TestDirectPlain(t *testing.T) {
	name := filepath.Join(t.TempDir(), "disk")
	d, err := file.Create(name, 1<<20, file.Direct())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if d.IsDirect() {
		t.Error("a plain file is read past the page cache")
	}
}

func TestDirectDoesNotAllocate(t *testing.T) {
	d, err := file.Open(loopDevice(t, 1<<20), file.Direct())
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	b := alignedTo(8192, 0)
	bufs := [][]byte{b[:4096], b[4096:]}
	for name, do := range map[string]func() error{
		"ReadAt":   func() error { _, err := d.ReadAt(b, 4096); return err },
		"WriteAt":  func() error { _, err := d.WriteAt(b, 4096); return err },
		"ReadVec":  func() error { return d.ReadVec(bufs, 4096) },
		"WriteVec": func() error { return d.WriteVec(bufs, 4096) },
	} {
		do() // the call's own list of buffers
		if n := testing.AllocsPerRun(1000, func() {
			if err := do(); err != nil {
				t.Fatal(err)
			}
		}); n > 0 {
			t.Errorf("%s allocates %.0f times", name, n)
		}
	}
}

func BenchmarkDirect(b *testing.B) {
	name := loopDevice(b, 64<<20)
	for _, c := range []struct {
		name string
		opts []file.Option
	}{{"cache", nil}, {"direct", []file.Option{file.Direct()}}} {
		b.Run(c.name, func(b *testing.B) {
			d, err := file.Open(name, c.opts...)
			if err != nil {
				b.Fatal(err)
			}
			defer d.Close()
			p, rnd := alignedTo(4096, 0), rand.New(rand.NewSource(1))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := d.ReadAt(p, 4096*rnd.Int63n(16384)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
