package journal

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// Dir keeps logs and snapshots as files of a directory, best of a tmpfs.
type Dir struct {
	path string
	mu   sync.Mutex
	maps map[uint64][]byte
}

// OpenDir makes the directory if there is none.
func OpenDir(path string) (*Dir, error) {
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, err
	}
	return &Dir{path: path, maps: make(map[uint64][]byte)}, nil
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
func (d *Dir) Log(n uint64, size int) ([]byte, error) {
	flags := os.O_RDWR
	if size > 0 {
		flags |= os.O_CREATE | os.O_TRUNC
	}
	f, err := os.OpenFile(d.file("log", n), flags, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > 0 {
		if err := f.Truncate(int64(size)); err != nil {
			return nil, err
		}
	} else {
		fi, err := f.Stat()
		if err != nil || fi.Size() == 0 {
			return nil, err
		}
		size = int(fi.Size())
	}
	b, err := syscall.Mmap(int(f.Fd()), 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: f.Name(), Err: err}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.maps[n] = b
	return b, nil
}

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
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, l := range logs {
		if l < n {
			if b := d.maps[l]; b != nil {
				err = errors.Join(err, syscall.Munmap(b))
				delete(d.maps, l)
			}
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
