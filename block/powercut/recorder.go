package powercut

import (
	"errors"
	"fmt"
	"sync"

	"morgana/block"
)

// Recorder notes what is written to disks.
type Recorder struct {
	mu     sync.Mutex
	disks  []*recorded
	start  []*block.Mem // the disks when the recording started
	events []event
}

// event is a write, or a flush where data is nil.
type event struct {
	disk int
	off  int64
	data []byte // whole sectors
}

// ErrFailed is what a disk returns that FailAfter broke.
var ErrFailed = errors.New("the disk has failed")

// NewRecorder takes disks and starts recording.
func NewRecorder(disks ...*block.Mem) *Recorder {
	r := &Recorder{}
	for i, d := range disks {
		r.disks = append(r.disks, &recorded{r: r, index: i, mem: d, failAfter: -1})
	}
	r.Start()
	return r
}

// Disks are the disks to write to.
func (r *Recorder) Disks() []block.Device {
	out := make([]block.Device, len(r.disks))
	for i, d := range r.disks {
		out[i] = d
	}
	return out
}

// Start forgets the past: everything that was written is on stable storage.
func (r *Recorder) Start() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.events, r.start = nil, nil
	for _, d := range r.disks {
		r.start = append(r.start, d.mem.Clone())
	}
}

// FailAfter breaks a disk: after n more writes and flushes every further one fails with ErrFailed and does nothing. A
// negative n repairs it.
func (r *Recorder) FailAfter(disk, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.disks[disk].failAfter = n
}

// Counts tells how many writes and flushes were recorded, and how many bytes were written.
func (r *Recorder) Counts() (writes, flushes int, bytes int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.events {
		if e.data == nil {
			flushes++
		} else {
			writes++
			bytes += int64(len(e.data))
		}
	}
	return writes, flushes, bytes
}

// recorded is a disk whose writes are noted.
type recorded struct {
	r         *Recorder
	index     int
	mem       *block.Mem
	failAfter int
}

func (d *recorded) Size() int64     { return d.mem.Size() }
func (d *recorded) SectorSize() int { return d.mem.SectorSize() }

func (d *recorded) ReadAt(p []byte, off int64) (int, error) { return d.mem.ReadAt(p, off) }

func (d *recorded) WriteAt(p []byte, off int64) (int, error) {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	if err := d.workLocked(); err != nil {
		return 0, err
	}
	n, err := d.mem.WriteAt(p, off)
	if err != nil || len(p) == 0 {
		return n, err
	}
	sector := int64(d.mem.SectorSize())
	begin := off / sector * sector
	end := min((off+int64(len(p))+sector-1)/sector*sector, d.mem.Size())
	whole := make([]byte, end-begin)
	if _, err := d.mem.ReadAt(whole, begin); err != nil {
		return 0, fmt.Errorf("reading back: %w", err)
	}
	d.r.events = append(d.r.events, event{d.index, begin, whole})
	return n, nil
}

func (d *recorded) WriteZeroes(off, n int64) error {
	if err := block.CheckRange(off, n, d.mem.Size()); err != nil {
		return err
	}
	_, err := d.WriteAt(make([]byte, n), off)
	return err
}

func (d *recorded) Flush() error {
	d.r.mu.Lock()
	defer d.r.mu.Unlock()
	if err := d.workLocked(); err != nil {
		return err
	}
	d.r.events = append(d.r.events, event{disk: d.index})
	return nil
}

// workLocked counts down to the failure.
func (d *recorded) workLocked() error {
	if d.failAfter == 0 {
		return ErrFailed
	}
	if d.failAfter > 0 {
		d.failAfter--
	}
	return nil
}
