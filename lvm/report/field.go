package report

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"morgana/lvm/metadata"
)

// Row is what a report's line is about. Which parts are set depends on the report's Kind.
type Row struct {
	Group   *Group
	PV      *PV
	LV      *metadata.LV
	Segment *metadata.Segment
	// Run is a run of extents of PV, in reports of PVSegments.
	Run *Run
}

// Run is a run of extents of a disk: those of one segment, or free ones.
type Run struct {
	Start, Count metadata.Extent
}

// scope is what a field tells of.
type scope uint8

const (
	ofLV scope = iota
	ofLabel
	ofPV
	ofVG
	ofSegment
	ofPVSegment
	ofReport
)

// prefix begins the names of a scope's fields, and names all of them with "all" behind it.
func (s scope) prefix() string {
	return [...]string{"lv_", "pv_", "pv_", "vg_", "seg_", "pvseg_", ""}[s]
}

func (s scope) title() string {
	return [...]string{
		"Logical Volume", "Physical Volume Label", "Physical Volume", "Volume Group",
		"Logical Volume Segment", "Physical Volume Segment", "Special",
	}[s]
}

// field is one that a report may have.
type field struct {
	id      string
	heading string
	scope   scope
	kind    valueKind
	width   int // least width of its column; 0 is that of the heading
	get     func(*Settings, *Row) value
	words   []reserved
	about   string
}

// reserved are words that stand for a value in criteria.
type reserved struct {
	words []string
	num   uint64
	key   string
}

// selectedField tells which rows the criteria select; with it all are shown.
var selectedField = &field{
	id: "selected", heading: "Selected", scope: ofReport, kind: numberKind,
	about: "1 if the row fulfils the criteria; all rows are shown then",
	get:   func(*Settings, *Row) value { return number(0) },
}

// prefix is what may be left out of field names.
func (k Kind) prefix() string {
	return [...]string{"vg_", "pv_", "lv_", "seg_", "pvseg_"}[k]
}

// scopes are those of which "all" means the fields.
func (k Kind) scopes() []scope {
	switch k {
	case PVs:
		return []scope{ofLabel, ofPV}
	case LVs:
		return []scope{ofLV}
	case Segments:
		return []scope{ofSegment}
	case PVSegments:
		return []scope{ofPVSegment}
	}
	return []scope{ofVG}
}

// bare is a name without what people leave out.
func bare(name string) string { return strings.ReplaceAll(strings.ToLower(name), "_", "") }

// lookup finds the fields that a name stands for.
func (r *Report) lookup(name string) []*field {
	b := bare(name)
	if b == "all" {
		want := r.spec.Kind.scopes()
		for _, other := range strings.FieldsFunc(r.spec.Fields+","+r.spec.Sort, func(c rune) bool { return c == ',' }) {
			if other = strings.TrimLeft(strings.TrimSpace(other), "+-"); bare(other) == "all" {
				continue
			}
			for _, f := range r.lookup(other) {
				want = append(want, f.scope)
			}
		}
		return allOf(want...)
	}
	if p, ok := strings.CutSuffix(b, "all"); ok {
		var want []scope
		for s := ofLV; s <= ofPVSegment; s++ {
			if bare(s.prefix()) == p {
				want = append(want, s)
			}
		}
		if len(want) > 0 {
			return allOf(want...)
		}
	}
	prefix := bare(r.spec.Kind.prefix())
	for _, f := range fields() {
		if n := bare(f.id); n == b || n == prefix+b {
			return []*field{f}
		}
	}
	if b == "selected" {
		return []*field{selectedField}
	}
	return nil
}

func allOf(want ...scope) []*field {
	var found []*field
	for _, f := range fields() {
		if slices.Contains(want, f.scope) {
			found = append(found, f)
		}
	}
	return found
}

// WriteFields lists all fields.
func WriteFields(w io.Writer) {
	last := ofReport
	for _, f := range fields() {
		if f.scope != last {
			title := f.scope.title() + " Fields"
			fmt.Fprintf(w, "  %s\n  %s\n    %-27s - %s\n", title, strings.Repeat("-", len(title)), f.scope.prefix()+"all",
				"All fields of this section.")
			last = f.scope
		}
		fmt.Fprintf(w, "    %-27s - %s [%s]\n", f.id, f.about, f.kind)
	}
	fmt.Fprintf(w, "  Special Fields\n  --------------\n    %-27s - %s [%s]\n", selectedField.id, selectedField.about, selectedField.kind)
	fmt.Fprintf(w, "    %-27s - %s\n", "help", "This list.")
}

// Names are the names of all fields, for completion.
func Names() []string {
	var names []string
	for _, f := range fields() {
		names = append(names, f.id)
	}
	return names
}

// EditFields applies what follows -o to a list of fields: +more, -fewer, or a new list. The last result are fields
// that are to be shown only if they have something in them: #field.
func EditFields(k Kind, fields, edit string) (result, compact string) {
	switch {
	case strings.HasPrefix(edit, "+"):
		return strings.Trim(fields+","+edit[1:], ","), ""
	case strings.HasPrefix(edit, "-"):
		prefix := bare(k.prefix())
		short := func(s string) string { return strings.TrimPrefix(bare(s), prefix) }
		list := strings.Split(fields, ",")
		for name := range strings.SplitSeq(edit[1:], ",") {
			list = slices.DeleteFunc(list, func(f string) bool { return short(f) == short(name) })
		}
		return strings.Join(list, ","), ""
	case strings.HasPrefix(edit, "#"):
		return fields, edit[1:]
	}
	return edit, ""
}
