package logfile

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"

	"morgana/xenconsoled"
)

// Options are how files are written.
type Options struct {
	xenconsoled.Format
	MaxSize int64         // bytes after which the file is rotated, at the end of a line where there is one soon; 0: never
	MaxAge  time.Duration // each such period of time, counted from 1970 on, has a file of its own; 0: none
	Keep    int           // how many rotated files are kept, NAME.1 the newest
	Now     func() time.Time
}

// Valid reports what is wrong with the options.
func (o *Options) Valid() error {
	if (o.MaxSize > 0 || o.MaxAge > 0) && o.Keep < 1 {
		return fmt.Errorf("logs are rotated and %d are kept: keep 1 or more", o.Keep)
	}
	if o.MaxSize < 0 || o.MaxAge < 0 {
		return errors.New("a size or age of logs is negative")
	}
	return nil
}

// Sanitize makes a name of a guest a part of a file's name.
func Sanitize(name string) string {
	return strings.Map(func(r rune) rune {
		if r == '/' || r == 0 {
			return '_'
		}
		return r
	}, name)
}

// File is the log of one console. It implements xenconsoled.Sink. Safe for concurrent use.
type File struct {
	opts Options

	mu    sync.Mutex
	name  string
	f     *os.File
	state uint32 // as in the mark
}

// Open opens or makes a file, and finishes what a process before this one had under way.
func Open(name string, m *xenconsoled.Mark, o Options) (*File, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	l := &File{opts: o, name: name}
	if err := l.recover(m); err != nil {
		return nil, err
	}
	l.state = m.State()
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

// opened is the first line of a log with times.
const opened = "Logfile Opened\n"

func (l *File) open() error {
	f, err := os.OpenFile(l.name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o644)
	if err != nil {
		return err
	}
	if l.opts.Stamp && !l.opts.JSON && xenconsoled.LineStart(l.state) {
		line, _, _ := l.opts.Append(nil, []byte(opened), 0, l.opts.Now(), true)
		if _, err := f.Write(line); err != nil {
			f.Close()
			return err
		}
	}
	l.f = f
	return nil
}

// recover completes a write that was under way, or takes it back.
func (l *File) recover(m *xenconsoled.Mark) error {
	note, pending := m.Pending()
	if !pending {
		return nil
	}
	for _, name := range []string{l.name, l.rotated(1)} {
		fi, err := os.Stat(name)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return err
		}
		if st, ok := fi.Sys().(*syscall.Stat_t); !ok || st.Ino != note.File {
			continue
		}
		if uint64(fi.Size()) >= note.From+note.Size {
			m.Commit()
			return nil
		}
		if uint64(fi.Size()) > note.From {
			if err := os.Truncate(name, int64(note.From)); err != nil {
				return err
			}
		}
		break
	}
	m.Abandon()
	return nil
}

func (l *File) rotated(n int) string { return fmt.Sprintf("%s.%d", l.name, n) }

// buffers are for what is written otherwise than it came.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 128<<10); return &b }}

// Write implements xenconsoled.Sink.
func (l *File) Write(m *xenconsoled.Mark, p []byte, last bool) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	taken := 0
	for taken < len(p) {
		part, end := l.part(p[taken:])
		n, err := l.write(m, part, last && end)
		taken += n
		if err != nil || n < len(part) && end || n == 0 {
			return taken, err
		}
	}
	return taken, nil
}

// part is what is written at once: what fits a file that is rotated, however much longer it gets. end says that nothing
// is left.
func (l *File) part(p []byte) (part []byte, end bool) {
	most := max(int(min(l.opts.MaxSize/16, 1<<30)), 1<<10)
	if l.opts.MaxSize == 0 || len(p) <= most {
		return p, true
	}
	i := bytes.LastIndexByte(p[:most], '\n') + 1
	if i == 0 && l.opts.JSON { // which waits for the end of a line
		if i = bytes.IndexByte(p, '\n') + 1; i == 0 {
			i = len(p)
		}
	}
	if i == 0 {
		i = most
	}
	return p[:i], i == len(p)
}

