package lvm

import (
	"fmt"
	"sort"
	"sync"
	"sync/atomic"

	"morgana/block"
	"morgana/lvm/metadata"
	"morgana/lvm/table"
)

// LV is a logical volume as a disk: a block.Device, block.Discarder, block.Zeroer, block.Vectored and block.Sparse over
// the disks of its group. Its methods may be called concurrently, and no I/O allocates memory.
//
// Flush reaches the disks that were written through this LV since they were last flushed, and no others.
//
// An LV is as its group was when it was opened. Who changes the group opens the volume anew.
type LV struct {
	name     string
	size     int64
	sector   int
	readOnly bool
	runs     []run
	disks    []*lvDisk

	// Where there are many runs: the run that each granule lies in. All runs begin at a multiple of granule.
	granule int64
	index   []int32
}

// A run is a table.Target in bytes.
type run struct {
	start, end int64
	kind       table.Kind
	stripe     int64 // bytes
	first      area  // areas[0], without a step more
	areas      []area
}

type area struct {
	disk *lvDisk
	off  int64
}

// An lvDisk is a disk that an LV lies on.
type lvDisk struct {
	block.Device
	dirty    atomic.Bool // written through this LV, and not flushed since
	flushing sync.Mutex  // held while dirty is down and the disk not yet flushed
}

// OpenVolume opens a logical volume of a group whose physical volumes are on the given disks. Missing ones are refused.
// A volume that others are made of, such as the origin of a snapshot, is opened for reading only: LVM2 alone knows what
// a write to it has to bring about elsewhere.
func OpenVolume(vg *metadata.VG, name string, disks map[metadata.UUID]block.Device, readOnly bool) (*LV, error) {
	lv := vg.LV(name)
	if lv == nil {
		return nil, refuseLV(metadata.ErrNotFound, `Failed to find logical volume "%s/%s"`, vg.Name(), name)
	}
	if err := mayOpen(vg, lv, readOnly); err != nil {
		return nil, err
	}
	targets, err := table.Of(vg, lv)
	if err != nil {
		return nil, err
	}
	l := &LV{name: vg.Name() + "/" + name, size: int64(vg.Size(lv)) * metadata.SectorSize, sector: 512, readOnly: readOnly}
	known := map[metadata.UUID]*lvDisk{}
	for _, t := range targets {
		r := run{start: int64(t.Start) * metadata.SectorSize, kind: t.Kind, stripe: int64(t.StripeSize) * metadata.SectorSize}
		r.end = r.start + int64(t.Length)*metadata.SectorSize
		each := r.end - r.start
		if n := int64(len(t.Areas)); n > 1 {
			if each /= n; r.stripe <= 0 || each%r.stripe != 0 {
				return nil, refuseLV(metadata.ErrFormat, "Logical volume %s has a striped segment at extent %d whose size does not suit its stripes of %d bytes", l.name, t.Start/vg.ExtentSize(), r.stripe)
			}
		}
		for _, a := range t.Areas {
			d := known[a.PV.ID]
			if d == nil {
				dev := disks[a.PV.ID]
				if dev == nil {
					return nil, refuseLV(metadata.ErrMissing, "Logical volume %s needs physical volume %v (last seen on %s), which is missing", l.name, a.PV.ID, a.PV.Device)
				}
				d = &lvDisk{Device: dev}
				known[a.PV.ID] = d
				l.disks = append(l.disks, d)
				l.sector = max(l.sector, dev.SectorSize())
			}
			off := int64(a.Offset) * metadata.SectorSize
			if err := block.CheckRange(off, each, d.Size()); err != nil {
				return nil, refuseLV(block.ErrOutOfRange, "Logical volume %s has extents beyond the end of %s: %v", l.name, a.PV.Device, err)
			}
			r.areas = append(r.areas, area{d, off})
		}
		if len(r.areas) > 0 {
			r.first = r.areas[0]
		}
		l.runs = append(l.runs, r)
	}
	l.makeIndex(int64(vg.ExtentSize()) * metadata.SectorSize)
	return l, nil
}

