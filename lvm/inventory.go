package lvm

import (
	"fmt"
	"slices"
	"strings"

	"morgana/lvm/metadata"
)

// Inventory is what a scan found. It is a picture of that moment.
type Inventory struct {
	disks      []Disk
	unlabelled []Disk
	pvs        []*PhysicalVolume
	groups     []*FoundGroup
	problems   []Problem
}

// FoundGroup is a group that at least one metadata area tells of.
type FoundGroup struct {
	Name  string
	ID    metadata.UUID // zero where the text has none that is valid
	Seqno uint32
	// VG is the newest metadata, each physical volume with the name of its disk or absent. It is nil where they cannot
	// be understood; then Err says why.
	VG  *metadata.VG
	Err error
	// Members are its physical volumes in the order of the metadata, missing ones included.
	Members []*PhysicalVolume
	// Outdated are disks that it gave up while they were absent.
	Outdated []*PhysicalVolume
	// Duplicates are disks with the UUID of a member that were not taken.
	Duplicates []*PhysicalVolume
	// Stale are members' areas with an older text, or with none that should have one.
	Stale []*MetadataArea
	// Bad are members' areas whose header or text is damaged.
	Bad []*MetadataArea
	// Mismatch are areas whose text differs from that which was taken although their sequence numbers are the same.
	Mismatch []*MetadataArea
	// Current are areas with the text that was taken.
	Current []*MetadataArea
	// Contested are disks that another group's metadata name as well: a split or merge by LVM2 was interrupted.
	Contested []*PhysicalVolume
	// Unmarked are members whose label does not say that they are in use, is of an old version, or has a former UUID.
	Unmarked []*PhysicalVolume
	// Short are members whose disk is smaller than the metadata say.
	Short []*PhysicalVolume
	// Log is the group's redo log, nil if it keeps none. VG has what is in the log only, too.
	Log *FoundLog

	copy       *textCopy
	unfinished bool // a split that nobody knows the end of
}

// Disks are those that were scanned.
func (inv *Inventory) Disks() []Disk { return inv.disks }

// Unlabelled are the disks that are no physical volumes.
func (inv *Inventory) Unlabelled() []Disk { return inv.unlabelled }

// PVs are all physical volumes: those of groups, missing ones too, and orphans.
func (inv *Inventory) PVs() []*PhysicalVolume { return inv.pvs }

// Orphans are the physical volumes that no group has.
func (inv *Inventory) Orphans() []*PhysicalVolume {
	var out []*PhysicalVolume
	for _, pv := range inv.pvs {
		if pv.Orphan() && !pv.Duplicate {
			out = append(out, pv)
		}
	}
	return out
}

// Groups are the groups in the order in which they were found.
func (inv *Inventory) Groups() []*FoundGroup { return inv.groups }

// Problems is what is wrong with disks and groups.
func (inv *Inventory) Problems() []Problem { return inv.problems }

// PV returns the physical volume on the disk of a name, nil if there is none.
func (inv *Inventory) PV(disk string) *PhysicalVolume {
	for _, pv := range inv.pvs {
		if pv.Disk.Device != nil && pv.Disk.Name == disk {
			return pv
		}
	}
	return nil
}

// PVByID returns the physical volume with a UUID, nil if there is none. Of duplicates it is the one that was taken.
func (inv *Inventory) PVByID(id metadata.UUID) *PhysicalVolume {
	for _, pv := range inv.pvs {
		if pv.ID == id && !pv.Duplicate {
			return pv
		}
	}
	return nil
}

