package text

import "strings"

// next reads the next token. A number, or a word with a number's first character, is one only where a value may be.
func (p *parser) next(wantValue bool) {
	src := p.src
	i := p.space(p.end)
	p.start = i
	if i == len(src) || src[i] == 0 {
		p.tok, p.end = tokEOF, i
		return
	}
	single := func(t token) { p.tok, p.end = t, i+1 }
	switch c := src[i]; c {
	case '{':
		single(tokSectionBegin)
	case '}':
		single(tokSectionEnd)
	case '[':
		single(tokListBegin)
	case ']':
		single(tokListEnd)
	case ',':
		single(tokComma)
	case '=':
		single(tokEqual)
	case '"':
		p.tok, p.end = tokString, stringEnd(src, i+1)
	case '\'':
		p.tok = tokLiteral
		if n := strings.IndexAny(src[i+1:], "'\x00"); n < 0 {
			p.end = len(src)
		} else if p.end = i + 1 + n; src[p.end] != 0 {
			p.end++
		}
	default:
		if wantValue && (isDigit(c) || c == '.' || c == '+' || c == '-') {
			p.number(i)
			return
		}
		for i++; i < len(src) && !endsWord(src[i]); i++ {
		}
		p.tok, p.end = tokIdent, i
		if wantValue {
			p.tok = tokWord
		}
	}
}

func (p *parser) number(i int) {
	p.tok = tokInt
	if p.src[i] == '.' {
		p.tok = tokFloat
	}
	for i++; i < len(p.src); i++ {
		if c := p.src[i]; c == '.' && p.tok == tokInt {
			p.tok = tokFloat
		} else if !isDigit(c) {
			break
		}
	}
	p.end = i
}

// stringEnd returns the index behind the closing quote, or where the text ends without one.
func stringEnd(src string, i int) int {
	for i < len(src) && src[i] != 0 && src[i] != '"' {
		if src[i] == '\\' && i+1 < len(src) && src[i+1] != 0 {
			i++
		}
		i++
	}
	if i < len(src) && src[i] == '"' {
		i++
	}
	return i
}

// space skips white space and comments and counts lines.
func (p *parser) space(i int) int {
	for ; i < len(p.src); i++ {
		switch c := p.src[i]; {
		case c == '\n':
			p.line++
		case isSpace(c):
		case c == '#':
			for i < len(p.src) && p.src[i] != '\n' && p.src[i] != 0 {
				i++
			}
			i--
		default:
			return i
		}
	}
	return i
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }
func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

func endsWord(c byte) bool {
	return c == 0 || isSpace(c) || c == '#' || c == '=' || c == '{' || c == '}'
}
