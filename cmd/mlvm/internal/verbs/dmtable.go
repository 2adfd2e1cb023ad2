package verbs

import (
	"context"
	"fmt"

	"golang.org/x/sys/unix"

	"morgana/block/file"
	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm/metadata"
	"morgana/lvm/table"
)

func dmtableVerb() command.Verb {
	return command.Verb{
		Name: "dmtable", Summary: "show how the kernel would map volumes (dmsetup table)", Usage: []string{"[VG|LV ...]"}, Max: -1,
		Details: `The lines are those of "dmsetup table": for one volume alone its targets, else each with the volume's name in the
kernel before it. A block device is shown by its numbers, a plain file by its name; with a loop device's in its
place, "dmsetup create" takes the table.

Volumes that more than a map makes (snapshot, thin, RAID, cache) are left out with a warning.`,
		Examples: []string{"dmtable vg0/root", "dmtable vg0", "dmtable --devices /dev/sdb,/dev/sdc"},
		Run:      dmtable,
	}
}

func dmtable(ctx context.Context, r *command.Run) error {
	picked, err := Pick(ctx, r, false, r.Operands)
	if err != nil {
		return err
	}
	alone := len(r.Operands) == 1 && len(picked) == 1 && !picked[0].whole
	var out []byte
	for _, s := range picked {
		vg := s.Group.VG()
		disk := func(pv *metadata.PV) string { return diskNumber(s.Group.Device(pv.Key), pv.Device) }
		for _, name := range s.names {
			lv := vg.LV(name)
			targets, err := table.Of(vg, lv)
			for user := range vg.Users(name) {
				err = &metadata.Error{
					Msg: fmt.Sprintf("Logical volume %s/%s is part of %s, and more than a map", vg.Name(), name, user.Name), Err: metadata.ErrInUse,
				}
				break
			}
			if err != nil {
				if !s.whole {
					return err
				}
				r.Warn("WARNING: left out: %v", err)
				continue
			}
			for _, t := range targets {
				if !alone {
					out = append(append(out, table.Name(vg.Name(), name)...), ": "...)
				}
				out = append(t.Append(out, disk), '\n')
			}
		}
	}
	_, err = r.Stdout.Write(out)
	return err
}

// diskNumber is how the kernel calls a disk.
func diskNumber(device any, name string) string {
	f, ok := device.(*file.Device)
	if !ok || f.Plain() {
		return name
	}
	var st unix.Stat_t
	if unix.Fstat(int(f.File().Fd()), &st) != nil {
		return name
	}
	return fmt.Sprintf("%d:%d", unix.Major(st.Rdev), unix.Minor(st.Rdev))
}
