package lvm

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"morgana/block"
	"morgana/lvm/metadata"
	"morgana/lvm/redo"
)

// RedoOptions are for groups that keep a redo log.
//
// In such a group a change of logical volumes is appended to the log: a sector or two, whatever the number of volumes.
// The first one arms the group, which keeps LVM2 away. When half of the log is nearly full, or after a while without
// changes, the log is folded in the background: the text is written with all that the log has, while the changes go on.
// Sync and Close fold it too, and disarm the group: LVM2 may have it again.
type RedoOptions struct {
	// KeepPending leaves changes in the log when the group is closed. The next one to open it finds them.
	KeepPending bool
	// Idle is after how long without changes the log is folded, 0 for two minutes.
	Idle time.Duration
	// After calls f in a goroutine of its own when d is over, unless stop is called before. Nil stands for
	// time.AfterFunc.
	After func(d time.Duration, f func()) (stop func() bool)
	// Rand is for the names of epochs. Nil stands for crypto/rand.
	Rand io.Reader
}

const defaultIdle = 2 * time.Minute

func (o RedoOptions) epoch() (redo.Epoch, error) {
	r := o.Rand
	if r == nil {
		r = rand.Reader
	}
	var e redo.Epoch
	if _, err := io.ReadFull(r, e[:]); err != nil {
		return e, fmt.Errorf("name an epoch of the redo log: %w", err)
	}
	return e, nil
}

// redoLog makes changes durable by appending them to a log, and folds it.
//
// Whoever holds mu may use everything here and the group's own fields. While folding is set, a goroutine writes a text;
// it has the metadata areas for itself and holds mu only at its end.
type redoLog struct {
	g *Group
	o RedoOptions

	mu      sync.Mutex
	turn    *sync.Cond // when folding ends
	log     *redo.Log  // nil where there is none on the disks that could be trusted
	armed   bool
	folding bool
	foldErr error // of the last fold in the background
	warned  []error
	dead    error // nothing more can be done before the group is opened anew
	limit   uint64
	payload []byte
	stop    func() bool // stops the wait for idleness
	waits   uint64      // counts the waits, so that one that was stopped too late does nothing
}

func newRedoLog(g *Group, o RedoOptions, log *redo.Log, armed bool) *redoLog {
	r := &redoLog{g: g, o: o, log: log, armed: armed, limit: g.textLimit()}
	r.turn = sync.NewCond(&r.mu)
	return r
}

// loggable reports whether a change goes into the log: one of logical volumes only, and not of the log itself. All else
// is seldom, and is for LVM2 to see at once.
func loggable(vg *metadata.VG, op metadata.Operation) bool {
	if op.Head != nil || len(op.PutPVs)+len(op.DelPVs) > 0 || op.Name != vg.Name() || len(op.PutLVs)+len(op.DelLVs) == 0 {
		return false
	}
	for _, p := range op.PutLVs {
		if p.LV().IsRedoLog() {
			return false
		}
	}
	return !slices.ContainsFunc(op.DelLVs, func(id metadata.UUID) bool {
		lv := vg.LVByID(id)
		return lv != nil && lv.IsRedoLog()
	})
}

// commit makes a change durable.
func (r *redoLog) commit(ctx context.Context, after *metadata.VG, op metadata.Operation, join []*PhysicalVolume) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.dead != nil {
		return r.g.fail("commit", r.dead)
	}
	defer r.waitIdle()
	r.g.Warnings, r.warned = append(r.g.Warnings, r.warned...), nil
	switch {
	case len(join) > 0 || !loggable(r.g.vg, op):
		return r.commitTextLocked(ctx, after, join)
	case !r.armed:
		return r.arm(ctx, after)
	}
	if err := r.admit(after); err != nil {
		return err
	}
	return r.append(ctx, after, op)
}

// headroom is what the text of a fold may have that TextSize does not know: the marks of an armed group, a longer
// description.
const headroom = 512

// admit refuses a change that could be logged and never be folded.
func (r *redoLog) admit(after *metadata.VG) error {
	if n := uint64(after.TextSize(r.g.newStamp())) + headroom + uint64(len(after.SystemID())); n > r.limit {
		return refuse(metadata.ErrLimit, "VG %s %d metadata (%d bytes) exceeds maximum metadata size (%d bytes)\n"+
			"Failed to write VG %s.", after.Name(), after.Seqno(), n, r.limit, after.Name())
	}
	return nil
}

// settle waits until no fold is under way.
func (r *redoLog) settle() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.settleLocked()
}

func (r *redoLog) settleLocked() {
	for r.folding {
		r.turn.Wait()
	}
	r.g.Warnings, r.warned = append(r.g.Warnings, r.warned...), nil
}

// commitText writes the change as text, with whatever the log has, and disarms the group.
func (r *redoLog) commitText(ctx context.Context, after *metadata.VG, join []*PhysicalVolume) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quiet()
	if r.dead != nil {
		return r.g.fail("commit", r.dead)
	}
	return r.commitTextLocked(ctx, after, join)
}

