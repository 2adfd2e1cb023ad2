package logstore_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"morgana/block"
	"morgana/block/powercut"
	"morgana/xenconsoled"
	"morgana/xenconsoled/logstore"
)

type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// writer is a console that writes into a store.
type writer struct {
	name string
	mark *xenconsoled.Mark
	src  *logstore.Source
	text []byte
}

func now() time.Time { return time.Unix(1_700_000_000, 5) }

func open(t tester, d block.Device) *logstore.Store {
	t.Helper()
	s, err := logstore.Open(d)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func format(t tester, d block.Device, id uint64) *logstore.Store {
	t.Helper()
	if err := logstore.Format(d, logstore.Options{Segment: 16 << 10, ID: id}); err != nil {
		t.Fatal(err)
	}
	return open(t, d)
}

func newWriter(t tester, s *logstore.Store, name string) *writer {
	t.Helper()
	mark, err := xenconsoled.NewMark(make([]byte, 64))
	if err != nil {
		t.Fatal(err)
	}
	w := &writer{name: name, mark: mark}
	w.reopen(t, s)
	return w
}

func (w *writer) reopen(t tester, s *logstore.Store) {
	t.Helper()
	var err error
	if w.src, err = s.Source(w.name, "key of "+w.name, w.mark, now); err != nil {
		t.Fatal(err)
	}
}

// say writes n bytes, which tell who wrote them and where.
func (w *writer) say(t tester, n int) {
	t.Helper()
	for i := range n {
		w.text = append(w.text, byte(len(w.text)+i+len(w.name)*31)|0x80>>(len(w.text)%7))
	}
	for p := w.text[w.mark.Position():]; len(p) > 0; {
		n, err := w.src.Write(w.mark, p, false)
		if err != nil || n == 0 {
			t.Fatal(n, err)
		}
		p = p[n:]
	}
}

// kept is what a store has of each source: from which byte on, and the bytes, without a gap.
type kept struct {
	from uint64
	text []byte
}

func read(t tester, s *logstore.Store) map[string]*kept {
	t.Helper()
	all := make(map[string]*kept)
	err := s.Read(func(e logstore.Entry) error {
		if e.Note {
			return nil
		}
		if e.Key != "key of "+e.Name || !e.At.Equal(now()) {
			return fmt.Errorf("an entry of %q with key %q at %v", e.Name, e.Key, e.At)
		}
		k := all[e.Name]
		if k == nil {
			k = &kept{from: e.From}
			all[e.Name] = k
		}
		if e.From != k.from+uint64(len(k.text)) {
			return fmt.Errorf("%q goes on at %d after %d", e.Name, e.From, k.from+uint64(len(k.text)))
		}
		k.text = append(k.text, e.Data...)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// has checks that a store has a source's newest bytes, at least up to a number, and at most all.
func (w *writer) has(t tester, all map[string]*kept, least int) {
	t.Helper()
	k := all[w.name]
	if k == nil {
		if least > 0 {
			t.Fatalf("nothing of %q, want up to %d", w.name, least)
		}
		return
	}
	end := int(k.from) + len(k.text)
	if end < least || end > len(w.text) || !bytes.Equal(k.text, w.text[k.from:end]) {
		t.Fatalf("%q from %d to %d, want up to %d of %d, or other bytes", w.name, k.from, end, least, len(w.text))
	}
}

// Whatever is said by whom, however often the store is opened anew and the disk goes round: the newest of each is there.
func TestStore(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		disk := block.NewMem(rapid.SampledFrom([]int64{64 << 10, 200 << 10}).Draw(t, "size"), rapid.SampledFrom([]int{512, 4096}).Draw(t, "sector"))
		s := format(t, disk, 1)
		var all []*writer
		for i := range 3 {
			all = append(all, newWriter(t, s, fmt.Sprintf("guest%d", i)))
		}
		t.Repeat(map[string]func(*rapid.T){
			"say": func(t *rapid.T) {
				all[rapid.IntRange(0, 2).Draw(t, "who")].say(t, rapid.IntRange(1, 9000).Draw(t, "n"))
			},
			"open": func(t *rapid.T) {
				s = open(t, disk)
				for _, w := range all {
					fresh := newWriter(t, s, w.name) // its memory is gone
					if got := fresh.mark.Position(); got != uint64(len(w.text)) {
						t.Fatalf("%q goes on at %d, want %d", w.name, got, len(w.text))
					}
					w.mark, w.src = fresh.mark, fresh.src
				}
			},
			"": func(t *rapid.T) {
				got := read(t, s)
				for _, w := range all {
					if got[w.name] != nil { // or all of it was overwritten
						w.has(t, got, len(w.text))
					}
				}
			},
		})
	})
}

// The power goes at any moment: what was synced is there, what comes after is a part of the truth, and the store goes on.
func TestPowerCut(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		mem := block.NewMem(4096+8*(16<<10), sector)
		rec := powercut.NewRecorder(mem)
		disk := rec.Disks()[0]
		s := format(t, disk, 7)
		old := newWriter(t, s, "old")
		old.say(t, 90_000) // the disk has been round nearly once, with segments that the new ones overwrite
		if err := s.Sync(); err != nil {
			t.Fatal(err)
		}
		a, b := newWriter(t, s, "a"), newWriter(t, s, "b")
		states := 0
		for round := range 8 {
			a.say(t, 100+round*300)
			b.say(t, 700)
			if err := s.Sync(); err != nil {
				t.Fatal(err)
			}
			leastA, leastB := len(a.text), len(b.text)
			rec.Start()
			for range 1 + round%3 { // not synced
				b.say(t, 900)
				a.say(t, 50+round*1000)
			}
			for state := range rec.States(powercut.Options{Torn: 3}) {
				states++
				s := open(t, state.Disks[0])
				got := read(t, s)
				a.has(t, got, leastA)
				b.has(t, got, leastB)
				if got["old"] != nil {
					old.has(t, got, 0)
				}
				// It goes on: what is said now is there, and nothing that was behind the cut comes back.
				more := newWriter(t, s, "more")
				more.say(t, 3000)
				if err := s.Sync(); err != nil {
					t.Fatal(err)
				}
				again := read(t, open(t, state.Disks[0]))
				more.has(t, again, 3000)
				a.has(t, again, leastA)
				if x, y := got["a"], again["a"]; x != nil && y != nil && int(x.from)+len(x.text) != int(y.from)+len(y.text) {
					t.Fatalf("a ended at %d before the store went on, at %d after", int(x.from)+len(x.text), int(y.from)+len(y.text))
				}
			}
		}
		t.Logf("sectors of %d: %d states", sector, states)
		if states < 100 {
			t.Errorf("%d states only", states)
		}
	}
}

// A disk that fails: what was not written is not said to be, and the log goes on when the disk does, each byte once.
func TestDiskFails(t *testing.T) {
	disk := &failing{Mem: block.NewMem(1<<20, 512)}
	s := format(t, disk, 1)
	w := newWriter(t, s, "guest")
	w.say(t, 1000)
	disk.err = errors.New("no")
	for range 3 {
		if n, err := w.src.Write(w.mark, []byte("more"), false); err == nil || n != 0 {
			t.Errorf("%d bytes, %v", n, err)
		}
	}
	if w.mark.Position() != 1000 {
		t.Errorf("the mark is at %d", w.mark.Position())
	}
	disk.err = nil
	disk.after = errors.New("it was written, and says no")
	_, _ = w.src.Write(w.mark, w.text[:0:0], false)
	disk.after = nil
	if err := w.src.Lost(w.mark, 5); err != nil {
		t.Error(err)
	}
	w.say(t, 2000)
	if err := s.Sync(); err != nil {
		t.Error(err)
	}
	w.has(t, read(t, open(t, disk)), 3000)
}

type failing struct {
	*block.Mem
	err, after error
}

func (f *failing) WriteAt(p []byte, off int64) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	n, err := f.Mem.WriteAt(p, off)
	return n, errors.Join(err, f.after)
}

