package lvm

import (
	"context"
	"errors"
	"fmt"
	"io"

	"morgana/lvm/metadata"
	"morgana/lvm/ondisk"
)

const (
	// MinPVSize is the least size of a disk that becomes a physical volume, in bytes.
	MinPVSize = 2 << 20
	// MinAreaSize is the least size of a metadata area, in bytes.
	MinAreaSize = 32 << 10

	defaultAlignment = 1 << 20
	defaultAreaSize  = 1020 << 10
	pageSize         = 4096
)

// PVOptions changes how a disk becomes a physical volume. Sizes are in bytes. The zero value gives LVM2's layout: a
// metadata area up to 1 MiB, then the data.
type PVOptions struct {
	// ID is the UUID, or a new one is made from Rand.
	ID   metadata.UUID
	Rand io.Reader

	Size       uint64 // of the physical volume, 0 for that of the disk
	NoAreas    bool   // no metadata area at all
	TwoAreas   bool   // a second one at the end of the disk
	AreaSize   uint64 // of each metadata area, at least; 0 for LVM2's
	Ignored    bool   // the areas are not to be used
	Alignment  uint64 // of the data, 0 for 1 MiB
	AlignShift uint64 // the data begin so far behind an aligned byte
	Bootloader uint64 // size of an area for a boot loader before the data
	// PEStart is where the data must begin, for a physical volume that is restored; 0 for wherever they may.
	PEStart uint64
	// Bootloader area of a physical volume that is restored, 0 for wherever it may be.
	BAStart uint64
	// LabelSector is 1 to 3, or 0 for LVM2's.
	LabelSector uint64
	LabelZero   bool // the label is in sector 0
	KeepStart   bool // the first four sectors are not wiped before (pvcreate --zero n)
}

// Layout says how a disk of a size would be laid out. It is pure.
func Layout(size uint64, o PVOptions) (ondisk.Label, error) {
	l := ondisk.Label{Sector: ondisk.DefaultLabelSector, UUID: o.ID, ExtVersion: ondisk.ExtensionVersion}
	if o.LabelZero || o.LabelSector > 0 {
		l.Sector = o.LabelSector
	}
	if l.Sector >= ondisk.LabelSectors {
		return l, fmt.Errorf("label sector %d: labels are in sectors 0 to %d", l.Sector, ondisk.LabelSectors-1)
	}
	if o.Size > 0 {
		size = o.Size
	}
	size = size / ondisk.SectorSize * ondisk.SectorSize
	if size < MinPVSize {
		return l, fmt.Errorf("%w (pv_min_size)", ErrTooSmall)
	}
	l.DeviceSize = size
	p := plan{size: size, align: o.Alignment, shift: o.AlignShift, o: &o}
	if p.align == 0 {
		p.align = defaultAlignment
	}
	if err := p.start(); err != nil {
		return l, err
	}
	if !o.NoAreas {
		if err := p.first(); err != nil {
			return l, err
		}
		if o.TwoAreas {
			if err := p.second(); err != nil {
				return l, err
			}
		}
	}
	l.Data = []ondisk.Area{{Offset: p.peStart}}
	l.Metadata = p.areas
	if p.baSize > 0 {
		l.Bootloader = []ondisk.Area{{Offset: p.baStart, Size: p.baSize}}
	}
	return l, nil
}

// plan is a layout that is being made, by the rules of lib/format_text/format-text.c.
type plan struct {
	o            *PVOptions
	size         uint64
	align, shift uint64
	peStart      uint64
	baStart      uint64
	baSize       uint64
	areas        []ondisk.Area
}

// start says where the data and the boot loader begin while there is no metadata area.
func (p *plan) start() error {
	begin := p.align + p.shift
	switch {
	case p.size < begin:
		return errors.New("data alignment must not exceed device size")
	case p.align < p.shift:
		return fmt.Errorf("the alignment of %d bytes must not be less than its offset of %d", p.align, p.shift)
	case p.size < begin+p.o.Bootloader:
		return errors.New("bootloader area with data-aligned start must not exceed device size")
	}
	if p.o.PEStart > 0 {
		p.peStart = p.o.PEStart
		if ba := p.o.Bootloader; ba > 0 {
			if p.o.BAStart > 0 && p.o.BAStart+ba > p.peStart || p.peStart <= begin || p.peStart-begin < ba {
				return errors.New("bootloader area would overlap data area")
			}
			p.baStart, p.baSize = begin, ba
			if p.o.BAStart > 0 {
				p.baStart = p.o.BAStart
			}
		}
		return nil
	}
	p.peStart = begin
	if p.o.Bootloader > 0 {
		p.baStart, p.baSize = begin, up(p.o.Bootloader, p.align)
		p.baSize = min(p.baSize, p.size-p.baStart)
		p.peStart = p.baStart + p.baSize
	}
	return nil
}

