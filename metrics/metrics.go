package metrics

import (
	"math"
	"slices"
	"strconv"
)

// Kind is what a family's values are.
type Kind uint8

// The kinds that are written. Others are read as Untyped.
const (
	Untyped Kind = iota
	CounterKind
	GaugeKind
	HistogramKind
)

var kindText = [...]string{"untyped", "counter", "gauge", "histogram"}

func (k Kind) String() string { return kindText[k] }

// Label is a name and what it is for a sample.
type Label struct{ Name, Value string }

// Sample is a value. Suffix follows the family's name: "_bucket", "_sum" and "_count" of a histogram, else "".
type Sample struct {
	Suffix string
	Labels []Label
	Value  float64
}

// Label is the value of a label, "" if the sample has none of that name.
func (s *Sample) Label(name string) string {
	for _, l := range s.Labels {
		if l.Name == name {
			return l.Value
		}
	}
	return ""
}

// Family is samples of one name.
type Family struct {
	Name, Help string
	Kind       Kind
	Samples    []Sample
}

// Set is families, in the order in which they came. The zero value is empty. Not safe for concurrent use.
type Set struct {
	Families []Family

	index map[string]int
}

// Histogram is how many observations there were up to each bound.
type Histogram struct {
	Bounds []float64 // ascending, without the infinite one
	Counts []uint64  // of each bucket by itself; one more than Bounds, the last for what is beyond them
	Sum    float64   // of all that was observed
}

// Counter adds the value of something that only grows. Labels are names and values in turn.
func (s *Set) Counter(name, help string, v float64, labels ...string) {
	s.family(name, help, CounterKind).add("", v, labels)
}

// Gauge adds the value of something that goes up and down.
func (s *Set) Gauge(name, help string, v float64, labels ...string) {
	s.family(name, help, GaugeKind).add("", v, labels)
}

// Histogram adds a histogram.
func (s *Set) Histogram(name, help string, h Histogram, labels ...string) {
	f := s.family(name, help, HistogramKind)
	total := uint64(0)
	for i, n := range h.Counts {
		total += n
		bound := math.Inf(1)
		if i < len(h.Bounds) {
			bound = h.Bounds[i]
		}
		f.add("_bucket", float64(total), append(labels[:len(labels):len(labels)], "le", number(bound)))
	}
	f.add("_sum", h.Sum, labels)
	f.add("_count", float64(total), labels)
}

// Merge adds all of another set's samples with more labels.
func (s *Set) Merge(o *Set, labels ...string) {
	for i := range o.Families {
		from := &o.Families[i]
		f := s.family(from.Name, from.Help, from.Kind)
		for _, x := range from.Samples {
			x.Labels = append(pairs(labels), x.Labels...)
			f.Samples = append(f.Samples, x)
		}
	}
}

// Family finds a family, nil if there is none of that name.
func (s *Set) Family(name string) *Family {
	if i, ok := s.index[name]; ok {
		return &s.Families[i]
	}
	return nil
}

func (s *Set) family(name, help string, k Kind) *Family {
	if s.index == nil {
		s.index = make(map[string]int)
	}
	i, ok := s.index[name]
	if !ok {
		i = len(s.Families)
		s.index[name] = i
		s.Families = append(s.Families, Family{Name: name, Help: help, Kind: k})
	}
	return &s.Families[i]
}

func (f *Family) add(suffix string, v float64, labels []string) {
	f.Samples = append(f.Samples, Sample{Suffix: suffix, Labels: pairs(labels), Value: v})
}

func pairs(labels []string) []Label {
	l := make([]Label, 0, len(labels)/2+1)
	for p := range slices.Chunk(labels, 2) {
		if len(p) == 2 {
			l = append(l, Label{p[0], p[1]})
		}
	}
	return l
}

// Append appends the text. Every family is in one piece, as the format wants it.
func (s *Set) Append(dst []byte) []byte {
	for i := range s.Families {
		f := &s.Families[i]
		if f.Help != "" {
			dst = append(append(dst, "# HELP "...), f.Name...)
			dst = appendEscaped(append(dst, ' '), f.Help, false)
			dst = append(dst, '\n')
		}
		dst = append(append(dst, "# TYPE "...), f.Name...)
		dst = append(append(dst, ' '), f.Kind.String()...)
		dst = append(dst, '\n')
		for j := range f.Samples {
			dst = appendSample(dst, f.Name, &f.Samples[j])
		}
	}
	return dst
}

func appendSample(dst []byte, name string, x *Sample) []byte {
	dst = append(append(dst, name...), x.Suffix...)
	for i, l := range x.Labels {
		sep := byte(',')
		if i == 0 {
			sep = '{'
		}
		dst = append(append(dst, sep), l.Name...)
		dst = appendEscaped(append(dst, `="`...), l.Value, true)
		dst = append(dst, '"')
	}
	if len(x.Labels) > 0 {
		dst = append(dst, '}')
	}
	dst = append(append(dst, ' '), number(x.Value)...)
	return append(dst, '\n')
}

// appendEscaped escapes what would end a value or a line. What is no UTF-8 is replaced: the format has nothing else.
func appendEscaped(dst []byte, s string, quoted bool) []byte {
	for _, r := range s {
		switch {
		case r == '\n':
			dst = append(dst, `\n`...)
		case r == '\\':
			dst = append(dst, `\\`...)
		case r == '"' && quoted:
			dst = append(dst, `\"`...)
		default:
			dst = append(dst, string(r)...)
		}
	}
	return dst
}

func number(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	case math.IsNaN(v):
		return "NaN"
	case v == math.Trunc(v) && math.Abs(v) < 1<<53:
		return strconv.FormatFloat(v, 'f', -1, 64)
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
