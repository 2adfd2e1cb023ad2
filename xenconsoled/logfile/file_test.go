package logfile

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"morgana/xenconsoled"
)

// memory is a mark that outlives the process, and what there is to be logged.
type memory struct {
	mark *xenconsoled.Mark
	mem  []byte
	text []byte
}

func newMemory(t interface{ Fatal(...any) }) *memory {
	m := &memory{mem: make([]byte, 64)}
	var err error
	if m.mark, err = xenconsoled.NewMark(m.mem); err != nil {
		t.Fatal(err)
	}
	return m
}

func (m *memory) add(text string) { m.text = append(m.text, text...) }

// write gives the log what it has not had.
func (m *memory) write(l *File, last bool) error {
	p := m.text[m.mark.Position():]
	n, err := l.Write(m.mark, p, last)
	if err == nil && n > len(p) {
		err = fmt.Errorf("%d of %d bytes", n, len(p))
	}
	return err
}

// all is what the files have, the oldest first.
func all(t interface{ Fatal(...any) }, name string) string {
	var files []string
	for n := 1; ; n++ {
		f := fmt.Sprintf("%s.%d", name, n)
		if _, err := os.Stat(f); err != nil {
			break
		}
		files = append([]string{f}, files...)
	}
	var b strings.Builder
	for _, f := range append(files, name) {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(text)
	}
	return b.String()
}

func clock() func() time.Time {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	return func() time.Time { return now }
}

// The process ends at any point of a write, with any part of it in the file, before or after a rotation by somebody else:
// the next one completes the log, and each byte is there once.
func TestEndsAnywhere(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		sub, err := os.MkdirTemp(dir, "")
		if err != nil {
			t.Fatal(err)
		}
		defer os.RemoveAll(sub)
		name := filepath.Join(sub, "log")
		opts := Options{
			Format: xenconsoled.Format{Stamp: rapid.Bool().Draw(t, "stamp"), Escape: rapid.Bool().Draw(t, "escape")},
			Now:    clock(), Keep: 1000, MaxSize: rapid.SampledFrom([]int64{0, 300, 2000}).Draw(t, "size"),
		}
		m := newMemory(t)
		l, err := Open(name, m.mark, opts)
		if err != nil {
			t.Fatal(err)
		}
		for range rapid.IntRange(1, 20).Draw(t, "writes") {
			m.add(rapid.StringOfN(rapid.SampledFrom([]rune("abc\r\n\n\x1b")), 0, 200, -1).Draw(t, "text"))
			if !rapid.Bool().Draw(t, "ends") {
				if err := m.write(l, false); err != nil {
					t.Fatal(err)
				}
				continue
			}
			// As Write does up to some point. The rest of what it does is in the hands of the next process.
			before, state := m.mark.Position(), m.mark.State()
			part, _ := l.part(m.text[before:])
			out, n, after := opts.Append(nil, part, state, opts.Now(), false)
			if opts.Plain() {
				after = opts.After(part, state)
			}
			size, ino, err := l.prepare(len(out), opts.Now())
			if err != nil {
				t.Fatal(err)
			}
			m.mark.Begin(xenconsoled.Note{Next: before + uint64(n), State: after, From: uint64(size), Size: uint64(len(out)), File: ino})
			wrote := rapid.IntRange(0, len(out)).Draw(t, "wrote")
			if _, err := l.f.Write(out[:wrote]); err != nil {
				t.Fatal(err)
			}
			if wrote == len(out) && rapid.Bool().Draw(t, "committed") {
				m.mark.Set(before+uint64(n), after) // and the note is still there
			}
			if err := l.Close(); err != nil {
				t.Fatal(err)
			}
			if l, err = Open(name, m.mark, opts); err != nil {
				t.Fatal(err)
			}
		}
		if err := m.write(l, true); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		want, _, _ := opts.Append(nil, m.text, 0, opts.Now(), true)
		got := all(t, name)
		if opts.Stamp { // each file that begins at a line's beginning says so
			got = strings.ReplaceAll(got, opts.Now().Format(xenconsoled.StampLayout)+opened, "")
		}
		if got != string(want) {
			t.Fatalf("got %q\nwant %q", got, want)
		}
	})
}

