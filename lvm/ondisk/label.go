package ondisk

import (
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// SectorSize is the unit of labels, headers and of the text's alignment, whatever the sectors of the disk.
	SectorSize = 512
	// LabelSectors is how many sectors from the first one may hold the label.
	LabelSectors = 4
	// LabelArea is the part of a disk that may hold the label, in bytes.
	LabelArea = LabelSectors * SectorSize
	// DefaultLabelSector is where LVM2 writes the label.
	DefaultLabelSector = 1

	// ExtensionVersion is the newest version of the label's extension.
	ExtensionVersion = 2
	// Used is the flag of the extension that says that the disk belongs to a volume group.
	Used uint32 = 1

	labelID       = "LABELONE"
	labelType     = "LVM2 001"
	labelHeader   = 32 // bytes before the description of the physical volume
	labelCRCStart = 20
	pvHeader      = 40 // UUID and size; the lists follow
	areaSize      = 16
)

// Errors about labels.
var (
	// ErrNoLabel tells that none of the sectors holds a label.
	ErrNoLabel = errors.New("no physical volume label")
	// ErrLabel tells that a sector holds a label that is damaged.
	ErrLabel = errors.New("damaged physical volume label")
)

// Area is a range of a disk in bytes. A data area of size 0 reaches to the end of the device.
type Area struct{ Offset, Size uint64 }

// End is the byte behind the area.
func (a Area) End() uint64 { return a.Offset + a.Size }

// Label says whose disk this is and where its areas lie.
type Label struct {
	Sector     uint64   // where the label is, 0 to 3
	UUID       [32]byte // of the physical volume, without dashes
	DeviceSize uint64   // bytes
	Data       []Area   // at least one
	Metadata   []Area   // in the order of LVM2's numbering, at most two there

	// ExtVersion is 0 where the label has no extension: the disk was labelled by an old LVM2.
	ExtVersion uint32
	// ExtFlags may have bits that are not known here; they are kept.
	ExtFlags   uint32
	Bootloader []Area
}

// Used reports whether the label says that the disk belongs to a volume group.
func (l *Label) Used() bool { return l.ExtVersion >= 2 && l.ExtFlags&Used != 0 }

// WithUsed returns l with the flag that the disk belongs to a group, or not, and the extension that this takes.
func (l Label) WithUsed(used bool) Label {
	l.ExtVersion = max(l.ExtVersion, ExtensionVersion)
	if used {
		l.ExtFlags |= Used
	} else {
		l.ExtFlags &^= Used
	}
	return l
}

// LabelError says what is wrong with the label in a sector. It matches ErrLabel.
type LabelError struct {
	Sector uint64
	Msg    string
}

func (e *LabelError) Error() string { return fmt.Sprintf("label in sector %d: %s", e.Sector, e.Msg) }

// Is makes every LabelError match ErrLabel.
func (e *LabelError) Is(target error) bool { return target == ErrLabel }

// FindLabel looks for the label in b, the first LabelArea bytes of a disk. The first good one counts. It returns
// ErrNoLabel where there is none, and what is wrong with the damaged ones, joined with it, where there are such.
func FindLabel(b []byte) (Label, error) {
	errs := []error{ErrNoLabel}
	for s := uint64(0); s < LabelSectors && uint64(len(b)) >= (s+1)*SectorSize; s++ {
		l, err := ParseLabel(s, b[s*SectorSize:(s+1)*SectorSize])
		if err == nil {
			return l, nil
		}
		if !errors.Is(err, ErrNoLabel) {
			errs = append(errs, err)
		}
	}
	if len(errs) == 1 {
		return Label{}, ErrNoLabel
	}
	return Label{}, errors.Join(errs...)
}

