package command

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"

	"morgana/block/file"
	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/lvm/report"
)

// View is a group as reports want it, with the metadata that Current returned. A nil group stands for the disks that
// are in none; Spare has further ones.
func View(inv *lvm.Inventory, f *lvm.FoundGroup, vg *metadata.VG) (*report.Group, []*report.PV) {
	g := &report.Group{VG: vg}
	var members []*lvm.PhysicalVolume
	if f != nil {
		members = f.Members
	} else {
		for _, pv := range inv.PVs() {
			if (pv.Group == nil || pv.Group.VG == nil) && !pv.Duplicate && !pv.Outdated {
				members = append(members, pv)
			}
		}
	}
	var disks []*report.PV
	for _, pv := range members {
		d := Disk(pv)
		disks = append(disks, d)
		if f == nil {
			continue
		}
		d.Meta = vg.PVByID(pv.ID)
		g.Areas += d.Areas
		g.AreasUsed += d.AreasUsed
		for _, a := range pv.Areas {
			if a.HeaderErr != nil {
				continue
			}
			size := a.Area.Size / metadata.SectorSize
			if g.AreaSize == 0 || size < g.AreaSize {
				g.AreaSize = size
			}
			free := a.Free() / metadata.SectorSize
			if !a.Ignored() && (g.AreaFree == 0 || free < g.AreaFree) {
				g.AreaFree = free
			}
		}
	}
	if f != nil {
		// In the order of the metadata.
		slices.SortStableFunc(disks, func(a, b *report.PV) int { return order(vg, a) - order(vg, b) })
	}
	g.SetDisks(disks)
	return g, disks
}

// Spare are disks that look like members of a group and are none: copies of others, and those that it gave up.
func Spare(inv *lvm.Inventory) []*report.PV {
	var disks []*report.PV
	for _, pv := range inv.PVs() {
		if pv.Duplicate || pv.Outdated {
			disks = append(disks, Disk(pv))
		}
	}
	return disks
}

func order(vg *metadata.VG, d *report.PV) int {
	return slices.IndexFunc(vg.PVs(), func(pv *metadata.PV) bool { return pv.ID == d.ID })
}

// Disk is a physical volume as reports want it.
func Disk(pv *lvm.PhysicalVolume) *report.PV {
	d := &report.PV{
		Name: pv.Disk.Name, ID: pv.ID, Labelled: !pv.Missing(), DevSize: pv.DeviceSize() / metadata.SectorSize,
		PEStart: pv.PEStart() / metadata.SectorSize, ExtVersion: pv.Label.ExtVersion, InUse: pv.Label.Used(),
		Duplicate: pv.Duplicate, Size: pv.Label.DeviceSize / metadata.SectorSize,
	}
	d.Major, d.Minor = numbers(pv.Disk)
	if pv.Missing() {
		d.Name, d.Major, d.Minor = report.Missing, 0, 0
		d.InUse = true
	}
	if len(pv.Label.Bootloader) > 0 {
		d.BAStart = pv.Label.Bootloader[0].Offset / metadata.SectorSize
		d.BASize = pv.Label.Bootloader[0].Size / metadata.SectorSize
	}
	for _, a := range pv.Areas {
		if a.HeaderErr != nil {
			continue // nobody knows what it is
		}
		size, free := a.Area.Size/metadata.SectorSize, a.Free()/metadata.SectorSize
		if d.Areas == 0 || size < d.AreaSize {
			d.AreaSize = size
		}
		d.Areas++
		if a.Ignored() {
			continue // what is free there is of no use
		}
		if d.AreasUsed == 0 || free < d.AreaFree {
			d.AreaFree = free
		}
		d.AreasUsed++
	}
	return d
}

// Plain is a disk that is no physical volume, as reports of all devices show it.
func Plain(d lvm.Disk) *report.PV {
	p := &report.PV{Name: d.Name, DevSize: uint64(d.Device.Size()) / metadata.SectorSize}
	p.Major, p.Minor = numbers(d)
	return p
}

// numbers are a block device's; plain files have none.
func numbers(d lvm.Disk) (major, minor int) {
	f, ok := d.Device.(*file.Device)
	if !ok || f.Plain() {
		return -1, -1
	}
	var st unix.Stat_t
	if unix.Fstat(int(f.File().Fd()), &st) != nil {
		return -1, -1
	}
	return int(unix.Major(st.Rdev)), int(unix.Minor(st.Rdev))
}

// Found returns the group of a name. What is wrong is said on standard error, in lvm2's words.
func (r *Run) Found(inv *lvm.Inventory, name string) (*lvm.FoundGroup, error) {
	f, err := inv.Group(name)
	switch {
	case errors.Is(err, lvm.ErrNotFound):
		r.Warn("Volume group \"%s\" not found", name)
		return nil, r.Failed("Cannot process volume group %s", name)
	case errors.Is(err, lvm.ErrAmbiguous):
		r.Warn("%v", err)
		return nil, r.Failed("Cannot process volume group %s", name)
	case err != nil:
		return nil, r.Fail(err)
	}
	return f, nil
}

// WarnForeign says that a group belongs to another machine.
func (r *Run) WarnForeign(name, id string) {
	own := "unknown local system ID"
	if ids := r.SystemIDs(); len(ids) > 0 {
		own = "local system ID " + ids[0]
	}
	r.Warn("Cannot access VG %s with system ID %s with %s.", name, id, own)
}

// Current opens a group to look at it: with the changes that its redo log has, if it keeps one. It is nil for a group
// that belongs to another machine, which it says, and for one that cannot be read.
func (r *Run) Current(inv *lvm.Inventory, f *lvm.FoundGroup) *metadata.VG {
	if f.VG == nil {
		return nil
	}
	g, err := inv.Open(f.ID.String(), lvm.OpenOptions{Allow: lvm.AllowForeign | lvm.AllowShared, SystemIDs: r.SystemIDs()})
	if err != nil {
		r.Warn("%v", err)
		return f.VG
	}
	r.groups = append(r.groups, g)
	if id := g.VG().SystemID(); id != "" && !slices.Contains(r.SystemIDs(), id) && !r.Has("foreign") {
		r.WarnForeign(f.Name, id)
		return nil
	}
	return g.VG()
}
