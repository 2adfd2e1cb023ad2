package metadata

import (
	"slices"
	"strconv"
	"strings"
)

// Selector is what a user names physical volumes with: a device, perhaps with ranges of extents, or a tag.
//
//	/dev/sda            all of it
//	/dev/sda:0-99:200-  extents 0 to 99 and from 200 on
//	/dev/sda:50         extent 50
//	/dev/sda:50+10      ten extents from 50 on
//	@fast               every volume with the tag fast
//
// A backslash makes a ':' or '@' part of a device's name.

// splitSelector separates a device name and what follows its first ':' that has no backslash before it.
func splitSelector(s string) (name, ranges string, tag bool) {
	if strings.HasPrefix(s, "@") {
		return s[1:], "", true
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '\\' && i+1 < len(s) && (s[i+1] == ':' || s[i+1] == '@'):
			i++
			b.WriteByte(s[i])
		case s[i] == ':':
			return b.String(), s[i:], false
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), "", false
}

// everywhere is all physical volumes, in the order of the text.
func (vg *VG) everywhere() []pvRange {
	all := make([]pvRange, len(vg.pvs))
	for i := range all {
		all[i] = pvRange{pv: i, whole: true}
	}
	return all
}

// selectPVs resolves what a user has named, in that order. With allocatable, volumes that cannot give anything are left
// out with a warning.
func (e *edit) selectPVs(selectors []string, allocatable bool) ([]pvRange, error) {
	vg := e.old
	if len(selectors) == 0 {
		return vg.everywhere(), nil
	}
	var list []pvRange
	add := func(i int, ranges string) error {
		pv := vg.pvs[i]
		if allocatable {
			switch {
			case !pv.Allocatable():
				e.warn("WARNING: Physical volume %s not allocatable.", pv.Device)
				return nil
			case pv.Missing():
				e.warn("WARNING: Physical volume %s is missing.", pv.Device)
				return nil
			case vg.spaces[i].unused == 0:
				e.warn("WARNING: No free extents on physical volume \"%s\".", pv.Device)
				return nil
			}
		}
		at := slices.IndexFunc(list, func(r pvRange) bool { return r.pv == i })
		if at < 0 {
			list, at = append(list, pvRange{pv: i, whole: ranges == ""}), len(list)
		} else {
			list[at].whole = false
		}
		return list[at].parse(ranges, pv)
	}
	for _, s := range selectors {
		name, ranges, tag := splitSelector(s)
		if tag {
			if !ValidTag(name) {
				e.warn("Skipping invalid tag %s.", name)
				continue
			}
			for i, pv := range vg.pvs {
				if slices.Contains(pv.Tags, name) {
					if err := add(i, ""); err != nil {
						return nil, err
					}
				}
			}
			continue
		}
		i := vg.deviceIndex(name)
		if i < 0 {
			return nil, refuse(ErrNotFound, "Physical Volume \"%s\" not found in Volume Group \"%s\".", name, vg.name)
		}
		if err := add(i, ranges); err != nil {
			return nil, err
		}
	}
	if len(list) == 0 {
		return nil, refuse(ErrNoSpace, "No specified PVs have space available.")
	}
	return list, nil
}

// parse adds the ranges ":a-b:c+n…" of extents of pv; none are all of it.
func (r *pvRange) parse(s string, pv *PV) error {
	size := uint64(pv.PECount)
	if s == "" {
		return r.add(0, size, pv)
	}
	for s != "" {
		s = s[1:] // the ':'
		if s == "" || s[0] == ':' {
			return refuse(ErrInvalid, "Physical extent parsing error at %s.", s)
		}
		start, end := uint64(0), size-1
		n, rest, ok := leadingNumber(s)
		if ok {
			if start, s = n, rest; s == "" || s[0] == ':' {
				end = start
			}
		}
		if s != "" && (s[0] == '-' || s[0] == '+') {
			sign := s[0]
			s = s[1:]
			if n, rest, ok := leadingNumber(s); ok {
				s = rest
				if end = n; sign == '+' {
					end = start + max(n, 1) - 1
				}
			}
		}
		if s != "" && s[0] != ':' {
			return refuse(ErrInvalid, "Physical extent parsing error at %s.", s)
		}
		if start > end || size == 0 || end > size-1 {
			return refuse(ErrInvalid, "PE range error: start extent %d to end extent %d.", start, end)
		}
		if err := r.add(start, end-start+1, pv); err != nil {
			return err
		}
	}
	return nil
}

func leadingNumber(s string) (n uint64, rest string, ok bool) {
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	n, err := strconv.ParseUint(s[:i], 10, 32)
	return n, s[i:], err == nil
}

func (r *pvRange) add(start, count uint64, pv *PV) error {
	end := start + count
	for _, o := range r.runs {
		if start < uint64(o.start)+uint64(o.count) && end > uint64(o.start) {
			return refuse(ErrInvalid, "Overlapping PE ranges specified (%d-%d, %d-%d) on %s.",
				start, end-1, o.start, o.start+o.count-1, pv.Device)
		}
	}
	r.runs = append(r.runs, extentRun{r.pv, Extent(start), Extent(count)})
	return nil
}

// freeOf is how many extents are free of what was selected.
func (vg *VG) freeOf(list []pvRange) (n Extent) {
	for _, r := range list {
		if r.whole {
			n += vg.spaces[r.pv].unused
			continue
		}
		for _, run := range r.runs {
			for free := range vg.spaces[r.pv].freeWithin(run.start, run.count) {
				n += free.count
			}
		}
	}
	return n
}