func (l *File) write(m *xenconsoled.Mark, p []byte, last bool) (int, error) {
	out, n, state := p, len(p), l.opts.After(p, m.State())
	now := l.opts.Now()
	if !l.opts.Plain() {
		buf, _ := buffers.Get().(*[]byte)
		defer buffers.Put(buf)
		*buf, n, state = l.opts.Append((*buf)[:0], p, m.State(), now, last)
		out = *buf
	}
	if len(out) == 0 {
		m.Set(m.Position()+uint64(n), state)
		l.state = state
		return n, nil
	}
	size, ino, err := l.prepare(len(out), now)
	if err != nil {
		return 0, err
	}
	m.Begin(xenconsoled.Note{Next: m.Position() + uint64(n), State: state, From: uint64(size), Size: uint64(len(out)), File: ino})
	if _, err := l.f.Write(out); err != nil {
		if terr := l.f.Truncate(size); terr == nil {
			m.Abandon()
		}
		return 0, err
	}
	m.Commit()
	l.state = state
	return n, nil
}

// prepare opens the file anew if it was taken away, rotates it if it is time, and says how large it is.
func (l *File) prepare(more int, now time.Time) (size int64, ino uint64, err error) {
	for try := 0; ; try++ {
		if l.f == nil {
			if err := l.open(); err != nil {
				return 0, 0, err
			}
		}
		var st syscall.Stat_t
		if err := l.stat(&st); err != nil {
			return 0, 0, &os.PathError{Op: "stat", Path: l.name, Err: err}
		}
		gone := st.Nlink == 0
		if try > 0 || !gone && !l.due(&st, more, now) {
			return st.Size, st.Ino, nil
		}
		if !gone {
			if err := l.rotate(); err != nil {
				return 0, 0, err
			}
		}
		l.f.Close()
		l.f = nil
	}
}

func (l *File) stat(st *syscall.Stat_t) (err error) {
	conn, err := l.f.SyscallConn()
	if err != nil {
		return err
	}
	cerr := conn.Control(func(fd uintptr) { err = syscall.Fstat(int(fd), st) })
	return errors.Join(err, cerr)
}

// due reports whether a new file is to begin before more bytes are written.
func (l *File) due(st *syscall.Stat_t, more int, now time.Time) bool {
	if st.Size == 0 {
		return false
	}
	if most := l.opts.MaxSize; most > 0 && st.Size+int64(more) > most {
		return xenconsoled.LineStart(l.state) || st.Size+int64(more) > most+most/4
	}
	if l.opts.MaxAge > 0 {
		period := func(t time.Time) int64 { return t.Unix() / max(1, int64(l.opts.MaxAge/time.Second)) }
		return period(time.Unix(st.Mtim.Unix())) != period(now)
	}
	return false
}

// rotate moves the files on. If the process ends between two steps, a number is missing and nothing else.
func (l *File) rotate() error {
	first := 1
	for ; first < l.opts.Keep; first++ { // a number that is free
		if _, err := os.Lstat(l.rotated(first)); errors.Is(err, fs.ErrNotExist) {
			break
		}
	}
	for n := first; n > 1; n-- {
		if err := os.Rename(l.rotated(n-1), l.rotated(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return os.Rename(l.name, l.rotated(1))
}

// Lost implements xenconsoled.Sink.
func (l *File) Lost(m *xenconsoled.Mark, n uint64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	line := fmt.Sprintf("[%d bytes are missing here: the log could not be written]\n", n)
	var out []byte
	if !xenconsoled.LineStart(m.State()) && !l.opts.JSON {
		out = append(out, '\n')
	}
	out, _, _ = l.opts.Append(out, []byte(line), 0, l.opts.Now(), true)
	size, _, err := l.prepare(len(out), l.opts.Now())
	if err != nil {
		return err
	}
	if _, err := l.f.Write(out); err != nil {
		_ = l.f.Truncate(size)
		return err
	}
	m.Set(m.Position(), 0)
	l.state = 0
	return nil
}

// Reopen opens the file anew, under another name if one is given: whoever moved it away wants a new one.
func (l *File) Reopen(name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if name != "" {
		l.name = name
	}
	if err := l.closeLocked(); err != nil {
		return err
	}
	return l.open()
}

func (l *File) closeLocked() error {
	if l.f == nil {
		return nil
	}
	err := l.f.Close()
	l.f = nil
	return err
}

// Close implements xenconsoled.Sink.
func (l *File) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closeLocked()
}
