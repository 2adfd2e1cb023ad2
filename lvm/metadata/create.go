package metadata

import (
	"math/bits"
	"slices"
	"strconv"

	"morgana/lvm/text"
)

const (
	maxStripes        = 128
	defaultStripeSize = 128 // sectors
	minStripeSize     = 8   // sectors: a page
)

// CreateLV creates a logical volume.
func (vg *VG) CreateLV(env Env, r CreateLV) (*VG, Operation, error) {
	e := vg.edit()
	lv, err := e.create(env, r)
	if err != nil {
		return nil, e.op, err
	}
	e.put(lv)
	return e.done()
}

func (e *edit) create(env Env, r CreateLV) (*LV, error) {
	vg := e.old
	if err := vg.changeable(0); err != nil {
		return nil, err
	}
	stripes, err := e.stripes(&r)
	if err != nil {
		return nil, err
	}
	if err := e.nameFor(&r); err != nil {
		return nil, err
	}
	where, err := e.selectPVs(r.PVs, true)
	if err != nil {
		return nil, err
	}
	extents, approx, err := e.createSize(&r, stripes, where)
	if err != nil {
		return nil, err
	}
	if vg.maxLV > 0 && uint32(vg.visible) >= vg.maxLV && !r.Hidden {
		return nil, refuse(ErrLimit, "Maximum number of logical volumes (%d) reached in volume group %s", vg.maxLV, vg.name)
	}
	if extents > maxExtents-maxStripes {
		return nil, vg.tooLarge(extents)
	}
	virtual := r.Type == "zero" || r.Type == "error"
	if !virtual {
		if r.StripeSize > vg.extentSize {
			e.note("Reducing requested stripe size %s to maximum, physical extent size %s.",
				FormatSize(r.StripeSize), FormatSize(vg.extentSize))
			r.StripeSize = vg.extentSize
		}
		if rest := extents % uint64(stripes); rest != 0 {
			rounded := extents + uint64(stripes) - rest
			e.note("Rounding size %s (%d extents) up to stripe boundary size %s (%d extents).",
				FormatSize(extents*vg.extentSize), extents, FormatSize(rounded*vg.extentSize), rounded)
			extents = rounded
		}
		if r.Allocation != AllocAnywhere && stripes > len(where) {
			return nil, refuse(ErrInvalid, "Number of stripes (%d) must not exceed number of physical volumes (%d)",
				stripes, len(where))
		}
		if !approx && uint64(vg.free) < extents {
			return nil, refuse(ErrNoSpace, "Volume group \"%s\" has insufficient free space (%d extents): %d required.",
				vg.name, vg.free, extents)
		}
	}
	lv, err := newLV(env, r, vg.owned())
	if err != nil {
		return nil, err
	}
	if virtual {
		lv.Segments = []Segment{{Count: Extent(extents), Type: r.Type, Known: true}}
	} else {
		a := allocation{
			env: env, vg: vg, lv: r.Name, areas: stripes, need: extents, split: true, approx: approx,
			most: vg.policy(r.Allocation),
		}
		if lv.Segments, err = a.allocate(where, r.StripeSize); err != nil {
			return nil, err
		}
		lv.Segments = mergeSegments(lv.Segments)
	}
	lv.setSegments()
	return lv, nil
}

// policy is what a request's policy comes to.
func (vg *VG) policy(a Allocation) Allocation {
	if a == AllocInherit {
		return vg.alloc
	}
	return a
}

// stripes checks the request's type and stripes, and gives their number.
func (e *edit) stripes(r *CreateLV) (int, error) {
	switch r.Type {
	case "", "striped":
	case "linear":
		if r.Stripes > 1 {
			return 0, refuse(ErrInvalid, "Cannot create a linear volume with %d stripes; leave --type out.", r.Stripes)
		}
	case "zero", "error":
		r.StripeSize = 0
		return 1, nil
	default:
		return 0, refuse(ErrUnsupported, "Segment type %s is not supported; create such volumes with LVM2.", r.Type)
	}
	n := max(r.Stripes, 1)
	if r.Stripes < 0 || n > maxStripes {
		return 0, refuse(ErrInvalid, "Number of stripes (%d) must be between %d and %d.", r.Stripes, 1, maxStripes)
	}
	switch {
	case n == 1 && r.StripeSize > 0:
		e.note("Ignoring stripesize argument with single stripe.")
		r.StripeSize = 0
	case n > 1 && r.StripeSize == 0:
		r.StripeSize = defaultStripeSize
		e.note("Using default stripesize %s.", FormatSize(r.StripeSize))
	}
	if n > 1 && !validStripeSize(r.StripeSize) {
		return 0, refuse(ErrInvalid, "Invalid stripe size %s.", FormatSize(r.StripeSize))
	}
	return n, nil
}