// A file is moved away by somebody else between the end of a process and the next one: nothing is missing.
func TestMovedAwayMeanwhile(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	m := newMemory(t)
	l, err := Open(name, m.mark, Options{})
	if err != nil {
		t.Fatal(err)
	}
	m.add("first\n")
	if err := m.write(l, false); err != nil {
		t.Fatal(err)
	}
	m.add("second\n")
	size, ino, err := l.prepare(7, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	m.mark.Begin(xenconsoled.Note{Next: 13, State: m.mark.State(), From: uint64(size), Size: 7, File: ino})
	if _, err := l.f.WriteString("sec"); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := os.Rename(name, name+".1"); err != nil {
		t.Fatal(err)
	}
	if l, err = Open(name, m.mark, Options{}); err != nil {
		t.Fatal(err)
	}
	if err := m.write(l, false); err != nil {
		t.Fatal(err)
	}
	l.Close()
	if got := all(t, name); got != "first\nsecond\n" {
		t.Errorf("%q", got)
	}
}

func TestRotation(t *testing.T) {
	now := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	name := filepath.Join(t.TempDir(), "log")
	m := newMemory(t)
	l, err := Open(name, m.mark, Options{MaxAge: time.Hour, Keep: 3, Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for i := range 5 {
		for range 2 {
			m.add(fmt.Sprintf("hour %d\n", i))
			if err := m.write(l, false); err != nil {
				t.Fatal(err)
			}
			if err := os.Chtimes(name, now, now); err != nil {
				t.Fatal(err)
			}
		}
		now = now.Add(time.Hour)
	}
	for file, want := range map[string]string{"": "hour 4\nhour 4\n", ".1": "hour 3\nhour 3\n", ".2": "hour 2\nhour 2\n", ".3": "hour 1\nhour 1\n"} {
		if got, err := os.ReadFile(name + file); err != nil || string(got) != want {
			t.Errorf("log%s: %q, %v", file, got, err)
		}
	}
	if _, err := os.Stat(name + ".4"); err == nil {
		t.Error("more are kept than three")
	}
}

// A file that is deleted or moved away is made anew by the next byte; one that Reopen is called for at once.
func TestFileGone(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	m := newMemory(t)
	l, err := Open(name, m.mark, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	write := func(text string) {
		t.Helper()
		m.add(text)
		if err := m.write(l, false); err != nil {
			t.Fatal(err)
		}
	}
	write("one")
	if err := os.Remove(name); err != nil {
		t.Fatal(err)
	}
	write("two")
	if got, _ := os.ReadFile(name); string(got) != "two" {
		t.Errorf("after it was removed: %q", got)
	}
	if err := os.Rename(name, name+".old"); err != nil {
		t.Fatal(err)
	}
	write("three")
	if err := l.Reopen(name + "-renamed"); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(name + "-renamed"); err != nil {
		t.Error(err)
	}
	write("four")
	old, _ := os.ReadFile(name + ".old")
	renamed, _ := os.ReadFile(name + "-renamed")
	if string(old) != "twothree" || string(renamed) != "four" {
		t.Errorf("%q, %q", old, renamed)
	}
}

// What cannot be written leaves the mark where it is, and nothing in the file.
func TestWriteFails(t *testing.T) {
	name := filepath.Join(t.TempDir(), "log")
	m := newMemory(t)
	l, err := Open(name, m.mark, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	m.add("one\n")
	if err := m.write(l, false); err != nil {
		t.Fatal(err)
	}
	good := l.f
	if l.f, err = os.Open(name); err != nil { // cannot be written
		t.Fatal(err)
	}
	m.add("two\n")
	if err := m.write(l, false); err == nil {
		t.Error("it is said to be written")
	}
	if err := l.Lost(m.mark, 7); err == nil {
		t.Error("that bytes are lost is said to be written")
	}
	if m.mark.Position() != 4 {
		t.Errorf("the mark is at %d", m.mark.Position())
	}
	l.f.Close()
	l.f = good
	if err := l.Lost(m.mark, 7); err != nil {
		t.Error(err)
	}
	if err := m.write(l, false); err != nil {
		t.Error(err)
	}
	if got, _ := os.ReadFile(name); string(got) != "one\n[7 bytes are missing here: the log could not be written]\ntwo\n" {
		t.Errorf("%q", got)
	}
}

func TestNames(t *testing.T) {
	if got := Sanitize("../../etc/passwd\x00"); strings.ContainsAny(got, "/\x00") {
		t.Errorf("%q", got)
	}
	for _, o := range []Options{{MaxSize: 1}, {MaxAge: 1}, {MaxSize: -1, Keep: 1}} {
		if o.Valid() == nil {
			t.Errorf("%+v is taken", o)
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	for name, f := range map[string]xenconsoled.Format{"plain": {}, "stamp": {Stamp: true}, "json": {JSON: true}} {
		b.Run(name, func(b *testing.B) {
			m := newMemory(b)
			l, err := Open(filepath.Join(b.TempDir(), "log"), m.mark, Options{Format: f, MaxSize: 64 << 20, Keep: 1})
			if err != nil {
				b.Fatal(err)
			}
			defer l.Close()
			text := bytes.Repeat([]byte("a line of the length that lines of a kernel's log have\r\n"), 1000)
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := l.Write(m.mark, text, false); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