func (r *redoLog) commitTextLocked(ctx context.Context, after *metadata.VG, join []*PhysicalVolume) error {
	r.settleLocked()
	g := r.g
	position := after.LogPosition()
	if r.log != nil {
		position = r.log.Position().String()
	}
	text := after.WithLogState(position, false, after.Seqno())
	before := g.vg
	if err := r.note(g.commitPlain(ctx, text, join)); err != nil {
		return err
	}
	r.armed, r.limit = false, g.textLimit()
	if len(text.RedoLogs()) == 0 {
		g.log = nil
		return nil
	}
	if r.log != nil && !sameLogs(before, text) {
		r.log = nil // it has moved, or is another group's
	}
	r.clear()
	return nil
}

// clear leaves nothing in the log once a text that is not armed has it all. Otherwise an older text that somebody
// restores later, as is their right, would look as if it had lost what the log still shows. Nothing depends on it.
func (r *redoLog) clear() {
	if r.log == nil {
		return
	}
	r.log.Folded(r.log.Position())
	epoch, err := r.o.epoch()
	if err == nil && r.log.Position().Count > 0 {
		err = r.log.Clear(epoch, uint64(r.g.vg.Seqno()))
	}
	if err != nil {
		r.log = nil // the next change that needs it makes it anew
		r.g.Warnings = append(r.g.Warnings, err)
	}
}

// sameLogs reports whether two states of a group have their logs in the same place.
func sameLogs(a, b *metadata.VG) bool {
	return a.ID() == b.ID() && slices.EqualFunc(a.RedoLogs(), b.RedoLogs(), func(x, y *metadata.LV) bool {
		return x.ID == y.ID && x.Extents == y.Extents && slices.EqualFunc(x.Segments, y.Segments, func(s, t metadata.Segment) bool {
			return s.Count == t.Count && slices.EqualFunc(s.Stripes, t.Stripes, func(c, d metadata.Area) bool {
				return c == d && samePV(a, b, c.PV)
			})
		})
	})
}

func samePV(a, b *metadata.VG, key string) bool {
	p, q := a.PV(key), b.PV(key)
	return p != nil && q != nil && p.ID == q.ID && p.PEStart == q.PEStart
}

// note remembers an error after which nobody knows what the disks hold.
func (r *redoLog) note(err error) error {
	if errors.Is(err, ErrUncertain) {
		r.dead = err
	}
	return err
}

// arm makes the first change after the group was disarmed: as text, which has the barrier and the position of a new
// epoch. That epoch is begun before. So should the text not get through, the old one has an empty epoch beside it.
func (r *redoLog) arm(ctx context.Context, after *metadata.VG) error {
	epoch, err := r.o.epoch()
	if err != nil {
		return err
	}
	if r.log != nil && r.log.Group() == after.ID() {
		err = r.log.Restart(epoch, uint64(after.Seqno()))
	} else {
		r.log, err = r.g.formatLog(after, epoch)
	}
	if err != nil {
		r.log = nil // nothing is pending: the next change may try to make it anew
		return r.g.fail("open its redo log", err)
	}
	text := after.WithLogState(r.log.Position().String(), true, after.Seqno())
	w, err := r.g.write(ctx, text, nil, r.g.newStamp())
	if r.note(err) != nil {
		return err
	}
	r.armed = true
	r.g.vg, r.g.raw = after, w.text()
	r.g.Warnings = append(r.g.Warnings, w.warned...)
	return nil
}

// append appends a change to the log.
func (r *redoLog) append(ctx context.Context, after *metadata.VG, op metadata.Operation) error {
	if want := r.log.Seqno() + 1; uint64(after.Seqno()) != want {
		return r.g.fail("commit", fmt.Errorf("the change has seqno %d, the log goes on at %d: open the group anew", after.Seqno(), want))
	}
	r.payload = op.Append(r.payload[:0])
	for !r.log.Fits(len(r.payload)) {
		epoch, err := r.o.epoch()
		if err != nil {
			return err
		}
		err = r.log.Switch(epoch)
		if errors.Is(err, redo.ErrFull) {
			if err = r.makeRoom(); err == nil {
				continue
			}
		}
		if err != nil {
			return r.logFailed(err)
		}
		if !r.log.Fits(len(r.payload)) {
			return r.commitTextLocked(ctx, after, nil) // more than the log ever takes
		}
	}
	if _, err := r.log.Append(r.payload); err != nil {
		return r.logFailed(err)
	}
	r.g.vg, r.g.raw = after, nil
	if used, room := r.log.Used(); used > room/4*3 && !r.folding {
		r.startFold()
	}
	return nil
}

func (r *redoLog) logFailed(err error) error {
	if errors.Is(err, redo.ErrInDoubt) {
		err = fmt.Errorf("%w: %w", ErrUncertain, err)
	}
	return r.note(r.g.fail("append to its redo log", err))
}

// makeRoom waits until a fold has made one half of the log free.
func (r *redoLog) makeRoom() error {
	if !r.folding {
		r.startFold()
	}
	r.settleLocked()
	if r.dead != nil {
		return r.dead
	}
	return r.foldErr
}

