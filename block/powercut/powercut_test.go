package powercut_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"morgana/block"
	"morgana/block/powercut"
)

func sector(c byte, n int) []byte { return bytes.Repeat([]byte{c}, n) }

// picture is the first byte of each of the first sectors of every disk.
func picture(t *testing.T, s powercut.State, sectors, size int) string {
	t.Helper()
	out := ""
	for _, d := range s.Disks {
		for i := range sectors {
			b := make([]byte, size)
			if _, err := d.ReadAt(b, int64(i*size)); err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(b, sector(b[0], size)) {
				out += "torn sector!"
			}
			if b[0] == 0 {
				b[0] = '.'
			}
			out += string(b[:1])
		}
		out += " "
	}
	return out
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, d block.Device, b []byte, off int64) {
	t.Helper()
	_, err := d.WriteAt(b, off)
	must(t, err)
}

// What was flushed is there, and of what was not any part; sectors are whole.
func TestStates(t *testing.T) {
	for _, size := range []int{512, 4096} {
		r := powercut.NewRecorder(block.NewMem(1<<20, size), block.NewMem(1<<20, size))
		d := r.Disks()
		write(t, d[0], sector('x', size), 0) // before the recording
		r.Start()
		write(t, d[0], sector('a', size), 0)
		write(t, d[1], sector('b', 2*size), 0)
		must(t, d[0].Flush())
		write(t, d[0], sector('c', size), int64(size))
		must(t, d[1].Flush())
		got := map[string]int{}
		for s := range r.States(powercut.Options{Torn: 20}) {
			got[picture(t, s, 2, size)]++
		}
		for _, want := range []string{
			"x. .. ", "a. .. ", "x. bb ", "x. b. ", "x. .b ", "a. bb ", "a. b. ", // before the first flush
			"ac .. ", "ac b. ", // before the second one
			"ac bb ", // at the end
		} {
			if got[want] == 0 {
				t.Errorf("sectors of %d: %q is possible and was not tried", size, want)
			}
			delete(got, want)
		}
		for p := range got {
			if p != "a. .b " && p != "ac .b " {
				t.Errorf("sectors of %d: %q is not possible", size, p)
			}
		}
	}
}

// A write of a part of a sector is one of the whole sector: what was written to it before is there with it.
func TestPartsOfSectors(t *testing.T) {
	r := powercut.NewRecorder(block.NewMem(1<<20, 4096))
	d := r.Disks()[0]
	write(t, d, []byte("one"), 0)
	write(t, d, []byte("two"), 512)
	for s := range r.States(powercut.Options{}) {
		b := make([]byte, 4096)
		_, err := s.Disks[0].ReadAt(b, 0)
		must(t, err)
		if bytes.HasPrefix(b[512:], []byte("two")) && !bytes.HasPrefix(b, []byte("one")) {
			t.Errorf("%s: the sector is torn", s.Cut)
		}
	}
}

// A program that needs an order and does not flush is found out; one that flushes is not.
func TestFindsMissingFlush(t *testing.T) {
	for _, flush := range []bool{false, true} {
		r := powercut.NewRecorder(block.NewMem(1<<20, 512))
		d := r.Disks()[0]
		write(t, d, sector('d', 512), 512) // the data
		if flush {
			must(t, d.Flush())
		}
		write(t, d, sector('h', 512), 0) // the header that says that they are there
		must(t, d.Flush())
		lost := 0
		for s := range r.States(powercut.Options{}) {
			if picture(t, s, 2, 512) == "h. " {
				lost++
			}
		}
		if (lost > 0) == flush {
			t.Errorf("with flush %v: %d states without the data", flush, lost)
		}
	}
}

// Many writes under way are tried at random, and none of all is among it, and all of them.
func TestRandomSubsets(t *testing.T) {
	r := powercut.NewRecorder(block.NewMem(1<<20, 512))
	for i := range 30 {
		write(t, r.Disks()[0], sector('a', 512), int64(i)*512)
	}
	seen := map[string]bool{}
	n := 0
	for s := range r.States(powercut.Options{Random: 50, Torn: -1}) {
		seen[picture(t, s, 30, 512)] = true
		n++
	}
	if n != 51 || len(seen) < 30 {
		t.Errorf("%d states, %d different ones", n, len(seen))
	}
	for _, c := range []string{".", "a"} {
		if want := string(sector(c[0], 30)) + " "; !seen[want] {
			t.Errorf("%q was not tried", want)
		}
	}
	if w, f, b := r.Counts(); w != 30 || f != 0 || b != 30*512 {
		t.Error(w, f, b)
	}
}

func TestFailAfter(t *testing.T) {
	r := powercut.NewRecorder(block.NewMem(1<<20, 512))
	d := r.Disks()[0]
	r.FailAfter(0, 2)
	write(t, d, sector('a', 512), 0)
	must(t, d.Flush())
	_, err := d.WriteAt(sector('b', 512), 0)
	if !errors.Is(err, powercut.ErrFailed) || !errors.Is(d.Flush(), powercut.ErrFailed) {
		t.Error(err)
	}
	b := make([]byte, 1)
	if _, err := d.ReadAt(b, 0); err != nil || b[0] != 'a' {
		t.Error(err, b)
	}
	r.FailAfter(0, -1)
	write(t, d, sector('c', 512), 0)
}

func ExampleRecorder() {
	rec := powercut.NewRecorder(block.NewMem(1<<20, 512))
	disk := rec.Disks()[0]
	_, _ = disk.WriteAt(make([]byte, 1024), 0) // two sectors that nobody flushes
	n := 0
	for range rec.States(powercut.Options{Torn: -1}) {
		n++
	}
	fmt.Println(n, "states: nothing, the write, and the end")
	// Output: 3 states: nothing, the write, and the end
}
