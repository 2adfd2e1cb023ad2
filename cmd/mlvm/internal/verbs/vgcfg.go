package verbs

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"morgana/cmd/mlvm/internal/backup"
	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm"
)

// backups are the verbs about copies of the metadata, on disks and in files.
func backups() []command.Verb {
	return []command.Verb{
		{
			Name: "vgcfgbackup", Summary: "write the metadata of volume groups to files", Usage: []string{"[VG ...]"}, Max: -1,
			Supports: "file foreign partial readonly reportformat ignorelockingfailure",
			Details:  "--file names the file; %s in it stands for the group's name.",
			Examples: []string{"vgcfgbackup vg0", "vgcfgbackup -f /tmp/%s.vg"},
			Run:      vgcfgbackup,
		},
		{
			Name: "vgcfgrestore", Summary: "write metadata from a file back to the disks", Usage: []string{"VG", "--list VG", "--list --file FILE"}, Max: 1,
			Supports: "file force list metadatatype",
			Details:  "Without --file, the group's last backup. --list shows what there is. Volumes must not be in use.",
			Examples: []string{"vgcfgrestore -l vg0", "vgcfgrestore -f /etc/lvm/archive/vg0_00003-1021.vg vg0"},
			Run:      vgcfgrestore,
		},
		{
			Name: "vgck", Summary: "check the metadata of volume groups", Usage: []string{"[VG|Tag ...]", "--updatemetadata VG"}, Max: -1,
			Supports: "reportformat updatemetadata",
			Details: `Says what is wrong, and nothing where all is well. --updatemetadata writes every copy anew, also those that are
damaged; where copies differ in spite of the same number, it asks which is right.`,
			Examples: []string{"vgck vg0", "vgck --updatemetadata vg0"},
			Run:      vgck,
		},
	}
}

func vgcfgbackup(ctx context.Context, r *command.Run) error {
	file := r.Str("file", "")
	return eachGroup(ctx, r, command.Need{}, func(_ *lvm.Inventory, w want) error {
		if file == "" {
			if err := r.Store().Backup(w.vg, r.CommandLine(), r.Stamp()); err != nil {
				return err
			}
		} else {
			name := file
			if strings.Contains(file, "%") {
				if name = strings.Replace(file, "%s", w.vg.Name(), 1); strings.Contains(name, "%") {
					return r.Failed("Error processing filename template %s", file)
				}
			} else if len(r.Operands) == 0 && w.found == nil {
				return r.Failed("VGs must be backed up into different files. Use %%s in filename for VG name.")
			}
			stamp := r.Stamp()
			stamp.Description = r.CommandLine()
			if err := backup.Write(name, w.vg, stamp); err != nil {
				return err
			}
		}
		r.Print("Volume group \"%s\" successfully backed up.", w.vg.Name())
		return nil
	})
}

func vgcfgrestore(ctx context.Context, r *command.Run) error {
	file := r.Str("file", "")
	if r.Has("list") {
		return listBackups(r, file)
	}
	if len(r.Operands) == 0 {
		return r.Verb.NoMatch()
	}
	name := groupName(r.Operands[0])
	inv, err := r.Scan(ctx, command.Need{Write: true, Global: true, Groups: []string{name}})
	if err != nil {
		return err
	}
	shown := file
	if shown == "" {
		shown = filepath.Join(r.Store().BackupDir, name)
	}
	vg, err := r.Store().Read(name, file)
	switch {
	case errors.Is(err, os.ErrNotExist):
		r.Warn("%s: stat failed: No such file or directory", shown)
		r.Warn("WARNING: couldn't read volume group metadata from file.")
		r.Warn("Failed to read VG %s from %s", name, shown)
		return r.Failed("Restore failed.")
	case err != nil:
		r.Warn("%v", err)
		r.Warn("Failed to read VG %s from %s", name, shown)
		return r.Failed("Restore failed.")
	case vg.Name() != name:
		r.Warn("'%s' does not contain volume group '%s'.", shown, name)
		return r.Failed("Restore failed.")
	}
	for lv := range vg.LVs() {
		if len(lv.Segments) > 0 && lv.Segments[0].Type == "thin-pool" && r.Force() == 0 {
			r.Warn("Consider using option --force to restore Volume Group %s with thin volumes.", name)
			return r.Failed("Restore failed.")
		}
	}
	if r.Test() {
		r.Print("Restored volume group %s.", name)
		return nil
	}
	if f, err := inv.Group(name); err == nil && f.VG != nil {
		if err := r.Archive(f.VG); err != nil {
			return err
		}
	}
	g, err := inv.Restore(ctx, vg, lvm.OpenOptions{Mode: lvm.ReadWrite, SystemIDs: r.SystemIDs(), Stamp: r.Stamp})
	if err != nil {
		r.Warn("%v", err)
		return r.Failed("Restore failed.")
	}
	r.Hold(g)
	r.Print("Restored volume group %s.", name)
	return nil
}