// Group returns the group with a name. Two groups may have the same: then the error matches ErrAmbiguous. A name that
// is a UUID finds a group by that.
func (inv *Inventory) Group(name string) (*FoundGroup, error) {
	var found []*FoundGroup
	for _, g := range inv.groups {
		if g.Name == name {
			found = append(found, g)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		if id, err := metadata.ParseUUID(name); err == nil {
			for _, g := range inv.groups {
				if g.ID == id {
					return g, nil
				}
			}
		}
		return nil, fmt.Errorf("volume group %q: %w", name, ErrNotFound)
	}
	ids := make([]string, len(found))
	for i, g := range found {
		ids[i] = g.ID.String()
	}
	return nil, fmt.Errorf("%w: %q is %s; name one by its UUID", ErrAmbiguous, name, strings.Join(ids, " and "))
}

func (inv *Inventory) problem(disk string, err error, remedy string) {
	inv.problems = append(inv.problems, Problem{disk, err, remedy})
}

// assemble makes groups of physical volumes.
func (inv *Inventory) assemble(prefer []string) {
	inv.markDuplicates(prefer)
	for _, pv := range inv.pvs {
		for _, a := range pv.Areas {
			inv.note(a)
		}
	}
	inv.dropVoid()
	for _, g := range inv.groups {
		inv.complete(g)
	}
	for _, pv := range inv.pvs {
		if pv.Unowned() {
			inv.problem(pv.Disk.Name, fmt.Errorf("%w, as its label says", ErrUnowned),
				"add the group's other disks, or overwrite it with pvcreate -ff")
		}
	}
}

// markDuplicates takes one of the disks that have the same UUID: a preferred one, or the first.
func (inv *Inventory) markDuplicates(prefer []string) {
	taken := map[metadata.UUID]*PhysicalVolume{}
	for _, pv := range inv.pvs {
		other := taken[pv.ID]
		if other == nil {
			taken[pv.ID] = pv
			continue
		}
		if slices.Contains(prefer, pv.Disk.Name) && !slices.Contains(prefer, other.Disk.Name) {
			taken[pv.ID], pv, other = pv, other, pv
		}
		pv.Duplicate = true
		inv.problem(pv.Disk.Name, fmt.Errorf("%w: PV %s was already found on %s", ErrDuplicate, pv.ID, other.Disk.Name),
			"name only one of them with --devices")
	}
}

// note files an area under the group that its text tells of, and chooses that group's newest text.
func (inv *Inventory) note(a *MetadataArea) {
	if a.HeaderErr != nil {
		inv.problem(a.PV.Disk.Name, fmt.Errorf("metadata area %d: %w", a.Number, a.HeaderErr), "repair it with vgck --updatemetadata")
	} else if a.TextErr != nil {
		inv.problem(a.PV.Disk.Name, fmt.Errorf("metadata area %d: %w", a.Number, a.TextErr), "repair it with vgck --updatemetadata")
	}
	if a.copy == nil || a.PV.Duplicate {
		return
	}
	i := slices.IndexFunc(inv.groups, func(g *FoundGroup) bool {
		return g.copy.id == a.copy.id && (a.copy.id != "" || g.Name == a.copy.name)
	})
	if i < 0 {
		inv.groups = append(inv.groups, &FoundGroup{copy: a.copy, Name: a.copy.name})
	} else if g := inv.groups[i]; a.copy.seqno > g.copy.seqno {
		g.copy, g.Name = a.copy, a.copy.name
	}
}

// complete finds the members of a group whose newest text is known, and what is wrong with them.
func (inv *Inventory) complete(g *FoundGroup) {
	c := g.copy
	g.Name, g.Seqno, g.Err = c.name, c.seqno, c.err
	g.ID, _ = metadata.ParseUUID(c.id)
	if c.vg == nil {
		// Nobody knows whose the disks are, but those that tell of the group do not lie idle.
		for _, pv := range inv.pvs {
			if !pv.Duplicate && pv.Group == nil && slices.ContainsFunc(pv.Areas, func(a *MetadataArea) bool { return a.tellsOf(g) }) {
				pv.Group = g
				g.Members = append(g.Members, pv)
			}
		}
		inv.problem(g.Name, fmt.Errorf("%w: %w", ErrUnreadable, g.Err), "pvck --dump metadata shows it")
		return
	}
	devices := map[metadata.UUID]string{}
	for _, m := range c.vg.PVs() {
		pv := inv.PVByID(m.ID)
		if old, ok := former(m); ok && pv == nil {
			if pv = inv.PVByID(old); pv != nil && pv.Group == nil {
				pv.ID = m.ID // its label follows with the next change
			}
		}
		if pv != nil && !pv.Missing() && pv.Group != nil {
			g.Contested = append(g.Contested, pv)
			pv.Group.Contested = append(pv.Group.Contested, pv)
			inv.problem(pv.Disk.Name, fmt.Errorf("%w: %s and %s", ErrContested, pv.Group.Name, g.Name),
				"restore one of them with vgcfgrestore")
		}
		if pv == nil || pv.Missing() || pv.Group != nil {
			missing := &PhysicalVolume{ID: m.ID, Group: g, Disk: Disk{Name: m.Device}}
			g.Members = append(g.Members, missing)
			inv.pvs = append(inv.pvs, missing)
			inv.problem(g.Name, fmt.Errorf("%w: PV %s, last seen on %s", ErrMissing, m.ID, m.Device),
				"add the disk, or give it up with vgreduce --removemissing")
			continue
		}
		pv.Group = g
		devices[m.ID] = pv.Disk.Name
		g.Members = append(g.Members, pv)
		inv.inspect(g, pv, m)
	}
	g.VG = withoutFormer(c.vg).WithDevices(devices)
	for id := range devices {
		// A disk that is back, and was marked as missing, is used again if nothing on it can be out of date.
		if pv := g.VG.PVByID(id); pv.Missing() && g.VG.PVUsed(pv) == 0 {
			g.VG = g.VG.WithMissing(id, false)
		}
	}
	inv.readLog(g)
	for _, pv := range inv.pvs {
		switch {
		case pv.Duplicate && c.vg.PVByID(pv.ID) != nil:
			pv.Group = g
			g.Duplicates = append(g.Duplicates, pv)
		case pv.Group == nil && !pv.Duplicate && slices.ContainsFunc(pv.Areas, func(a *MetadataArea) bool { return a.tellsOf(g) }):
			pv.Group, pv.Outdated = g, true
			g.Outdated = append(g.Outdated, pv)
			inv.problem(pv.Disk.Name, fmt.Errorf("%w: volume group %s no longer has it", ErrOutdated, g.Name),
				"vgck --updatemetadata clears it")
		}
	}
	for _, a := range g.Mismatch {
		inv.problem(a.PV.Disk.Name, fmt.Errorf("metadata area %d: %w (%d)", a.Number, ErrMismatch, g.Seqno),
			"compare with pvck --dump metadata, then choose with vgck --updatemetadata")
	}
}

// tellsOf reports whether the area's text is of a group.
func (a *MetadataArea) tellsOf(g *FoundGroup) bool {
	return a.copy != nil && a.copy.id == g.copy.id && (a.copy.id != "" || a.copy.name == g.Name)
}

// inspect files the areas of a member.
func (inv *Inventory) inspect(g *FoundGroup, pv *PhysicalVolume, m *metadata.PV) {
	for _, a := range pv.Areas {
		switch {
		case !a.Good():
			g.Bad = append(g.Bad, a)
		case a.Ignored():
		case a.copy == g.copy:
			g.Current = append(g.Current, a)
		case a.copy != nil && a.tellsOf(g) && a.copy.seqno == g.copy.seqno:
			g.Mismatch = append(g.Mismatch, a)
		default:
			g.Stale = append(g.Stale, a)
		}
	}
	if !pv.Label.Used() || pv.ID != metadata.UUID(pv.Label.UUID) {
		g.Unmarked = append(g.Unmarked, pv)
	}
	if m.DevSize > 0 && pv.DeviceSize() < m.DevSize*metadata.SectorSize {
		g.Short = append(g.Short, pv)
		inv.problem(pv.Disk.Name, fmt.Errorf("%w: it has %d sectors, the metadata say %d", ErrTooSmall,
			pv.DeviceSize()/metadata.SectorSize, m.DevSize), "give it its size back, or pvresize it")
	}
}
