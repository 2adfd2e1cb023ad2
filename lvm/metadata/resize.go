package metadata

import (
	"slices"
)

// resizing is a ResizeLV on its way from what a user said to a number of extents.
type resizing struct {
	*edit
	r       ResizeLV
	lv      *LV
	where   []pvRange
	sign    Sign
	extents uint64 // the amount that was asked for, later the volume's new number
	approx  bool   // less will do
	percent bool
	stripes int
	typ     string
	segSize uint64 // how much the last segment grows, or what is left of it
}

// ResizeLV gives a logical volume another size. What is beyond the end of a volume that shrinks is lost.
func (vg *VG) ResizeLV(env Env, r ResizeLV) (*VG, Operation, error) {
	z := resizing{edit: vg.edit(), r: r, sign: r.Size.Sign}
	lv, err := z.resize(env)
	if err != nil {
		return nil, z.op, err
	}
	z.put(lv)
	return z.done()
}

func (z *resizing) resize(env Env) (*LV, error) {
	vg := z.old
	if err := vg.changeable(0); err != nil {
		return nil, err
	}
	if vg.LV(z.r.Name) == nil {
		return nil, refuse(ErrNotFound, "Logical volume %s not found in volume group %s.", z.r.Name, vg.name)
	}
	z.lv = vg.LV(z.r.Name)
	if !z.lv.Visible() {
		return nil, refuse(ErrUnsupported, "Can't resize internal logical volume %s.", vg.full(z.lv))
	}
	if err := vg.ours(z.lv, "resize"); err != nil {
		return nil, err
	}
	if z.r.StripeSize > vg.extentSize {
		z.note("Reducing stripe size %s to maximum, physical extent size %s.", FormatSize(z.r.StripeSize), FormatSize(vg.extentSize))
		z.r.StripeSize = vg.extentSize
	}
	if z.r.StripeSize > 0 && !validStripeSize(z.r.StripeSize) {
		return nil, refuse(ErrInvalid, "Invalid stripe size %s.", FormatSize(z.r.StripeSize))
	}
	if z.r.Stripes < 0 || z.r.Stripes > maxStripes {
		return nil, refuse(ErrInvalid, "Number of stripes (%d) must be between %d and %d.", z.r.Stripes, 1, maxStripes)
	}
	var err error
	if z.where, err = z.selectPVs(z.r.PVs, true); err != nil {
		return nil, err
	}
	if err := z.amount(); err != nil {
		return nil, err
	}
	reducing, err := z.adjust()
	if err != nil {
		return nil, err
	}
	lv := z.lv.changed()
	old := z.lv.Extents
	if reducing {
		if len(z.r.PVs) > 0 {
			z.note("Ignoring PVs on command line when reducing.")
		}
		lv.Segments = cut(lv.Segments, Extent(z.extents))
	} else if err := z.extend(env, lv); err != nil {
		return nil, err
	}
	lv.setSegments()
	if lv.Extents == old {
		z.note("Size of logical volume %s unchanged from %s (%d extents).", vg.full(lv), FormatSize(vg.Size(lv)), old)
	} else {
		z.note("Size of logical volume %s changed from %s (%d extents) to %s (%d extents).", vg.full(lv),
			FormatSize(vg.Size(z.lv)), old, FormatSize(vg.Size(lv)), lv.Extents)
	}
	return lv, nil
}

