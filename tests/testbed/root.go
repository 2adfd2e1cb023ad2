package testbed

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
)

// GuestRootMiB is the size of the root file system that PutRoot puts.
const GuestRootMiB = 384

// firstVolume is where the first volume begins that lvm2 creates on a disk: behind the megabyte for its metadata, as
// vgcreate does it by default.
const firstVolume = 1 << 20

// PutRoot writes a Debian, the root file system of a RootGuest, to a file that is to be a disk: where the first volume will
// be. It is there when `lvcreate -Zn -Wn` has made the volume. Dom0 would copy it in the emulator's time.
func PutRoot(ctx context.Context, progress io.Writer, disk string) (err error) {
	dir, err := Build(ctx, progress)
	if err != nil {
		return err
	}
	from, err := os.Open(filepath.Join(dir, fileRoot))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(disk, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	b, zero := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := int64(firstVolume); ; {
		n, err := io.ReadFull(from, b)
		if n > 0 && !bytes.Equal(b[:n], zero[:n]) {
			if _, err := to.WriteAt(b[:n], at); err != nil {
				return err
			}
		}
		if at += int64(n); err == io.EOF || err == io.ErrUnexpectedEOF {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// PlainDisk is xl's specification of a block device of dom0's as a guest's disk, attached without the checks and locks of
// Xen's hotplug script: it starts some fifty processes, which takes the emulator five seconds. On an own host it is the
// stock one.
func (h *Host) PlainDisk(device, vdev string) string {
	if h.Own {
		return device + ",raw," + vdev + ",rw"
	}
	return "format=raw,vdev=" + vdev + ",access=rw,script=block-plain,target=" + device
}
