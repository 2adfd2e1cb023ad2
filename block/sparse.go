package block

// Sparse is a Device that knows of ranges that read as zeroes because nothing is stored there.
type Sparse interface {
	// Hole tells of the n bytes at off how many from the first on are alike, at least one unless n is 0, and whether
	// they are a hole. The count may be less than the truth, and what is no hole may be zeroes too.
	Hole(off, n int64) (alike int64, hole bool, err error)
}

// Hole asks d what it knows; a device that is not Sparse has no holes.
func Hole(d Device, off, n int64) (alike int64, hole bool, err error) {
	if err := CheckRange(off, n, d.Size()); err != nil {
		return 0, false, err
	}
	if x, ok := d.(Sparse); ok && n > 0 {
		return x.Hole(off, n)
	}
	return n, false, nil
}

// Hole implements Sparse.
func (s *sub) Hole(off, n int64) (alike int64, hole bool, err error) {
	if err := CheckRange(off, n, s.n); err != nil {
		return 0, false, err
	}
	return Hole(s.d, s.off+off, n)
}

// Hole implements Sparse.
func (m *Mem) Hole(off, n int64) (alike int64, hole bool, err error) {
	if err := CheckRange(off, n, m.size); err != nil || n == 0 {
		return 0, false, err
	}
	m.mu.RLock()
	defer m.mu.RUnlock()
	hole = m.chunks[off/memChunk] == nil
	end := (off/memChunk + 1) * memChunk
	for end < off+n && (m.chunks[end/memChunk] == nil) == hole {
		end += memChunk
	}
	return min(end-off, n), hole, nil
}
