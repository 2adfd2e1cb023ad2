package command

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"morgana/cmd/mlvm/internal/args"
	"morgana/lvm"
	"morgana/lvm/metadata"
)

// Resident is the disks and groups of a program that serves volumes while it takes commands about them: it opened the
// disks itself, nobody else may have them, and groups stay open for changes from one command to the next. One thing at
// a time: neither two commands nor a command and a call of Group.
type Resident struct {
	Disks []lvm.Disk
	// RedoLog gives each group that is opened a redo log, where there is room for one.
	RedoLog bool
	// Check is asked before a group changes, and may refuse. Nil: nobody is asked.
	Check func(before, after *metadata.VG) error
	// Changed is told of a group after it changed. Nil: nobody is.
	Changed func(vg *metadata.VG)

	kept kept
}

// resides are the verbs that a resident program takes beside those that a shell keeps things open for.
const resides = "sync vgchange help version"

// With is a system whose commands are about what a program holds.
func (s System) With(res *Resident) System {
	res.kept.resident = res
	s.kept = &res.kept
	return s
}

// MayReside reports whether a verb can be carried out while volumes are served.
func MayReside(verb string) bool {
	return slices.Contains(strings.Fields(keeping+" "+resides), verb)
}

// Group opens a group for changes, or returns the one that is open. What is worth knowing beside is said on s.Stderr.
func (res *Resident) Group(ctx context.Context, s System, name string) (*lvm.Group, error) {
	r := New(s.With(res), &Verb{Name: "serve"}, &args.Parsed{})
	inv, err := r.kept.scan(ctx, r)
	if err != nil {
		return nil, err
	}
	g, err := r.Open(inv, name, 0)
	if err != nil || g.HasLog() || !res.RedoLog {
		return g, err
	}
	if err := g.EnableLog(ctx, r.Env(), metadata.AddRedoLog{Replicas: 1}, lvm.RedoOptions{}); err != nil {
		if !errors.Is(err, metadata.ErrNoSpace) {
			return nil, err
		}
		r.Warn("WARNING: Volume group \"%s\" has no room for a redo log; the more volumes, the longer changes take.", name)
	}
	r.kept.note(g)
	return g, nil
}

// Groups are the names of the groups on the disks.
func (res *Resident) Groups(ctx context.Context, s System) ([]string, error) {
	r := New(s.With(res), &Verb{Name: "serve"}, &args.Parsed{})
	inv, err := r.kept.scan(ctx, r)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, g := range inv.Groups() {
		names = append(names, g.Name)
	}
	return names, nil
}

// Close folds redo logs and gives the groups up. The disks are the program's.
func (res *Resident) Close(ctx context.Context) error { return res.kept.close(ctx) }

// check asks whether a group may become another one.
func (k *kept) check(before, after *metadata.VG) error {
	if k.resident == nil || k.resident.Check == nil {
		return nil
	}
	return k.resident.Check(before, after)
}

// refuseGone is the error for a verb that would take groups away from under volumes that are served.
func refuseGone(verb string) error {
	return fmt.Errorf("%s is not possible while the volumes are served; attach the disks to another domain for it", verb)
}
