package devxen

import (
	"fmt"

	"morgana/xen"
)

// copyBatch is how many segments one call takes: enough to make the call's own cost small, few enough for the segments
// to be reused.
const copyBatch = 128

// Copy implements xen.Copier.
func (d *Domain) Copy(ops []xen.CopyOp) error {
	err := d.maps.use(func(fd int) error { return copyAll(fd, ops) })
	if err != nil {
		for i := range ops {
			if ops[i].Err == nil {
				ops[i].Err = opError("copy", grantName(ops[i].Peer, ops[i].Ref), err)
			}
		}
	}
	for i := range ops {
		if ops[i].Err != nil {
			return ops[i].Err
		}
	}
	return err
}

// copyAll does every operation that can be asked for and sets their errors. Its own error is the device's.
func copyAll(fd int, ops []xen.CopyOp) error {
	b := newCopyCall()
	defer b.release()
	start := 0
	for i := range ops {
		op := &ops[i]
		op.Err = nil
		switch {
		case op.Offset < 0 || op.Offset > xen.PageSize || len(op.Local) > xen.PageSize-op.Offset:
			op.Err = opError("copy", grantName(op.Peer, op.Ref), fmt.Errorf("%w: %d bytes at offset %d do not lie in one page",
				xen.ErrInvalid, len(op.Local), op.Offset))
		case len(op.Local) > 0:
			b.add(op)
		}
		if b.full() || i == len(ops)-1 {
			if err := b.run(fd); err != nil {
				return err
			}
			b.collect(ops[start : i+1])
			start = i + 1
		}
	}
	return nil
}
