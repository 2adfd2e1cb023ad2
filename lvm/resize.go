package lvm

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"morgana/lvm/metadata"
	"morgana/lvm/ondisk"
	"morgana/lvm/text"
)

// Resize makes an orphan size bytes large.
func (pv *PhysicalVolume) Resize(size uint64) error {
	if pv.Group != nil {
		return pv.wrap("resize", ErrUsed)
	}
	l, err := pv.resized(size)
	if err != nil {
		return pv.wrap("resize", err)
	}
	return pv.relabel(l)
}

// Resizing is what to ask metadata.VG.ResizePV for, so that a member becomes size bytes large.
func (pv *PhysicalVolume) Resizing(size uint64) (metadata.ResizePV, error) {
	l, err := pv.resized(size)
	if err != nil {
		return metadata.ResizePV{}, pv.wrap("resize", err)
	}
	r := metadata.ResizePV{Device: pv.Disk.Name, DevSize: l.DeviceSize / metadata.SectorSize}
	if end := peEnd(l, l.DeviceSize); end < l.DeviceSize {
		r.PEEnd = end / metadata.SectorSize
	}
	return r, nil
}

// ResizePV makes a member size bytes large: after and op come from metadata.VG.ResizePV, asked for Resizing. A nil
// after says that the metadata need not change. A second metadata area moves to the new end.
func (g *Group) ResizePV(ctx context.Context, pv *PhysicalVolume, size uint64, after *metadata.VG, op metadata.Operation) error {
	if !g.Writable() || !g.has(pv) {
		return pv.wrap("resize", ErrNotFound)
	}
	l, err := pv.resized(size)
	if err != nil {
		return pv.wrap("resize", err)
	}
	if g.log != nil {
		if err := g.log.fold(ctx); err != nil {
			return g.fail("fold the redo log", err)
		}
	}
	// The areas must not lie where extents may be: they move before there are more of those, or after there are less.
	grow := l.DeviceSize >= pv.Label.DeviceSize
	if grow {
		if err := pv.relabel(l); err != nil {
			return err
		}
	}
	if after != nil {
		if err := g.Commit(ctx, after, op); err != nil {
			return err
		}
	}
	if !grow {
		return pv.relabel(l)
	}
	return nil
}

// resized is the label for another size.
func (pv *PhysicalVolume) resized(size uint64) (ondisk.Label, error) {
	l := pv.Label
	size = size / ondisk.SectorSize * ondisk.SectorSize
	if size < MinPVSize {
		return l, fmt.Errorf("%w (pv_min_size)", ErrTooSmall)
	}
	l.DeviceSize = size
	l.Metadata = slices.Clone(l.Metadata)
	for i, a := range l.Metadata {
		if a.Offset < l.Data[0].Offset {
			continue
		}
		n := a
		if size < a.Size+l.Data[0].Offset {
			return l, fmt.Errorf("%w for the metadata area of %d bytes at its end", ErrNoRoom, a.Size)
		}
		n.Offset = (size - a.Size) / pageSize * pageSize
		n.Size = size - n.Offset
		if size > pv.DeviceSize() {
			return l, fmt.Errorf("%w for the metadata area at its end", ErrTooSmall)
		}
		if n != a && n.Offset < a.End() && a.Offset < n.End() {
			return l, fmt.Errorf("%w: the metadata area at its end can only move by its own size, %d bytes, or more", ErrNoRoom, a.Size)
		}
		l.Metadata[i] = n
	}
	return l, nil
}

