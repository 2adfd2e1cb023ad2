package lvm

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"morgana/lvm/metadata"
	"morgana/lvm/ondisk"
)

// Commit makes a change durable: after is the group as it will be, op leads to it. Physical volumes that after has and
// the group has not are among join; those that it no longer has become orphans. When Commit returns nil the change is
// on stable storage; when it returns an error nothing has changed, unless the error matches ErrUncertain.
func (g *Group) Commit(ctx context.Context, after *metadata.VG, op metadata.Operation, join ...*PhysicalVolume) error {
	if err := g.check(after, op, join); err != nil {
		return err
	}
	if g.log != nil {
		return g.log.commit(ctx, after, op, join)
	}
	return g.commitText(ctx, after, join)
}

// ErrUncertain tells that a disk failed at the very write that makes a change: the next scan tells which it is.
var ErrUncertain = errors.New("a disk failed while the change was made; whether it was made shows the next scan")

// check refuses what must not be written.
func (g *Group) check(after *metadata.VG, op metadata.Operation, join []*PhysicalVolume) error {
	switch {
	case !g.Writable():
		return g.fail("commit", errors.New("it was opened for reading only"))
	case after == nil || len(after.PVs()) == 0:
		return g.fail("commit", errors.New("a volume group has a physical volume at least"))
	}
	for _, pv := range after.PVs() {
		if !pv.Missing() && g.Member(pv.ID) == nil && !slices.ContainsFunc(join, func(j *PhysicalVolume) bool { return j.ID == pv.ID }) {
			return g.fail("commit", fmt.Errorf("nobody told where its new physical volume %s is", pv.ID))
		}
	}
	for _, pv := range join {
		if after.PVByID(pv.ID) == nil {
			return g.fail("commit", fmt.Errorf("%s is to join and the metadata do not have it", pv.Disk.Name))
		}
		if pv.Missing() || pv.Duplicate || pv.Group != nil {
			return g.fail("commit", fmt.Errorf("%s: %w", pv.Disk.Name, ErrUsed))
		}
	}
	return g.checkEnds(after, op)
}

// checkEnds refuses new extents behind the end of a disk that has become smaller.
func (g *Group) checkEnds(after *metadata.VG, op metadata.Operation) error {
	for _, p := range op.PutLVs {
		lv := after.LVByID(p.ID)
		if lv == nil {
			continue
		}
		for i := range lv.Segments {
			s := &lv.Segments[i]
			for _, a := range s.Stripes {
				pv := after.PV(a.PV)
				if pv == nil {
					continue
				}
				m := g.Member(pv.ID)
				if m == nil || pv.DevSize == 0 || m.DeviceSize() >= pv.DevSize*metadata.SectorSize {
					continue
				}
				end := pv.PEStart + uint64(a.Start+s.AreaLen())*after.ExtentSize()
				if end*metadata.SectorSize > m.DeviceSize() && !g.had(pv.ID, a.Start, s.AreaLen()) {
					return refuse(ErrTooSmall, "%s: extents %d-%d of logical volume %s would lie behind the end of the device; "+
						"give it its size back or use pvresize", m.Disk.Name, a.Start, a.Start+s.AreaLen()-1, lv.Name)
				}
			}
		}
	}
	return nil
}

// had reports whether a run of extents was in use before.
func (g *Group) had(id metadata.UUID, start, n metadata.Extent) bool {
	if g.vg == nil {
		return false
	}
	pv := g.vg.PVByID(id)
	for n > 0 && pv != nil {
		r, ok := g.vg.PVRunAt(pv, start)
		if !ok || r.LV == nil {
			return false
		}
		k := r.Start + r.Count - start
		if k >= n {
			return true
		}
		start, n = start+k, n-k
	}
	return false
}

// writing is a text on its way to the disks.
type writing struct {
	g       *Group
	after   *metadata.VG
	raw     []byte // with its NUL
	crc     uint32
	areas   []*target
	ignore  []*MetadataArea // areas that are to be ignored from now on
	leaving []*PhysicalVolume
	members []*PhysicalVolume
	warned  []error
}

