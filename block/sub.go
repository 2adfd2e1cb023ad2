package block

// Sub returns the n bytes of d at off as a device of their own. It discards, fills and takes vectors as d does. It
// fails with ErrOutOfRange where d has no such bytes.
func Sub(d Device, off, n int64) (Device, error) {
	if err := CheckRange(off, n, d.Size()); err != nil {
		return nil, err
	}
	return &sub{d: d, off: off, n: n}, nil
}

type sub struct {
	d      Device
	off, n int64
}

func (s *sub) Size() int64     { return s.n }
func (s *sub) SectorSize() int { return s.d.SectorSize() }
func (s *sub) Flush() error    { return s.d.Flush() }

func (s *sub) ReadAt(p []byte, off int64) (int, error) {
	if err := CheckRange(off, int64(len(p)), s.n); err != nil {
		return 0, err
	}
	return s.d.ReadAt(p, s.off+off)
}

func (s *sub) WriteAt(p []byte, off int64) (int, error) {
	if err := CheckRange(off, int64(len(p)), s.n); err != nil {
		return 0, err
	}
	return s.d.WriteAt(p, s.off+off)
}

func (s *sub) Discard(off, n int64) error {
	if err := CheckRange(off, n, s.n); err != nil {
		return err
	}
	return Discard(s.d, s.off+off, n)
}

func (s *sub) WriteZeroes(off, n int64) error {
	if err := CheckRange(off, n, s.n); err != nil {
		return err
	}
	return WriteZeroes(s.d, s.off+off, n)
}

func (s *sub) ReadVec(bufs [][]byte, off int64) error {
	if err := CheckRange(off, length(bufs), s.n); err != nil {
		return err
	}
	return ReadVec(s.d, bufs, s.off+off)
}

func (s *sub) WriteVec(bufs [][]byte, off int64) error {
	if err := CheckRange(off, length(bufs), s.n); err != nil {
		return err
	}
	return WriteVec(s.d, bufs, s.off+off)
}

func length(bufs [][]byte) (n int64) {
	for _, b := range bufs {
		n += int64(len(b))
	}
	return n
}
