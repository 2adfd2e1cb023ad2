package verbs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"

	"morgana/cmd/mlvm/internal/command"
	"morgana/cmd/mlvm/internal/signatures"
	"morgana/lvm"
	"morgana/lvm/metadata"
	"morgana/lvm/report"
)

const layoutOptions = "bootloaderareasize dataalignment dataalignmentoffset force labelsector metadataignore metadatasize " +
	"metadatacopies pvmetadatacopies"

// physical are the verbs that make and remove physical volumes.
func physical() []command.Verb {
	return []command.Verb{
		{
			Name: "pvcreate", Summary: "initialize disks as physical volumes", Usage: []string{"PV ..."}, Min: 1, Max: -1,
			Supports: layoutOptions + " metadatatype norestorefile reportformat restorefile setphysicalvolumesize uuid zero",
			Details: `What was on the disks is lost. Where there is something that looks like a file system, mlvm asks; a disk that a
volume group has is left alone unless -ff is given and the question answered with yes.`,
			Examples: []string{
				"pvcreate a.img b.img", "pvcreate --metadatasize 16m --pvmetadatacopies 2 a.img",
				"pvcreate --uuid fTcSms-… --restorefile backup/vg0 a.img",
			},
			Run: pvcreate,
		},
		{
			Name: "pvremove", Summary: "make disks no physical volumes any more", Usage: []string{"PV ..."}, Min: 1, Max: -1,
			Supports: "force reportformat",
			Details:  "Only the label goes. A disk that a volume group has is left alone; take it out with vgreduce before.",
			Examples: []string{"pvremove a.img"},
			Run:      pvremove,
		},
	}
}

// layout are the options of a new physical volume.
func layout(r *command.Run) (lvm.PVOptions, error) {
	const sector = metadata.SectorSize
	o := lvm.PVOptions{
		Rand: rand.Reader, AreaSize: r.Uint("metadatasize", 0) * sector, Alignment: r.Uint("dataalignment", 0) * sector,
		AlignShift: r.Uint("dataalignmentoffset", 0) * sector, Bootloader: r.Uint("bootloaderareasize", 0) * sector,
		Ignored: r.Yes("metadataignore", false), KeepStart: !r.Yes("zero", true), Size: r.Uint("setphysicalvolumesize", 0) * sector,
	}
	switch r.Uint("pvmetadatacopies", 1) {
	case 0:
		o.NoAreas = true
	case 2:
		o.TwoAreas = true
	}
	if s, ok := r.Get("labelsector"); ok {
		if s.N >= 4 {
			return o, r.Verb.WrongUse("labelsector must be less than 4.")
		}
		o.LabelSector, o.LabelZero = s.N, s.N == 0
	}
	if r.Has("setphysicalvolumesize") && o.Size == 0 {
		return o, r.Verb.WrongUse("Physical volume size may not be zero")
	}
	if (r.Has("uuid") || r.Has("restorefile")) && len(r.Operands) > 1 {
		return o, r.Verb.WrongUse("Can only set uuid on one volume at once")
	}
	if r.Has("uuid") && !r.Has("restorefile") && !r.Has("norestorefile") {
		return o, r.Verb.WrongUse("--restorefile is required with --uuid")
	}
	if !r.Has("uuid") && r.Has("restorefile") {
		return o, r.Verb.WrongUse("--uuid is required with --restorefile")
	}
	if id := r.Str("uuid", ""); id != "" {
		uuid, err := metadata.ParseUUID(id)
		if err != nil {
			return o, r.Verb.WrongUse("Invalid UUID: %s.", id)
		}
		o.ID = uuid
	}
	return o, nil
}

func pvcreate(ctx context.Context, r *command.Run) error {
	o, err := layout(r)
	if err != nil {
		return err
	}
	inv, err := r.Scan(ctx, command.Need{Write: true, Global: true, Disks: r.Operands})
	if err != nil {
		return err
	}
	if r.Has("restorefile") {
		if err := restoreLayout(r, &o); err != nil {
			return err
		}
	}
	if o.ID != (metadata.UUID{}) {
		if old := inv.PVByID(o.ID); old != nil && !old.Missing() {
			if d, ok := r.Disk(r.Operands[0]); !ok || old.Disk.Name != d.Name {
				return r.Failed("UUID %s already in use on \"%s\".", o.ID, old.Disk.Name)
			}
		}
	}
	var failed error
	for _, name := range r.Operands {
		if _, ok := r.Disk(name); !ok {
			failed = r.Failed("No device found for %s.", name)
		}
	}
	for _, name := range r.Operands {
		d, ok := r.Disk(name)
		if !ok {
			continue
		}
		if err := mayInitialize(r, inv, d); err != nil {
			return err
		}
		if err := fakeSize(r, inv, d, o); err != nil {
			return err
		}
	}
	for _, name := range r.Operands {
		d, ok := r.Disk(name)
		if !ok {
			continue
		}
		if _, err := initialize(ctx, r, d, o); err != nil {
			failed = err
		}
	}
	return failed
}

