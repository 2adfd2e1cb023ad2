package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Dir keeps logs and snapshots as files of a directory, best of a tmpfs.
type Dir struct{ path string }

// OpenDir makes the directory if there is none.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	return &Dir{path}, nil
}

func (d *Dir) file(kind string, n uint64) string {
	return filepath.Join(d.path, fmt.Sprintf("%s-%d", kind, n))
}

// List implements Storage.
func (d *Dir) List() (logs, snapshots []uint64, err error) {
	entries, err := os.ReadDir(d.path)
	if err != nil {
		return nil, nil, err
	}
	for _, e := range entries {
		var n uint64
		if _, err := fmt.Sscanf(e.Name(), "log-%d", &n); err == nil {
			logs = append(logs, n)
		} else if _, err := fmt.Sscanf(e.Name(), "snapshot-%d", &n); err == nil {
			snapshots = append(snapshots, n)
		}
	}
	return logs, snapshots, nil
}

// Log implements Storage.
func (d *Dir) Log(n uint64, size int) (Log, error) {
	f, err := os.OpenFile(d.file("log", n), os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: f.Name(), Err: err}
	}
	return &mappedLog{mem: b}, nil
}

// mappedLog is a file in memory: to write is to copy. Pages that are full are given back, so that they do not count for
// the process; the file keeps them.
type mappedLog struct {
	mem   []byte
	given int // bytes from the beginning
}

// giveBack is how many bytes may be held at a time.
const giveBack = 256 << 10

func (l *mappedLog) WriteAt(b []byte, off int64) (int, error) {
	if int(off)+len(b) > len(l.mem) {
		return 0, io.ErrShortWrite
	}
	copy(l.mem[off:], b)
	if full := int(off) &^ (giveBack - 1); full > l.given {
		if err := syscall.Madvise(l.mem[l.given:full], syscall.MADV_DONTNEED); err != nil {
			return len(b), err
		}
		l.given = full
	}
	return len(b), nil
}

func (l *mappedLog) Close() error { return syscall.Munmap(l.mem) }

// ReadLog implements Storage.
func (d *Dir) ReadLog(n uint64) ([]byte, error) { return os.ReadFile(d.file("log", n)) }

// Write implements Storage.
func (d *Dir) Write(n uint64) (io.WriteCloser, error) {
	return os.OpenFile(d.file("snapshot", n), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
}

// Read implements Storage.
func (d *Dir) Read(n uint64) ([]byte, error) { return os.ReadFile(d.file("snapshot", n)) }

// Remove implements Storage.
func (d *Dir) Remove(n uint64) error {
	logs, snapshots, err := d.List()
	if err != nil {
		return err
	}
	for _, l := range logs {
		if l < n {
			err = errors.Join(err, remove(d.file("log", l)))
		}
	}
	for _, s := range snapshots {
		if s < n {
			err = errors.Join(err, remove(d.file("snapshot", s)))
		}
	}
	return err
}

func remove(name string) error {
	if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
