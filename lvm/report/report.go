package report

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Kind is what a report has a row for.
type Kind uint8

const (
	VGs        Kind = iota // each group
	PVs                    // each disk
	LVs                    // each volume
	Segments               // each segment of each volume
	PVSegments             // each run of extents of each disk, free ones too
)

// name is how JSON calls rows of a kind.
func (k Kind) name() string {
	return [...]string{"vg", "pv", "lv", "seg", "pvseg"}[k]
}

// Settings are how values are shown.
type Settings struct {
	Units    Units
	Binary   bool // 0 and 1 instead of words
	Location *time.Location
	Now      time.Time // what "yesterday" is relative to
}

// Spec says what a report is to show.
type Spec struct {
	Kind     Kind
	Fields   string // separated by commas; lv_all stands for all of a kind, "all" for all of the report's
	Sort     string // fields; one with - before it is sorted downwards
	Select   string // criteria, lvmreport(7)
	Settings Settings
	// Inside is set in a report of one group among others, as fullreport makes them.
	Inside bool
}

// Report collects rows.
type Report struct {
	spec     Spec
	kind     Kind
	columns  []column
	shown    int // the first of columns are shown; the rest is for sorting and selecting
	keys     []sortKey
	criteria criterion
	rows     [][]value
	compact  func(column) bool
}

type column struct {
	field *field
	hide  bool // taken away by compacting
}

type sortKey struct {
	column     int
	descending bool
}

// Error is a report that cannot be made.
type Error struct {
	Lines []string // what lvm2 says
	Help  bool     // list the fields or explain the criteria first
	About string   // "fields" or "selection"
}

func (e *Error) Error() string { return strings.Join(e.Lines, "\n") }

// New prepares a report.
func New(spec Spec) (*Report, error) {
	if spec.Settings.Units == (Units{}) {
		spec.Settings.Units = DefaultUnits
	}
	if spec.Settings.Location == nil {
		spec.Settings.Location = time.UTC
	}
	r := &Report{spec: spec, kind: spec.Kind}
	for name := range strings.SplitSeq(spec.Fields, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		found := r.lookup(name)
		if len(found) == 0 {
			return nil, &Error{Lines: []string{"Unrecognised field: " + name}, Help: true, About: "fields"}
		}
		for _, f := range found {
			r.columns = append(r.columns, column{field: f})
		}
	}
	r.shown = len(r.columns)
	for name := range strings.SplitSeq(spec.Sort, ",") {
		if name = strings.TrimSpace(name); name == "" {
			continue
		}
		down := name[0] == '-'
		name = strings.TrimLeft(name, "+-")
		found := r.lookup(name)
		if len(found) != 1 {
			return nil, &Error{Lines: []string{"dm_report: Unrecognised field: " + name}, Help: true, About: "fields"}
		}
		r.keys = append(r.keys, sortKey{column: r.need(found[0]), descending: down})
	}
	if strings.TrimSpace(spec.Select) != "" {
		c, err := parseSelection(r, spec.Select)
		if err != nil {
			return nil, err
		}
		r.criteria = c
	}
	return r, r.settle()
}

// need returns the column of a field, a hidden one if it is not shown.
func (r *Report) need(f *field) int {
	for i, c := range r.columns {
		if c.field == f {
			return i
		}
	}
	r.columns = append(r.columns, column{field: f})
	return len(r.columns) - 1
}

// settle finds the kind of rows that all the fields can be told of.
func (r *Report) settle() error {
	has := map[scope]bool{}
	for _, c := range r.columns {
		has[c.field.scope] = true
	}
	disks := r.spec.Kind == PVs || r.spec.Kind == PVSegments
	disk := has[ofPV] || has[ofLabel] || has[ofPVSegment] || disks
	volume := has[ofLV] || has[ofSegment] || r.spec.Kind == LVs || r.spec.Kind == Segments
	if volume && (has[ofPV] || has[ofLabel] || has[ofPVSegment]) && !disks {
		name := r.spec.Kind.name()
		if name == "seg" {
			name = "lv"
		}
		return &Error{Lines: []string{fmt.Sprintf(
			"Can't report LV and PV fields at the same time in %sreport type \"%s\".", r.sub(), name)}}
	}
	kind := r.spec.Kind
	switch {
	case has[ofPVSegment] || kind == PVSegments || disk && volume:
		kind = PVSegments
	case disk:
		kind = PVs
	case has[ofSegment] || kind == Segments:
		kind = Segments
	case volume:
		kind = LVs
	}
	if r.spec.Inside && kind != r.spec.Kind {
		return &Error{Lines: []string{fmt.Sprintf("Subreport of type \"%s\" contains columns which lead to change of "+
			"report type. Add these columns to proper subreport type.", r.spec.Kind.name())}}
	}
	r.kind = kind
	return nil
}

func (r *Report) sub() string {
	if r.spec.Inside {
		return "sub"
	}
	return ""
}

// Kind is which rows Add wants.
func (r *Report) Kind() Kind { return r.kind }

// Add takes a row, unless the criteria say no, and reports whether it did.
func (r *Report) Add(row *Row) bool {
	values := make([]value, len(r.columns))
	for i := range r.columns {
		values[i] = r.columns[i].field.get(&r.spec.Settings, row)
	}
	selected := r.criteria == nil || r.criteria.match(values)
	tells := false // whether a column says what is selected; then all rows are shown
	for i := range r.shown {
		if r.columns[i].field == selectedField {
			values[i] = value{text: "0"}
			if selected {
				values[i] = number(1)
			}
			tells = true
		}
	}
	if selected || tells {
		r.rows = append(r.rows, values)
	}
	return selected
}

// Len is how many rows there are.
func (r *Report) Len() int { return len(r.rows) }

// Compact takes away columns in which no row has anything; with names, only those of them.
func (r *Report) Compact(names string) error {
	if names == "" {
		r.compact = func(column) bool { return true }
		return nil
	}
	var fields []*field
	for name := range strings.SplitSeq(names, ",") {
		found := r.lookup(strings.TrimSpace(name))
		if len(found) == 0 {
			return &Error{Lines: []string{"Unrecognised field: " + name}, Help: true, About: "fields"}
		}
		fields = append(fields, found...)
	}
	r.compact = func(c column) bool { return slices.Contains(fields, c.field) }
	return nil
}

// sorted returns the rows in the order in which they are shown.
func (r *Report) sorted() [][]value {
	slices.SortStableFunc(r.rows, func(a, b []value) int {
		for _, k := range r.keys {
			c := r.columns[k.column].field.kind.compare(a[k.column], b[k.column])
			if k.descending {
				c = -c
			}
			if c != 0 {
				return c
			}
		}
		return 0
	})
	return r.rows
}

// visible are the columns that are shown.
func (r *Report) visible() []int {
	var is []int
	for i := range r.shown {
		if r.compact != nil && r.compact(r.columns[i]) {
			empty := true
			for _, row := range r.rows {
				empty = empty && row[i].text == ""
			}
			if empty {
				continue
			}
		}
		is = append(is, i)
	}
	return is
}
