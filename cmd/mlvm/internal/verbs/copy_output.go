package verbs

import (
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"

	"morgana/block"
)

// An output is where a copy goes. Its bytes come in order.
type output interface {
	write(b []byte, off int64) error
	zero(off, n int64) error
	room() int64
	// finish ends a copy of n bytes; ok says that all of it was copied.
	finish(n int64, ok bool) error
}

// output opens the target of a copy.
func (c *copier) output(to string, dst block.Device) (output, error) {
	switch {
	case dst != nil:
		return volumeOutput{dst}, nil
	case to == "-":
		return streamOutput{c.r.Stdout}, nil
	}
	if st, err := os.Stat(to); err == nil && !st.Mode().IsRegular() {
		// A block device, say, is written in place: it cannot be replaced.
		f, err := os.OpenFile(to, os.O_WRONLY, 0)
		if err != nil {
			return nil, err
		}
		return &placeOutput{f}, nil
	}
	f, err := os.CreateTemp(filepath.Dir(to), ".mlvm-cp-")
	if err != nil {
		return nil, err
	}
	return &fileOutput{f, to}, nil
}

type volumeOutput struct{ d block.Device }

func (o volumeOutput) write(b []byte, off int64) error {
	_, err := o.d.WriteAt(b, off)
	return err
}

func (o volumeOutput) zero(off, n int64) error      { return block.WriteZeroes(o.d, off, n) }
func (o volumeOutput) room() int64                  { return o.d.Size() }
func (o volumeOutput) finish(_ int64, _ bool) error { return o.d.Flush() }

type streamOutput struct{ w io.Writer }

func (o streamOutput) write(b []byte, _ int64) error {
	_, err := o.w.Write(b)
	return err
}

func (o streamOutput) zero(_, n int64) error {
	for n > 0 {
		b := zeroGranule[:min(n, granule)]
		if _, err := o.w.Write(b); err != nil {
			return err
		}
		n -= int64(len(b))
	}
	return nil
}
func (o streamOutput) room() int64                  { return math.MaxInt64 }
func (o streamOutput) finish(_ int64, _ bool) error { return nil }

// A fileOutput is a new file that takes its name when it is whole.
type fileOutput struct {
	f    *os.File
	name string
}

func (o *fileOutput) write(b []byte, off int64) error {
	_, err := o.f.WriteAt(b, off)
	return err
}
func (o *fileOutput) zero(_, _ int64) error { return nil }
func (o *fileOutput) room() int64           { return math.MaxInt64 }

func (o *fileOutput) finish(n int64, ok bool) error {
	if !ok {
		return errors.Join(o.f.Close(), os.Remove(o.f.Name()))
	}
	mode := os.FileMode(0o644)
	if st, err := os.Stat(o.name); err == nil {
		mode = st.Mode().Perm()
	}
	err := errors.Join(o.f.Truncate(n), o.f.Chmod(mode), o.f.Sync(), o.f.Close())
	if err == nil {
		err = os.Rename(o.f.Name(), o.name)
	}
	if err != nil {
		os.Remove(o.f.Name())
	}
	return err
}

// A placeOutput is something that is written where it is, zeros too.
type placeOutput struct{ f *os.File }

func (o *placeOutput) write(b []byte, _ int64) error {
	_, err := o.f.Write(b)
	return err
}
func (o *placeOutput) zero(off, n int64) error { return streamOutput{o.f}.zero(off, n) }
func (o *placeOutput) room() int64             { return math.MaxInt64 }
func (o *placeOutput) finish(_ int64, ok bool) error {
	if ok {
		// Not everything can be flushed: a pipe, /dev/null.
		_ = o.f.Sync()
	}
	return o.f.Close()
}
