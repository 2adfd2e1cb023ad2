package lvm

import (
	"bytes"
	"errors"
	"fmt"
	"slices"

	"morgana/block"
	"morgana/lvm/metadata"
	"morgana/lvm/ondisk"
	"morgana/lvm/text"
)

// ErrText tells that the text in a metadata area is damaged.
var ErrText = errors.New("damaged metadata text")

// MetadataArea is one of a physical volume's copies of its group's metadata.
type MetadataArea struct {
	PV     *PhysicalVolume
	Number int // 1 or 2
	Area   ondisk.Area
	// Header is what the header says; where HeaderErr is not nil it may be nonsense.
	Header    ondisk.Header
	HeaderErr error
	TextErr   error

	copy *textCopy // nil without a good text
}

// Ignored reports whether the area holds no metadata on purpose.
func (a *MetadataArea) Ignored() bool {
	return a.HeaderErr == nil && a.Header.Ignored() && !a.hidden()
}

// hidden reports whether the area is marked as ignored only while a change is made, which then was interrupted: the
// next change uses it again. An area that is ignored for good announces nothing.
//
// Some changes must not be seen in parts, not even by LVM2, which gets into trouble when copies of one group have
// different names, or when of a disk's two areas only one is empty. They first hide all areas but one.
func (a *MetadataArea) hidden() bool {
	return a.Header.Ignored() && !a.Header.Slots[1].Empty()
}

// hide marks the area as ignored for a while; slot is the text that it will have, or has.
func (a *MetadataArea) hide(slot ondisk.Slot) error {
	h := a.Header
	h.Slots[0].Flags |= ondisk.Ignored
	h.Slots[1] = slot
	return a.writeHeader(h)
}

// Good reports whether header and text could be read.
func (a *MetadataArea) Good() bool { return a.HeaderErr == nil && a.TextErr == nil }

// Text is the metadata in the area, without the final NUL; nil where there is none. It must not be changed.
func (a *MetadataArea) Text() []byte {
	if a.copy == nil {
		return nil
	}
	return a.copy.raw
}

// Seqno is the sequence number of the area's text, 0 without one.
func (a *MetadataArea) Seqno() uint32 {
	if a.copy == nil {
		return 0
	}
	return a.copy.seqno
}

// Free is by how many bytes the text may still grow, as LVM2 reports it: in whole sectors.
func (a *MetadataArea) Free() uint64 {
	if a.HeaderErr != nil {
		return 0
	}
	limit := ondisk.TextLimit(a.Header.Size)
	if !a.Header.Empty() {
		limit -= min(limit, a.Header.Slots[0].Size)
	}
	return limit / ondisk.SectorSize * ondisk.SectorSize
}

// textCopy is a text that one or more areas hold, parsed once.
type textCopy struct {
	raw   []byte
	name  string // of the group
	id    string // its UUID as it stands in the text
	seqno uint32
	vg    *metadata.VG
	err   error // why vg is nil
}

// texts makes each different text once.
type texts struct{ all []*textCopy }

func (t *texts) parse(raw []byte) *textCopy {
	for _, c := range t.all {
		if bytes.Equal(c.raw, raw) {
			return c
		}
	}
	c := &textCopy{raw: raw}
	t.all = append(t.all, c)
	if c.vg, c.err = metadata.Parse(raw); c.err == nil && bytes.HasPrefix(raw, []byte(c.vg.Name())) {
		c.name, c.id, c.seqno = c.vg.Name(), c.vg.ID().String(), c.vg.Seqno()
		return c
	}
	// It cannot be used; but whose it is, and how new, may still be told.
	c.vg = nil
	top, err := text.Parse(raw)
	if err != nil {
		c.err = fmt.Errorf("%w: %w", ErrText, err)
		return c
	}
	i := slices.IndexFunc(top.Entries, func(e text.Entry) bool { return e.Section != nil })
	if i < 0 || !bytes.HasPrefix(raw, []byte(top.Entries[i].Key)) {
		c.err = fmt.Errorf("%w: it does not begin with the name of a volume group", ErrText)
		return c
	}
	c.name = top.Entries[i].Key
	c.id, _ = top.Entries[i].Section.Str("id")
	n, _ := top.Entries[i].Section.Int("seqno")
	c.seqno = uint32(n)
	return c
}

// read reads header and text. Early is the beginning of the disk, which has been read already.
func (a *MetadataArea) read(d block.Device, early []byte, t func([]byte) *textCopy) {
	a.copy, a.HeaderErr, a.TextErr = nil, nil, nil
	at := func(off, n uint64) ([]byte, error) {
		if off+n >= off && off+n <= uint64(len(early)) {
			return early[off : off+n], nil
		}
		return readFull(d, off, n)
	}
	b, err := at(a.Area.Offset, ondisk.HeaderSize)
	if err != nil {
		a.HeaderErr = err
		return
	}
	if a.Header, a.HeaderErr = ondisk.ParseHeader(a.Area.Offset, b); a.HeaderErr != nil || a.Header.Empty() {
		return
	}
	raw, err := readText(&a.Header, a.Header.Slots[0], at)
	if err != nil {
		a.TextErr = err
		return
	}
	a.copy = t(raw)
	if a.copy.name == "" {
		a.TextErr = a.copy.err
		a.copy = nil
	}
}

// readText reads the text of a slot and checks it. The result is without the NUL.
func readText(h *ondisk.Header, s ondisk.Slot, at func(off, n uint64) ([]byte, error)) ([]byte, error) {
	pieces, err := h.Pieces(s)
	if err != nil {
		return nil, err
	}
	var raw []byte
	for _, p := range pieces {
		b, err := at(p.Offset, p.N)
		if err != nil {
			return nil, err
		}
		raw = append(raw, b...)
	}
	if crc := ondisk.CRC(ondisk.CRCInit, raw); crc != s.CRC {
		return nil, fmt.Errorf("%w at byte %d: checksum %08x, stored %08x", ErrText, pieces[0].Offset, crc, s.CRC)
	}
	if i := bytes.IndexByte(raw, 0); i >= 0 {
		raw = raw[:i]
	}
	return raw, nil
}

// writeHeader writes the area's header.
func (a *MetadataArea) writeHeader(h ondisk.Header) error {
	return a.PV.wrap("write a metadata area header", writeWhole(a.PV.Disk.Device, h.Start, ondisk.AppendHeader(nil, h)))
}

// writeText writes a text, which ends with its NUL, where the slot says, and zeroes to the end of the last sector.
func (a *MetadataArea) writeText(s ondisk.Slot, raw []byte) error {
	pieces, err := a.Header.Pieces(s)
	if err != nil {
		return a.PV.wrap("write metadata", err)
	}
	for _, p := range pieces {
		b := raw[:p.N]
		raw = raw[p.N:]
		if over := p.N % ondisk.SectorSize; over != 0 {
			end := min(p.N+ondisk.SectorSize-over, a.Header.Start+a.Header.Size-p.Offset)
			b = append(bytes.Clone(b), make([]byte, end-p.N)...)
		}
		if err := writeWhole(a.PV.Disk.Device, p.Offset, b); err != nil {
			return a.PV.wrap("write metadata", err)
		}
	}
	return nil
}
