package text

// A group of ten thousand logical volumes is a text of three megabytes, of which a command that creates one more needs
// little: names, uuids, extents. Its tree would take ten times the memory, and most of the time. So there is a way to
// read it piece by piece, with the same grammar and the same result.

// Stanza is a section whose inside is not parsed yet.
type Stanza struct {
	Name   string
	Raw    string // from the name to the closing brace
	offset int
	line   int
}

// Outline parses a text but for the stanzas of the first group's logical volumes, which it returns in order; in the tree
// their section is empty. It returns false where the text is unusual, or wrong, and Parse must read it.
//
// Each stanza has to be parsed, by Parse or a Scratch, before the text can be called right.
func Outline(b []byte) (*Section, []Stanza, bool) {
	p := parser{src: string(b), line: 1, outline: true}
	p.next(false)
	for p.tok != tokEOF {
		if err := p.entry(0); err != nil {
			return nil, nil, false
		}
	}
	return &Section{p.entries.cut(0)}, p.stanzas, p.outlined
}

// group is the section of a volume group that holds logical volumes, and how deep it stands.
const (
	volumesKey   = "logical_volumes"
	volumesDepth = 1
)

// stanza reads past one section and keeps it for later.
func (p *parser) stanza() error {
	if p.tok != tokIdent {
		return p.fail("not a plain name")
	}
	s := Stanza{Name: p.src[p.start:p.end], offset: p.start, line: p.line}
	for i := range len(s.Name) {
		if s.Name[i] == '/' {
			return p.fail("sections within sections")
		}
	}
	if p.next(false); p.tok != tokSectionBegin {
		return p.fail("not a section")
	}
	end := p.skip(p.end)
	if end < 0 {
		return p.fail("the text ends within section %q", s.Name)
	}
	s.Raw = p.src[s.offset:end]
	p.stanzas = append(p.stanzas, s)
	p.end = end
	p.next(false)
	return nil
}

// special are the bytes that matter for the depth of sections.
var special = [256]bool{0: true, '\n': true, '"': true, '\'': true, '#': true, '{': true, '}': true}

// skip returns the offset behind the brace that closes the section that begins before i, or -1. Where it is mistaken,
// because of a quote in the middle of a word, the stanza does not parse.
func (p *parser) skip(i int) int {
	src := p.src
	for depth := 1; i < len(src); i++ {
		c := src[i]
		if !special[c] {
			continue
		}
		switch c {
		case '\n':
			p.line++
		case '{':
			depth++
		case '}':
			if depth--; depth == 0 {
				return i + 1
			}
		case '"':
			i = stringEnd(src, i+1) - 1
		default:
			return -1 // a comment, or what else LVM2 does not write on disk
		}
	}
	return -1
}

// Parse returns the stanza's section. Errors are *SyntaxError, with the place in the whole text.
func (s Stanza) Parse() (*Section, error) {
	var x Scratch
	return x.Parse(s)
}

// Scratch parses one stanza after the other in the same memory.
type Scratch struct {
	p        parser
	entries  []Entry
	values   []Value
	sections []Section
}

// Parse returns the stanza's section, which is valid until the next call. The texts in it stay valid.
func (x *Scratch) Parse(s Stanza) (*Section, error) {
	p := &x.p
	p.src, p.line, p.end = s.Raw, s.line, 0
	p.entries.open, p.values.open = p.entries.open[:0], p.values.open[:0]
	p.entries.slab, p.values.slab, p.sections = x.entries, x.values, x.sections
	p.next(false)
	err := p.entry(volumesDepth + 1)
	if err == nil && p.tok != tokEOF {
		err = p.fail("more than one section")
	}
	if err != nil {
		if e, ok := err.(*SyntaxError); ok {
			e.Offset += s.offset
		}
		return nil, err
	}
	if x.entries == nil {
		x.entries, x.values, x.sections = make([]Entry, 256), make([]Value, 256), make([]Section, 32)
	}
	return p.entries.open[0].Section, nil
}