// fakeSize warns of a physical volume of another size than its disk. Like lvm2 it asks only where there is a physical
// volume already.
func fakeSize(r *command.Run, inv *lvm.Inventory, d lvm.Disk, o lvm.PVOptions) error {
	real := uint64(d.Device.Size())
	if o.Size == 0 || o.Size == real {
		return nil
	}
	if inv.PV(d.Name) != nil {
		if !r.Ask("WARNING: %s: device size %s does not match requested size %s. Proceed? [y/n]: ", d.Name,
			sizeOf(real), sizeOf(o.Size)) {
			return r.Failed("%s: physical volume not initialized.", d.Name)
		}
		r.Warn("WARNING: Faking size of PV %s. Don't write outside real device.", d.Name)
	}
	if o.Size > real {
		r.Warn("WARNING: %s: Overriding real size. You could lose data.", d.Name)
	}
	return nil
}

func sizeOf(bytes uint64) string { return report.Size(bytes / metadata.SectorSize) }

// restoreLayout takes where the data begin from a backup.
func restoreLayout(r *command.Run, o *lvm.PVOptions) error {
	vg, err := r.Store().Read("", r.Str("restorefile", ""))
	if err != nil {
		return r.Verb.WrongUse("Unable to read volume group from %s: %v", r.Str("restorefile", ""), err)
	}
	pv := vg.PVByID(o.ID)
	if pv == nil {
		return r.Verb.WrongUse("Can't find uuid %s in backup file %s", o.ID, r.Str("restorefile", ""))
	}
	o.PEStart = pv.PEStart * metadata.SectorSize
	o.BAStart, o.Bootloader = pv.BAStart*metadata.SectorSize, pv.BASize*metadata.SectorSize
	return nil
}

// initialize makes a physical volume of a disk that may become one.
func initialize(ctx context.Context, r *command.Run, d lvm.Disk, o lvm.PVOptions) (*lvm.PhysicalVolume, error) {
	var pv *lvm.PhysicalVolume
	var err error
	if r.Test() {
		if pv, err = pretend(d, o); err == nil {
			r.Print("Physical volume \"%s\" successfully created.", d.Name)
		}
	} else {
		pv, err = lvm.CreatePV(ctx, d, o)
	}
	if err != nil {
		var e *lvm.Error
		switch {
		case errors.Is(err, lvm.ErrTooSmall):
			return nil, r.Failed("Cannot use %s: device is too small (pv_min_size)", d.Name)
		case errors.As(err, &e):
			r.Warn("%s: %s.", d.Name, sentence(e.Err.Error()))
			return nil, r.Failed("Failed to setup physical volume \"%s\".", d.Name)
		}
		return nil, err
	}
	if !r.Test() {
		r.Print("Physical volume \"%s\" successfully created.", d.Name)
	}
	return pv, nil
}

// sentence begins with a capital, as lvm2's messages do.
func sentence(s string) string {
	if s == "" || s[0] < 'a' || s[0] > 'z' {
		return s
	}
	return string(s[0]&^0x20) + s[1:]
}

// pretend makes a physical volume that is on no disk, for --test.
func pretend(d lvm.Disk, o lvm.PVOptions) (*lvm.PhysicalVolume, error) {
	if o.ID == (metadata.UUID{}) {
		id, err := metadata.NewUUID(o.Rand)
		if err != nil {
			return nil, err
		}
		o.ID = id
	}
	l, err := lvm.Layout(uint64(d.Device.Size()), o)
	if err != nil {
		return nil, &lvm.Error{Op: "create a physical volume", Object: d.Name, Err: err}
	}
	return &lvm.PhysicalVolume{ID: o.ID, Disk: d, Label: l}, nil
}

