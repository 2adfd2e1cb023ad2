package file

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"morgana/block"
)

// Device is an open file as a disk. It implements block.Device, block.Discarder, block.Zeroer and block.Vectored.
type Device struct {
	f        *os.File
	size     int64
	sector   int
	plain    bool
	readOnly bool

	wantDirect bool
	direct     *direct // nil without
}

// An Option changes how a file is opened.
type Option func(*Device)

// WithSectorSize sets the sector size of a plain file, 512 or 4096. That of a block device stays its own.
func WithSectorSize(n int) Option {
	return func(d *Device) {
		if d.plain {
			d.sector = n
		}
	}
}

// Open opens a file or block device for reading and writing.
func Open(name string, opts ...Option) (*Device, error) { return open(name, os.O_RDWR, opts) }

// OpenReadOnly opens a file or block device for reading; writes fail with block.ErrReadOnly.
func OpenReadOnly(name string, opts ...Option) (*Device, error) { return open(name, os.O_RDONLY, opts) }

// Create makes a new sparse file of size bytes and opens it. It fails where the file exists.
func Create(name string, size int64, opts ...Option) (*Device, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	if err := f.Truncate(size); err != nil {
		return nil, errors.Join(err, f.Close(), os.Remove(name))
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	if err := syncDir(filepath.Dir(name)); err != nil {
		return nil, err
	}
	return Open(name, opts...)
}

// syncDir makes a new name in a directory last.
func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func open(name string, mode int, opts []Option) (*Device, error) {
	f, err := os.OpenFile(name, mode, 0)
	if err != nil {
		return nil, err
	}
	d, err := newDevice(f, opts)
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	d.readOnly = mode == os.O_RDONLY
	if d.wantDirect && !d.plain {
		d.direct, _ = openDirect(f, mode) // or through the page cache
	}
	return d, nil
}

func newDevice(f *os.File, opts []Option) (*Device, error) {
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	d := &Device{f: f, size: st.Size(), sector: 512, plain: st.Mode().IsRegular()}
	switch m := st.Mode(); {
	case d.plain:
	case m&fs.ModeDevice != 0 && m&fs.ModeCharDevice == 0:
		if d.size, err = f.Seek(0, io.SeekEnd); err != nil {
			return nil, fmt.Errorf("%s: how big it is: %w", f.Name(), err)
		}
		if d.sector, err = sectorSize(f); err != nil {
			return nil, fmt.Errorf("%s: its sector size: %w", f.Name(), err)
		}
	default:
		return nil, fmt.Errorf("%s is neither a plain file nor a block device", f.Name())
	}
	for _, o := range opts {
		o(d)
	}
	if d.sector != 512 && d.sector != 4096 {
		return nil, fmt.Errorf("%s: sectors of %d bytes; only 512 and 4096 are known", f.Name(), d.sector)
	}
	return d, nil
}

// Name is the name that the file was opened by.
func (d *Device) Name() string { return d.f.Name() }

// File is the open file, for locks and ioctls. It stays the Device's.
func (d *Device) File() *os.File { return d.f }

// Plain reports whether this is a plain file and no block device.
func (d *Device) Plain() bool { return d.plain }

// IsDirect reports whether what is aligned goes past the page cache: see Direct.
func (d *Device) IsDirect() bool { return d.direct != nil && !d.direct.off.Load() }

// Close closes the file; it flushes nothing.
func (d *Device) Close() error {
	if d.direct != nil {
		return errors.Join(d.direct.close(), d.f.Close())
	}
	return d.f.Close()
}

// Size implements block.Device. It is the size at opening.
func (d *Device) Size() int64 { return d.size }

// SectorSize implements block.Device.
func (d *Device) SectorSize() int { return d.sector }

// ReadAt implements block.Device.
func (d *Device) ReadAt(p []byte, off int64) (int, error) {
	if err := block.CheckRange(off, int64(len(p)), d.size); err != nil {
		return 0, err
	}
	if d.direct != nil {
		if done, err := d.direct.one(p, off, d.sector, false); done {
			return got(p, err), err
		}
	}
	n, err := d.f.ReadAt(p, off)
	if n == len(p) {
		err = nil
	}
	return n, err
}

// WriteAt implements block.Device.
func (d *Device) WriteAt(p []byte, off int64) (int, error) {
	if err := d.writable(off, int64(len(p))); err != nil {
		return 0, err
	}
	if d.direct != nil {
		if done, err := d.direct.one(p, off, d.sector, true); done {
			return got(p, err), err
		}
	}
	return d.f.WriteAt(p, off)
}

func got(p []byte, err error) int {
	if err != nil {
		return 0
	}
	return len(p)
}

// writable tells why n bytes at off may not be written.
func (d *Device) writable(off, n int64) error {
	if d.readOnly {
		return fmt.Errorf("%s: %w", d.f.Name(), block.ErrReadOnly)
	}
	return block.CheckRange(off, n, d.size)
}

// Flush implements block.Device.
func (d *Device) Flush() error {
	if d.readOnly {
		return nil
	}
	return flush(d.f)
}
