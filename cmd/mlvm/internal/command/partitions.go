package command

import (
	"fmt"
	"os"

	"morgana/block"
	"morgana/block/file"
	"morgana/block/gpt"
	"morgana/lvm"
	"morgana/lvm/ondisk"
)

// disksOf are the disks of a file: the file itself, or its partitions of type LVM if it is the image of a partitioned
// disk. Partitions of block devices are devices themselves.
func disksOf(name string, d *file.Device) []lvm.Disk {
	whole := []lvm.Disk{{Name: name, Device: d}}
	if !d.Plain() {
		return whole
	}
	head := make([]byte, min(ondisk.LabelArea, d.Size()))
	if _, err := d.ReadAt(head, 0); err != nil {
		return whole
	}
	if _, err := ondisk.FindLabel(head); err == nil {
		return whole // a label counts more than a table that may have been there before
	}
	parts, err := gpt.Read(d)
	if err != nil {
		return whole
	}
	var disks []lvm.Disk
	for _, p := range parts {
		if p.Type != gpt.LVM {
			continue
		}
		if sub, err := block.Sub(d, p.Start, p.Size); err == nil {
			disks = append(disks, lvm.Disk{Name: fmt.Sprintf("%s:%d", name, p.Number), Device: sub})
		}
	}
	return disks
}

// KeepGroups gives up all locks but those of some groups, which last until the end and let others read: for a command
// that goes on for long and does not change the metadata.
func (r *Run) KeepGroups(groups ...string) error {
	if r.locks == nil {
		return nil
	}
	var plain []*os.File
	for _, d := range r.opened {
		if d.Plain() {
			plain = append(plain, d.File())
		}
	}
	return r.locks.Keep(groups, plain)
}
