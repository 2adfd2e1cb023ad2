package text

import (
	"slices"
	"strconv"
)

// Kind says what a Value is.
type Kind uint8

// The kinds of values. The zero Value is of none of them.
const (
	KindInt    Kind = iota + 1 // digits; a leading 0 means octal
	KindFloat                  // digits with a point
	KindString                 // text in quotes
	KindWord                   // text without quotes; a string to everyone but the printer
	KindList                   // values in brackets
)

// Value is a number, a text or a list.
type Value struct {
	Kind Kind
	// Raw is the lexeme of an integer, a float or a word; the text of a string, decoded.
	Raw string
	// List is the members of a list. It must not be changed.
	List []Value
}

// Int returns a Value for a number.
func Int[T ~int | ~int64 | ~uint64 | ~uint32 | ~int32](n T) Value {
	if n > 0 {
		return Value{Kind: KindInt, Raw: strconv.FormatUint(uint64(n), 10)}
	}
	return Value{Kind: KindInt, Raw: strconv.FormatInt(int64(n), 10)}
}

// String returns a Value for a text.
func String(s string) Value { return Value{Kind: KindString, Raw: s} }

// List returns a Value for a list.
func List(vs ...Value) Value { return Value{Kind: KindList, List: vs} }

// StringList returns a Value for a list of texts.
func StringList(s ...string) Value {
	v := Value{Kind: KindList, List: make([]Value, len(s))}
	for i := range s {
		v.List[i] = String(s[i])
	}
	return v
}

// Int returns the number of an integer, as C's strtoll reads it in base 0: a leading 0 means octal. It returns false
// for other values and for numbers beyond 64 bits.
func (v Value) Int() (int64, bool) {
	if v.Kind != KindInt {
		return 0, false
	}
	return parseInt(v.Raw)
}

// parseInt reads [+-]digits in base 0, decimal or octal: the lexer admits no letters.
func parseInt(s string) (int64, bool) {
	digits := s
	if digits != "" && (digits[0] == '+' || digits[0] == '-') {
		digits = digits[1:]
	}
	base := 10
	if len(digits) > 1 && digits[0] == '0' {
		base = 8
	}
	if digits == "" || digits[0] < '0' || digits[0] > '9' {
		return 0, false
	}
	n, err := strconv.ParseInt(s, base, 64)
	return n, err == nil
}

// Str returns the text of a string or word.
func (v Value) Str() (string, bool) {
	return v.Raw, v.Kind == KindString || v.Kind == KindWord
}

// Strings returns the texts of a list; a text alone counts as a list of one, as it does for LVM2. It returns false
// where anything is not a text.
func (v Value) Strings() ([]string, bool) {
	if s, ok := v.Str(); ok {
		return []string{s}, true
	}
	if v.Kind != KindList {
		return nil, false
	}
	out := make([]string, len(v.List))
	for i := range v.List {
		s, ok := v.List[i].Str()
		if !ok {
			return nil, false
		}
		out[i] = s
	}
	return out, true
}

// Equal reports whether two values are the same number, text or list.
func (v Value) Equal(w Value) bool {
	if a, ok := v.Int(); ok {
		b, ok := w.Int()
		return ok && a == b
	}
	if a, ok := v.Str(); ok {
		b, ok := w.Str()
		return ok && a == b
	}
	return v.Kind == w.Kind && v.Raw == w.Raw && slices.EqualFunc(v.List, w.List, Value.Equal)
}
