package lvm

import (
	"context"

	"morgana/lvm/metadata"
)

// RewriteText commits another text of a group without a look at its redo log, as vgcfgrestore does.
func RewriteText(ctx context.Context, disks []Disk, name string, change func(*metadata.VG) *metadata.VG) error {
	inv, err := Scan(ctx, disks, ScanOptions{})
	if err != nil {
		return err
	}
	f, err := inv.Group(name)
	if err != nil {
		return err
	}
	vg := f.VG
	if f.Log != nil {
		vg = f.Log.Text
	}
	return newGroup(f, OpenOptions{Mode: ReadWrite}).commitText(ctx, change(vg), nil)
}