func validStripeSize(n uint64) bool {
	return n >= minStripeSize && n <= 1<<31 && bits.OnesCount64(n) == 1
}

// nameFor checks the request's name, or makes one: one more than the highest that is taken.
func (e *edit) nameFor(r *CreateLV) error {
	vg := e.old
	if r.Name == "" {
		next := int64(0)
		if top, _, ok := vg.autos.Max(); ok {
			next = max(top.n+1, 0)
		}
		for _, h := range vg.historical() {
			if n, ok := autoNumber(h); ok {
				next = max(next, n+1)
			}
		}
		r.Name = "lvol" + strconv.FormatInt(next, 10)
	} else if err := CheckLVName(r.Name); err != nil && !r.Reserved {
		return err
	}
	if !ValidName(r.Name) {
		return refuse(ErrInvalid, "Logical volume name \"%s\" is invalid.", r.Name)
	}
	if err := checkNames(vg.name, r.Name); err != nil {
		return err
	}
	return vg.checkFree(r.Name)
}

func (vg *VG) checkFree(name string) error {
	historical := ""
	if slices.Contains(vg.historical(), name) {
		historical = "historical "
	}
	if vg.LV(name) != nil || historical != "" {
		return refuse(ErrExists, "%sLogical Volume \"%s\" already exists in volume group \"%s\"", historical, name, vg.name)
	}
	return nil
}

// historical is the names of removed volumes that the group remembers.
func (vg *VG) historical() (names []string) {
	for _, e := range entries(vg.head.Sub(historyKey)) {
		if e.Section != nil {
			names = append(names, e.Key)
		}
	}
	return names
}

// createSize is how many extents a request comes to, and whether fewer will do.
func (e *edit) createSize(r *CreateLV, stripes int, where []pvRange) (uint64, bool, error) {
	vg := e.old
	size := r.Size
	if size.Sign == Minus {
		return 0, false, refuse(ErrInvalid, "Size may not be negative.")
	}
	if size.Sectors > 0 {
		n, err := e.roundUp(size.Sectors)
		return n, false, err
	}
	if size.Count == 0 {
		return 0, false, refuse(ErrInvalid, "Size may not be zero.")
	}
	if size.Of == OfNone {
		return size.Count, false, nil
	}
	if size.Count > 1<<32 {
		return 0, false, refuse(ErrInvalid, "%d%% is too much.", size.Count)
	}
	var n uint64
	switch size.Of {
	case OfVG:
		if n = percentOf(size.Count, vg.total, false); n > uint64(vg.free) {
			n = uint64(vg.free)
			e.note("Reducing %d%%VG to remaining free space %s in VG.", size.Count, FormatSize(n*vg.extentSize))
		}
	case OfFree:
		n = percentOf(size.Count, vg.free, false)
	case OfPVs:
		base := vg.total
		if len(r.PVs) > 0 {
			base = vg.freeOf(where)
		}
		n = percentOf(size.Count, base, false)
	case OfOrigin:
		return 0, false, refuse(ErrUnsupported, "Snapshots are not supported; create them with LVM2.")
	default:
		return 0, false, refuse(ErrInvalid, "Please express size as %%FREE, %%PVS or %%VG.")
	}
	if n == 0 {
		return 0, false, refuse(ErrNoSpace, "Calculated size of logical volume is 0 extents. Needs to be larger.")
	}
	unit := uint64(stripes)
	if per := r.StripeSize / vg.extentSize; per > 1 {
		unit *= per
	}
	if rest := n % unit; rest != 0 && uint64(vg.free) < n-rest+unit {
		e.note("Rounding size (%d extents) down to stripe boundary size (%d extents)", n, n-rest)
		n -= rest
	}
	if n == 0 {
		return 0, false, refuse(ErrNoSpace, "Adjusted size of logical volume is 0 extents. Needs to be larger.")
	}
	return n, true, nil
}

// roundUp is a size in extents.
func (e *edit) roundUp(sectors uint64) (uint64, error) {
	vg := e.old
	n := sectors / vg.extentSize
	if n < maxExtents && sectors%vg.extentSize != 0 {
		n++
		e.note("Rounding up size to full physical extent %s", FormatSize(n*vg.extentSize))
	}
	if n > maxExtents {
		return 0, vg.tooLarge(n)
	}
	return n, nil
}

func (vg *VG) tooLarge(extents uint64) error {
	return refuse(ErrLimit, "Volume too large (%s) for extent size %s. Upper limit is less than %s.",
		FormatSize(min(extents, 1<<63/vg.extentSize)*vg.extentSize), FormatSize(vg.extentSize), FormatSize(maxExtents*vg.extentSize))
}

