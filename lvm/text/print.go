package text

import (
	"slices"
	"strings"
	"time"
)

// Printer prints trees in one of LVM2's two layouts. The zero Printer prints as on disk.
type Printer struct {
	// File asks for the layout of backup files, with indentation and comments.
	File bool
	// ExtentSize, in sectors, is for the comments that give sizes.
	ExtentSize uint64
	// Zone is for the comments that give times; nil is UTC.
	Zone *time.Location
}

// AppendDisk appends a whole text as it stands on disk: the volume group first, then the header.
func (s *Section) AppendDisk(dst []byte) []byte {
	p := Printer{}
	return s.appendHeader(s.appendSections(dst, p), p)
}

// AppendFile appends a whole text in the layout of backup files: the header first, then the volume group.
func (s *Section) AppendFile(dst []byte) []byte {
	p := Printer{File: true}
	for _, e := range s.entries() {
		if n, ok := e.Section.Int("extent_size"); ok && n > 0 {
			p.ExtentSize = uint64(n)
			break
		}
	}
	return s.appendSections(s.appendHeader(dst, p), p)
}

func (s *Section) appendSections(dst []byte, p Printer) []byte {
	for _, e := range s.entries() {
		if e.Section != nil {
			dst = p.Stanza(dst, e.Key, e.Section, Top.Inside(e.Key), 0)
		}
	}
	return dst
}

func (s *Section) appendHeader(dst []byte, p Printer) []byte {
	if _, ok := s.Lookup("contents"); ok {
		return p.AppendHeader(dst, HeaderOf(s), s)
	}
	for _, e := range s.entries() {
		if e.Section == nil {
			dst = p.value(dst, s, &e, Top, 0)
		}
	}
	return dst
}

// entries is Entries, also of a nil section.
func (s *Section) entries() []Entry {
	if s == nil {
		return nil
	}
	return s.Entries
}

// Append appends the entries of s, which stands at a place, depth sections deep.
func (p Printer) Append(dst []byte, s *Section, at Place, depth int) []byte {
	if s == nil {
		return dst
	}
	var prev *Entry
	for i := range s.Entries {
		e := &s.Entries[i]
		dst = p.AppendEntry(dst, s, prev, e, at, depth)
		prev = e
	}
	return dst
}

// AppendEntry appends the entry e of the section s at a place, depth sections deep, with the blank line that belongs
// between it and prev, which is nil for the first one.
func (p Printer) AppendEntry(dst []byte, s *Section, prev, e *Entry, at Place, depth int) []byte {
	if at.blankBefore(prev, e) {
		dst = append(dst, '\n')
	}
	if e.Section == nil {
		return p.value(dst, s, e, at, depth)
	}
	if at == Group {
		return p.inGroup(dst, prev, e, depth)
	}
	return p.Stanza(dst, e.Key, e.Section, at.Inside(e.Key), depth)
}

// Stanza appends the section s with its name and braces; it stands at a place, and its name depth sections deep.
func (p Printer) Stanza(dst []byte, key string, s *Section, at Place, depth int) []byte {
	dst = appendKey(p.indent(dst, depth, at), key)
	dst = append(dst, " {\n"...)
	if at == Group {
		dst = p.group(dst, s, depth+1)
	} else {
		dst = p.Append(dst, s, at, depth+1)
	}
	return append(p.indent(dst, depth, at), "}\n"...)
}

// group appends the inside of a volume group. Three lists follow its keys, with a blank line after each place where
// one may be, whether it is there or not.
func (p Printer) group(dst []byte, s *Section, depth int) []byte {
	if s == nil {
		return dst
	}
	var prev *Entry
	var pvs, lvs, rest []*Entry
	for i := range s.Entries {
		switch e := &s.Entries[i]; {
		case e.Section == nil:
			dst = p.AppendEntry(dst, s, prev, e, Group, depth)
			prev = e
		case e.Key == "physical_volumes":
			pvs = append(pvs, e)
		case e.Key == "logical_volumes":
			lvs = append(lvs, e)
		default:
			rest = append(rest, e)
		}
	}
	for _, list := range [][]*Entry{pvs, lvs, rest} {
		dst = append(dst, '\n')
		for _, e := range list {
			if e.Key == "logical_volumes" && len(e.Section.Entries) == 0 {
				continue // LVM2 leaves it out
			}
			dst = p.Stanza(dst, e.Key, e.Section, Group.Inside(e.Key), depth)
		}
	}
	return dst
}

