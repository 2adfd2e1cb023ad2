package report

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// Kind is of what sort a field's values are.
type valueKind uint8

const (
	textKind valueKind = iota
	numberKind
	sizeKind
	percentKind
	listKind
	timeKind
	binaryKind // a number that is shown as a word
)

// value is one cell.
type value struct {
	text string   // as it is shown
	key  string   // what a text field is compared with
	num  uint64   // what a number, a time or a percentage is compared with
	size float64  // sectors
	list []string // in the order in which it is shown
}

// undefined is the number of what has none; it is larger than all others and greater than nothing.
const undefined = math.MaxUint64

// maxSize is the size that stands for none.
const maxSize = math.MaxFloat64

func text(s string) value { return value{text: s, key: s} }

// textKey shows one text and is compared with another.
func textKey(s, key string) value { return value{text: s, key: key} }

func number(n uint64) value { return value{text: strconv.FormatUint(n, 10), num: n} }

// signed is a number that may be negative: -1 counts as undefined.
func signed(n int64) value { return value{text: strconv.FormatInt(n, 10), num: uint64(n)} }

// none is a number that there is not.
func none() value { return value{num: undefined, size: math.MaxUint64} }

// unknown is a word that only a running kernel knows.
func unknown(s *Settings) value {
	if s.Binary {
		return value{text: "-1", num: undefined}
	}
	return value{text: "unknown", num: undefined}
}

func size(s *Settings, sectors uint64) value {
	return value{text: s.Units.Size(sectors), size: float64(sectors)}
}

func yes(s *Settings, is bool, word string) value {
	switch {
	case is && s.Binary:
		return value{text: "1", num: 1}
	case is:
		return value{text: word, num: 1}
	case s.Binary:
		return value{text: "0"}
	}
	return value{}
}

// list shows items in their order.
func list(items []string, separator string) value {
	return value{text: strings.Join(items, separator), list: items}
}

// sortedList shows items in alphabetical order.
func sortedList(items []string) value {
	items = slices.Sorted(slices.Values(items))
	return list(items, ",")
}

// compare orders two values of a field.
func (k valueKind) compare(a, b value) int {
	switch k {
	case numberKind, timeKind, binaryKind, percentKind:
		switch {
		case a.num < b.num:
			return -1
		case a.num > b.num:
			return 1
		}
		return 0
	case sizeKind:
		switch {
		case a.size < b.size:
			return -1
		case a.size > b.size:
			return 1
		}
		return 0
	case listKind:
		return strings.Compare(a.text, b.text)
	}
	return strings.Compare(a.key, b.key)
}

func (k valueKind) String() string {
	return [...]string{"string", "number", "size", "percent", "string list", "time", "number"}[k]
}

// right reports whether a column of such values is aligned at its right end.
func (k valueKind) right() bool { return k == numberKind || k == sizeKind || k == binaryKind }