// newLV is a volume without segments.
func newLV(env Env, r CreateLV, owned bool) (*LV, error) {
	id, err := NewUUID(env.Rand)
	if err != nil {
		return nil, err
	}
	lv := &LV{
		Name: r.Name, ID: id, CreationTime: env.Now, CreationHost: env.Host, Allocation: r.Allocation.stored(), ReadAhead: r.ReadAhead,
		Major: -1, Minor: -1, stanza: &stanza{},
	}
	lv.Status = intern(keep([]string{"READ", "WRITE", "FIXED_MINOR", "VISIBLE"}, func(s string) bool {
		switch s {
		case "WRITE":
			return !r.ReadOnly && !owned
		case "FIXED_MINOR":
			return r.Minor != nil
		case "VISIBLE":
			return !r.Hidden
		}
		return true
	}))
	lv.place.hidden = r.Hidden
	if owned && !r.ReadOnly {
		lv.Flags = append(lv.Flags, "WRITE_LOCKED")
	}
	if r.ActivationSkip {
		lv.Flags = append(lv.Flags, "ACTIVATION_SKIP")
	}
	if r.NoAutoActivate {
		lv.Flags = append(lv.Flags, "NOAUTOACTIVATE")
	}
	for _, t := range r.Tags {
		if !ValidTag(t) {
			return nil, refuse(ErrInvalid, "Tag %s is not valid: it may have letters, digits and _+.-/=!:&#.", t)
		}
		if !slices.Contains(lv.Tags, t) {
			lv.Tags = append(lv.Tags, t)
		}
	}
	if r.Minor != nil {
		lv.Minor = *r.Minor
		if r.Major != nil {
			lv.Major = *r.Major
		}
	}
	es := make([]text.Entry, 0, 16)
	es = append(es, text.Entry{Key: "id", Value: text.String(id.String())},
		text.Entry{Key: "status", Value: text.StringList(lv.Status...)},
		text.Entry{Key: "flags", Value: text.StringList(lv.Flags...)})
	if len(lv.Tags) > 0 {
		es = append(es, text.Entry{Key: "tags", Value: text.StringList(lv.Tags...)})
	}
	if env.Now != 0 {
		es = append(es, num("creation_time", env.Now), text.Entry{Key: "creation_host", Value: text.String(env.Host)})
	}
	if lv.Allocation != AllocInherit {
		es = append(es, text.Entry{Key: "allocation_policy", Value: text.String(lv.Allocation.String())})
	}
	if v := readAheadValue(lv.ReadAhead); v.Kind != 0 {
		es = append(es, text.Entry{Key: "read_ahead", Value: v})
	}
	if r.Minor != nil {
		if r.Major != nil {
			es = append(es, num("major", lv.Major))
		}
		es = append(es, num("minor", lv.Minor))
	}
	lv.tree = &text.Section{Entries: append(es, num("segment_count", 0))}
	return lv, nil
}

func readAheadValue(r ReadAhead) text.Value {
	switch r {
	case ReadAheadAuto:
		return text.Value{}
	case ReadAheadNone:
		return text.Int(-1)
	}
	return text.Int(uint32(r))
}

func keep(s []string, which func(string) bool) []string {
	return slices.DeleteFunc(s, func(x string) bool { return !which(x) })
}

// setSegments makes the volume's tree and size fit its segments.
func (lv *LV) setSegments() {
	lv.tree = withSegments(lv.tree, lv.Segments)
	lv.Extents = 0
	if n := len(lv.Segments); n > 0 {
		lv.Extents = lv.Segments[n-1].Start + lv.Segments[n-1].Count
	}
	lv.stanza = &stanza{}
}

// mergeSegments joins segments that continue each other on every stripe, as LVM2 does.
func mergeSegments(segs []Segment) []Segment {
	out := make([]Segment, 0, len(segs))
	for _, s := range segs {
		if n := len(out); n > 0 && out[n-1].continues(&s) && s.common() {
			out[n-1].setCount(out[n-1].Count + s.Count)
			continue
		}
		out = append(out, s)
	}
	return out
}

// setCount gives the segment another length, and its section too. What else its section has stays.
func (s *Segment) setCount(n Extent) {
	s.Count = n
	if s.section != nil {
		s.section = s.section.With("extent_count", text.Int(n))
	}
}

// continues reports whether next can be made one with s.
func (s *Segment) continues(next *Segment) bool {
	if !s.plain() || !next.plain() || s.striped() != next.striped() || !s.striped() && s.Type != next.Type ||
		len(s.Stripes) != len(next.Stripes) || s.StripeSize != next.StripeSize || !slices.Equal(s.Tags, next.Tags) {
		return false
	}
	for i, a := range s.Stripes {
		if a.PV != next.Stripes[i].PV || a.Start+s.AreaLen() != next.Stripes[i].Start {
			return false
		}
	}
	return true
}