// listBackups shows a file, or all archives of a group and its backup.
func listBackups(r *command.Run, file string) error {
	var files []backup.File
	if file != "" {
		f := backup.Describe(file)
		if errors.Is(f.Err, os.ErrNotExist) {
			return r.Failed("Archive file %s not found.", file)
		}
		files = append(files, f)
	} else {
		if len(r.Operands) == 0 {
			return r.Verb.NoMatch()
		}
		s := r.Store()
		list, err := s.List(groupName(r.Operands[0]))
		if err != nil {
			return err
		}
		if len(list) == 0 || list[0].Path == filepath.Join(s.BackupDir, groupName(r.Operands[0])) {
			r.Print("No archives found in %s.", s.ArchiveDir)
		}
		files = list
	}
	for _, f := range files {
		fmt.Fprintf(r.Stdout, "   \n")
		r.Print("File:\t\t%s/%s", f.Path, filepath.Base(f.Path))
		if f.Err != nil {
			r.Warn("Unable to read archive file.")
			r.Warn("%v", f.Err)
			continue
		}
		r.Print("VG name:    \t%s", f.Group)
		r.Print("Description:\t%s", f.Description)
		r.Print("Backup Time:\t%s\n", f.Time.In(location(r)).Format(time.ANSIC))
	}
	return nil
}

func vgck(ctx context.Context, r *command.Run) error {
	if err := onlyGroups(r); err != nil {
		return err
	}
	update := r.Has("updatemetadata")
	if update && len(r.Operands) == 0 {
		return r.Verb.NoMatch()
	}
	return eachGroup(ctx, r, command.Need{Write: update}, func(inv *lvm.Inventory, w want) error {
		if !update {
			switch {
			case w.vg.Partial():
				return r.Failed("The volume group is missing %d physical volumes.", missing(w.vg))
			case len(w.found.Bad)+len(w.found.Stale)+len(w.found.Mismatch)+len(w.found.Outdated) > 0:
				return command.ErrFailed // the scan has said why
			}
			return nil
		}
		o := lvm.OpenOptions{
			Mode: lvm.ReadWrite, Allow: lvm.AllowMissing | lvm.AllowUnknown, SystemIDs: r.SystemIDs(), Stamp: r.Stamp,
		}
		if len(w.found.Mismatch) > 0 {
			prefer, err := chooseCopy(r, w)
			if err != nil {
				return err
			}
			o.Prefer = prefer
		}
		if r.Test() {
			return nil
		}
		g, err := inv.Open(w.found.ID.String(), o)
		if err != nil {
			return err
		}
		r.Hold(g)
		return g.UpdateMetadata(ctx)
	})
}

// chooseCopy asks which of two copies with the same number is right.
func chooseCopy(r *command.Run, w want) (string, error) {
	a, b := w.found.Current[0].PV.Disk.Name, w.found.Mismatch[0].PV.Disk.Name
	r.Warn("Volume group %s has different metadata with sequence number %d on %s and %s.", w.vg.Name(), w.vg.Seqno(), a, b)
	r.Warn("mlvm pvck --dump metadata DISK shows each.")
	if r.Has("yes") {
		return "", r.Failed("--yes does not choose between them.")
	}
	for _, d := range []string{a, b} {
		if r.Ask("Use the metadata on %s? [y/n]: ", d) {
			return d, nil
		}
	}
	return "", r.Failed("Volume group %s not changed.", w.vg.Name())
}
