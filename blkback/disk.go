package blkback

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"

	"morgana/block"
	"morgana/xen/wire/blkif"
)

// disk is what the rings of one device have in common: what they read and write. Safe for concurrent use.
type disk struct {
	readOnly    bool
	sectorSize  int
	secure      bool // secure discards overwrite
	discardable bool
	stats       Stats
	stopping    atomic.Bool // what takes long is to end

	volume atomic.Pointer[volume]

	mu    sync.Mutex                // held while the volume is replaced
	older atomic.Pointer[[]*volume] // replaced, and not flushed since
}

// volume is a device as calls use it.
type volume struct {
	dev    block.Device
	vector block.Vectored // nil if the device wants one buffer a call

	users   atomic.Int64
	retired atomic.Bool   // replaced
	idle    chan struct{} // closed when it is retired and nobody uses it any more
	once    sync.Once
}

func newVolume(dev block.Device) *volume {
	v := &volume{dev: dev, idle: make(chan struct{})}
	v.vector, _ = dev.(block.Vectored)
	return v
}

func newDisk(dev block.Device, readOnly, secure bool) (*disk, error) {
	d := &disk{readOnly: readOnly, sectorSize: dev.SectorSize(), secure: secure}
	if d.sectorSize != 512 && d.sectorSize != 4096 {
		return nil, fmt.Errorf("sectors of %d bytes: 512 or 4096 wanted", d.sectorSize)
	}
	d.volume.Store(newVolume(dev))
	return d, nil
}

// sectors is the size that a frontend sees, in sectors of 512 bytes: whole sectors of the device.
func (d *disk) sectors() uint64 {
	n := uint64(max(d.volume.Load().dev.Size(), 0))
	return (n - n%uint64(d.sectorSize)) / blkif.SectorSize
}

// use gives the volume for one call, to be ended by done.
func (d *disk) use() *volume {
	for {
		v := d.volume.Load()
		v.users.Add(1)
		if d.volume.Load() == v {
			return v
		}
		v.done() // replaced just now, perhaps by one who has looked for users already
	}
}

func (v *volume) done() {
	if v.users.Add(-1) == 0 && v.retired.Load() {
		v.once.Do(func() { close(v.idle) })
	}
}

// retire waits until no call uses the volume, which was replaced, or until stop is closed.
func (v *volume) retire(stop <-chan struct{}) bool {
	v.retired.Store(true)
	if v.users.Load() == 0 {
		return true
	}
	select {
	case <-v.idle:
		return true
	case <-stop:
		return false
	}
}

// errSectorSize tells of a replacement that a frontend could not follow.
var errSectorSize = errors.New("the new device has sectors of another size")

// replace puts another device in the place of the old one for all calls that begin from now on, waits for those on the
// old one, and flushes it: what was written to it and acknowledged would be missed by a flush of the new one. Until
// then the guest's own flushes go to both.
func (d *disk) replace(dev block.Device, stop <-chan struct{}) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if dev.SectorSize() != d.sectorSize {
		return fmt.Errorf("%w: %d bytes, not %d", errSectorSize, dev.SectorSize(), d.sectorSize)
	}
	old := d.volume.Load()
	list := append([]*volume{old}, d.olderVolumes()...)
	d.older.Store(&list)
	d.volume.Store(newVolume(dev))
	if !old.retire(stop) {
		return errors.New("calls of the old device do not end")
	}
	if d.readOnly {
		d.older.Store(nil)
		return nil
	}
	for len(list) > 0 {
		if err := list[len(list)-1].dev.Flush(); err != nil {
			return err
		}
		list = list[:len(list)-1]
		rest := append([]*volume(nil), list...)
		d.older.Store(&rest)
	}
	return nil
}

func (d *disk) olderVolumes() []*volume {
	if p := d.older.Load(); p != nil {
		return *p
	}
	return nil
}

// flush flushes v, and the volumes that went before it and may have something that v does not know of.
func (d *disk) flush(v *volume) error {
	for _, o := range d.olderVolumes() {
		if err := o.dev.Flush(); err != nil {
			return err
		}
	}
	return v.dev.Flush()
}

// discards reports whether the device can forget ranges.
func (d *disk) discards() bool {
	_, ok := d.volume.Load().dev.(block.Discarder)
	return ok && !d.readOnly
}

// overwritten is what a secure discard writes, read-only.
var overwritten [256 << 10]byte

var errStopped = errors.New("the connection ended")

// discard forgets a range. A secure one overwrites it first, not by WriteZeroes, which may only forget it too.
func (d *disk) discard(v *volume, off, n int64, secure bool) error {
	if secure {
		for at, end := off, off+n; at < end; {
			if d.stopping.Load() {
				return errStopped
			}
			k := min(end-at, int64(len(overwritten)))
			if _, err := v.dev.WriteAt(overwritten[:k], at); err != nil {
				return err
			}
			at += k
		}
		if err := d.flush(v); err != nil {
			return err
		}
	}
	return block.Discard(v.dev, off, n)
}
