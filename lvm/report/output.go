package report

import (
	"bufio"
	"encoding/json"
	"io"
	"strings"
)

// Format is how a report is written.
type Format struct {
	Separator  string
	Aligned    bool
	Headings   bool
	Prefixes   bool // LVM2_LV_NAME='root'
	Unquoted   bool // with Prefixes
	Rows       bool // columns as rows
	Unbuffered bool // each row at once, so in the order in which they came
}

// DefaultFormat is columns under headings.
var DefaultFormat = Format{Separator: " ", Aligned: true, Headings: true}

// indent begins each line of a report.
const indent = "  "

// Write writes the report as a table.
func (r *Report) Write(w io.Writer, f Format) error {
	b := bufio.NewWriter(w)
	rows := r.rows
	if !f.Unbuffered {
		rows = r.sorted()
	}
	columns := r.visible()
	f.Aligned = f.Aligned && !f.Prefixes && !f.Rows
	switch {
	case f.Rows:
		r.writeTurned(b, f, rows, columns)
	case f.Unbuffered:
		for i := range rows {
			r.writeTable(b, f, rows[i:i+1], columns)
			f.Headings = false
		}
	default:
		r.writeTable(b, f, rows, columns)
	}
	return b.Flush()
}

// writeTable writes a line for each row.
func (r *Report) writeTable(b *bufio.Writer, f Format, rows [][]value, columns []int) {
	widths := make([]int, len(columns))
	for n, i := range columns {
		if widths[n] = r.columns[i].field.width; widths[n] == 0 {
			widths[n] = len(r.columns[i].field.heading)
		}
		for _, row := range rows {
			widths[n] = max(widths[n], len(row[i].text))
		}
	}
	if f.Headings && len(rows) > 0 {
		b.WriteString(indent)
		for n, i := range columns {
			if n > 0 {
				b.WriteString(f.Separator)
			}
			h := r.columns[i].field.heading
			if f.Aligned {
				h = h[:min(len(h), widths[n])]
				b.WriteString(h)
				spaces(b, widths[n]-len(h))
			} else {
				b.WriteString(h)
			}
		}
		b.WriteByte('\n')
	}
	for _, row := range rows {
		b.WriteString(indent)
		for n, i := range columns {
			if n > 0 {
				b.WriteString(f.Separator)
			}
			r.cell(b, f, i, row[i], widths[n])
		}
		b.WriteByte('\n')
	}
}

func (r *Report) cell(b *bufio.Writer, f Format, i int, v value, width int) {
	quote := ""
	if f.Prefixes {
		b.WriteString("LVM2_" + strings.ToUpper(r.columns[i].field.id) + "=")
		if !f.Unquoted {
			quote = "'"
		}
	}
	b.WriteString(quote)
	pad := 0
	if f.Aligned {
		pad = width - len(v.text)
	}
	if r.columns[i].field.kind.right() {
		spaces(b, pad)
		pad = 0
	}
	b.WriteString(v.text)
	spaces(b, pad)
	b.WriteString(quote)
}

func spaces(b *bufio.Writer, n int) {
	for ; n > 0; n-- {
		b.WriteByte(' ')
	}
}

// writeTurned writes a line for each column.
func (r *Report) writeTurned(b *bufio.Writer, f Format, rows [][]value, columns []int) {
	for _, i := range columns {
		b.WriteString(indent)
		if f.Headings {
			b.WriteString(r.columns[i].field.heading + f.Separator)
		}
		for n, row := range rows {
			if n > 0 {
				b.WriteString(f.Separator)
			}
			r.cell(b, f, i, row[i], 0)
		}
		b.WriteByte('\n')
	}
}

// JSON writes reports as lvm2's JSON: one object for each group of reports, in it an array for each report.
type JSON struct {
	// Standard uses JSON's own numbers, null and arrays, as --reportformat json_std; else all is strings.
	Standard bool
	groups   [][]*Report
}

// Append adds an object with the reports' rows.
func (j *JSON) Append(reports ...*Report) { j.groups = append(j.groups, reports) }

// Write writes it all.
func (j *JSON) Write(w io.Writer) error {
	b := bufio.NewWriter(w)
	b.WriteString("  {\n      \"report\": [\n")
	for g, reports := range j.groups {
		if g > 0 {
			b.WriteString("          ,\n")
		}
		b.WriteString("          {\n")
		for n, r := range reports {
			if n > 0 {
				b.WriteString("              ,\n")
			}
			b.WriteString("              \"" + r.jsonName() + "\": [\n")
			r.writeJSON(b, j.Standard)
			b.WriteString("              ]\n")
		}
		b.WriteString("          }\n")
	}
	b.WriteString("      ]\n  }\n")
	return b.Flush()
}

// jsonName is the kind that was asked for, not the one it became.
func (r *Report) jsonName() string {
	if r.spec.Inside {
		return r.spec.Kind.name()
	}
	switch r.spec.Kind {
	case Segments:
		return "seg"
	case PVSegments:
		return "pvseg"
	}
	return r.spec.Kind.name()
}

func (r *Report) writeJSON(b *bufio.Writer, standard bool) {
	rows, columns := r.sorted(), r.visible()
	for n, row := range rows {
		b.WriteString("                  {")
		for c, i := range columns {
			if c > 0 {
				b.WriteString(", ")
			}
			b.WriteString(`"` + r.columns[i].field.id + `":`)
			b.WriteString(r.jsonValue(i, row[i], standard))
		}
		b.WriteByte('}')
		if n < len(rows)-1 {
			b.WriteByte(',')
		}
		b.WriteByte('\n')
	}
}

func (r *Report) jsonValue(i int, v value, standard bool) string {
	kind := r.columns[i].field.kind
	switch {
	case !standard:
	case kind == listKind:
		parts := make([]string, len(v.list))
		for n, s := range v.list {
			parts[n] = quoted(s)
		}
		return "[" + strings.Join(parts, ",") + "]"
	case kind == numberKind || kind == percentKind:
		if v.text == "" {
			return "null"
		}
		if json.Valid([]byte(v.text)) {
			return v.text
		}
	}
	return quoted(v.text)
}

// quoted is a JSON string, without the escapes that only HTML needs.
func quoted(s string) string {
	plain := true
	for i := range len(s) {
		plain = plain && s[i] >= 0x20 && s[i] != '"' && s[i] != '\\' && s[i] < 0x7f
	}
	if plain {
		return `"` + s + `"`
	}
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(s) // a string always encodes
	return strings.TrimSuffix(b.String(), "\n")
}