// amount makes extents of the size that was given.
func (z *resizing) amount() error {
	vg, size := z.old, z.r.Size
	if size == (Amount{}) && len(z.r.PVs) > 0 && z.r.Mode != Reduce { // all that is free on these volumes
		size, z.sign = Percent(100, OfPVs), Plus
	}
	if size.Sectors > 0 {
		n := size.Sectors
		if n/vg.extentSize > maxExtents {
			return vg.tooLarge(n / vg.extentSize)
		}
		if rest := n % vg.extentSize; rest > 0 {
			if z.sign != Minus {
				n += vg.extentSize
			}
			n -= rest
			z.note("Rounding size to boundary between physical extents: %s.", FormatSize(n))
		}
		if z.extents = n / vg.extentSize; z.extents == 0 {
			return refuse(ErrInvalid, "New size of 0 not permitted.")
		}
		return nil
	}
	if size.Count > 1<<32 {
		return refuse(ErrInvalid, "%d extents or percent are too much.", size.Count)
	}
	up := z.sign != Minus
	z.percent = size.Of != OfNone
	switch size.Of {
	case OfNone:
		z.extents = size.Count
	case OfVG:
		z.extents = percentOf(size.Count, vg.total, up)
		if most := uint64(z.lv.Extents) + uint64(vg.free); z.sign == Plain && z.extents > most {
			z.extents = most
			z.note("Reducing %d%%VG to remaining free space %s in VG.", size.Count, FormatSize(most*vg.extentSize))
		}
	case OfFree:
		z.extents = percentOf(size.Count, vg.free, up)
		z.approx = z.sign == Plus
	case OfLV:
		z.extents = percentOf(size.Count, z.lv.Extents, up)
	case OfPVs:
		base := vg.total
		if len(z.r.PVs) > 0 {
			base = vg.freeOf(z.where)
		}
		z.extents = percentOf(size.Count, base, up)
	default:
		return refuse(ErrInvalid, "Specified LV does not have an origin LV.")
	}
	if z.sign == Plain && (size.Of == OfVG || size.Of == OfFree || size.Of == OfPVs) {
		z.approx = true
	}
	return nil
}

// adjust finds out the new number of extents and whether it is less than before.
func (z *resizing) adjust() (reducing bool, err error) {
	vg, lv := z.old, z.lv
	have := uint64(lv.Extents)
	last := &lv.Segments[len(lv.Segments)-1]
	if z.typ = z.r.Type; z.typ == "" {
		z.typ = last.Type
	}
	if z.typ == "linear" {
		z.typ = "striped"
	}
	switch z.typ {
	case "striped", "error", "zero":
	default:
		return false, refuse(ErrUnsupported, "VolumeType does not match (%s).", z.typ)
	}
	z.stripes = z.r.Stripes
	if z.typ != last.Type && !(z.typ == "striped" && last.striped()) {
		z.stripes = max(z.stripes, 1)
		z.note("Logical volume %s is using mixing segment types %s and %s.", vg.full(lv), last.Type, z.typ)
	}
	if reducing = z.sign == Minus || z.sign == Plain && z.extents < have; reducing {
		err = z.shrink(have)
	} else {
		err = z.grow(have)
	}
	if err != nil {
		return reducing, err
	}
	if z.extents == 0 {
		return reducing, refuse(ErrInvalid, "New size of 0 not permitted.")
	}
	if z.extents == have {
		return reducing, refuse(ErrNoChange, "New size (%d extents) matches existing size (%d extents).", z.extents, have)
	}
	if err := z.wholeStripes(have); err != nil {
		return reducing, err
	}
	switch {
	case z.extents < have && z.r.Mode == Extend:
		return true, refuse(ErrNoChange, "New size given (%d extents) not larger than existing size (%d extents)", z.extents, have)
	case z.extents > have && z.r.Mode == Reduce:
		return false, refuse(ErrNoChange, "New size given (%d extents) not less than existing size (%d extents)", z.extents, have)
	case z.extents == have:
		return false, refuse(ErrNoChange, "New size (%d extents) matches existing size (%d extents)", z.extents, have)
	}
	return z.extents < have, nil
}