const (
	fewRuns    = 4       // in which a search is as quick
	maxIndexed = 4 << 20 // granules: 16 MiB of index
)

// makeIndex makes an index of runs, all of which begin at a multiple of extent, where one pays.
func (l *LV) makeIndex(extent int64) {
	n := l.size / extent
	if len(l.runs) <= fewRuns || n > maxIndexed {
		return
	}
	l.granule, l.index = extent, make([]int32, 0, n)
	for i, r := range l.runs {
		for at := r.start; at < r.end; at += extent {
			l.index = append(l.index, int32(i))
		}
	}
}

func refuseLV(kind error, format string, a ...any) error {
	return &metadata.Error{Msg: fmt.Sprintf(format, a...), Err: kind}
}

// mayOpen says why a volume must not be opened so.
func mayOpen(vg *metadata.VG, lv *metadata.LV, readOnly bool) error {
	if lv.Has("LOCKED") || lv.Has("PVMOVE") {
		return refuseLV(metadata.ErrInUse, "Logical volume %s/%s is being moved; finish it with pvmove first", vg.Name(), lv.Name)
	}
	if readOnly {
		return nil
	}
	if !lv.Writable() {
		return refuseLV(metadata.ErrReadOnly, "Logical volume %s/%s is read-only; lvchange -prw makes it writable", vg.Name(), lv.Name)
	}
	for user := range vg.Users(lv.Name) {
		return refuseLV(metadata.ErrInUse, "Logical volume %s/%s can be opened for reading only: %s is made of it", vg.Name(), lv.Name, user.Name)
	}
	return nil
}

// Name is the group's and the volume's: vg/lv.
func (l *LV) Name() string { return l.name }

// ReadOnly reports whether writes are refused.
func (l *LV) ReadOnly() bool { return l.readOnly }

// Size implements block.Device.
func (l *LV) Size() int64 { return l.size }

// SectorSize implements block.Device: that of the disk with the largest sectors.
func (l *LV) SectorSize() int { return l.sector }

// Flush implements block.Device.
func (l *LV) Flush() error {
	for _, d := range l.disks {
		if err := d.flush(); err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
	}
	return nil
}

// flush flushes a disk that was written. One that another call is about to flush counts when that is done.
func (d *lvDisk) flush() error {
	d.flushing.Lock()
	defer d.flushing.Unlock()
	if !d.dirty.Swap(false) {
		return nil
	}
	if err := d.Device.Flush(); err != nil {
		d.dirty.Store(true)
		return err
	}
	return nil
}

// wrote marks a disk after it was written, so that a flush which comes between the two is not the last.
func (d *lvDisk) wrote() {
	if !d.dirty.Load() {
		d.dirty.Store(true)
	}
}

// find returns the index of the run that has the byte at off.
func (l *LV) find(off int64) int {
	switch {
	case len(l.runs) == 1:
		return 0
	case l.index != nil && off < l.size:
		return int(l.index[off/l.granule])
	}
	return sort.Search(len(l.runs), func(i int) bool { return l.runs[i].end > off })
}

// writable says why n bytes at off may not be written.
func (l *LV) writable(off, n int64) error {
	if l.readOnly {
		return fmt.Errorf("%s: %w", l.name, block.ErrReadOnly)
	}
	return block.CheckRange(off, n, l.size)
}

// at is where the byte rel of a run lies, and how many from there on lie together.
func (r *run) at(rel int64) (a area, together int64) {
	if r.kind == table.Linear {
		a = r.first
		a.off += rel
		return a, r.end - r.start - rel
	}
	chunk, in := rel/r.stripe, rel%r.stripe
	n := int64(len(r.areas))
	a = r.areas[chunk%n]
	a.off += chunk/n*r.stripe + in
	return a, r.stripe - in
}
