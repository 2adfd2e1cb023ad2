package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"morgana/block"
	"morgana/lvm/metadata"
)

// MoveOptions changes how extents are moved.
type MoveOptions struct {
	// Step is how many bytes are copied for each change of the metadata, 0 for 256 MiB.
	Step uint64
	// Progress is called with the bytes that are done, and those that there are.
	Progress func(done, total uint64)
}

const (
	defaultMoveStep = 256 << 20
	moveBuffer      = 1 << 20
)

// Move copies extents to other physical volumes and lets the logical volumes have them there, which must not be
// written meanwhile.
//
// It goes in steps. The extents of one step are copied to free ones, the disks are flushed, and one change of the
// metadata makes the copies count. So a power cut at any moment leaves logical volumes with all their data, partly
// moved, and free extents that hold what nobody needs; no other program has to know about moves. Tags on the physical
// volume that is being emptied say what is to be done, from the first step to the last: Moves finds them, and calling
// Move again goes on.
func (g *Group) Move(ctx context.Context, env metadata.Env, m metadata.Move, o MoveOptions) error {
	if o.Step == 0 {
		o.Step = defaultMoveStep
	}
	_, op, copies, err := g.vg.MoveExtents(env, m)
	if err != nil {
		return err
	}
	if len(copies) == 0 {
		return nil
	}
	mv := mover{g: g, o: o, env: env, buf: make([]byte, moveBuffer), extent: g.vg.ExtentSize() * metadata.SectorSize}
	for _, n := range op.Notes {
		g.Warnings = append(g.Warnings, errors.New(n))
	}
	for _, c := range copies {
		mv.total += uint64(c.Count) * mv.extent
	}
	steps := mv.steps(copies)
	tags := moveTags(g.vg, m)
	for i, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := mv.step(ctx, step, tags, i == 0, i == len(steps)-1, copies[0].FromPV); err != nil {
			return err
		}
	}
	return nil
}

type mover struct {
	g           *Group
	o           MoveOptions
	env         metadata.Env
	buf         []byte
	extent      uint64 // bytes
	done, total uint64
}

// steps cuts copies into steps.
func (mv *mover) steps(copies []metadata.Copy) [][]metadata.Copy {
	most := metadata.Extent(max(1, mv.o.Step/mv.extent))
	var out [][]metadata.Copy
	var step []metadata.Copy
	room := most
	for _, c := range copies {
		for c.Count > 0 {
			n := min(c.Count, room)
			part := c
			part.Count = n
			step = append(step, part)
			c.FromStart, c.ToStart, c.Count = c.FromStart+n, c.ToStart+n, c.Count-n
			if room -= n; room == 0 {
				out = append(out, step)
				step, room = nil, most
			}
		}
	}
	if step != nil {
		out = append(out, step)
	}
	return out
}

// step copies some extents and makes the copies count.
func (mv *mover) step(ctx context.Context, step []metadata.Copy, tags []string, first, last bool, source metadata.UUID) error {
	g := mv.g
	var written []*PhysicalVolume
	for _, c := range step {
		to, err := mv.copy(ctx, c)
		if err != nil {
			return err
		}
		if !slices.Contains(written, to) {
			written = append(written, to)
		}
	}
	if err := flushAll(written); err != nil {
		return err
	}
	after, op, err := g.vg.Relocate(step...)
	if err != nil {
		return g.fail("move extents", err)
	}
	if !first && !last {
		return g.Commit(ctx, after, op)
	}
	pv := g.vg.PVByID(source)
	ch := metadata.ChangePV{Device: pv.Device}
	if !last {
		ch.AddTags = tags
	}
	// The note of a move that was interrupted goes too, also when what it left is a single step.
	for _, t := range pv.Tags {
		if (t == moveTag || strings.HasPrefix(t, moveTag+".")) && !slices.Contains(ch.AddTags, t) {
			ch.DelTags = append(ch.DelTags, t)
		}
	}
	_, tag, err := after.ChangePV(mv.env, ch)
	switch {
	case errors.Is(err, metadata.ErrNoChange):
		return g.Commit(ctx, after, op)
	case err != nil:
		return g.fail("move extents", err)
	}
	if after, op, err = g.vg.Join(op, tag); err != nil {
		return g.fail("move extents", err)
	}
	return g.Commit(ctx, after, op)
}

