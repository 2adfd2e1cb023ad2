package xenconsoled

import (
	"bytes"
	"time"
	"unicode/utf8"
)

// StampLayout is how xenconsoled writes the time before a line, a format of package time.
const StampLayout = "[2006-01-02 15:04:05] "

// Format is how a log is written.
type Format struct {
	Stamp  bool // each line begins with the time at which its first byte came
	Escape bool // ESC is written as a dot, so that a log does not steer the terminal of who reads it
	// JSON writes an object a line instead: {"time":…,"line":…}. Stamp and Escape mean nothing then.
	JSON bool
}

// Bits of the state between two calls of Append; 0 is the beginning of a log.
const (
	stateMidLine = 1 << iota // the last line is unfinished
	stateReturns             // the last byte was a line's end: carriage returns that follow are dropped
)

// jsonLine is how long a line of JSON may get before it is written in parts.
const jsonLine = 8 << 10

// Append appends src to dst as the log has it, and returns how much of src that covers: all of it, except with JSON,
// which waits for the end of a line unless last is set. now is when src came. There is no allocation if dst has room.
//
// With Stamp, carriage returns that follow the end of a line are dropped, as Xen's daemon does.
func (f Format) Append(dst, src []byte, state uint32, now time.Time, last bool) (out []byte, taken int, after uint32) {
	switch {
	case f.JSON:
		return appendJSON(dst, src, state, now, last)
	case !f.Stamp:
		at := len(dst)
		dst = append(dst, src...)
		f.escape(dst[at:])
		return dst, len(src), f.After(src, state)
	}
	var space [64]byte
	stamp := now.AppendFormat(space[:0], StampLayout)
	all := len(src)
	for len(src) > 0 {
		if state&stateReturns != 0 {
			if src = bytes.TrimLeft(src, "\r"); len(src) == 0 {
				break
			}
			state &^= stateReturns
		}
		if state&stateMidLine == 0 {
			dst = append(dst, stamp...)
		}
		n := bytes.IndexByte(src, '\n') + 1
		if state = stateReturns; n == 0 {
			n, state = len(src), stateMidLine
		}
		at := len(dst)
		dst = append(dst, src[:n]...)
		f.escape(dst[at:])
		src = src[n:]
	}
	return dst, all, state
}

// Plain reports whether a log has the bytes as they came.
func (f Format) Plain() bool { return !f.Stamp && !f.Escape && !f.JSON }

// After is the state after bytes of a plain log.
func (f Format) After(src []byte, state uint32) uint32 {
	switch {
	case len(src) == 0:
		return state
	case src[len(src)-1] == '\n':
		return stateReturns
	}
	return stateMidLine
}

func (f Format) escape(b []byte) {
	if !f.Escape {
		return
	}
	for {
		i := bytes.IndexByte(b, 0x1b)
		if i < 0 {
			return
		}
		b[i] = '.'
		b = b[i+1:]
	}
}

// LineStart reports whether a state is at the beginning of a line, where a log may have a line of its own.
func LineStart(state uint32) bool { return state&stateMidLine == 0 }

func appendJSON(dst, src []byte, state uint32, now time.Time, last bool) (out []byte, taken int, after uint32) {
	var space [64]byte
	stamp := now.AppendFormat(space[:0], time.RFC3339Nano)
	all := len(src)
	for len(src) > 0 {
		n := bytes.IndexByte(src, '\n')
		line, rest, whole := src, src, n >= 0
		switch {
		case whole && n <= jsonLine:
			line, rest = src[:n], src[n+1:]
		case len(src) >= jsonLine:
			line, rest, whole = src[:jsonLine], src[jsonLine:], false
		case last:
			rest = nil
		default:
			return dst, all - len(src), state
		}
		dst = append(dst, `{"time":"`...)
		dst = append(dst, stamp...)
		dst = append(dst, `","line":`...)
		dst = appendString(dst, bytes.Trim(line, "\r"))
		if !whole {
			dst = append(dst, `,"partial":true`...)
		}
		dst = append(dst, "}\n"...)
		src = rest
	}
	return dst, all, state
}

const hex = "0123456789abcdef"

// appendString appends a JSON string. What is no UTF-8 stands as U+FFFD, as encoding/json has it.
func appendString(dst, s []byte) []byte {
	dst = append(dst, '"')
	for len(s) > 0 {
		n := 0
		for n < len(s) && ' ' <= s[n] && s[n] < 0x7f && s[n] != '"' && s[n] != '\\' {
			n++
		}
		dst = append(dst, s[:n]...)
		if s = s[n:]; len(s) == 0 {
			break
		}
		c := s[0]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRune(s)
			if r == utf8.RuneError && n == 1 {
				dst = append(dst, `\ufffd`...)
			} else {
				dst = append(dst, s[:n]...)
			}
			s = s[n:]
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(dst, '\\', c)
		case c == '\t':
			dst = append(dst, `\t`...)
		case c == '\r':
			dst = append(dst, `\r`...)
		default:
			dst = append(dst, '\\', 'u', '0', '0', hex[c>>4], hex[c&15])
		}
		s = s[1:]
	}
	return append(dst, '"')
}
