package oracle

import (
	"os"
	"path/filepath"

	"morgana/lvm/text"
)

// Restore makes lvm2 write a group's metadata onto disks, one for each physical volume in the text, as large as the
// text says. So groups with volumes that lvm2 cannot make without device-mapper get onto disks.
func (o *Oracle) Restore(metadata []byte) (group string, disks []Disk) {
	o.t.Helper()
	file := filepath.Join(o.dir, "restore.vg")
	if err := os.WriteFile(file, metadata, 0o644); err != nil {
		o.t.Fatal(err)
	}
	top, err := text.Parse(metadata)
	if err != nil {
		o.t.Fatal(err)
	}
	for _, e := range top.Entries {
		if e.Section == nil {
			continue
		}
		group = e.Key
		for _, pv := range e.Section.Sub("physical_volumes").Entries {
			size, _ := pv.Section.Lookup("dev_size")
			sectors, _ := size.Int()
			id, _ := pv.Section.Lookup("id")
			uuid, _ := id.Str()
			d := o.Disks(1, sectors*512)
			o.Must("pvcreate", "--uuid", uuid, "--restorefile", file, d[0].Path)
			disks = append(disks, d...)
		}
	}
	o.Must("vgcfgrestore", "--force", "-y", "-f", file, group)
	return group, disks
}
