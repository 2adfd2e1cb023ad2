package lvm

import (
	"errors"
	"fmt"
	"slices"

	"morgana/lvm/metadata"
)

// Mode says what a group is opened for.
type Mode uint8

// The modes. A group that is open for reading only never writes.
const (
	ReadOnly Mode = iota
	ReadWrite
)

// Allow names what Open refuses unless it is told otherwise.
type Allow uint16

// What may be allowed.
const (
	// AllowForeign opens groups of other systems, for reading only: reports with --foreign.
	AllowForeign Allow = 1 << iota
	// AllowExported opens exported groups for changes: vgimport and vgrename.
	AllowExported
	// AllowMissing opens groups with missing physical volumes for changes: those that do not concern them, and
	// vgreduce --removemissing.
	AllowMissing
	// AllowUnknown opens groups with unknown segment types for changes: vgcfgrestore and vgck --updatemetadata.
	AllowUnknown
	// AllowReadOnlyStatus opens groups whose status has no WRITE for changes.
	AllowReadOnlyStatus
	// AllowShared opens groups that hosts share under a lock manager, for reading only.
	AllowShared
)

// OpenOptions changes how a group is opened.
//
// Opening for changes is refused where LVM2 would refuse the change, and in some cases where it would not: when copies
// of the metadata differ in spite of the same sequence number, and when a lock type is not known.
type OpenOptions struct {
	Mode  Mode
	Allow Allow
	// SystemIDs are those of this host; the first is its own. Groups with another one are foreign.
	SystemIDs []string
	// Prefer is the name of the disk whose copy counts where copies differ.
	Prefer string
	// Stamp says who writes, for the text. Nil stands for a stamp that says little.
	Stamp func() metadata.Stamp
	// Redo is for groups that keep a redo log.
	Redo RedoOptions
}

// refuse makes an error that matches kind and reads as LVM2's.
func refuse(kind error, format string, a ...any) error {
	return &metadata.Error{Msg: fmt.Sprintf(format, a...), Err: kind}
}

// Open opens a group by its name or UUID. It writes nothing.
func (inv *Inventory) Open(name string, o OpenOptions) (*Group, error) {
	f, err := inv.Group(name)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil, refuse(ErrNotFound, "Volume group %q not found", name)
	case err != nil:
		return nil, err
	}
	return inv.open(f, o)
}

func (inv *Inventory) open(f *FoundGroup, o OpenOptions) (*Group, error) {
	if f.VG == nil {
		return nil, refuse(ErrUnreadable, "Volume group %q cannot be read: %v", f.Name, f.Err)
	}
	if err := f.prefer(o.Prefer); err != nil {
		return nil, err
	}
	if err := f.refuses(o); err != nil {
		return nil, err
	}
	g := newGroup(f, o)
	if err := g.openLog(f, o); err != nil {
		return nil, err
	}
	return g, nil
}

// prefer makes the copy on a disk the one that counts.
func (f *FoundGroup) prefer(disk string) error {
	if disk == "" || len(f.Mismatch) == 0 {
		return nil
	}
	if slices.ContainsFunc(f.Current, func(a *MetadataArea) bool { return a.PV.Disk.Name == disk }) {
		f.Stale, f.Mismatch = append(f.Stale, f.Mismatch...), nil
		return nil
	}
	i := slices.IndexFunc(f.Mismatch, func(a *MetadataArea) bool { return a.PV.Disk.Name == disk })
	if i < 0 {
		return fmt.Errorf("%s has no copy of the newest metadata of volume group %s: %w", disk, f.Name, ErrMismatch)
	}
	c := f.Mismatch[i].copy
	if c.vg == nil {
		return refuse(ErrUnreadable, "Volume group %q cannot be read on %s: %v", f.Name, disk, c.err)
	}
	devices := map[metadata.UUID]string{}
	for _, pv := range f.Members {
		if !pv.Missing() && c.vg.PVByID(pv.ID) != nil {
			devices[pv.ID] = pv.Disk.Name
		}
	}
	if len(devices) != len(c.vg.PVs()) {
		return fmt.Errorf("the copy of volume group %s on %s has other physical volumes: %w", f.Name, disk, ErrMismatch)
	}
	f.copy, f.VG, f.Name = c, c.vg.WithDevices(devices), c.name
	all := slices.Concat(f.Current, f.Mismatch)
	f.Current, f.Mismatch = nil, nil
	for _, a := range all {
		if a.copy == c {
			f.Current = append(f.Current, a)
		} else {
			f.Stale = append(f.Stale, a)
		}
	}
	return nil
}

// refuses is the table of groups that must not be opened.
func (f *FoundGroup) refuses(o OpenOptions) error {
	vg := f.VG
	if id := vg.SystemID(); id != "" && !slices.Contains(o.SystemIDs, id) && (o.Allow&AllowForeign == 0 || o.Mode == ReadWrite) {
		if len(o.SystemIDs) == 0 || o.SystemIDs[0] == "" {
			return refuse(ErrForeign, "Cannot access VG %s with system ID %s with unknown local system ID.", f.Name, id)
		}
		return refuse(ErrForeign, "Cannot access VG %s with system ID %s with local system ID %s.", f.Name, id, o.SystemIDs[0])
	}
	if t := vg.LockType(); t != "" && t != "none" && (o.Allow&AllowShared == 0 || o.Mode == ReadWrite) {
		return refuse(ErrShared, "Cannot access VG %s with lock type %s that requires lvmlockd.", f.Name, t)
	}
	if vg.Has("CLUSTERED") && (o.Allow&AllowShared == 0 || o.Mode == ReadWrite) {
		return refuse(ErrShared, "Cannot access clustered VG %s.", f.Name)
	}
	if o.Mode == ReadOnly {
		return nil
	}
	switch {
	case len(f.Mismatch) > 0:
		a := f.Mismatch[0]
		return refuse(ErrMismatch, "Volume group %s has different metadata with the same sequence number %d on %s and %s; "+
			"compare them with pvck --dump metadata, then choose one with vgck --updatemetadata",
			f.Name, f.Seqno, f.Current[0].PV.Disk.Name, a.PV.Disk.Name)
	case len(f.Contested) > 0:
		return refuse(ErrContested, "Cannot change volume group %s: the metadata of another one name %s as well; "+
			"restore one of them with vgcfgrestore", f.Name, f.Contested[0].Disk.Name)
	case f.unfinished:
		return refuse(ErrMissing, "Volume group %s was being split off another one, whose disks are not here", f.Name)
	case vg.Exported() && o.Allow&AllowExported == 0:
		return refuse(ErrExported, "Volume group %s is exported", f.Name)
	case !vg.Writable() && o.Allow&AllowReadOnlyStatus == 0:
		return refuse(ErrReadOnly, "Volume group %s is read-only", f.Name)
	case len(f.Duplicates) > 0:
		return refuse(ErrDuplicate, "Cannot update volume group %s with duplicate PV devices.", f.Name)
	case vg.Partial() && o.Allow&AllowMissing == 0:
		return refuse(ErrMissing, "Cannot change VG %s while PVs are missing.\n"+
			"See vgreduce --removemissing and vgextend --restoremissing.", f.Name)
	case vg.Unknown() && o.Allow&AllowUnknown == 0:
		return refuse(ErrUnknown, "Cannot change VG %s with unknown segments in it!", f.Name)
	}
	return nil
}
