package redo

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/block"
)

var (
	group  = [32]byte([]byte("abcdefghijklmnopqrstuvwxyzABCDEF"))
	epochA = Epoch{0xa, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	epochB = Epoch{0xb, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
	epochC = Epoch{0xc, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
)

func mustFormat(t *testing.T, base uint64, devs ...block.Device) *Log {
	t.Helper()
	l, err := Format(group, epochA, base, devs...)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func mustAppend(t *testing.T, l *Log, payloads ...string) {
	t.Helper()
	for _, p := range payloads {
		if _, err := l.Append([]byte(p)); err != nil {
			t.Fatalf("append %q: %v", p, err)
		}
	}
}

// pending opens the log anew and returns the payloads that a text lacks.
func pending(devs []block.Device, at Position, seqno uint64, armed bool) (*Log, []string, error) {
	l, err := Open(devs...)
	if err != nil {
		return nil, nil, err
	}
	rs, err := l.Lineage(at, seqno, armed)
	var got []string
	for _, r := range rs {
		got = append(got, string(r.Payload))
	}
	return l, got, err
}

func wantPending(t *testing.T, devs []block.Device, at Position, seqno uint64, want ...string) *Log {
	t.Helper()
	l, got, err := pending(devs, at, seqno, true)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("pending (-want +got):\n%s", d)
	}
	return l
}

// The format is a promise: a log that an earlier version wrote is read.
func TestGoldenBytes(t *testing.T) {
	h := Header{
		Features: Features{Compat: 1}, Group: group, Epoch: epochB, Generation: 2, Term: 1, Base: 41,
		Continues: Position{epochA, 7}, Chain: 0x11223344, Size: 8 << 20, Sector: 512, Replicas: 2,
	}
	b := AppendHeader(nil, h)
	b, sum := AppendRecord(b, Record{Position: Position{epochB, 1}, Seqno: 42, Payload: []byte("payload")}, 0x55667788, 512)
	text := ""
	for line := range strings.Lines(hex.Dump(b)) {
		if !strings.Contains(line, strings.Repeat(" 00", 8)+" "+strings.Repeat(" 00", 8)) {
			text += line
		}
	}
	want, err := os.ReadFile("testdata/golden.txt")
	if os.Getenv("UPDATE") != "" {
		if err = os.WriteFile("testdata/golden.txt", []byte(text), 0o644); err == nil {
			want = []byte(text)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), text); d != "" {
		t.Errorf("bytes (-want +got):\n%s", d)
	}
	got, err := ParseHeader(b)
	if err != nil || got != h {
		t.Errorf("header: %+v, %v", got, err)
	}
	r, n, err := ParseRecord(b[512:], epochB, 1, 0x55667788, 512)
	if err != nil || n != 512 || r.Seqno != 42 || string(r.Payload) != "payload" || r.sum != sum {
		t.Errorf("record: %+v, %d, %v", r, n, err)
	}
}

func TestPosition(t *testing.T) {
	p := Position{epochA, 0x1234}
	if got, err := ParsePosition(p.String()); err != nil || got != p || len(p.String()) != positionLen {
		t.Errorf("%v: %v, %v", p, got, err)
	}
	for _, s := range []string{"", "x", strings.Repeat("g", 32) + ":0000000000000000", p.String() + "0", strings.Replace(p.String(), ":", "-", 1), p.String()[:48] + "x"} {
		if _, err := ParsePosition(s); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

// Bits of features decide what an older version may do.
func TestFeatures(t *testing.T) {
	for _, c := range []struct {
		name       string
		f          Features
		read, cont bool
	}{
		{"compat", Features{Compat: 1 << 31}, true, true},
		{"ro_compat", Features{ROCompat: 1}, true, false},
		{"incompat", Features{Incompat: 1}, false, false},
	} {
		d := block.NewMem(64<<10, 512)
		mustFormat(t, 1, d)
		b := make([]byte, 512)
		_, _ = d.ReadAt(b, 0)
		h, _ := ParseHeader(b)
		h.Features = c.f
		_, _ = d.WriteAt(AppendHeader(nil, h), 0)
		l, err := Open(d)
		if (err == nil) != c.read || !c.read && !errors.Is(err, ErrIncompatible) {
			t.Errorf("%s: open: %v", c.name, err)
		}
		if l == nil {
			continue
		}
		if err := l.Resume(); (err == nil) != c.cont {
			t.Errorf("%s: resume: %v", c.name, err)
		}
	}
}

func TestAppendAndReopen(t *testing.T) {
	for _, sector := range []int{512, 4096} {
		d := block.NewMem(256<<10, sector)
		devs := []block.Device{d}
		l := mustFormat(t, 10, d)
		at := l.Position()
		big := strings.Repeat("x", 70<<10)
		mustAppend(t, l, "one", "", big, "three")
		if l.Pending() != 4 || l.Seqno() != 14 {
			t.Errorf("pending %d, seqno %d", l.Pending(), l.Seqno())
		}
		l = wantPending(t, devs, at, 10, "one", "", big, "three")
		if _, err := l.Append(nil); !errors.Is(err, ErrNotResumed) {
			t.Errorf("append before resume: %v", err)
		}
		if err := l.Resume(); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, "four")
		wantPending(t, devs, Position{at.Epoch, 3}, 13, "three", "four")
	}
}

// Two halves: while one is folded, records go to the other.
func TestSwitch(t *testing.T) {
	d := block.NewMem(64<<10, 512)
	devs := []block.Device{d}
	l := mustFormat(t, 0, d)
	start := l.Position()
	n := 0
	for {
		_, err := l.Append([]byte("a"))
		if errors.Is(err, ErrFull) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		n++
	}
	if err := l.Switch(epochB); err != nil {
		t.Fatal(err)
	}
	at := l.Position()
	mustAppend(t, l, "b")
	if err := l.Switch(epochC); !errors.Is(err, ErrFull) {
		t.Errorf("switch to a half that is still needed: %v", err)
	}
	if _, err := l.Append(make([]byte, 64<<10)); !errors.Is(err, ErrTooBig) {
		t.Errorf("append of more than a half: %v", err)
	}
	want := append(strings.Split(strings.Repeat("a", n), ""), "b")
	l2 := wantPending(t, devs, start, 0, want...)
	if l2.Pending() != uint64(n)+1 {
		t.Errorf("pending %d", l2.Pending())
	}
	l.Folded(at)
	wantPending(t, devs, at, uint64(n), "b")
	if err := l.Switch(epochC); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "c")
	wantPending(t, devs, at, uint64(n), "b", "c")
	if _, _, err := pending(devs, start, 0, true); !errors.Is(err, ErrBrokenLineage) {
		t.Errorf("a text from before the fold: %v", err)
	}
}

func TestBrokenLineage(t *testing.T) {
	d := block.NewMem(64<<10, 512)
	devs := []block.Device{d}
	l := mustFormat(t, 5, d)
	old := l.Position()
	mustAppend(t, l, "1", "2")
	l.Folded(l.Position())
	if err := l.Restart(epochB, 20); err != nil {
		t.Fatal(err)
	}
	now := l.Position()
	for _, c := range []struct {
		name  string
		at    Position
		seqno uint64
		armed bool
		ok    bool
	}{
		{"armed, in line", now, 20, true, true},
		{"not armed, the text of before the arming", Position{old.Epoch, 2}, 7, false, true},
		{"not armed, edited by another program since", Position{old.Epoch, 2}, 99, false, true},
		{"not armed, a backup of before the last changes", Position{old.Epoch, 1}, 6, false, false},
		{"not armed, of no known epoch", Position{epochC, 0}, 6, false, false},
		{"armed, restored: seqno differs", now, 21, true, false},
		{"armed, unknown epoch", Position{epochC, 0}, 20, true, false},
	} {
		if _, _, err := pending(devs, c.at, c.seqno, c.armed); (err == nil) != c.ok || !c.ok && !errors.Is(err, ErrBrokenLineage) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
	mustAppend(t, l, "3")
	if l, _, err := pending(devs, Position{old.Epoch, 2}, 7, false); !errors.Is(err, ErrBrokenLineage) {
		t.Errorf("a backup of before the arming: %v", err)
	} else if rs := l.All(); len(rs) != 3 || string(rs[2].Payload) != "3" {
		t.Errorf("all: %v", rs)
	}
}

// After Clear nothing is left that an old text could be missed by.
func TestClear(t *testing.T) {
	d := block.NewMem(64<<10, 512)
	devs := []block.Device{d}
	l := mustFormat(t, 5, d)
	mustAppend(t, l, "1", "2")
	old := l.Position()
	if err := l.Clear(epochB, 7); err != nil {
		t.Fatal(err)
	}
	for _, at := range []Position{{}, {epochA, 1}, {epochC, 9}, old, l.Position()} {
		if _, _, err := pending(devs, at, 1, false); err != nil {
			t.Errorf("%v: %v", at, err)
		}
	}
	if err := l.Restart(epochC, 8); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "3")
	wantPending(t, devs, Position{epochC, 0}, 8, "3")
}

// A record that is gone though a later half builds on it must not be skipped.
func TestLostRecord(t *testing.T) {
	d := block.NewMem(64<<10, 512)
	devs := []block.Device{d}
	l := mustFormat(t, 0, d)
	start := l.Position()
	mustAppend(t, l, "1", "2", "3")
	if err := l.Switch(epochB); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "4")
	if err := d.WriteZeroes(recordsAt+512, 512); err != nil {
		t.Fatal(err)
	}
	if _, _, err := pending(devs, start, 0, true); !errors.Is(err, ErrBrokenLineage) {
		t.Errorf("record 2 lost: %v", err)
	}
	// A text that has record 2 needs neither it nor its successor.
	l = wantPending(t, devs, Position{start.Epoch, 3}, 3, "4")
	if err := l.Resume(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "5")
	wantPending(t, devs, Position{start.Epoch, 3}, 3, "4", "5")
}

// What a text has is not needed any more, even when the last records of the current half are damaged.
func TestFoldedRecordsDamaged(t *testing.T) {
	d := block.NewMem(64<<10, 512)
	devs := []block.Device{d}
	l := mustFormat(t, 0, d)
	mustAppend(t, l, "1", "2", "3")
	at := l.Position()
	if err := d.WriteZeroes(recordsAt+512, 512); err != nil {
		t.Fatal(err)
	}
	l = wantPending(t, devs, at, 3)
	if err := l.Resume(); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append([]byte("4")); !errors.Is(err, ErrFull) {
		t.Fatalf("append behind a gap: %v", err)
	}
	if err := l.Switch(epochB); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "4")
	wantPending(t, devs, at, 3, "4")
}

func TestReplicas(t *testing.T) {
	a, b := block.NewMem(64<<10, 512), block.NewMem(80<<10, 512)
	both := []block.Device{a, b}
	l := mustFormat(t, 0, a, b)
	start := l.Position()
	mustAppend(t, l, "1", "2")
	wantPending(t, both[:1], start, 0, "1", "2")
	wantPending(t, both[1:], start, 0, "1", "2")

	// One is away while the log goes on, and comes back: the other knows better.
	l = wantPending(t, both[1:], start, 0, "1", "2")
	if err := l.Resume(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "3")
	l = wantPending(t, both, start, 0, "1", "2", "3")
	if err := l.Resume(); err != nil {
		t.Fatal(err)
	}
	wantPending(t, both[:1], start, 0, "1", "2", "3")

	// Damage to one replica, wherever it is, does no harm while the other is whole.
	for off := int64(0); off < recordsAt+4*512; off += 512 {
		broken := a.Clone()
		_, _ = broken.WriteAt(bytes.Repeat([]byte{0xff}, 512), off)
		wantPending(t, []block.Device{broken, b}, start, 0, "1", "2", "3")
		l := wantPending(t, []block.Device{b, broken}, start, 0, "1", "2", "3")
		if err := l.Resume(); err != nil {
			t.Fatal(err)
		}
		wantPending(t, []block.Device{broken}, start, 0, "1", "2", "3")
	}
}

// A replica that stopped in the middle is completed by the other's records.
func TestReplicaHealed(t *testing.T) {
	a, b := block.NewMem(64<<10, 512), block.NewMem(64<<10, 512)
	l := mustFormat(t, 0, a, b)
	start := l.Position()
	mustAppend(t, l, "1")
	before := a.Clone()
	mustAppend(t, l, "2")
	if err := l.Switch(epochB); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "3")
	l = wantPending(t, []block.Device{before, b}, start, 0, "1", "2", "3")
	if err := l.Resume(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, "4")
	wantPending(t, []block.Device{before}, start, 0, "1", "2", "3", "4")
}

