package lvm

import (
	"context"
	"errors"

	"morgana/lvm/metadata"
)

// HasLog reports whether the group keeps a redo log.
func (g *Group) HasLog() bool { return len(g.vg.RedoLogs()) > 0 }

// Armed reports whether changes go into the redo log, and LVM2 is kept away.
func (g *Group) Armed() bool {
	r, ok := g.log.(*redoLog)
	if !ok {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.armed
}

// Pending returns how many changes are in the redo log only.
func (g *Group) Pending() uint64 {
	r, ok := g.log.(*redoLog)
	if !ok {
		return 0
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.armed {
		return 0
	}
	return r.log.Pending()
}

// settleLog waits for what the redo log does in the background.
func (g *Group) settleLog() {
	if g.log != nil {
		g.log.settle()
	}
}

// Sync folds the redo log: the text has everything, and LVM2 may use the group.
func (g *Group) Sync(ctx context.Context) error {
	if g.log == nil {
		return nil
	}
	return g.log.fold(ctx)
}

// EnableLog gives the group a redo log. The group is upgraded in place: its text gets a hidden volume more, and LVM2
// may use it as before while nothing is pending.
func (g *Group) EnableLog(ctx context.Context, env metadata.Env, r metadata.AddRedoLog, o RedoOptions) error {
	if !g.Writable() {
		return g.fail("give it a redo log", errors.New("it was opened for reading only"))
	}
	after, op, err := g.vg.AddRedoLog(env, r)
	if err != nil {
		return err
	}
	if err := g.check(after, op, nil); err != nil {
		return err
	}
	epoch, err := o.epoch()
	if err != nil {
		return err
	}
	// The extents are still free: nobody minds what is written there until the text is committed.
	log, err := g.formatLog(after, epoch)
	if err != nil {
		return g.fail("make a redo log", err)
	}
	if err := g.commitText(ctx, after.WithLogState(log.Position().String(), false, after.Seqno()), nil); err != nil {
		return err
	}
	g.log = newRedoLog(g, o, log, false)
	return nil
}

// DisableLog folds the redo log and takes it away.
func (g *Group) DisableLog(ctx context.Context) error {
	if err := g.Sync(ctx); err != nil {
		return err
	}
	after, op, err := g.vg.RemoveRedoLog()
	if err != nil {
		return err
	}
	return g.Commit(ctx, after, op)
}

// DiscardLog makes a group usable whose redo log does not go with its text: the text counts, the log starts anew, and
// what it had is lost. It may be called where Open fails with ErrLog, and is refused where nothing is wrong.
func (inv *Inventory) DiscardLog(ctx context.Context, name string, o OpenOptions) error {
	f, err := inv.Group(name)
	if err != nil {
		return err
	}
	if f.VG == nil || f.Log == nil {
		return refuse(ErrNotFound, "Volume group %q has no redo log.", name)
	}
	if err := f.refuses(o); err != nil {
		return err
	}
	g := newGroup(f, o)
	err = g.openLog(f, o)
	switch {
	case err == nil:
		return refuse(metadata.ErrNoChange, "The redo log of volume group %q is in order; fold it with mlvm sync %s.", name, name)
	case !errors.Is(err, ErrLog):
		return err
	}
	epoch, err := o.Redo.epoch()
	if err != nil {
		return err
	}
	seqno := f.Log.Text.Seqno() + 1
	vg := f.Log.Text.WithLogState("", false, seqno)
	position := ""
	if len(vg.RedoLogs()) > 0 {
		// The log goes first: a text without one behind it would be taken for one that lacks nothing.
		log, err := g.formatLog(vg, epoch)
		if err != nil {
			return g.fail("make a redo log", err)
		}
		position = log.Position().String()
	}
	return g.commitText(ctx, vg.WithLogState(position, false, seqno), nil)
}
