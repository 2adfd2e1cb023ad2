package command

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync/atomic"

	"morgana/block/file"
	"morgana/cmd/mlvm/internal/locks"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// kept is what the commands of a shell leave open for the next one: the disks, the locks, what the scan found, and
// groups. With that a change of a group with a redo log costs the same however many volumes there are.
type kept struct {
	opened []*file.Device
	disks  []lvm.Disk
	source string
	locks  *locks.Set
	inv    *lvm.Inventory
	groups map[metadata.UUID]*lvm.Group
	run    atomic.Pointer[Run] // the current one, who signs what is written

	file    string // --devicesfile of the shell
	hasFile bool

	resident *Resident // where a program keeps things that are its own, not a shell
}

// keeping are the verbs that leave disks and groups as the next command may take them. All others begin and end with
// nothing open.
const keeping = "lvcreate lvremove lvrename lvresize lvextend lvreduce lvchange lvs vgs pvs lvdisplay vgdisplay pvdisplay lvscan vgscan pvscan"

// usesKept reports whether a run uses what is kept.
func (r *Run) usesKept() bool {
	if r.kept != nil && r.kept.resident != nil {
		return true
	}
	return r.kept != nil && slices.Contains(strings.Fields(keeping), r.Verb.Name) && !r.Test() &&
		!r.Has("devices") && !r.Has("nolocking") && (!r.Has("devicesfile") || r.kept.hasFile && r.Str("devicesfile", "") == r.kept.file)
}

// scan is Run.Scan where things are kept: once for all commands.
func (k *kept) scan(ctx context.Context, r *Run) (*lvm.Inventory, error) {
	k.run.Store(r)
	if k.inv == nil {
		if err := k.openAll(ctx, r); err != nil {
			return nil, err
		}
		inv, err := lvm.Scan(ctx, r.disks, lvm.ScanOptions{})
		if err != nil {
			return nil, err
		}
		r.warnProblems(inv)
		k.inv, k.groups = inv, map[metadata.UUID]*lvm.Group{}
		k.opened, k.disks, k.source, k.locks = r.opened, r.disks, r.source, r.locks
		r.session = session{}
	}
	r.disks, r.source = k.disks, k.source
	return k.inv, nil
}

// openAll opens and locks the disks, if they are not a program's own.
func (k *kept) openAll(ctx context.Context, r *Run) error {
	if k.resident != nil {
		r.disks, r.source = k.resident.Disks, "what is served"
		return nil
	}
	all := Need{Write: true}
	if err := r.open(all); err != nil {
		return err
	}
	return r.lock(ctx, all)
}

// open opens a group for changes, or returns the one that is open.
func (k *kept) open(inv *lvm.Inventory, name string, o lvm.OpenOptions) (*lvm.Group, error) {
	f, err := inv.Group(name)
	if err == nil {
		if g := k.groups[f.ID]; g != nil {
			return g, nil
		}
	}
	o.Stamp = func() metadata.Stamp { return k.run.Load().Stamp() }
	o.Redo.KeepPending = false
	g, err := inv.Open(name, o)
	if err == nil {
		k.groups[g.VG().ID()] = g
	}
	return g, err
}

// note tells the next command what a group is like now.
func (k *kept) note(g *lvm.Group) {
	if k.inv == nil {
		return
	}
	if f, err := k.inv.Group(g.VG().ID().String()); err == nil {
		f.VG, f.Seqno = g.VG(), g.VG().Seqno()
	}
	if k.resident != nil && k.resident.Changed != nil {
		k.resident.Changed(g.VG())
	}
}

// close folds what is in redo logs and gives all up.
func (k *kept) close(ctx context.Context) error {
	var errs []error
	for _, g := range k.groups {
		errs = append(errs, g.Close(ctx))
	}
	if k.locks != nil {
		k.locks.Release()
	}
	for _, d := range k.opened {
		errs = append(errs, d.Close())
	}
	k.opened, k.disks, k.locks, k.inv, k.groups = nil, nil, nil, nil, nil
	return errors.Join(errs...)
}