// Two replicas that went on separately are not one log.
func TestReplicasDiverged(t *testing.T) {
	a, b := block.NewMem(64<<10, 512), block.NewMem(64<<10, 512)
	l := mustFormat(t, 0, a, b)
	mustAppend(t, l, "1")
	for i, d := range []block.Device{a, b} {
		l, err := Open(d)
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Resume(); err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, fmt.Sprint("alone ", i))
	}
	if _, err := Open(a, b); !errors.Is(err, ErrDiverged) {
		t.Errorf("open: %v", err)
	}
}

// failing is a disk that fails writes or flushes on demand.
type failing struct {
	*block.Mem
	write, flush error
}

func (f *failing) WriteAt(p []byte, off int64) (int, error) {
	if f.write != nil {
		return 0, f.write
	}
	return f.Mem.WriteAt(p, off)
}

func (f *failing) Flush() error { return f.flush }

func TestDeviceErrors(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []string{"write", "flush"} {
		f := &failing{Mem: block.NewMem(64<<10, 512)}
		l := mustFormat(t, 0, f)
		if c == "write" {
			f.write = boom
		} else {
			f.flush = boom
		}
		if _, err := l.Append([]byte("1")); !errors.Is(err, ErrInDoubt) || !errors.Is(err, boom) {
			t.Errorf("%s: %v", c, err)
		}
		f.write, f.flush = nil, nil
		if _, err := l.Append([]byte("2")); !errors.Is(err, ErrInDoubt) {
			t.Errorf("%s: after the error: %v", c, err)
		}
		if err := l.Switch(epochB); !errors.Is(err, ErrInDoubt) {
			t.Errorf("%s: switch after the error: %v", c, err)
		}
	}
}