func TestFormat(t *testing.T) {
	if _, err := logstore.Open(block.NewMem(1<<20, 512)); !errors.Is(err, logstore.ErrFormat) {
		t.Errorf("an empty disk: %v", err)
	}
	for _, o := range []logstore.Options{{Segment: 4096}, {Segment: 20000}, {Segment: 1 << 31}, {Segment: 1 << 20}} {
		if err := logstore.Format(block.NewMem(1<<20, 512), o); err == nil {
			t.Errorf("%+v is taken for a disk of 1 MiB", o)
		}
	}
	// What another store has left is not taken for the new one's.
	disk := block.NewMem(1<<20, 512)
	newWriter(t, format(t, disk, 1), "old").say(t, 100_000)
	if all := read(t, format(t, disk, 2)); len(all) != 0 {
		t.Errorf("a new store has %d sources", len(all))
	}
	s := open(t, disk)
	mark, _ := xenconsoled.NewMark(make([]byte, 64))
	for _, name := range []string{string(make([]byte, 2000)), "a\x00b"} {
		if _, err := s.Source(name, "", mark, now); err == nil {
			t.Errorf("%q is a name", name[:3])
		}
	}
}

// A disk that anything may have written to: no panic, and what is read is what somebody wrote.
func FuzzDisk(f *testing.F) {
	const size = 4096 + 4*(16<<10)
	disk := block.NewMem(size, 512)
	w := newWriter(f, format(f, disk, 1), "guest")
	w.say(f, 20_000)
	f.Add(uint32(0), []byte("morglog1"))
	f.Add(uint32(16), []byte{0, 0, 0, 0xff})
	f.Add(uint32(4096+4096), []byte{1})
	f.Add(uint32(4096+4100), []byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, at uint32, b []byte) {
		d := disk.Clone()
		off := int64(at % size)
		b = b[:min(int64(len(b)), size-off)]
		if _, err := d.WriteAt(b, off); err != nil {
			t.Fatal(err)
		}
		s, err := logstore.Open(d)
		if err != nil {
			return
		}
		err = s.Read(func(e logstore.Entry) error {
			if !bytes.Equal(e.Data, w.text[e.From:][:len(e.Data)]) {
				t.Fatal("bytes that nobody wrote")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		newWriter(t, s, "more").say(t, 10)
	})
}

func BenchmarkWrite(b *testing.B) {
	disk := block.NewMem(64<<20, 4096)
	if err := logstore.Format(disk, logstore.Options{}); err != nil {
		b.Fatal(err)
	}
	w := newWriter(b, open(b, disk), "guest")
	text := make([]byte, 64<<10)
	b.SetBytes(int64(len(text)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.src.Write(w.mark, text, false); err != nil {
			b.Fatal(err)
		}
	}
}
