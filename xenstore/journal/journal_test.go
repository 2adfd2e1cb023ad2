package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"testing"
)

// memory is a storage in memory.
type memory struct {
	logs      map[uint64][]byte
	snapshots map[uint64]*bytes.Buffer
}

func newMemory() *memory {
	return &memory{logs: map[uint64][]byte{}, snapshots: map[uint64]*bytes.Buffer{}}
}

func (m *memory) List() (logs, snapshots []uint64, err error) {
	for n := range m.logs {
		logs = append(logs, n)
	}
	for n := range m.snapshots {
		snapshots = append(snapshots, n)
	}
	return logs, snapshots, nil
}

func (m *memory) Log(n uint64, size int) (Log, error) {
	m.logs[n] = make([]byte, size)
	return memoryLog(m.logs[n]), nil
}

func (m *memory) ReadLog(n uint64) ([]byte, error) { return m.logs[n], nil }

type memoryLog []byte

func (l memoryLog) WriteAt(b []byte, off int64) (int, error) { return copy(l[off:], b), nil }
func (memoryLog) Close() error                               { return nil }

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

func (m *memory) Write(n uint64) (io.WriteCloser, error) {
	m.snapshots[n] = &bytes.Buffer{}
	return nopCloser{m.snapshots[n]}, nil
}

func (m *memory) Read(n uint64) ([]byte, error) { return m.snapshots[n].Bytes(), nil }

func (m *memory) Remove(n uint64) error {
	for l := range m.logs {
		if l < n {
			delete(m.logs, l)
		}
	}
	for s := range m.snapshots {
		if s < n {
			delete(m.snapshots, s)
		}
	}
	return nil
}

// copy is what is left when the process ends now.
func (m *memory) copy() *memory {
	c := newMemory()
	for n, b := range m.logs {
		c.logs[n] = slices.Clone(b)
	}
	for n, b := range m.snapshots {
		c.snapshots[n] = bytes.NewBuffer(slices.Clone(b.Bytes()))
	}
	return c
}

// pieces makes a snapshot of a list of records.
func pieces(records []string) Pieces {
	return func(dst []byte) ([]byte, bool) {
		if len(records) == 0 {
			return dst, false
		}
		dst = append(dst, records[0]...)
		records = records[1:]
		return dst, len(records) > 0
	}
}

func replayed(t *testing.T, s Storage) []string {
	t.Helper()
	var got []string
	if ok, err := Replay(s, func(b []byte) error {
		got = append(got, string(b))
		return nil
	}); err != nil || !ok {
		t.Fatalf("replay: %v, %v", ok, err)
	}
	return got
}

func TestEmptyStorage(t *testing.T) {
	if ok, err := Replay(newMemory(), nil); ok || err != nil {
		t.Errorf("%v, %v", ok, err)
	}
}

// Whatever the process was doing when it ended, the records that were appended are there, in order and once.
func TestEveryAppendIsKept(t *testing.T) {
	m := newMemory()
	rnd := rand.New(rand.NewPCG(5, 6))
	j, err := Begin(m, []byte("head"), pieces([]string{"a", "b"}))
	if err != nil {
		t.Fatal(err)
	}
	state := []string{"head", "a", "b"}
	rotated := 0
	for i := range 5000 {
		j.size = min(j.size, 64<<10)
		rec := fmt.Sprintf("%d:%s", i, bytes.Repeat([]byte("x"), rnd.IntN(300)))
		err := j.Append([]byte(rec))
		if errors.Is(err, ErrFull) || err == nil && j.Full() {
			if err == nil {
				state = append(state, rec)
			}
			rotated++
			// While the new snapshot is being written only the old one counts.
			old := m.copy()
			if got := replayed(t, old); !slices.Equal(got, state) {
				t.Fatalf("before a snapshot, %d records: %d are there", len(state), len(got))
			}
			if nerr := j.Next([]byte(state[0]), pieces(slices.Clone(state[1:]))); nerr != nil {
				t.Fatal(nerr)
			}
			j.wg.Wait()
			if len(m.logs) != 1 || len(m.snapshots) != 1 {
				t.Fatalf("%d logs, %d snapshots are left", len(m.logs), len(m.snapshots))
			}
			if err != nil {
				err = j.Append([]byte(rec))
				state = append(state, rec)
			}
		} else {
			state = append(state, rec)
		}
		if err != nil {
			t.Fatal(err)
		}
		if i%500 == 0 {
			if got := replayed(t, m.copy()); !slices.Equal(got, state) {
				t.Fatalf("after %d appends: %d records, want %d", i, len(got), len(state))
			}
		}
	}
	if rotated < 10 {
		t.Errorf("%d new logs", rotated)
	}
}

