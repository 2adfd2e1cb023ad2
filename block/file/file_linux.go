package file

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"

	"morgana/block"
)

func sectorSize(f *os.File) (int, error) {
	var n int
	err := control(f, func(fd int) (err error) {
		n, err = unix.IoctlGetInt(fd, unix.BLKSSZGET)
		return err
	})
	return n, err
}

func flush(f *os.File) error {
	return control(f, func(fd int) error { return ignoringEINTR(func() error { return unix.Fdatasync(fd) }) })
}

// control runs do with the descriptor of f, which stays open meanwhile.
func control(f *os.File, do func(fd int) error) error {
	c, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	if err := c.Control(func(fd uintptr) { inner = do(int(fd)) }); err != nil {
		return err
	}
	return inner
}

func ignoringEINTR(do func() error) error {
	for {
		if err := do(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// unsupported reports that the file system or disk has no such call, so that something else has to do.
func unsupported(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.ENODEV) ||
		errors.Is(err, unix.EINVAL)
}

// Discard implements block.Discarder: a hole in a plain file, a discard on a block device. Where neither is to be had
// nothing happens, as a discard may.
func (d *Device) Discard(off, n int64) error {
	if err := d.writable(off, n); err != nil || n == 0 {
		return err
	}
	err := d.fallocate(unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, off, n)
	if unsupported(err) {
		return nil
	}
	return err
}

// WriteZeroes implements block.Zeroer.
func (d *Device) WriteZeroes(off, n int64) error {
	if err := d.writable(off, n); err != nil || n == 0 {
		return err
	}
	mode := uint32(unix.FALLOC_FL_ZERO_RANGE | unix.FALLOC_FL_KEEP_SIZE)
	if d.plain {
		mode = unix.FALLOC_FL_PUNCH_HOLE | unix.FALLOC_FL_KEEP_SIZE
	}
	err := d.fallocate(mode, off, n)
	if unsupported(err) {
		return block.WriteZeroes(struct{ block.Device }{d}, off, n)
	}
	return err
}

func (d *Device) fallocate(mode uint32, off, n int64) error {
	return control(d.f, func(fd int) error {
		return ignoringEINTR(func() error { return unix.Fallocate(fd, mode, off, n) })
	})
}

// ReadVec implements block.Vectored.
func (d *Device) ReadVec(bufs [][]byte, off int64) error {
	if err := block.CheckRange(off, length(bufs), d.size); err != nil {
		return err
	}
	if d.direct != nil {
		if done, err := d.direct.move(bufs, off, d.sector, false); done {
			return err
		}
	}
	return d.vector(bufs, off, unix.Preadv, d.f.ReadAt)
}

// WriteVec implements block.Vectored.
func (d *Device) WriteVec(bufs [][]byte, off int64) error {
	if err := d.writable(off, length(bufs)); err != nil {
		return err
	}
	if d.direct != nil {
		if done, err := d.direct.move(bufs, off, d.sector, true); done {
			return err
		}
	}
	return d.vector(bufs, off, unix.Pwritev, d.f.WriteAt)
}

// maxVec is the most buffers that one call takes (IOV_MAX).
const maxVec = 1024

// vector moves bufs by one system call for many; what a short one left goes buffer by buffer.
func (d *Device) vector(bufs [][]byte, off int64, many func(int, [][]byte, int64) (int, error),
	one func([]byte, int64) (int, error),
) error {
	for len(bufs) > 0 {
		batch := bufs[:min(len(bufs), maxVec)]
		bufs = bufs[len(batch):]
		var done int
		err := control(d.f, func(fd int) error {
			return ignoringEINTR(func() (err error) {
				done, err = many(fd, batch, off)
				return err
			})
		})
		if err != nil {
			return &os.PathError{Op: "vector", Path: d.f.Name(), Err: err}
		}
		for _, b := range batch {
			if skip := min(done, len(b)); skip < len(b) {
				if _, err := one(b[skip:], off+int64(skip)); err != nil {
					return err
				}
				done = 0
			} else {
				done -= skip
			}
			off += int64(len(b))
		}
	}
	return nil
}

func length(bufs [][]byte) (n int64) {
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}
