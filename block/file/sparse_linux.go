package file

import (
	"errors"

	"golang.org/x/sys/unix"

	"morgana/block"
)

// Hole implements block.Sparse: what a file system says of a plain file. A block device has none.
func (d *Device) Hole(off, n int64) (alike int64, hole bool, err error) {
	if err := block.CheckRange(off, n, d.size); err != nil || n == 0 {
		return 0, false, err
	}
	if !d.plain {
		return n, false, nil
	}
	// The offset that this moves is nobody's: all reading and writing is at places of its own.
	data, err := d.seek(off, unix.SEEK_DATA)
	switch {
	case errors.Is(err, unix.ENXIO): // no data from here to the end
		return n, true, nil
	case unsupported(err):
		return n, false, nil
	case err != nil:
		return 0, false, err
	case data > off:
		return min(data-off, n), true, nil
	}
	end, err := d.seek(off, unix.SEEK_HOLE)
	if err != nil {
		return 0, false, err
	}
	return max(1, min(end-off, n)), false, nil
}

func (d *Device) seek(off int64, whence int) (to int64, err error) {
	err = control(d.f, func(fd int) (err error) {
		to, err = unix.Seek(fd, off, whence)
		return err
	})
	return to, err
}
