package model

import (
	"bytes"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Clean makes text that somebody else wrote safe to show: one line of at most most characters. Control characters,
// those that turn the direction of writing, and bytes that are no UTF-8 become U+FFFD.
func Clean(s string, most int) string {
	clean := true
	n := 0
	for _, r := range s {
		if n++; n > most || !shown(r) {
			clean = false
			break
		}
	}
	if clean {
		return s
	}
	var b strings.Builder
	n = 0
	for _, r := range s {
		if n++; n > most {
			b.WriteString("…")
			break
		}
		if !shown(r) {
			r = utf8.RuneError
		}
		b.WriteRune(r)
	}
	return b.String()
}

// shown reports whether a character is harmless. RuneError stands for what is no UTF-8 too.
func shown(r rune) bool { return r == ' ' || r != utf8.RuneError && unicode.IsPrint(r) }

// Lines are the last lines of a console's output: at most most, each cleaned, without what a terminal would obey.
func Lines(out []byte, most int) []string {
	out = bytes.TrimRight(out, "\r\n")
	if len(out) == 0 {
		return nil
	}
	for from, n := len(out), 0; ; n++ {
		i := bytes.LastIndexByte(out[:from], '\n')
		if n+1 == most || i < 0 {
			out = out[i+1:]
			break
		}
		from = i
	}
	var lines []string
	for line := range bytes.SplitSeq(out, []byte("\n")) {
		lines = append(lines, Clean(printed(line), LineMax))
	}
	return lines
}

// printed is what a line looks like when it was printed: escape sequences are gone, a carriage return begins the line
// anew.
func printed(line []byte) string {
	line = bytes.TrimRight(line, "\r")
	if i := bytes.LastIndexByte(line, '\r'); i >= 0 {
		line = line[i+1:]
	}
	if bytes.IndexByte(line, 0x1b) < 0 && bytes.IndexByte(line, '\t') < 0 {
		return string(line)
	}
	var b strings.Builder
	for i := 0; i < len(line); i++ {
		switch {
		case line[i] == '\t':
			b.WriteString("    ")
		case line[i] != 0x1b:
			b.WriteByte(line[i])
		case i+1 < len(line) && line[i+1] == '[': // CSI: parameters, and a final byte (ECMA-48 5.4)
			for i += 2; i < len(line) && (line[i] < 0x40 || line[i] > 0x7e); {
				i++
			}
		case i+1 < len(line) && line[i+1] == ']': // OSC: up to BEL or ESC \
			for i += 2; i < len(line) && line[i] != 7 && line[i] != 0x1b; {
				i++
			}
			if i+1 < len(line) && line[i] == 0x1b && line[i+1] == '\\' {
				i++
			}
		default: // others: intermediate bytes, and a final one (ECMA-35 13.2)
			for i++; i < len(line) && line[i] >= 0x20 && line[i] <= 0x2f; {
				i++
			}
		}
	}
	return b.String()
}