// relabel writes another label. Areas that are elsewhere in it are written there first, with the texts that they have.
func (pv *PhysicalVolume) relabel(l ondisk.Label) error {
	areas := slices.Clone(pv.Areas)
	moved := false
	for i, a := range areas {
		if l.Metadata[i] == a.Area {
			continue
		}
		n := &MetadataArea{PV: pv, Number: a.Number, Area: l.Metadata[i], Header: ondisk.NewHeader(l.Metadata[i], a.Ignored())}
		if a.copy != nil {
			raw := append(slices.Clone(a.copy.raw), 0)
			s, err := n.Header.Place(uint64(len(raw)), uint64(pv.Disk.Device.SectorSize()))
			if err != nil {
				return pv.wrap("move a metadata area", err)
			}
			s.CRC = ondisk.CRC(ondisk.CRCInit, raw)
			if err := n.writeText(s, raw); err != nil {
				return err
			}
			n.Header.Slots[0], n.copy = s, a.copy
		}
		if err := n.writeHeader(n.Header); err != nil {
			return err
		}
		areas[i], moved = n, true
	}
	if moved {
		if err := pv.flush(); err != nil {
			return err
		}
	}
	if err := pv.writeLabel(l); err != nil {
		return err
	}
	pv.Areas = areas
	return pv.flush()
}

// EnlargeArea makes the first metadata area of a member size bytes large, at least, for a group whose metadata have
// outgrown it. What is in the way are the first extents: they move elsewhere, and the data area begins later. Nothing
// changes where the area is large enough already.
func (g *Group) EnlargeArea(ctx context.Context, env metadata.Env, pv *PhysicalVolume, size uint64, o MoveOptions) error {
	if !g.Writable() || !g.has(pv) {
		return pv.wrap("enlarge its metadata area", ErrNotFound)
	}
	i := slices.IndexFunc(pv.Areas, func(a *MetadataArea) bool { return a.Area.Offset < pv.PEStart() })
	switch {
	case i < 0:
		return pv.wrap("enlarge its metadata area", fmt.Errorf("it has none before its data: %w", ErrNoArea))
	case len(pv.Label.Bootloader) > 0:
		return pv.wrap("enlarge its metadata area", fmt.Errorf("its boot loader area is in the way: %w", ErrUnsupported))
	case !pv.Areas[i].Good():
		return pv.wrap("enlarge its metadata area", errors.Join(pv.Areas[i].HeaderErr, pv.Areas[i].TextErr))
	}
	if g.log != nil {
		if err := g.log.fold(ctx); err != nil {
			return g.fail("fold the redo log", err)
		}
	}
	a := pv.Areas[i]
	m := g.vg.PVByID(pv.ID)
	extent := g.vg.ExtentSize() * metadata.SectorSize
	begin := m.PEStart * metadata.SectorSize
	if end := up(a.Area.Offset+size, pageSize); end > begin {
		k := metadata.Extent((end - begin + extent - 1) / extent)
		if k >= m.PECount {
			return pv.wrap("enlarge its metadata area", fmt.Errorf("%w: it would take all %d extents", ErrNoRoom, m.PECount))
		}
		if err := g.clear(ctx, env, m, k, o); err != nil {
			return err
		}
		after, err := shifted(g.vg, m, k)
		if err != nil {
			return g.fail("enlarge a metadata area", err)
		}
		if err := g.commitText(ctx, after, nil); err != nil {
			return err
		}
		begin += uint64(k) * extent
	}
	return g.stretch(ctx, a, begin)
}

// clear moves the first k extents of a physical volume elsewhere: to other disks if there is room, or further back.
func (g *Group) clear(ctx context.Context, env metadata.Env, m *metadata.PV, k metadata.Extent, o MoveOptions) error {
	mv := metadata.Move{Source: fmt.Sprintf("%s:0-%d", m.Device, k-1)}
	err := g.Move(ctx, env, mv, o)
	if errors.Is(err, metadata.ErrNoSpace) {
		mv.Targets = []string{fmt.Sprintf("%s:%d-", m.Device, k)}
		mv.Allocation = metadata.AllocAnywhere
		err = g.Move(ctx, env, mv, o)
	}
	if err != nil && !errors.Is(err, metadata.ErrNoChange) {
		return err
	}
	for r := range g.vg.PVRuns(g.vg.PVByID(m.ID)) {
		if r.Start < k && r.LV != nil {
			return refuse(ErrNoRoom, "Extents 0-%d of %s are in the way of a larger metadata area, and those of %s cannot be moved", k-1, m.Device, r.LV.Name)
		}
	}
	return nil
}