// copy copies the data of a run of extents.
func (mv *mover) copy(ctx context.Context, c metadata.Copy) (*PhysicalVolume, error) {
	g := mv.g
	from, to := g.Member(c.FromPV), g.Member(c.ToPV)
	if from == nil || to == nil {
		return nil, g.fail("move extents", ErrMissing)
	}
	src := mv.offset(c.FromPV, c.FromStart)
	dst := mv.offset(c.ToPV, c.ToStart)
	for n := uint64(c.Count) * mv.extent; n > 0; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		b := mv.buf[:min(n, uint64(len(mv.buf)))]
		if _, err := from.Disk.Device.ReadAt(b, int64(src)); err != nil {
			return nil, from.wrap("read extents", err)
		}
		if err := put(to.Disk.Device, b, int64(dst)); err != nil {
			return nil, to.wrap("write extents", err)
		}
		k := uint64(len(b))
		src, dst, n = src+k, dst+k, n-k
		if mv.done += k; mv.o.Progress != nil {
			mv.o.Progress(mv.done, mv.total)
		}
	}
	return to, nil
}

// put writes data; zeroes are made by the device where it can, so that sparse files stay so.
func put(d block.Device, b []byte, off int64) error {
	if isZero(b) {
		return block.WriteZeroes(d, off, int64(len(b)))
	}
	_, err := d.WriteAt(b, off)
	return err
}

func (mv *mover) offset(id metadata.UUID, pe metadata.Extent) uint64 {
	pv := mv.g.vg.PVByID(id)
	return pv.PEStart*metadata.SectorSize + uint64(pe)*mv.extent
}

const moveTag = "mlvm.move"

// moveTags is how a move is noted on the physical volume that it empties.
func moveTags(vg *metadata.VG, m metadata.Move) []string {
	tags := []string{moveTag}
	if _, rest, ok := strings.Cut(m.Source, ":"); ok {
		tags = append(tags, moveTag+".pe="+strings.ReplaceAll(rest, ":", "+"))
	}
	if m.LV != "" {
		tags = append(tags, moveTag+".lv="+m.LV)
	}
	if m.Allocation != metadata.AllocInherit {
		tags = append(tags, moveTag+".alloc="+m.Allocation.String())
	}
	for _, t := range m.Targets {
		device, rest, ranged := strings.Cut(t, ":")
		pv := vg.PVByDevice(device)
		if pv == nil {
			continue
		}
		tag := moveTag + ".to=" + pv.ID.String()
		if ranged {
			tag += "+" + strings.ReplaceAll(rest, ":", "+")
		}
		tags = append(tags, tag)
	}
	return tags
}

// Moves are the moves of a group that were begun and not finished.
func Moves(vg *metadata.VG) []metadata.Move {
	var out []metadata.Move
	for _, pv := range vg.PVs() {
		if !slices.Contains(pv.Tags, moveTag) {
			continue
		}
		m := metadata.Move{Source: pv.Device}
		for _, t := range pv.Tags {
			key, value, _ := strings.Cut(t, "=")
			switch key {
			case moveTag + ".pe":
				m.Source += ":" + strings.ReplaceAll(value, "+", ":")
			case moveTag + ".lv":
				m.LV = value
			case moveTag + ".alloc":
				m.Allocation, _ = metadata.ParseAllocation(value)
			case moveTag + ".to":
				id, rest, ranged := strings.Cut(value, "+")
				u, err := metadata.ParseUUID(id)
				to := vg.PVByID(u)
				if err != nil || to == nil {
					continue
				}
				device := to.Device
				if ranged {
					device += ":" + strings.ReplaceAll(rest, "+", ":")
				}
				m.Targets = append(m.Targets, device)
			}
		}
		out = append(out, m)
	}
	return out
}

// AbandonMove forgets a move that was begun. What was moved stays where it is.
func (g *Group) AbandonMove(ctx context.Context, env metadata.Env, device string) error {
	pv := g.vg.PVByDevice(device)
	if pv == nil {
		return g.fail("abandon a move", fmt.Errorf("physical volume %q: %w", device, ErrNotFound))
	}
	var tags []string
	for _, t := range pv.Tags {
		if t == moveTag || strings.HasPrefix(t, moveTag+".") {
			tags = append(tags, t)
		}
	}
	if len(tags) == 0 {
		return nil
	}
	after, op, err := g.vg.ChangePV(env, metadata.ChangePV{Device: device, DelTags: tags})
	if err != nil {
		return err
	}
	return g.Commit(ctx, after, op)
}
