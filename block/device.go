package block

import (
	"errors"
	"fmt"
	"io"
)

// Device is a disk.
//
// ReadAt and WriteAt move all of the buffer or return an error. Offsets and lengths may be any; multiples of
// SectorSize are fastest. Nothing lies beyond Size: an access that crosses it fails whole with ErrOutOfRange. All
// methods may be called concurrently.
type Device interface {
	io.ReaderAt
	io.WriterAt
	// Flush returns when everything that was written before the call is on stable storage.
	Flush() error
	// Size is in bytes. It is not necessarily a multiple of SectorSize.
	Size() int64
	// SectorSize is the unit that is stored whole or not at all: 512 or 4096.
	SectorSize() int
}

// Discarder is a Device that can forget a range, whose contents are undefined until the next write.
type Discarder interface {
	Discard(off, n int64) error
}

// Zeroer is a Device that can fill a range with zeroes faster than by writing them.
type Zeroer interface {
	WriteZeroes(off, n int64) error
}

// Vectored is a Device that moves a contiguous range from or to several buffers at once.
type Vectored interface {
	ReadVec(bufs [][]byte, off int64) error
	WriteVec(bufs [][]byte, off int64) error
}

// ErrOutOfRange tells an access before the beginning or beyond the end of a device.
var ErrOutOfRange = errors.New("outside the device")

// ErrReadOnly tells a write to a device that was opened for reading.
var ErrReadOnly = errors.New("the device is open for reading only")

// CheckRange returns an error that matches ErrOutOfRange unless n bytes at off lie within size.
func CheckRange(off, n, size int64) error {
	if off < 0 || n < 0 || off > size || n > size-off {
		return fmt.Errorf("%d bytes at offset %d of %d: %w", n, off, size, ErrOutOfRange)
	}
	return nil
}

// Discard forgets n bytes at off where the device can; elsewhere it does nothing.
func Discard(d Device, off, n int64) error {
	if err := CheckRange(off, n, d.Size()); err != nil {
		return err
	}
	if x, ok := d.(Discarder); ok && n > 0 {
		return x.Discard(off, n)
	}
	return nil
}

// zeroes is what WriteZeroes writes, read-only.
var zeroes [64 << 10]byte

// WriteZeroes makes n bytes at off zero.
func WriteZeroes(d Device, off, n int64) error {
	if err := CheckRange(off, n, d.Size()); err != nil {
		return err
	}
	if x, ok := d.(Zeroer); ok && n > 0 {
		return x.WriteZeroes(off, n)
	}
	for n > 0 {
		b := zeroes[:min(n, int64(len(zeroes)))]
		if _, err := d.WriteAt(b, off); err != nil {
			return err
		}
		off, n = off+int64(len(b)), n-int64(len(b))
	}
	return nil
}

// ReadVec fills the buffers, one after the other, from off on.
func ReadVec(d Device, bufs [][]byte, off int64) error {
	if x, ok := d.(Vectored); ok {
		return x.ReadVec(bufs, off)
	}
	for _, b := range bufs {
		if _, err := d.ReadAt(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// WriteVec writes the buffers, one after the other, from off on.
func WriteVec(d Device, bufs [][]byte, off int64) error {
	if x, ok := d.(Vectored); ok {
		return x.WriteVec(bufs, off)
	}
	for _, b := range bufs {
		if _, err := d.WriteAt(b, off); err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}
