package lvm

import (
	"context"

	"morgana/block"
	"morgana/lvm/metadata"
	"morgana/lvm/ondisk"
)

// Group is an open volume group. Its methods must not be called concurrently, but for those that only read.
type Group struct {
	vg      *metadata.VG
	found   *FoundGroup       // what was found; nil for a new group
	written *metadata.VG      // what the text on the disks says; only write looks at it
	members []*PhysicalVolume // disks that are there
	raw     []byte            // the text on the disks, without its NUL; nil where a change was not written as text
	mode    Mode
	stamp   func() metadata.Stamp
	bad     map[*MetadataArea]bool // damaged, or failed; left alone
	force   map[*MetadataArea]bool // areas that the next text makes ignored, or used
	log     changeLog              // nil in text mode
	closed  bool

	// Warnings are what went wrong without keeping a change from being made.
	Warnings []error
}

// changeLog makes changes durable in another way than by writing the whole text each time.
type changeLog interface {
	commit(ctx context.Context, after *metadata.VG, op metadata.Operation, join []*PhysicalVolume) error
	// commitText makes a change durable by a text that has everything.
	commitText(ctx context.Context, after *metadata.VG, join []*PhysicalVolume) error
	// fold makes the text on the disks one that has everything.
	fold(ctx context.Context) error
	// settle waits for what is under way.
	settle()
	close(ctx context.Context) error
}

func newGroup(f *FoundGroup, o OpenOptions) *Group {
	g := &Group{vg: f.VG, written: f.VG, found: f, mode: o.Mode, stamp: o.Stamp, bad: map[*MetadataArea]bool{}}
	g.raw = f.copy.raw
	for _, pv := range f.Members {
		if !pv.Missing() {
			g.members = append(g.members, pv)
		}
	}
	for _, a := range f.Bad {
		g.bad[a] = true
	}
	return g
}

// VG is the group as it was last committed.
func (g *Group) VG() *metadata.VG { return g.vg }

// Writable reports whether the group was opened for changes.
func (g *Group) Writable() bool { return g.mode == ReadWrite && !g.closed }

// Members are the physical volumes whose disks are there.
func (g *Group) Members() []*PhysicalVolume { return g.members }

// Device returns the disk of the physical volume that segments name by key, nil where it is missing.
func (g *Group) Device(key string) block.Device {
	if pv := g.vg.PV(key); pv != nil {
		if m := g.Member(pv.ID); m != nil {
			return m.Disk.Device
		}
	}
	return nil
}

// Member returns the physical volume with a UUID, nil where it is missing.
func (g *Group) Member(id metadata.UUID) *PhysicalVolume {
	for _, pv := range g.members {
		if pv.ID == id {
			return pv
		}
	}
	return nil
}

// Text is the metadata on the disks, without the final NUL. It must not be changed.
func (g *Group) Text() []byte {
	return g.raw
}

// TextLimit is the size of the longest text that every area in use can hold, its NUL included.
func (g *Group) TextLimit() uint64 {
	if r, ok := g.log.(*redoLog); ok {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.limit // a fold may be at work on the areas
	}
	return g.textLimit()
}

func (g *Group) textLimit() uint64 {
	limit := ^uint64(0)
	for _, a := range g.areas() {
		limit = min(limit, ondisk.TextLimit(a.Header.Size))
	}
	return limit
}

// areas are the metadata areas in use that can be written.
func (g *Group) areas() []*MetadataArea {
	var out []*MetadataArea
	for _, pv := range g.members {
		for _, a := range pv.Areas {
			if g.usable(a) && !a.Ignored() {
				out = append(out, a)
			}
		}
	}
	return out
}

func (g *Group) usable(a *MetadataArea) bool {
	return a.HeaderErr == nil && a.TextErr == nil && !g.bad[a]
}

// Close folds a redo log and gives the group up. The disks stay open. It is idempotent.
func (g *Group) Close(ctx context.Context) error {
	if g.closed {
		return nil
	}
	var err error
	if g.log != nil {
		err = g.log.close(ctx)
	}
	g.closed = true
	return err
}

func (g *Group) newStamp() metadata.Stamp {
	if g.stamp != nil {
		return g.stamp()
	}
	return metadata.Stamp{Description: "Write from morgana."}
}

func (g *Group) fail(op string, err error) error {
	if err == nil {
		return nil
	}
	name := ""
	if g.vg != nil {
		name = g.vg.Name()
	}
	return &Error{Op: op, Object: name, Err: err}
}
