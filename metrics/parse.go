package metrics

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// ErrFormat says that a text is not in the format.
var ErrFormat = errors.New("not Prometheus' text format")

// Parse reads a text, whoever wrote it. Timestamps are read and dropped.
func Parse(text []byte) (*Set, error) {
	s := &Set{}
	if !utf8.Valid(text) {
		return nil, fmt.Errorf("%w: it is not UTF-8", ErrFormat)
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		return nil, fmt.Errorf("%w: the last line has no end", ErrFormat)
	}
	number := 0
	for line := range strings.Lines(string(text)) {
		number++
		if err := s.line(strings.TrimSuffix(line, "\n")); err != nil {
			return nil, fmt.Errorf("%w: line %d: %w", ErrFormat, number, err)
		}
	}
	return s, nil
}

func (s *Set) line(line string) error {
	line = strings.Trim(line, " \t")
	switch {
	case line == "":
		return nil
	case line[0] == '#':
		return s.comment(strings.TrimLeft(line[1:], " \t"))
	}
	return s.sample(line)
}

// comment takes HELP and TYPE; others mean nothing.
func (s *Set) comment(c string) error {
	word, rest := cut(c)
	if word != "HELP" && word != "TYPE" {
		return nil
	}
	name, rest := cut(rest)
	if !validName(name, true) {
		return fmt.Errorf("%q is no name of a metric", name)
	}
	f := s.family(name, "", Untyped)
	if word == "HELP" {
		help, err := unescape(rest)
		f.Help = help
		return err
	}
	if len(f.Samples) > 0 {
		return fmt.Errorf("the type of %s comes after its samples", name)
	}
	for k, text := range kindText {
		if text == rest {
			f.Kind = Kind(k)
			return nil
		}
	}
	if rest != "summary" {
		return fmt.Errorf("%q is no type", rest)
	}
	return nil
}

func cut(s string) (word, rest string) {
	i := strings.IndexAny(s, " \t")
	if i < 0 {
		return s, ""
	}
	return s[:i], strings.TrimLeft(s[i:], " \t")
}

func (s *Set) sample(line string) error {
	end := strings.IndexAny(line, "{ \t")
	if end < 0 {
		return errors.New("a sample without a value")
	}
	full, rest := line[:end], line[end:]
	if !validName(full, true) {
		return fmt.Errorf("%q is no name of a metric", full)
	}
	x := Sample{}
	if rest[0] == '{' {
		var err error
		if x.Labels, rest, err = labels(rest[1:]); err != nil {
			return err
		}
	}
	fields := strings.Fields(rest)
	if len(fields) < 1 || len(fields) > 2 {
		return errors.New("a value, and maybe a time, are wanted")
	}
	var err error
	if x.Value, err = value(fields[0]); err != nil {
		return err
	}
	if len(fields) == 2 {
		if _, err := strconv.ParseInt(fields[1], 10, 64); err != nil {
			return fmt.Errorf("%q is no time", fields[1])
		}
	}
	name := full
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, ok := strings.CutSuffix(full, suffix); ok {
			if f := s.Family(base); f != nil && f.Kind == HistogramKind {
				name, x.Suffix = base, suffix
			}
		}
	}
	f := s.family(name, "", Untyped)
	f.Samples = append(f.Samples, x)
	return nil
}

// value reads a number as Go's ParseFloat does, but for what that takes besides.
func value(s string) (float64, error) {
	if strings.ContainsAny(s, "_xXpP") {
		return 0, fmt.Errorf("%q is no value", s)
	}
	v, err := strconv.ParseFloat(s, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%q is no value", s)
	}
	return v, nil
}

// labels reads what is behind the opening brace up to the closing one.
func labels(s string) (all []Label, rest string, err error) {
	for {
		s = strings.TrimLeft(s, " \t")
		if strings.HasPrefix(s, "}") {
			return all, s[1:], nil
		}
		name, after, ok := strings.Cut(s, "=")
		name = strings.TrimRight(name, " \t")
		after = strings.TrimLeft(after, " \t")
		if !ok || !validName(name, false) || !strings.HasPrefix(after, `"`) {
			return nil, "", fmt.Errorf("%.40q is no label", s)
		}
		end := 1
		for ; end < len(after) && after[end] != '"'; end++ {
			if after[end] == '\\' {
				end++
			}
		}
		if end >= len(after) {
			return nil, "", fmt.Errorf("the value of label %s has no end", name)
		}
		v, err := unescape(after[1:end])
		if err != nil {
			return nil, "", err
		}
		all = append(all, Label{name, v})
		s = strings.TrimLeft(after[end+1:], " \t")
		if strings.HasPrefix(s, ",") {
			s = s[1:]
		} else if !strings.HasPrefix(s, "}") {
			return nil, "", fmt.Errorf("behind label %s: a comma or brace is wanted", name)
		}
	}
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		if i++; i == len(s) {
			return "", errors.New("a backslash at the end")
		}
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case '\\', '"':
			b.WriteByte(s[i])
		default:
			return "", fmt.Errorf("%q is no escape", s[i-1:i+1])
		}
	}
	return b.String(), nil
}

// validName reports whether s may be the name of a metric, or of a label, which has no colon.
func validName(s string, metric bool) bool {
	for i, c := range []byte(s) {
		switch {
		case c == '_', 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', metric && c == ':', i > 0 && '0' <= c && c <= '9':
		default:
			return false
		}
	}
	return s != ""
}
