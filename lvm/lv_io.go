package lvm

import (
	"errors"
	"fmt"

	"morgana/block"
	"morgana/lvm/table"
)

// ErrTarget is what I/O to an error segment gets.
var ErrTarget = errors.New("an error segment")

// ReadAt implements block.Device.
func (l *LV) ReadAt(p []byte, off int64) (int, error) {
	if err := block.CheckRange(off, int64(len(p)), l.size); err != nil {
		return 0, err
	}
	for i, done := l.find(off), 0; done < len(p); i++ {
		r := &l.runs[i]
		n := int(min(int64(len(p)-done), r.end-off))
		if err := l.read(r, p[done:done+n], off-r.start); err != nil {
			return done, err
		}
		done, off = done+n, off+int64(n)
	}
	return len(p), nil
}

func (l *LV) read(r *run, p []byte, rel int64) error {
	switch r.kind {
	case table.Zero:
		clear(p)
		return nil
	case table.Error:
		return l.failed(r)
	}
	for len(p) > 0 {
		a, n := r.at(rel)
		n = min(n, int64(len(p)))
		if _, err := a.disk.ReadAt(p[:n], a.off); err != nil {
			return err
		}
		p, rel = p[n:], rel+n
	}
	return nil
}

// WriteAt implements block.Device.
func (l *LV) WriteAt(p []byte, off int64) (int, error) {
	if err := l.writable(off, int64(len(p))); err != nil {
		return 0, err
	}
	for i, done := l.find(off), 0; done < len(p); i++ {
		r := &l.runs[i]
		n := int(min(int64(len(p)-done), r.end-off))
		if err := l.write(r, p[done:done+n], off-r.start); err != nil {
			return done, err
		}
		done, off = done+n, off+int64(n)
	}
	return len(p), nil
}

func (l *LV) write(r *run, p []byte, rel int64) error {
	switch r.kind {
	case table.Zero:
		return nil
	case table.Error:
		return l.failed(r)
	}
	for len(p) > 0 {
		a, n := r.at(rel)
		n = min(n, int64(len(p)))
		_, err := a.disk.WriteAt(p[:n], a.off)
		a.disk.wrote()
		if err != nil {
			return err
		}
		p, rel = p[n:], rel+n
	}
	return nil
}

func (l *LV) failed(r *run) error {
	return fmt.Errorf("%s: bytes %d to %d: %w", l.name, r.start, r.end-1, ErrTarget)
}

// ReadVec implements block.Vectored.
func (l *LV) ReadVec(bufs [][]byte, off int64) error { return l.vector(bufs, off, false) }

// WriteVec implements block.Vectored.
func (l *LV) WriteVec(bufs [][]byte, off int64) error { return l.vector(bufs, off, true) }

// vector passes a vector on where all of it lies together, which is nearly always, and takes it apart elsewhere.
func (l *LV) vector(bufs [][]byte, off int64, write bool) error {
	var total int64
	for _, b := range bufs {
		total += int64(len(b))
	}
	err := block.CheckRange(off, total, l.size)
	if write {
		err = l.writable(off, total)
	}
	if err != nil || total == 0 {
		return err
	}
	if r := &l.runs[l.find(off)]; r.kind <= table.Striped {
		if a, n := r.at(off - r.start); n >= total {
			if !write {
				return block.ReadVec(a.disk.Device, bufs, a.off)
			}
			err := block.WriteVec(a.disk.Device, bufs, a.off)
			a.disk.wrote()
			return err
		}
	}
	for _, b := range bufs {
		if write {
			_, err = l.WriteAt(b, off)
		} else {
			_, err = l.ReadAt(b, off)
		}
		if err != nil {
			return err
		}
		off += int64(len(b))
	}
	return nil
}

// Discard implements block.Discarder.
func (l *LV) Discard(off, n int64) error { return l.ranges(off, n, block.Discard) }

// WriteZeroes implements block.Zeroer.
func (l *LV) WriteZeroes(off, n int64) error { return l.ranges(off, n, block.WriteZeroes) }

// ranges does something to each of the ranges of disks that n bytes at off lie on.
func (l *LV) ranges(off, n int64, do func(block.Device, int64, int64) error) error {
	if err := l.writable(off, n); err != nil {
		return err
	}
	for i, end := l.find(off), off+n; off < end; i++ {
		r := &l.runs[i]
		k := min(end, r.end) - off
		switch r.kind {
		case table.Zero:
		case table.Error:
			return l.failed(r)
		default:
			for a := range r.areas {
				from, to := r.share(a, off-r.start, off-r.start+k)
				if from == to {
					continue
				}
				d := r.areas[a].disk
				err := do(d.Device, r.areas[a].off+from, to-from)
				d.wrote()
				if err != nil {
					return err
				}
			}
		}
		off += k
	}
	return nil
}

// share is which bytes of area i, counted from its beginning, the bytes from rel to end of a run lie on. Chunks that
// follow each other in an area touch, so it is one range, if any.
func (r *run) share(i int, rel, end int64) (from, to int64) {
	if r.kind == table.Linear {
		return rel, end
	}
	n := int64(len(r.areas))
	row := r.stripe * n
	// The bytes of area i before the byte x of the run.
	before := func(x int64) int64 {
		return x/row*r.stripe + min(max(x%row-int64(i)*r.stripe, 0), r.stripe)
	}
	return before(rel), before(end)
}

// maxHoleChunks is how many chunks of a striped run one Hole asks about.
const maxHoleChunks = 256

// Hole implements block.Sparse.
func (l *LV) Hole(off, n int64) (alike int64, hole bool, err error) {
	if err := block.CheckRange(off, n, l.size); err != nil || n == 0 {
		return 0, false, err
	}
	r := &l.runs[l.find(off)]
	n = min(n, r.end-off)
	switch r.kind {
	case table.Zero:
		return n, true, nil
	case table.Error:
		return n, false, nil
	}
	for range maxHoleChunks {
		a, together := r.at(off - r.start + alike)
		together = min(together, n-alike)
		k, h, err := block.Hole(a.disk.Device, a.off, together)
		if err != nil {
			return 0, false, err
		}
		if alike > 0 && h != hole {
			break
		}
		alike, hole = alike+k, h
		if k < together || alike == n {
			break
		}
	}
	return alike, hole, nil
}
