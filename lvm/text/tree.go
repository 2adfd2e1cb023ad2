package text

import "slices"

// Section is an ordered list of entries. The zero value and nil are empty sections.
type Section struct {
	// Entries must not be changed. Keys may repeat, as LVM2 allows on disk; the first one counts.
	Entries []Entry
}

// Entry is a key with a value, or with a section where Section is not nil.
type Entry struct {
	Key     string
	Value   Value
	Section *Section
}

// Lookup returns the value of key and whether there is one.
func (s *Section) Lookup(key string) (Value, bool) {
	if i := s.index(key, false); i >= 0 {
		return s.Entries[i].Value, true
	}
	return Value{}, false
}

// Sub returns the section named key, nil where there is none.
func (s *Section) Sub(key string) *Section {
	if i := s.index(key, true); i >= 0 {
		return s.Entries[i].Section
	}
	return nil
}

// Int returns the integer of key and whether there is one.
func (s *Section) Int(key string) (int64, bool) {
	v, _ := s.Lookup(key)
	return v.Int()
}

// Str returns the string of key and whether there is one.
func (s *Section) Str(key string) (string, bool) {
	v, _ := s.Lookup(key)
	return v.Str()
}

// With returns s with key set to v: in the place that key has, or else after the last value and before the first
// section behind it.
func (s *Section) With(key string, v Value) *Section {
	return s.with(Entry{Key: key, Value: v})
}

// WithBefore is like With, but a key that is new goes before the first of the keys that exists.
func (s *Section) WithBefore(key string, v Value, before ...string) *Section {
	e := Entry{Key: key, Value: v}
	if s.index(key, false) >= 0 {
		return s.with(e)
	}
	for i := 0; s != nil && i < len(s.Entries); i++ {
		if slices.Contains(before, s.Entries[i].Key) {
			return s.insert(i, e)
		}
	}
	return s.with(e)
}

// WithSection returns s with the section key set to sub: in the place that it has, or else at the end.
func (s *Section) WithSection(key string, sub *Section) *Section {
	if sub == nil {
		sub = &Section{}
	}
	return s.with(Entry{Key: key, Section: sub})
}

// Without returns s without any entry named key.
func (s *Section) Without(key string) *Section {
	if s == nil || !slices.ContainsFunc(s.Entries, func(e Entry) bool { return e.Key == key }) {
		return s
	}
	return &Section{slices.DeleteFunc(slices.Clone(s.Entries), func(e Entry) bool { return e.Key == key })}
}

// index is where the first value or section named key is, or -1.
func (s *Section) index(key string, section bool) int {
	if s == nil {
		return -1
	}
	for i := range s.Entries {
		if e := &s.Entries[i]; e.Key == key && (e.Section != nil) == section {
			return i
		}
	}
	return -1
}

func (s *Section) with(e Entry) *Section {
	if s == nil {
		return &Section{[]Entry{e}}
	}
	if i := s.index(e.Key, e.Section != nil); i >= 0 {
		es := slices.Clone(s.Entries)
		es[i] = e
		return &Section{es}
	}
	i := len(s.Entries)
	for e.Section == nil && i > 0 && s.Entries[i-1].Section != nil {
		i--
	}
	return s.insert(i, e)
}

func (s *Section) insert(i int, e Entry) *Section {
	es := make([]Entry, 0, len(s.Entries)+1)
	es = append(append(append(es, s.Entries[:i]...), e), s.Entries[i:]...)
	return &Section{es}
}

// Equal reports whether two trees have the same keys and values in the same order. Integers are equal when they are
// the same number, however they are written; strings when they are the same text, however quoted.
func (s *Section) Equal(t *Section) bool {
	if s == nil || t == nil {
		return (s == nil || len(s.Entries) == 0) && (t == nil || len(t.Entries) == 0)
	}
	return slices.EqualFunc(s.Entries, t.Entries, func(a, b Entry) bool {
		if a.Key != b.Key || (a.Section == nil) != (b.Section == nil) {
			return false
		}
		return a.Section != nil && a.Section.Equal(b.Section) || a.Section == nil && a.Value.Equal(b.Value)
	})
}
