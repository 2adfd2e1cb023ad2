package table

import (
	"fmt"
	"strconv"
	"strings"

	"morgana/lvm/metadata"
)

// A Kind is the rule of a target.
type Kind uint8

// The kinds of targets.
const (
	Linear  Kind = iota // one area
	Striped             // areas in turn, StripeSize each
	Zero                // reads zeros, forgets what is written
	Error               // fails
)

var kindText = [...]string{"linear", "striped", "zero", "error"}

func (k Kind) String() string { return kindText[k] }

// A Target maps a run of a volume. All units are sectors of 512 bytes.
type Target struct {
	Start, Length uint64
	Kind          Kind
	StripeSize    uint64 // Striped
	Areas         []Area // Linear: one; Striped: two or more
}

// An Area is where on a physical volume's disk a target's data begins.
type Area struct {
	PV     *metadata.PV
	Offset uint64 // sectors
}

// Of returns the targets of a logical volume, in order and without gaps: one for each segment, as LVM2 loads them.
func Of(vg *metadata.VG, lv *metadata.LV) ([]Target, error) {
	targets := make([]Target, 0, len(lv.Segments))
	for i := range lv.Segments {
		t, err := ofSegment(vg, lv, &lv.Segments[i])
		if err != nil {
			return nil, err
		}
		targets = append(targets, t)
	}
	return targets, nil
}

func ofSegment(vg *metadata.VG, lv *metadata.LV, s *metadata.Segment) (Target, error) {
	t := Target{Start: uint64(s.Start) * vg.ExtentSize(), Length: uint64(s.Count) * vg.ExtentSize()}
	switch {
	case len(s.TypeFlags) > 0:
		return t, unsupported(vg, lv, s.Type+"+"+strings.Join(s.TypeFlags, "+"))
	case s.Type == "zero":
		t.Kind = Zero
		return t, nil
	case s.Type == "error":
		t.Kind = Error
		return t, nil
	case s.Type != "striped" && s.Type != "linear":
		return t, unsupported(vg, lv, s.Type)
	}
	for _, a := range s.Stripes {
		pv := vg.PV(a.PV)
		if pv == nil {
			return t, unsupported(vg, lv, "stacked on "+a.LV)
		}
		t.Areas = append(t.Areas, Area{pv, pv.PEStart + uint64(a.Start)*vg.ExtentSize()})
	}
	if len(t.Areas) > 1 {
		t.Kind, t.StripeSize = Striped, s.StripeSize
	}
	return t, nil
}

func unsupported(vg *metadata.VG, lv *metadata.LV, what string) error {
	return &metadata.Error{
		Msg: fmt.Sprintf("Logical volume %s/%s is %s, which no plain map describes; only linear, striped, zero and error volumes can be opened", vg.Name(), lv.Name, what),
		Err: metadata.ErrUnsupported,
	}
}

// Append appends the target as a line of `dmsetup table` without its newline. The function tells how a physical volume's
// disk is called: the kernel says major:minor.
func (t Target) Append(dst []byte, disk func(*metadata.PV) string) []byte {
	dst = strconv.AppendUint(dst, t.Start, 10)
	dst = append(dst, ' ')
	dst = strconv.AppendUint(dst, t.Length, 10)
	dst = append(append(dst, ' '), t.Kind.String()...)
	if t.Kind == Striped {
		dst = append(dst, ' ')
		dst = strconv.AppendInt(dst, int64(len(t.Areas)), 10)
		dst = append(dst, ' ')
		dst = strconv.AppendUint(dst, t.StripeSize, 10)
	}
	for _, a := range t.Areas {
		dst = append(append(dst, ' '), disk(a.PV)...)
		dst = append(dst, ' ')
		dst = strconv.AppendUint(dst, a.Offset, 10)
	}
	if t.Kind == Zero || t.Kind == Error {
		dst = append(dst, ' ') // so does the kernel: its arguments, of which there are none, follow a space
	}
	return dst
}

// Name is how the kernel calls a logical volume: a hyphen between the group's name and the volume's, theirs doubled.
func Name(vg, lv string) string {
	double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
	return double(vg) + "-" + double(lv)
}

// UUID is how the kernel knows a logical volume whatever its name is.
func UUID(vg *metadata.VG, lv *metadata.LV) string {
	a, b := vg.ID(), lv.ID
	return "LVM-" + string(a[:]) + string(b[:])
}