// startFold begins to write a text of what the group is now, in the background. The group stays armed.
func (r *redoLog) startFold() {
	if r.log.Pending() == 0 {
		return
	}
	if epoch, err := r.o.epoch(); err == nil {
		// Changes go to the other half meanwhile, if that is free. An error shows at the next change.
		_ = r.log.Switch(epoch)
	}
	position, vg := r.log.Position(), r.g.vg
	r.folding, r.foldErr = true, nil
	go func() {
		text := vg.WithLogState(position.String(), true, vg.Seqno())
		w, err := r.g.write(context.Background(), text, nil, r.foldStamp(position))
		r.mu.Lock()
		defer r.mu.Unlock()
		defer r.turn.Broadcast()
		r.folding = false
		if err != nil {
			r.foldErr = r.note(err)
			return
		}
		r.log.Folded(position)
		r.warned = append(r.warned, w.warned...)
	}()
}

func (r *redoLog) foldStamp(p redo.Position) metadata.Stamp {
	s := r.g.newStamp()
	s.Description = "mlvm fold " + p.String()
	return s
}

// fold writes a text of all that the log has, and disarms the group.
func (r *redoLog) fold(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quiet()
	return r.disarm(ctx)
}

func (r *redoLog) disarm(ctx context.Context) error {
	r.settleLocked()
	if r.dead != nil {
		return r.g.fail("fold its redo log", r.dead)
	}
	if !r.armed {
		return nil
	}
	seqno := r.g.vg.Seqno()
	if r.log.Pending() == 0 {
		seqno++ // there is a text with this one already, an armed one
	}
	position := r.log.Position()
	text := r.g.vg.WithLogState(position.String(), false, seqno)
	w, err := r.g.write(ctx, text, nil, r.foldStamp(position))
	if r.note(err) != nil {
		return err
	}
	r.armed = false
	r.g.vg, r.g.raw = text, w.text()
	r.g.Warnings = append(r.g.Warnings, w.warned...)
	r.clear()
	return nil
}

// waitIdle begins to wait for a time without changes.
func (r *redoLog) waitIdle() {
	r.quiet()
	if !r.armed {
		return
	}
	after := r.o.After
	if after == nil {
		after = func(d time.Duration, f func()) func() bool { return time.AfterFunc(d, f).Stop }
	}
	d := r.o.Idle
	if d == 0 {
		d = defaultIdle
	}
	n := r.waits
	r.stop = after(d, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		// What changes the seqno is left to those who use the group: its other users read it without a lock.
		if r.waits != n || r.folding || !r.armed || r.dead != nil || r.log.Pending() == 0 {
			return
		}
		r.startFold()
	})
}

// quiet ends the wait for idleness.
func (r *redoLog) quiet() {
	r.waits++
	if r.stop != nil {
		r.stop()
		r.stop = nil
	}
}

// close folds the log, unless it is to keep what is pending, and waits for what is under way.
func (r *redoLog) close(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quiet()
	r.settleLocked()
	if r.o.KeepPending {
		return nil
	}
	return r.disarm(ctx)
}

// formatLog makes an empty log on the volumes that vg has for it.
func (g *Group) formatLog(vg *metadata.VG, epoch redo.Epoch) (*redo.Log, error) {
	devs, err := logDevices(vg, g.members)
	if err != nil {
		return nil, err
	}
	if n := len(vg.RedoLogs()); len(devs) < n {
		return nil, fmt.Errorf("%w: %d of %d replicas are there", ErrMissing, len(devs), n)
	}
	return redo.Format(vg.ID(), epoch, uint64(vg.Seqno()), devs...)
}

// logDevice is a volume with a redo log. Flush reaches its disks always: also what an earlier process wrote must be on
// stable storage before it is built upon.
type logDevice struct {
	block.Device
	disks []block.Device
}

func (d *logDevice) Flush() error {
	for _, x := range d.disks {
		if err := x.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// logDevices opens the replicas of a group's redo log whose disks are there.
func logDevices(vg *metadata.VG, members []*PhysicalVolume) ([]block.Device, error) {
	disks := map[metadata.UUID]block.Device{}
	for _, m := range members {
		if m.Disk.Device != nil {
			disks[m.ID] = m.Disk.Device
		}
	}
	var devs []block.Device
	var missing error
	for _, lv := range vg.RedoLogs() {
		d, err := OpenVolume(vg, lv.Name, disks, false)
		if err != nil {
			missing = errors.Join(missing, err)
			continue
		}
		x := &logDevice{Device: d}
		for i := range lv.Segments {
			for _, a := range lv.Segments[i].Stripes {
				if pv := vg.PV(a.PV); pv != nil && !slices.Contains(x.disks, disks[pv.ID]) {
					x.disks = append(x.disks, disks[pv.ID])
				}
			}
		}
		devs = append(devs, x)
	}
	if len(devs) == 0 && missing != nil {
		return nil, missing
	}
	return devs, nil
}