// first places the area at the beginning. Data that may begin anywhere begin behind it.
func (p *plan) first() error {
	locked := p.o.PEStart > 0
	limit := p.size
	if locked {
		limit = p.peStart
	}
	if p.baSize > limit {
		return fmt.Errorf("%w for a metadata area", ErrNoRoom)
	}
	limit -= p.baSize
	start, n := uint64(ondisk.LabelArea), p.areaSize()
	if limit < start {
		return fmt.Errorf("%w for a metadata area", ErrNoRoom)
	}
	if limit-start >= MinAreaSize {
		start = up(start, pageSize)
	}
	if more := up(start+n, p.align) - start; start+more <= limit {
		n = more
	}
	if p.shift > 0 && (start+n)%p.align == 0 && start+n+p.shift <= limit {
		n += p.shift
	}
	if start+n > limit {
		if !locked && limit-start > 2*p.align {
			n = up(limit-2*p.align, p.align) - start
		} else {
			n = limit - start
		}
	}
	if start+n > limit {
		return fmt.Errorf("%w for a metadata area", ErrNoRoom)
	}
	if !locked {
		p.peStart = start + n
		if p.baSize > 0 {
			p.baStart = start + n
			p.peStart += p.baSize
		}
	}
	return p.add(start, n)
}

// second places the area at the end.
func (p *plan) second() error {
	n := p.areaSize()
	if p.peStart >= p.size {
		return fmt.Errorf("%w for a second metadata area", ErrNoRoom)
	}
	if room := p.size - p.peStart; n > room {
		n = room
	} else if more := n + (p.size-n)%p.align; more < p.size && p.size-more >= p.peStart {
		n = more
	}
	return p.add(p.size-n, n)
}

func (p *plan) areaSize() uint64 {
	if p.o.AreaSize > 0 {
		return up(p.o.AreaSize, ondisk.SectorSize)
	}
	return defaultAreaSize
}

func (p *plan) add(start, n uint64) error {
	if n < MinAreaSize {
		return fmt.Errorf("metadata area size too small: %d bytes. It must be at least %d bytes", n, MinAreaSize)
	}
	p.areas = append(p.areas, ondisk.Area{Offset: start, Size: n})
	return nil
}

func up(n, to uint64) uint64 { return (n + to - 1) / to * to }

// CreatePV makes a physical volume of a disk. What was on the disk is lost; it is the caller's to ask before. The
// label comes last: before it is there the disk is no physical volume.
func CreatePV(ctx context.Context, d Disk, o PVOptions) (*PhysicalVolume, error) {
	fail := func(err error) (*PhysicalVolume, error) {
		return nil, &Error{Op: "create a physical volume", Object: d.Name, Err: err}
	}
	if o.ID.IsZero() {
		if o.Rand == nil {
			return fail(errors.New("neither a UUID nor a source of one"))
		}
		id, err := metadata.NewUUID(o.Rand)
		if err != nil {
			return fail(err)
		}
		o.ID = id
	}
	size := uint64(d.Device.Size())
	l, err := Layout(size, o)
	if err != nil {
		return fail(err)
	}
	for _, a := range l.Metadata {
		if a.End() > size {
			return fail(fmt.Errorf("a metadata area ends at byte %d, the device at %d: %w", a.End(), size, ErrTooSmall))
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	pv := &PhysicalVolume{ID: o.ID, Disk: d}
	if err := pv.wipe(!o.KeepStart); err != nil {
		return nil, err
	}
	for i, a := range l.Metadata {
		m := &MetadataArea{PV: pv, Number: i + 1, Area: a, Header: ondisk.NewHeader(a, o.Ignored)}
		if err := m.format(); err != nil {
			return nil, err
		}
		pv.Areas = append(pv.Areas, m)
	}
	if err := pv.flush(); err != nil {
		return nil, err
	}
	if err := pv.writeLabel(l); err != nil {
		return nil, err
	}
	return pv, pv.flush()
}

// format writes an area's header, and zeroes over the beginning of the ring.
func (a *MetadataArea) format() error {
	b := ondisk.AppendHeader(nil, a.Header)
	b = append(b, make([]byte, min(pageSize, a.Area.Size)-ondisk.HeaderSize)...)
	return a.PV.wrap("write a metadata area", writeWhole(a.PV.Disk.Device, a.Area.Offset, b))
}

// wipe takes the labels of a disk away; all of the first four sectors, or only labels.
func (pv *PhysicalVolume) wipe(all bool) error {
	head, err := readFull(pv.Disk.Device, 0, ondisk.LabelArea)
	if err != nil {
		return pv.wrap("read", err)
	}
	dirty := false
	for s := range uint64(ondisk.LabelSectors) {
		b := head[s*ondisk.SectorSize:][:ondisk.SectorSize]
		if _, err := ondisk.ParseLabel(s, b); !errors.Is(err, ondisk.ErrNoLabel) || all && !isZero(b) {
			clear(b)
			dirty = true
		}
	}
	if !dirty {
		return nil
	}
	if err := writeWhole(pv.Disk.Device, 0, head); err != nil {
		return pv.wrap("wipe labels", err)
	}
	return pv.flush()
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// RemovePV makes a disk no physical volume any more. Only its labels go, as with LVM2. It is refused while a group has
// the disk, unless force is set.
func RemovePV(ctx context.Context, pv *PhysicalVolume, force bool) error {
	if !force && (pv.Group != nil || pv.Label.Used()) {
		return &Error{Op: "remove the label", Object: pv.Disk.Name, Err: ErrUsed}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	return pv.wipe(false)
}