// A frame that the process died over, in whatever bytes, is as if it had not begun.
func TestTornFrames(t *testing.T) {
	m := newMemory()
	j, err := Begin(m, []byte("head"), pieces(nil))
	if err != nil {
		t.Fatal(err)
	}
	if err := j.Append([]byte("first")); err != nil {
		t.Fatal(err)
	}
	before := m.copy()
	if err := j.Append([]byte("the second one")); err != nil {
		t.Fatal(err)
	}
	after := m.copy()
	a, b := before.logs[1], after.logs[1]
	var changed []int
	for i := range a {
		if a[i] != b[i] {
			changed = append(changed, i)
		}
	}
	for skip := range changed {
		torn := after.copy()
		torn.logs[1][changed[skip]] = a[changed[skip]]
		if got := replayed(t, torn); !slices.Equal(got, []string{"head", "first"}) {
			t.Errorf("without byte %d: %q", changed[skip], got)
		}
	}
	if got := replayed(t, after); !slices.Equal(got, []string{"head", "first", "the second one"}) {
		t.Errorf("whole: %q", got)
	}
	// A snapshot that is not complete does not count, and the logs go on.
	if err := j.Next([]byte("new head"), pieces([]string{"new"})); err != nil {
		t.Fatal(err)
	}
	j.wg.Wait()
	if err := j.Append([]byte("third")); err != nil {
		t.Fatal(err)
	}
	whole := m.copy()
	full := whole.snapshots[2].Bytes()
	for cut := range full {
		half := whole.copy()
		half.snapshots[2] = bytes.NewBuffer(slices.Clone(full[:cut]))
		half.snapshots[1], half.logs[1] = after.snapshots[1], after.logs[1]
		if got := replayed(t, half); !slices.Equal(got, []string{"head", "first", "the second one", "third"}) {
			t.Errorf("snapshot of %d bytes: %q", cut, got)
		}
	}
	if got := replayed(t, whole); !slices.Equal(got, []string{"new head", "new", "third"}) {
		t.Errorf("whole: %q", got)
	}
}

func TestDir(t *testing.T) {
	d, err := OpenDir(t.TempDir() + "/journal")
	if err != nil {
		t.Fatal(err)
	}
	j, err := Begin(d, []byte("head"), pieces([]string{"a"}))
	if err != nil {
		t.Fatal(err)
	}
	big := bytes.Repeat([]byte("x"), 300<<10) // the log gives pages back
	for i := range 3 {
		if err := j.Append(fmt.Appendf(bytes.Clone(big), "r%d", i)); err != nil {
			t.Fatal(err)
		}
		if i == 1 {
			if err := j.Next([]byte("head 2"), pieces(nil)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := j.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := OpenDir(d.path)
	if err != nil {
		t.Fatal(err)
	}
	if got := replayed(t, again); !slices.Equal(got, []string{"head 2", string(big) + "r2"}) {
		t.Errorf("%d records", len(got))
	}
	k, err := Begin(again, []byte("head 3"), pieces(nil))
	if err != nil {
		t.Fatal(err)
	}
	if k.n != 3 {
		t.Errorf("the new log is number %d", k.n)
	}
	if got := replayed(t, again); !slices.Equal(got, []string{"head 3"}) {
		t.Errorf("%q", got)
	}
}

// FuzzReplay reads any log and snapshot: what is not whole is left out.
func FuzzReplay(f *testing.F) {
	m := newMemory()
	j, err := Begin(m, []byte("head"), pieces([]string{"a"}))
	if err != nil {
		f.Fatal(err)
	}
	_ = j.Append([]byte("r"))
	f.Add(m.snapshots[1].Bytes(), m.logs[1][:64])
	f.Fuzz(func(t *testing.T, snapshot, log []byte) {
		s := newMemory()
		s.logs[1], s.snapshots[1] = log, bytes.NewBuffer(snapshot)
		_, err := Replay(s, func(b []byte) error {
			if len(b) == 0 {
				t.Fatal("an empty record")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func BenchmarkAppend(b *testing.B) {
	d, err := OpenDir(b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	j, err := Begin(d, nil, pieces(nil))
	if err != nil {
		b.Fatal(err)
	}
	rec := make([]byte, 120)
	for b.Loop() {
		if j.Append(rec) != nil {
			j.off = 0
		}
	}
}