// mayInitialize asks what has to be asked before what is on a disk is lost.
func mayInitialize(r *command.Run, inv *lvm.Inventory, d lvm.Disk) error {
	refused := func() error { return r.Failed("%s: physical volume not initialized.", d.Name) }
	pv := inv.PV(d.Name)
	switch {
	case pv == nil:
		return maySign(r, d)
	case pv.Group != nil && r.Force() < 2:
		r.Warn("Can't initialize physical volume \"%s\" of volume group \"%s\" without -ff", d.Name, pv.Group.Name)
		return refused()
	case pv.Unowned() && r.Force() < 2:
		r.Warn("PV %s is used by a VG but its metadata is missing.", d.Name)
		r.Warn("Can't initialize PV '%s' without -ff.", d.Name)
		return refused()
	case pv.Group != nil:
		if !r.Ask("Really INITIALIZE physical volume \"%s\" of volume group \"%s\" [y/n]? ", d.Name, pv.Group.Name) {
			return refused()
		}
		r.Warn("WARNING: Forcing physical volume creation on %s of volume group \"%s\"", d.Name, pv.Group.Name)
	case pv.Unowned():
		if !r.Ask("Really INITIALIZE physical volume \"%s\" of unknown volume group [y/n]? ", d.Name) {
			return refused()
		}
		r.Warn("WARNING: Forcing physical volume creation on %s of unknown volume group", d.Name)
	}
	return nil
}

// maySign asks before a file system or something of that kind is lost.
func maySign(r *command.Run, d lvm.Disk) error {
	found, err := signatures.Find(d.Device)
	if err != nil {
		return fmt.Errorf("%s: %w", d.Name, err)
	}
	for _, s := range found {
		if s.Partitions {
			return r.Failed("Cannot use %s: device is partitioned", d.Name)
		}
	}
	for i, s := range found {
		if r.Force() == 0 && !r.Ask("WARNING: %s signature detected on %s at offset %d. Wipe it? [y/n]: ", s.Name, d.Name, s.Offset) {
			r.Warn("Aborted wiping of %s.", s.Name)
			plural := ""
			if len(found)-i > 1 {
				plural = "s"
			}
			r.Warn("%d existing signature%s left on the device.", len(found)-i, plural)
			r.Warn("Aborting %s on %s.", r.Verb.Name, d.Name)
			return command.ErrFailed
		}
		r.Print("Wiping %s signature on %s.", s.Name, d.Name)
		if r.Test() {
			continue
		}
		if err := s.Wipe(d.Device); err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
	}
	return nil
}

func pvremove(ctx context.Context, r *command.Run) error {
	inv, err := r.Scan(ctx, command.Need{Write: true, Global: true, Disks: r.Operands})
	if err != nil {
		return err
	}
	var failed error
	var remove []*lvm.PhysicalVolume
	for _, name := range r.Operands {
		d, ok := r.Disk(name)
		if !ok {
			failed = r.Failed("No device found for %s.", name)
			continue
		}
		pv := inv.PV(d.Name)
		if pv == nil {
			failed = r.Failed("No PV found on device %s.", name)
			continue
		}
		if err := mayWipe(r, pv); err != nil {
			return err
		}
		remove = append(remove, pv)
	}
	for _, pv := range remove {
		if !r.Test() {
			if err := lvm.RemovePV(ctx, pv, r.Force() >= 2); err != nil {
				failed = r.Fail(err)
				continue
			}
		}
		r.Print("Labels on physical volume \"%s\" successfully wiped.", pv.Disk.Name)
	}
	return failed
}

// mayWipe asks what has to be asked before a label is lost.
func mayWipe(r *command.Run, pv *lvm.PhysicalVolume) error {
	d := pv.Disk.Name
	refused := func() error { return r.Failed("%s: physical volume label not removed.", d) }
	switch {
	case pv.Group != nil && r.Force() < 2:
		r.Warn("PV %s is used by VG %s so please use vgreduce first.", d, pv.Group.Name)
		r.Warn("(If you are certain you need pvremove, then confirm by using --force twice.)")
		return refused()
	case pv.Unowned() && r.Force() < 2:
		r.Warn("PV %s is used by a VG but its metadata is missing.", d)
		r.Warn("(If you are certain you need pvremove, then confirm by using --force twice.)")
		return refused()
	case pv.Group != nil:
		r.Warn("WARNING: PV %s is used by VG %s.", d, pv.Group.Name)
		if !r.Ask("Really WIPE LABELS from physical volume \"%s\" of volume group \"%s\" [y/n]? ", d, pv.Group.Name) {
			return refused()
		}
		r.Warn("WARNING: Wiping physical volume label from %s of volume group \"%s\".", d, pv.Group.Name)
	case pv.Unowned():
		r.Warn("WARNING: PV %s is used by a VG but its metadata is missing.", d)
		if !r.Ask("Really WIPE LABELS from physical volume \"%s\" of unknown volume group [y/n]? ", d) {
			return refused()
		}
		r.Warn("WARNING: Wiping physical volume label from %s of unknown volume group.", d)
	}
	return nil
}