func TestNoLog(t *testing.T) {
	if _, err := Open(block.NewMem(64<<10, 512)); !errors.Is(err, ErrNoLog) {
		t.Error(err)
	}
	if _, err := Open(block.NewMem(512, 512)); !errors.Is(err, ErrNoLog) {
		t.Error(err)
	}
	if _, err := Format(group, epochA, 0, block.NewMem(8192, 512)); err == nil {
		t.Error("formatted a region that is too small")
	}
	d := block.NewMem(64<<10, 512)
	mustFormat(t, 0, d)
	_, _ = d.WriteAt([]byte{1}, 100)
	if _, err := Open(d); !errors.Is(err, ErrCorrupt) {
		t.Error(err)
	}
}

// An append costs one write of whole sectors, one flush, and no memory.
func TestAppendCost(t *testing.T) {
	d := &counting{Mem: block.NewMem(1<<20, 512)}
	l := mustFormat(t, 0, d)
	payload := bytes.Repeat([]byte("x"), 400)
	mustAppend(t, l, "warm")
	*d = counting{Mem: d.Mem}
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := l.Append(payload); err != nil {
			t.Fatal(err)
		}
	})
	if allocs != 0 || d.bytes != 101*512 || d.flushes != 101 {
		t.Errorf("%v allocations, %d bytes, %d flushes for 101 appends", allocs, d.bytes, d.flushes)
	}
}

type counting struct {
	*block.Mem
	bytes, flushes int
}

func (c *counting) WriteAt(p []byte, off int64) (int, error) {
	c.bytes += len(p)
	return c.Mem.WriteAt(p, off)
}

func (c *counting) Flush() error { c.flushes++; return nil }

func BenchmarkAppend(b *testing.B) {
	d := block.NewMem(64<<20, 512)
	l, err := Format(group, epochA, 0, d)
	if err != nil {
		b.Fatal(err)
	}
	payload := make([]byte, 300)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if !l.Fits(len(payload)) {
			l.Folded(l.Position())
			if err := l.Switch(Epoch{1, byte(i), byte(i >> 8), byte(i >> 16)}); err != nil {
				b.Fatal(err)
			}
		}
		if _, err := l.Append(payload); err != nil {
			b.Fatal(err)
		}
	}
}