// grow finds out with how many stripes of which size the volume goes on.
func (z *resizing) grow(have uint64) error {
	vg := z.old
	stripes, size := 0, uint64(0)
	for i := range z.lv.Segments {
		s := &z.lv.Segments[i]
		if !s.striped() {
			continue
		}
		if size != 0 && size != s.StripeSize && s.StripeSize != 0 && z.r.StripeSize == 0 ||
			stripes != 0 && stripes != len(s.Stripes) && z.stripes == 0 {
			return refuse(ErrInvalid, "Please specify number of stripes (-i) and stripesize (-I)")
		}
		stripes, size = len(s.Stripes), s.StripeSize
	}
	if z.stripes == 0 {
		z.stripes = stripes
	}
	if z.stripes > 1 && z.r.StripeSize == 0 {
		if size != 0 {
			z.note("Using stripesize of last segment %s", FormatSize(size))
			z.r.StripeSize = size
		} else {
			z.r.StripeSize = defaultStripeSize
			z.note("Using default stripesize %s", FormatSize(z.r.StripeSize))
		}
	}
	if z.sign == Plus {
		z.segSize = z.extents
	} else {
		z.segSize = z.extents - have
	}
	if have+z.segSize >= maxExtents-maxStripes {
		return refuse(ErrLimit, "Unable to extend %s by %d logical extents: exceeds limit (%d).",
			vg.full(z.lv), z.segSize, uint32(maxExtents))
	}
	z.extents = have + z.segSize
	return nil
}

// shrink finds the segment in which the volume will end.
func (z *resizing) shrink(have uint64) error {
	if z.sign == Minus {
		if z.extents >= have {
			return refuse(ErrInvalid, "Unable to reduce %s below 1 extent.", z.old.full(z.lv))
		}
		z.extents = have - z.extents
	}
	for i := range z.lv.Segments {
		s := &z.lv.Segments[i]
		if z.extents <= uint64(s.Start)+uint64(s.Count) {
			z.segSize = z.extents - uint64(s.Start)
			z.stripes, z.r.StripeSize = len(s.Stripes), s.StripeSize
			break
		}
	}
	return nil
}

// wholeStripes rounds to a number of extents that the stripes divide.
func (z *resizing) wholeStripes(have uint64) error {
	vg := z.old
	if z.stripes <= 1 {
		return nil
	}
	unit := uint64(z.stripes)
	if per := z.r.StripeSize / vg.extentSize; per > 1 {
		unit *= per
	}
	rest := z.segSize % unit
	if rest == 0 {
		return nil
	}
	up := z.extents - rest + unit
	if z.extents < have || !z.percent || uint64(vg.free) >= up-have {
		z.note("Rounding size (%d extents) up to stripe boundary size for segment (%d extents).", z.extents, up)
		z.extents = up
		return nil
	}
	z.note("Rounding size (%d extents) down to stripe boundary size for segment (%d extents)", z.extents, z.extents-rest)
	z.extents -= rest
	return nil
}

// extend adds segments to lv.
func (z *resizing) extend(env Env, lv *LV) error {
	vg := z.old
	segs := slices.Clone(lv.Segments)
	last := segs[len(segs)-1]
	if z.typ != "striped" {
		more := Segment{Start: lv.Extents, Count: Extent(z.extents) - lv.Extents, Type: z.typ, Known: true}
		lv.Segments = mergeSegments(append(segs, more))
		return nil
	}
	policy := z.r.Allocation
	if policy == AllocInherit {
		policy = lv.Allocation
	}
	a := allocation{
		env: env, vg: vg, lv: lv.Name, areas: max(z.stripes, 1), have: uint64(lv.Extents), need: z.extents, split: true,
		approx: z.approx, most: vg.policy(policy), prev: &last, first: &lv.Segments[0],
	}
	more, err := a.allocate(z.where, z.r.StripeSize)
	if err != nil {
		return err
	}
	lv.Segments = mergeSegments(append(segs, more...))
	return nil
}

// cut is the segments of the first n extents.
func cut(segs []Segment, n Extent) []Segment {
	out := make([]Segment, 0, len(segs))
	for _, s := range segs {
		if s.Start >= n {
			break
		}
		if s.Start+s.Count > n {
			s.setCount(n - s.Start)
		}
		out = append(out, s)
	}
	return out
}
