package daemon

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"morgana/xen"
	"morgana/xenconsoled"
)

// mapped is a file as memory that outlives the process.
type mapped struct {
	name string
	mem  []byte
}

// mapFile maps a file, which it makes if need be. What was in it is still there.
func mapFile(name string, size int) (*mapped, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(int64(size)); err != nil {
		return nil, err
	}
	// All of it is there from the beginning: a page that a full tmpfs cannot give is the end of the process.
	if err := unix.Fallocate(int(f.Fd()), 0, 0, int64(size)); err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, errors.Join(&os.PathError{Op: "fallocate", Path: name, Err: err}, os.Remove(name))
	}
	mem, err := unix.Mmap(int(f.Fd()), 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return nil, &os.PathError{Op: "mmap", Path: name, Err: err}
	}
	return &mapped{name: name, mem: mem}, nil
}

// Bytes implements xenconsoled.Memory.
func (m *mapped) Bytes() []byte { return m.mem }

// Close implements xenconsoled.Memory.
func (m *mapped) Close(gone bool) error {
	err := os.NewSyscallError("munmap", unix.Munmap(m.mem))
	if gone {
		err = errors.Join(err, os.Remove(m.name))
	}
	return err
}

const streamPrefix = "domain-"

func (d *Daemon) streamFile(dom xen.DomID) string {
	return filepath.Join(d.cfg.RunDir, streamPrefix+strconv.Itoa(int(dom)))
}

func (d *Daemon) memory(dom xen.DomID, size int) (xenconsoled.Memory, error) {
	name := d.streamFile(dom)
	if fi, err := os.Stat(name); err == nil && fi.Size() != int64(size) {
		if err := d.finish(name, fi.Size()); err != nil {
			return nil, err
		}
	}
	m, err := mapFile(name, size)
	if errors.Is(err, unix.ENOSPC) {
		d.cfg.Warn(fmt.Sprintf("domain %d: %v: its console will not survive a restart of the daemon; make room there", dom, err))
		return volatile(make([]byte, size)), nil
	}
	if err != nil {
		return nil, fmt.Errorf("memory for a console: %w", err)
	}
	return m, nil
}

// volatile is memory that ends with the process.
type volatile []byte

func (v volatile) Bytes() []byte  { return v }
func (volatile) Close(bool) error { return nil }

// finish logs what the file of a stream has that is not logged, and removes it.
func (d *Daemon) finish(name string, size int64) error {
	if size < xenconsoled.StreamHeader || size > 1<<30 { // not a stream's
		return os.Remove(name)
	}
	m, err := mapFile(name, int(size))
	if err != nil {
		return err
	}
	d.service.Finish(m.mem)
	return m.Close(true)
}

// finishOld logs what a process before this one left of guests that are gone.
func (d *Daemon) finishOld() error {
	files, err := os.ReadDir(d.cfg.RunDir)
	if err != nil {
		return err
	}
	if err := d.removeOldCopies(files); err != nil {
		return err
	}
	for _, f := range files {
		number, ok := strings.CutPrefix(f.Name(), streamPrefix)
		n, err := strconv.ParseUint(number, 10, 15)
		if !ok || err != nil || d.cfg.Machine.Alive(xen.DomID(n)) {
			continue
		}
		fi, err := f.Info()
		if err != nil {
			return err
		}
		if err := d.finish(d.streamFile(xen.DomID(n)), fi.Size()); err != nil {
			return err
		}
	}
	return nil
}
