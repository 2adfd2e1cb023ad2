package oracle

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Disk is a file that is a block device too.
type Disk struct {
	File string // may be read and written directly; then call Flush before lvm2 looks
	Path string // the loop device, /dev/loopN
	loop *os.File
}

// Disks makes n empty disks of size bytes with sectors of 512 bytes.
func (o *Oracle) Disks(n int, size int64) []Disk {
	o.t.Helper()
	return o.DisksOfSector(n, size, 512)
}

// DisksOfSector makes n empty disks with sectors of 512 or 4096 bytes.
func (o *Oracle) DisksOfSector(n int, size int64, sector int) []Disk {
	o.t.Helper()
	var files []string
	for i := range n {
		name := filepath.Join(o.dir, fmt.Sprintf("disk%d.img", len(o.disks)+i))
		f, err := os.Create(name)
		if err == nil {
			err = errors.Join(f.Truncate(size), f.Close())
		}
		if err != nil {
			o.t.Fatal(err)
		}
		files = append(files, name)
	}
	return o.AttachSector(sector, files...)
}

// Attach makes disks of existing files.
func (o *Oracle) Attach(files ...string) []Disk {
	o.t.Helper()
	return o.AttachSector(512, files...)
}

// AttachSector makes disks of existing files, with sectors of 512 or 4096 bytes.
func (o *Oracle) AttachSector(sector int, files ...string) []Disk {
	o.t.Helper()
	first := len(o.disks)
	for _, name := range files {
		d, err := attach(name, sector)
		if err != nil {
			o.t.Fatal(err)
		}
		o.t.Cleanup(func() { d.loop.Close() })
		o.disks = append(o.disks, d)
	}
	o.configure()
	return o.disks[first:len(o.disks):len(o.disks)]
}

// Detach takes a disk away from lvm2, as if its cable were pulled; its file stays.
func (o *Oracle) Detach(d Disk) {
	o.t.Helper()
	for i := range o.disks {
		if o.disks[i].Path == d.Path {
			o.disks = append(o.disks[:i:i], o.disks[i+1:]...)
			break
		}
	}
	o.configure()
	if err := d.loop.Close(); err != nil {
		o.t.Fatal(err)
	}
}

// attach gives a file a loop device that ends with the last open descriptor, ours: a test that is killed leaves none.
func attach(name string, sector int) (Disk, error) {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return Disk{}, err
	}
	defer f.Close()
	control, err := os.OpenFile("/dev/loop-control", os.O_RDWR, 0)
	if err != nil {
		return Disk{}, fmt.Errorf("no loop devices: %w", err)
	}
	defer control.Close()
	for {
		n, err := unix.IoctlRetInt(int(control.Fd()), unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return Disk{}, fmt.Errorf("no free loop device: %w", err)
		}
		path := fmt.Sprintf("/dev/loop%d", n)
		loop, err := openLoop(path, n)
		if err != nil {
			return Disk{}, err
		}
		config := unix.LoopConfig{Fd: uint32(f.Fd()), Size: uint32(sector)}
		config.Info.Flags = unix.LO_FLAGS_AUTOCLEAR
		copy(config.Info.File_name[:len(config.Info.File_name)-1], name)
		err = unix.IoctlLoopConfigure(int(loop.Fd()), &config)
		if err == nil {
			return Disk{File: name, Path: path, loop: loop}, nil
		}
		loop.Close()
		if !errors.Is(err, unix.EBUSY) { // another process was faster
			return Disk{}, fmt.Errorf("%s for %s: %w", path, name, err)
		}
	}
}

// openLoop opens a loop device, whose node appears a moment after it was made, or never where nothing fills /dev.
func openLoop(path string, n int) (*os.File, error) {
	for i := 0; ; i++ {
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		switch {
		case err == nil || !errors.Is(err, os.ErrNotExist):
			return f, err
		case i == 20:
			if err := unix.Mknod(path, unix.S_IFBLK|0o660, int(unix.Mkdev(7, uint32(n)))); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		case i > 20:
			return nil, err
		default:
			time.Sleep(5 * time.Millisecond)
		}
	}
}

// Flush makes what was written to the disk's file visible through the device, and the reverse.
func (d Disk) Flush() error {
	if err := d.loop.Sync(); err != nil {
		return err
	}
	_, err := unix.IoctlRetInt(int(d.loop.Fd()), unix.BLKFLSBUF)
	return err
}

// Resize makes the file longer or shorter, and tells the device.
func (d Disk) Resize(size int64) error {
	if err := os.Truncate(d.File, size); err != nil {
		return err
	}
	_, err := unix.IoctlRetInt(int(d.loop.Fd()), unix.LOOP_SET_CAPACITY)
	return err
}