// ParseLabel reads the label in one sector of 512 bytes. It returns ErrNoLabel where the sector holds something else.
func ParseLabel(sector uint64, b []byte) (Label, error) {
	if len(b) < SectorSize {
		return Label{}, fmt.Errorf("%d bytes are no sector", len(b))
	}
	b = b[:SectorSize]
	if string(b[:8]) != labelID || string(b[24:32]) != labelType {
		return Label{}, ErrNoLabel
	}
	fail := func(format string, a ...any) (Label, error) {
		return Label{}, &LabelError{sector, fmt.Sprintf(format, a...)}
	}
	le := binary.LittleEndian
	if s := le.Uint64(b[8:]); s != sector {
		return fail("it is meant for sector %d", s)
	}
	if want, got := le.Uint32(b[16:]), CRC(CRCInit, b[labelCRCStart:]); want != got {
		return fail("checksum %08x, stored %08x", got, want)
	}
	off := le.Uint32(b[20:])
	if off > SectorSize-pvHeader {
		return fail("the description at byte %d does not fit", off)
	}
	l := Label{Sector: sector, DeviceSize: le.Uint64(b[off+32:])}
	copy(l.UUID[:], b[off:])
	rest := b[off+pvHeader:]
	var ok bool
	if l.Data, rest, ok = parseAreas(rest); !ok {
		return fail("the list of data areas does not end")
	}
	if l.Metadata, rest, ok = parseAreas(rest); !ok {
		return fail("the list of metadata areas does not end")
	}
	if len(rest) < 8 || le.Uint32(rest) == 0 {
		return l, nil
	}
	l.ExtVersion, l.ExtFlags = le.Uint32(rest), le.Uint32(rest[4:])
	if l.Bootloader, _, ok = parseAreas(rest[8:]); !ok {
		return fail("the list of bootloader areas does not end")
	}
	return l, nil
}

// parseAreas reads areas up to the one at offset 0 and returns what follows it.
func parseAreas(b []byte) (as []Area, rest []byte, ok bool) {
	for ; len(b) >= areaSize; b = b[areaSize:] {
		a := Area{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}
		if a.Offset == 0 {
			return as, b[areaSize:], true
		}
		as = append(as, a)
	}
	return nil, nil, false
}

// AppendLabel appends the sector of a label.
func AppendLabel(dst []byte, l Label) ([]byte, error) {
	if l.Sector >= LabelSectors {
		return nil, &LabelError{l.Sector, fmt.Sprintf("labels are in sectors 0 to %d", LabelSectors-1)}
	}
	if len(l.Data) == 0 {
		return nil, &LabelError{l.Sector, "a physical volume has a data area"}
	}
	le := binary.LittleEndian
	b := make([]byte, 0, SectorSize)
	b = append(b, labelID...)
	b = le.AppendUint64(b, l.Sector)
	b = le.AppendUint32(b, 0) // the checksum, below
	b = le.AppendUint32(b, labelHeader)
	b = append(b, labelType...)
	b = append(b, l.UUID[:]...)
	b = le.AppendUint64(b, l.DeviceSize)
	b = appendAreas(b, l.Data)
	b = appendAreas(b, l.Metadata)
	if l.ExtVersion > 0 {
		b = le.AppendUint32(b, l.ExtVersion)
		b = le.AppendUint32(b, l.ExtFlags)
		b = appendAreas(b, l.Bootloader)
	}
	if len(b) > SectorSize {
		return nil, &LabelError{l.Sector, fmt.Sprintf("its %d areas do not fit",
			len(l.Data)+len(l.Metadata)+len(l.Bootloader))}
	}
	for _, list := range [][]Area{l.Data, l.Metadata, l.Bootloader} {
		for _, a := range list {
			if a.Offset == 0 {
				return nil, &LabelError{l.Sector, "an area cannot begin at byte 0"}
			}
		}
	}
	b = b[:SectorSize]
	le.PutUint32(b[16:], CRC(CRCInit, b[labelCRCStart:]))
	return append(dst, b...), nil
}

func appendAreas(b []byte, as []Area) []byte {
	for _, a := range as {
		b = binary.LittleEndian.AppendUint64(b, a.Offset)
		b = binary.LittleEndian.AppendUint64(b, a.Size)
	}
	return append(b, make([]byte, areaSize)...)
}