// shifted is the group with the data area of a physical volume begun k extents later. They are free.
func shifted(vg *metadata.VG, m *metadata.PV, k metadata.Extent) (*metadata.VG, error) {
	section := vg.Section()
	pvs := section.Sub("physical_volumes")
	pv := pvs.Sub(m.Key).With("pe_start", text.Int(m.PEStart+uint64(k)*vg.ExtentSize())).With("pe_count", text.Int(m.PECount-k))
	section = section.WithSection("physical_volumes", pvs.WithSection(m.Key, pv))
	if lvs := section.Sub("logical_volumes"); lvs != nil {
		section = section.WithSection("logical_volumes", shiftAreas(lvs, m.Key, int64(k)))
	}
	section = section.With("seqno", text.Int(vg.Seqno()+1))
	devices := map[metadata.UUID]string{}
	for _, p := range vg.PVs() {
		if !p.Absent {
			devices[p.ID] = p.Device
		}
	}
	top := vg.Top()
	if _, ok := top.Lookup("contents"); !ok {
		top = top.With("contents", text.String("Text Format Volume Group")).With("version", text.Int(1))
	}
	after, err := metadata.FromSection(top.WithSection(vg.Name(), section))
	if err != nil {
		return nil, err
	}
	return after.WithDevices(devices), nil
}

// shiftAreas moves every area on a physical volume k extents to the front, wherever in a tree it is named.
func shiftAreas(s *text.Section, key string, k int64) *text.Section {
	es := slices.Clone(s.Entries)
	for i, e := range es {
		switch {
		case e.Section != nil:
			es[i].Section = shiftAreas(e.Section, key, k)
		case e.Value.Kind == text.KindList:
			list := e.Value.List
			for j := 0; j+1 < len(list); j++ {
				name, ok := list[j].Str()
				n, isInt := list[j+1].Int()
				if ok && isInt && name == key {
					list = slices.Clone(list)
					list[j+1] = text.Int(n - k)
				}
			}
			es[i].Value.List = list
		}
	}
	return &text.Section{Entries: es}
}

// stretch makes an area reach to a byte of the disk. The text in it must not go around the end, which moves.
func (g *Group) stretch(ctx context.Context, a *MetadataArea, end uint64) error {
	size := end - a.Area.Offset
	if a.Header.Size < size {
		for tries := 0; !a.Header.Empty(); tries++ {
			ps, err := a.Header.Pieces(a.Header.Slots[0])
			if err != nil {
				return a.PV.wrap("enlarge its metadata area", err)
			}
			if len(ps) == 1 {
				break
			}
			if tries == 3 {
				return a.PV.wrap("enlarge its metadata area", ErrNoRoom)
			}
			after, err := withSeqno(g.vg, g.vg.Seqno()+1)
			if err != nil {
				return g.fail("commit", err)
			}
			if err := g.commitText(ctx, after, nil); err != nil {
				return err
			}
		}
		h := a.Header
		h.Size = size
		h.Slots[1] = ondisk.Slot{}
		if err := a.writeHeader(h); err != nil {
			return err
		}
		a.Header = h
		if err := a.PV.flush(); err != nil {
			return err
		}
	}
	l := a.PV.Label
	l.Metadata, l.Data = slices.Clone(l.Metadata), slices.Clone(l.Data)
	l.Metadata[a.Number-1].Size = size
	l.Data[0].Offset = end
	a.Area = l.Metadata[a.Number-1]
	if err := a.PV.writeLabel(l); err != nil {
		return err
	}
	return a.PV.flush()
}
