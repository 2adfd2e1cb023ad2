package text

import (
	"fmt"
	"strings"
)

// maxDepth bounds how deep sections nest; LVM2's own text has five levels.
const maxDepth = 64

// SyntaxError tells where a text is not in the grammar.
type SyntaxError struct {
	Offset int // of the first byte that does not fit
	Line   int // counted from 1
	Msg    string
}

func (e *SyntaxError) Error() string {
	return fmt.Sprintf("parse error at byte %d (line %d): %s", e.Offset, e.Line, e.Msg)
}

// Parse reads a text up to its end or the first NUL. Errors are *SyntaxError.
func Parse(b []byte) (*Section, error) {
	p := parser{src: string(b), line: 1}
	p.next(false)
	for p.tok != tokEOF {
		if err := p.entry(0); err != nil {
			return nil, err
		}
	}
	return &Section{p.entries.cut(0)}, nil
}

type token uint8

const (
	tokEOF token = iota
	tokInt
	tokFloat
	tokString  // in "", with escapes
	tokLiteral // in ''
	tokWord    // what stands unquoted where a value may be
	tokIdent   // what stands unquoted elsewhere
	tokEqual
	tokComma
	tokListBegin
	tokListEnd
	tokSectionBegin
	tokSectionEnd
)

type parser struct {
	src  string
	line int

	tok        token
	start, end int // of the token in src

	entries stack[Entry]
	values  stack[Value]
	// sections are allocated many at a time.
	sections []Section

	outline  bool // do not parse the stanzas of logical volumes
	outlined bool // there were some, or the place for them
	stanzas  []Stanza
}

func (p *parser) fail(format string, a ...any) error {
	return &SyntaxError{Offset: p.start, Line: p.line, Msg: fmt.Sprintf(format, a...)}
}

func (p *parser) section(es []Entry) *Section {
	if len(p.sections) == 0 {
		p.sections = make([]Section, 128)
	}
	s := &p.sections[0]
	p.sections = p.sections[1:]
	s.Entries = es
	return s
}

// entry reads one entry and pushes it.
func (p *parser) entry(depth int) error {
	var key string
	switch p.tok {
	case tokString, tokLiteral:
		s, err := p.quoted()
		if err != nil {
			return err
		}
		key = s
	case tokIdent:
		key = p.src[p.start:p.end]
	case tokSectionEnd:
		return p.fail("a section ends that did not begin")
	default:
		return p.fail("%s where a name was expected", p.found())
	}
	// A slash in a key means a section within a section.
	outer, key, err := p.path(key)
	if err != nil {
		return err
	}
	if depth += len(outer); depth > maxDepth {
		return p.fail("sections nest deeper than %d levels", maxDepth)
	}
	p.next(false)
	e := Entry{Key: key}
	switch p.tok {
	case tokSectionBegin:
		base := p.entries.len()
		later := p.outline && depth == volumesDepth && key == volumesKey && len(outer) == 0
		if later && p.outlined {
			return p.fail("a second list of logical volumes")
		}
		p.outlined = p.outlined || later
		for p.next(false); p.tok != tokSectionEnd; {
			if p.tok == tokEOF {
				return p.fail("the text ends within section %q", key)
			}
			if later {
				err = p.stanza()
			} else {
				err = p.entry(depth + 1)
			}
			if err != nil {
				return err
			}
		}
		p.next(false)
		e.Section = p.section(p.entries.cut(base))
	case tokEqual:
		p.next(true)
		if e.Value, err = p.value(key); err != nil {
			return err
		}
	default:
		return p.fail("%s where '=' or '{' was expected after %q", p.found(), key)
	}
	for i := len(outer) - 1; i >= 0; i-- {
		e = Entry{Key: outer[i], Section: p.section([]Entry{e})}
	}
	p.entries.push(e)
	return nil
}

// path splits a key at its slashes, as LVM2 does.
func (p *parser) path(key string) (outer []string, last string, err error) {
	if !strings.Contains(key, "/") {
		if key == "" {
			return nil, "", p.fail("an empty name")
		}
		return nil, key, nil
	}
	parts := strings.FieldsFunc(key, func(r rune) bool { return r == '/' })
	if len(parts) == 0 {
		return nil, "", p.fail("an empty name")
	}
	return parts[:len(parts)-1], parts[len(parts)-1], nil
}

// value reads a value; the token after '=' has been read.
func (p *parser) value(key string) (Value, error) {
	if p.tok != tokListBegin {
		v, err := p.scalar(key)
		if err == nil {
			p.next(false)
		}
		return v, err
	}
	base := p.values.len()
	for p.next(true); p.tok != tokListEnd; {
		v, err := p.scalar(key)
		if err != nil {
			return Value{}, err
		}
		p.values.push(v)
		if p.next(false); p.tok == tokComma {
			p.next(true)
		}
	}
	p.next(false)
	return Value{Kind: KindList, List: p.values.cut(base)}, nil
}

func (p *parser) scalar(key string) (Value, error) {
	lexeme := p.src[p.start:p.end]
	switch p.tok {
	case tokInt:
		// Old LVM2 wrote creation times beyond the range of a number, and forgives them.
		if _, ok := parseInt(lexeme); !ok && key != "creation_time" {
			return Value{}, p.fail("%s is not an integer of 64 bits", lexeme)
		}
		return Value{Kind: KindInt, Raw: lexeme}, nil
	case tokFloat:
		return Value{Kind: KindFloat, Raw: lexeme}, nil
	case tokString, tokLiteral:
		s, err := p.quoted()
		return Value{Kind: KindString, Raw: s}, err
	case tokWord:
		return Value{Kind: KindWord, Raw: lexeme}, nil
	}
	return Value{}, p.fail("%s where a value of %q was expected", p.found(), key)
}

// quoted returns the text of a string token.
func (p *parser) quoted() (string, error) {
	s := p.src[p.start:p.end]
	if len(s) < 2 || s[len(s)-1] != s[0] {
		return "", p.fail("a string does not end")
	}
	s = s[1 : len(s)-1]
	if p.tok == tokString {
		if strings.HasSuffix(s, `\`) && escaped(s) {
			return "", p.fail("a string does not end")
		}
		return unescape(s), nil
	}
	return s, nil
}

// escaped reports whether the quote after s is escaped: an odd number of backslashes stands before it.
func escaped(s string) bool {
	return (len(s)-len(strings.TrimRight(s, `\`)))%2 == 1
}

// unescape undoes \" and \\, the only escapes there are.
func unescape(s string) string {
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && (s[i+1] == '"' || s[i+1] == '\\') {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

func (p *parser) found() string {
	if p.tok == tokEOF {
		return "the end of the text"
	}
	s := p.src[p.start:p.end]
	if len(s) > 20 {
		s = s[:20] + "…"
	}
	return fmt.Sprintf("%q", s)
}