// inGroup appends one section of a volume group that is printed alone.
func (p Printer) inGroup(dst []byte, _, e *Entry, depth int) []byte {
	return p.Stanza(append(dst, '\n'), e.Key, e.Section, Group.Inside(e.Key), depth)
}

// maxIndent is how deep LVM2 indents at most.
const maxIndent = 5

func (p Printer) indent(dst []byte, depth int, at Place) []byte {
	if at == Settings && !p.File {
		depth = max(0, depth-segmentDepth) // the one thing that is indented on disk
	} else if !p.File {
		return dst
	}
	for range min(depth, maxIndent) {
		dst = append(dst, '\t')
	}
	return dst
}

// segmentDepth is how many sections deep the keys of a segment stand.
const segmentDepth = 4

// value appends the line of a value, or the lines of a list of areas.
func (p Printer) value(dst []byte, s *Section, e *Entry, at Place, depth int) []byte {
	dst = p.indent(dst, depth, at)
	begin := len(dst)
	dst = appendKey(dst, e.Key)
	if at == Settings {
		dst = append(AppendValue(append(dst, '='), e.Value), '\n')
		return dst
	}
	dst = append(dst, " = "...)
	if at == Segment && isAreas(e) {
		return p.areas(dst, e, depth)
	}
	dst = AppendValue(dst, e.Value)
	if p.File {
		dst = p.comment(dst, len(dst)-begin, s, e, at, depth)
	}
	return append(dst, '\n')
}

// areas appends a list with one area in a line: two members, but only one for RAID without metadata.
func (p Printer) areas(dst []byte, e *Entry, depth int) []byte {
	dst = append(dst, "[\n"...)
	list := e.Value.List
	per := 2
	if e.Key == "raid0_lvs" || len(list)%2 == 1 {
		per = 1
	}
	for i, v := range list {
		if i%per == 0 {
			dst = p.indent(dst, depth+1, Segment)
		}
		dst = AppendValue(dst, v)
		switch {
		case i == len(list)-1:
			dst = append(dst, '\n')
		case i%per == per-1:
			dst = append(dst, ",\n"...)
		default:
			dst = append(dst, ", "...)
		}
	}
	return append(p.indent(dst, depth, Segment), "]\n"...)
}

// AppendValue appends a value on one line.
func AppendValue(dst []byte, v Value) []byte {
	switch v.Kind {
	case KindString:
		return appendQuoted(dst, v.Raw)
	case KindList:
		dst = append(dst, '[')
		for i, m := range v.List {
			if i > 0 {
				dst = append(dst, ", "...)
			}
			if m.Kind == KindWord {
				m.Kind = KindString // a word would take the comma in
			}
			dst = AppendValue(dst, m)
		}
		return append(dst, ']')
	}
	return append(dst, v.Raw...)
}

func appendQuoted(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for strings.ContainsAny(s, `"\`) {
		i := strings.IndexAny(s, `"\`)
		dst = append(append(dst, s[:i]...), '\\', s[i])
		s = s[i+1:]
	}
	return append(append(dst, s...), '"')
}

func appendKey(dst []byte, key string) []byte {
	if isIdentifier(key) {
		return append(dst, key...)
	}
	return appendQuoted(dst, key)
}

// isIdentifier reports whether a name needs no quotes: the lexer would take it for one word.
func isIdentifier(key string) bool {
	if key == "" || strings.IndexByte("{}[],=\"'#", key[0]) >= 0 {
		return false
	}
	return !slices.ContainsFunc([]byte(key), func(c byte) bool { return endsWord(c) || c == '"' || c == '!' })
}