// text is what was written, without the NUL.
func (w *writing) text() []byte { return w.raw[:len(w.raw)-1] }

// target is an area and where in its ring the text goes.
type target struct {
	*MetadataArea
	slot ondisk.Slot
	err  error // the area failed, and is left alone
}

// commitText writes the whole text, which has what a redo log may have.
func (g *Group) commitText(ctx context.Context, after *metadata.VG, join []*PhysicalVolume) error {
	if g.log != nil {
		return g.log.commitText(ctx, after, join)
	}
	return g.commitPlain(ctx, after, join)
}

// commitPlain writes the whole text of a group without a redo log, or for it.
func (g *Group) commitPlain(ctx context.Context, after *metadata.VG, join []*PhysicalVolume) error {
	w, err := g.write(ctx, after, join, g.newStamp())
	if err != nil {
		return err
	}
	g.vg, g.raw, g.members = w.after, w.text(), w.members
	g.Warnings = append(g.Warnings, w.warned...)
	return nil
}

// write writes a whole text. What the group remembers of itself is for the caller to change.
func (g *Group) write(ctx context.Context, after *metadata.VG, join []*PhysicalVolume, stamp metadata.Stamp) (*writing, error) {
	for _, pv := range after.PVs() {
		if pv.Absent && !slices.Contains(pv.Flags, "MISSING") && !slices.Contains(pv.Status, "MISSING") {
			after = after.WithMissing(pv.ID, true) // when it is back, what is on it may be out of date
		}
	}
	w := &writing{g: g, after: after}
	w.raw = append(after.AppendText(make([]byte, 0, after.TextSize(stamp)+1), stamp), 0)
	w.crc = ondisk.CRC(ondisk.CRCInit, w.raw)
	for _, pv := range slices.Concat(g.members, join) {
		if after.PVByID(pv.ID) != nil {
			w.members = append(w.members, pv)
		} else {
			w.leaving = append(w.leaving, pv)
		}
	}
	if err := w.choose(); err != nil {
		return nil, err
	}
	if err := w.place(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := w.prepare(); err != nil {
		return nil, w.revert(err)
	}
	if old := g.written; old != nil && (old.Name() != after.Name() || old.ID() != after.ID()) {
		if err := w.hideOthers(); err != nil {
			return nil, w.revert(err)
		}
	}
	if err := w.commit(); err != nil {
		return nil, err
	}
	g.written = w.after
	w.finish()
	return w, nil
}

// choose decides which areas get the text: all that are in use, or as many as metadata_copies says.
func (w *writing) choose() error {
	var used, ignored []*MetadataArea
	for _, pv := range w.members {
		for _, a := range pv.Areas {
			ignore, forced := w.g.force[a]
			switch {
			case !w.g.usable(a):
			case forced && ignore:
				w.ignore = append(w.ignore, a)
			case a.Ignored() && !forced:
				ignored = append(ignored, a)
			default:
				used = append(used, a)
			}
		}
	}
	want := len(used)
	if n := int(w.after.MetadataCopies()); n > 0 && w.g.force == nil {
		want = min(n, len(used)+len(ignored))
	}
	want = max(want, 1)
	// The areas that one disk has twice go first, those of a disk that has none yet come first.
	for len(used) > want {
		i := surplus(used)
		w.ignore = append(w.ignore, used[i])
		used = slices.Delete(used, i, i+1)
	}
	for len(used) < want && len(ignored) > 0 {
		i := max(0, slices.IndexFunc(ignored, func(a *MetadataArea) bool {
			return !slices.ContainsFunc(used, func(b *MetadataArea) bool { return b.PV == a.PV })
		}))
		used = append(used, ignored[i])
		ignored = slices.Delete(ignored, i, i+1)
	}
	if len(used) == 0 {
		return refuse(ErrNoArea, "Cannot write volume group %s: %v", w.after.Name(), ErrNoArea)
	}
	for _, a := range used {
		w.areas = append(w.areas, &target{MetadataArea: a})
	}
	return nil
}

// surplus is the last area of a disk that has another one, or else the last one.
func surplus(as []*MetadataArea) int {
	for i := len(as) - 1; i > 0; i-- {
		if slices.ContainsFunc(as[:i], func(b *MetadataArea) bool { return b.PV == as[i].PV }) {
			return i
		}
	}
	return len(as) - 1
}

// place reads the headers again, finds room in each ring and refuses before anything is written.
func (w *writing) place() error {
	for _, t := range w.areas {
		h, err := t.readHeader()
		if err != nil {
			return t.PV.wrap("read a metadata area header", err)
		}
		if h.Slots[0] != t.Header.Slots[0] {
			return w.g.fail("commit", fmt.Errorf("%w on %s; scan again", ErrChanged, t.PV.Disk.Name))
		}
		t.Header = h
		t.slot, err = h.Place(uint64(len(w.raw)), uint64(t.PV.Disk.Device.SectorSize()))
		switch {
		case errors.Is(err, ondisk.ErrTooBig):
			return refuse(ondisk.ErrTooBig, "VG %s %d metadata on %s (%d bytes) exceeds maximum metadata size (%d bytes)\n"+
				"Failed to write VG %s.", w.after.Name(), w.after.Seqno(), t.PV.Disk.Name, len(w.raw),
				ondisk.TextLimit(h.Size), w.after.Name())
		case err != nil:
			return t.PV.wrap("place metadata", err)
		}
		t.slot.CRC = w.crc
	}
	return nil
}

func (a *MetadataArea) readHeader() (ondisk.Header, error) {
	b, err := readFull(a.PV.Disk.Device, a.Area.Offset, ondisk.HeaderSize)
	if err != nil {
		return ondisk.Header{}, err
	}
	return ondisk.ParseHeader(a.Area.Offset, b)
}

// prepare writes the text everywhere and announces it. What leaves loses its mark before it leaves.
func (w *writing) prepare() error {
	touched := disksOf(w.areas)
	for _, pv := range w.leaving {
		if pv.Label.Used() {
			if err := pv.writeLabel(pv.Label.WithUsed(false)); err != nil {
				return err
			}
			touched = append(touched, pv)
		}
	}
	for _, t := range w.areas {
		if err := t.writeText(t.slot, w.raw); err != nil {
			return err
		}
	}
	if err := flushAll(touched); err != nil {
		return err
	}
	for i, t := range w.areas {
		h := t.Header
		h.Slots[1] = t.slot
		if h.Empty() && slices.ContainsFunc(w.areas[:i], func(b *target) bool { return b.PV == t.PV }) {
			h.Slots[0].Flags |= ondisk.Ignored // hidden until it has the text too
		}
		if err := t.writeHeader(h); err != nil {
			return err
		}
	}
	return flushAll(disksOf(w.areas))
}

// hideOthers hides all areas but the one that makes the change.
func (w *writing) hideOthers() error {
	for _, t := range w.areas[1:] {
		if err := t.hide(t.slot); err != nil {
			return err
		}
	}
	return flushAll(disksOf(w.areas[1:]))
}

// commit makes the change, with the first header, and tells the others.
func (w *writing) commit() error {
	done := 0
	var errs []error
	commit := func(t *target) error {
		h := t.Header
		h.Slots = [2]ondisk.Slot{t.slot, {}}
		if err := t.writeHeader(h); err != nil {
			return err
		}
		return nil
	}
	settle := func(t *target, err error) {
		if err != nil {
			t.err = err
			errs = append(errs, err)
			w.g.bad[t.MetadataArea] = true
			return
		}
		t.Header.Slots = [2]ondisk.Slot{t.slot, {}}
		done++
	}
	i := 0
	for ; i < len(w.areas) && done == 0; i++ {
		t := w.areas[i]
		err := commit(t)
		if err == nil {
			err = t.PV.flush()
		}
		settle(t, err)
	}
	if done == 0 {
		return w.g.fail("commit", errors.Join(append([]error{ErrUncertain}, errs...)...))
	}
	rest := w.areas[i:]
	failed := map[*target]error{}
	for _, t := range rest {
		failed[t] = commit(t)
	}
	var ok []*target
	for _, t := range rest {
		if failed[t] == nil {
			ok = append(ok, t)
		}
	}
	flushed := flushEach(disksOf(ok))
	for _, t := range rest {
		err := failed[t]
		if err == nil {
			err = flushed[t.PV]
		}
		settle(t, err)
	}
	w.warned = append(w.warned, errs...)
	return nil
}

// finish brings labels and areas in line with what is committed. Whatever fails here does no harm: the next change
// does it again.
func (w *writing) finish() {
	c := &textCopy{raw: w.raw[:len(w.raw)-1], name: w.after.Name(), id: w.after.ID().String(), seqno: w.after.Seqno(), vg: w.after}
	for _, t := range w.areas {
		if t.err == nil {
			t.copy = c
		}
	}
	warn := func(err error) {
		if err != nil {
			w.warned = append(w.warned, err)
		}
	}
	var touched []*PhysicalVolume
	for _, a := range w.ignore {
		h := a.Header
		h.Slots[0].Flags |= ondisk.Ignored
		h.Slots[1] = ondisk.Slot{}
		if err := a.writeHeader(h); err != nil {
			warn(err)
			continue
		}
		a.Header = h
		touched = append(touched, a.PV)
	}
	for _, pv := range w.members {
		if !pv.Label.Used() || pv.ID != metadata.UUID(pv.Label.UUID) {
			l := pv.Label.WithUsed(true)
			l.UUID = pv.ID
			warn(pv.writeLabel(l))
			touched = append(touched, pv)
		}
	}
	for _, pv := range w.leaving {
		warn(pv.emptyAreas())
		touched = append(touched, pv)
		pv.Group = nil
	}
	warn(flushAll(touched))
}

// emptyAreas makes a physical volume's areas those of an orphan.
func (pv *PhysicalVolume) emptyAreas() error {
	for _, a := range pv.Areas {
		if a.HeaderErr == nil && a.Header.Slots[0].Empty() && a.Header.Slots[1].Empty() {
			continue // whether it is ignored does not change
		}
		if err := a.empty(); err != nil {
			return err
		}
	}
	return nil
}

// revert takes the announcement back, as far as disks let it, and returns why.
func (w *writing) revert(why error) error {
	for _, t := range w.areas {
		h := t.Header
		h.Slots[1] = ondisk.Slot{}
		if t.writeHeader(h) == nil {
			t.Header = h
		}
	}
	_ = flushAll(disksOf(w.areas)) // the announcement binds nobody
	return w.g.fail("commit", why)
}

// disksOf are the disks of areas, each once.
func disksOf(ts []*target) []*PhysicalVolume {
	var out []*PhysicalVolume
	for _, t := range ts {
		if !slices.Contains(out, t.PV) {
			out = append(out, t.PV)
		}
	}
	return out
}

// flushEach flushes disks at the same time and tells what came of each.
func flushEach(pvs []*PhysicalVolume) map[*PhysicalVolume]error {
	out := map[*PhysicalVolume]error{}
	if len(pvs) == 1 {
		out[pvs[0]] = pvs[0].flush()
		return out
	}
	for _, pv := range pvs {
		out[pv] = nil
	}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for pv := range maps.Clone(out) {
		wg.Go(func() {
			err := pv.flush()
			mu.Lock()
			defer mu.Unlock()
			out[pv] = err
		})
	}
	wg.Wait()
	return out
}

func flushAll(pvs []*PhysicalVolume) error {
	var errs []error
	for _, err := range flushEach(pvs) {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}
