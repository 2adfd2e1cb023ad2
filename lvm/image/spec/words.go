package spec

import (
	"fmt"
	"math"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"morgana/lvm/metadata"
)

// A word is a plain one, or key=value.
type word struct {
	key, value string
	option     bool
}

// split takes a line apart.
func split(line string) (words []word, err error) {
	for {
		line = strings.TrimLeft(line, " \t\r")
		if line == "" || line[0] == '#' {
			return words, nil
		}
		end := strings.IndexAny(line, " \t\r=\"")
		if end < 0 {
			end = len(line)
		}
		w := word{key: line[:end]}
		line = line[end:]
		if line != "" && line[0] == '=' {
			w.option = true
			if w.value, line, err = value(line[1:]); err != nil {
				return nil, fmt.Errorf("%s: %w", w.key, err)
			}
		}
		if w.key == "" {
			return nil, fmt.Errorf("a word begins with %.10q", line)
		}
		if line != "" && !strings.ContainsRune(" \t\r", rune(line[0])) {
			return nil, fmt.Errorf("%s: unexpected %.10q", w.key, line)
		}
		words = append(words, w)
	}
}

// value takes a value from the front of a line.
func value(line string) (v, rest string, err error) {
	if !strings.HasPrefix(line, `"`) {
		if end := strings.IndexAny(line, " \t\r\""); end >= 0 {
			return line[:end], line[end:], nil
		}
		return line, "", nil
	}
	var b strings.Builder
	for i := 1; i < len(line); i++ {
		switch c := line[i]; c {
		case '"':
			return b.String(), line[i+1:], nil
		case '\\':
			if i++; i == len(line) {
				continue
			}
			switch e := line[i]; e {
			case '"', '\\':
				b.WriteByte(e)
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case 'x':
				if i+2 >= len(line) {
					return "", "", fmt.Errorf(`\x wants two digits`)
				}
				n, err := strconv.ParseUint(line[i+1:i+3], 16, 8)
				if err != nil {
					return "", "", fmt.Errorf(`\x wants two digits, not %q`, line[i+1:i+3])
				}
				b.WriteByte(byte(n))
				i += 2
			default:
				return "", "", fmt.Errorf(`\%c stands for nothing`, e)
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", fmt.Errorf("the quote has no end")
}

// size reads a number of bytes.
func size(s string) (int64, error) {
	const units = "SBKMGT"
	if s == "" {
		return 0, fmt.Errorf("a size is missing")
	}
	unit := strings.IndexByte(units, s[len(s)-1]&^0x20)
	if unit < 0 {
		return 0, fmt.Errorf("the size %q has no unit; B, K, M, G and T are known", s)
	}
	f := [...]int64{512, 1, 1 << 10, 1 << 20, 1 << 30, 1 << 40}[unit]
	digits, frac, _ := strings.Cut(s[:len(s)-1], ".")
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/f-1 || len(frac) > 3 {
		return 0, fmt.Errorf("%q is no size", s)
	}
	n *= f
	if frac != "" {
		part, err := strconv.ParseUint(frac, 10, 16)
		if err != nil {
			return 0, fmt.Errorf("%q is no size", s)
		}
		scale := [...]int64{1, 10, 100, 1000}[len(frac)]
		n += int64(part) * f / scale
	}
	if n == 0 || n%512 != 0 {
		return 0, fmt.Errorf("the size %s is no multiple of 512 bytes", s)
	}
	return n, nil
}

// extents reads a number or percentage of extents.
func extents(s string) (metadata.Amount, error) {
	digits, of, percent := strings.Cut(s, "%")
	n, err := strconv.ParseUint(digits, 10, 32)
	if err != nil || n == 0 {
		return metadata.Amount{}, fmt.Errorf("%q is no number of extents; 100, 50%%FREE or 50%%VG are", s)
	}
	switch {
	case !percent:
		return metadata.Extents(metadata.Extent(n)), nil
	case of == "FREE":
		return metadata.Percent(n, metadata.OfFree), nil
	case of == "VG":
		return metadata.Percent(n, metadata.OfVG), nil
	}
	return metadata.Amount{}, fmt.Errorf("percent of %q; FREE and VG are known", of)
}

// moment reads a time.
func moment(s string) (int64, error) {
	if n, err := strconv.ParseInt(s, 10, 64); err == nil && n > -1<<40 && n < 1<<40 {
		return n, nil
	}
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		return 0, fmt.Errorf("%q is no time; 2026-01-31T12:00:00Z and seconds since 1970 are", s)
	}
	return t.Unix(), nil
}

func owner(s string) (*Owner, error) {
	u, g, ok := strings.Cut(s, ":")
	uid, err1 := strconv.ParseUint(u, 10, 32)
	gid, err2 := strconv.ParseUint(g, 10, 32)
	if !ok || err1 != nil || err2 != nil {
		return nil, fmt.Errorf("%q is no owner; UID:GID in numbers is", s)
	}
	return &Owner{uint32(uid), uint32(gid)}, nil
}

func mode(s string) (*uint16, error) {
	n, err := strconv.ParseUint(s, 8, 12)
	if err != nil {
		return nil, fmt.Errorf("%q is no mode; four octal digits such as 0755 are", s)
	}
	m := uint16(n)
	return &m, nil
}

func number(s string) (uint32, error) {
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("%q is no number", s)
	}
	return uint32(n), nil
}

func yesNo(s string) (bool, error) {
	if s != "yes" && s != "no" {
		return false, fmt.Errorf("%q is neither yes nor no", s)
	}
	return s == "yes", nil
}

func absolute(s string) (string, error) {
	switch {
	case !strings.HasPrefix(s, "/"):
		return "", fmt.Errorf("the path %q does not begin with /", s)
	case strings.ContainsRune(s, 0) || !utf8.ValidString(s):
		return "", fmt.Errorf("the path %q has characters that no path can have", s)
	}
	return path.Clean(s), nil
}

// list takes A,B,C apart.
func list(s string) ([]string, error) {
	l := strings.Split(s, ",")
	for _, x := range l {
		if x == "" {
			return nil, fmt.Errorf("an empty name in %q", s)
		}
	}
	return l, nil
}
