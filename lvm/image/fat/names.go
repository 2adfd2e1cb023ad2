package fat

import (
	"encoding/binary"
	"fmt"
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"morgana/lvm/image/tree"
)

const (
	entrySize = 32
	charsEach = 13 // UTF-16 units of a long name in an entry

	attrDir   = 0x10
	attrFile  = 0x20
	attrLabel = 0x08
	attrLong  = 0x0f
)

// shortChars are what a short name may have beside letters and digits.
const shortChars = "!#$%&'()-@^_`{}~"

func shortChar(c rune) bool {
	return c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.ContainsRune(shortChars, c)
}

// isShort reports whether a name is as good as its short form, and that.
func isShort(name string) (short [11]byte, ok bool) {
	base, ext, dot := strings.Cut(name, ".")
	if base == "" || len(base) > 8 || len(ext) > 3 || dot && ext == "" {
		return short, false
	}
	for _, c := range base + ext {
		if !shortChar(c) {
			return short, false
		}
	}
	copy(short[:], fmt.Sprintf("%-8s%-3s", base, ext))
	return short, true
}

// A namer gives the names of a directory their short forms.
type namer struct {
	taken map[[11]byte]bool
	lower map[string]string // what there is, without regard of case
}

func newNamer(entries []tree.Entry) (*namer, error) {
	n := &namer{map[[11]byte]bool{}, map[string]string{}}
	for _, e := range entries {
		if err := checkName(e.Name); err != nil {
			return nil, err
		}
		low := strings.ToLower(e.Name)
		if other, ok := n.lower[low]; ok {
			return nil, fmt.Errorf("%q and %q differ only in case, which FAT does not tell apart", other, e.Name)
		}
		n.lower[low] = e.Name
		if short, ok := isShort(e.Name); ok {
			n.taken[short] = true
		}
	}
	return n, nil
}

func checkName(name string) error {
	switch {
	case !utf8.ValidString(name):
		return fmt.Errorf("%q is no UTF-8, which FAT's names need", name)
	case strings.ContainsAny(name, "\"*/:<>?\\|") || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' }):
		return fmt.Errorf("%q has a character that FAT's names cannot have", name)
	case strings.HasSuffix(name, ".") || strings.HasSuffix(name, " "):
		return fmt.Errorf("%q ends in a dot or a space, which FAT does not keep", name)
	case len(utf16.Encode([]rune(name))) > 255:
		return fmt.Errorf("%q is longer than FAT's 255 characters", name)
	}
	return nil
}

// short makes a short form that is not taken: the beginning, a tilde and a number.
func (n *namer) short(name string) [11]byte {
	clean := func(s string, max int) string {
		var b strings.Builder
		for _, c := range strings.ToUpper(s) {
			switch {
			case b.Len() == max:
				return b.String()
			case c == ' ' || c == '.':
			case shortChar(c):
				b.WriteRune(c)
			default:
				b.WriteByte('_')
			}
		}
		return b.String()
	}
	base, ext := strings.TrimLeft(name, "."), ""
	if i := strings.LastIndexByte(base, '.'); i > 0 {
		base, ext = base[:i], clean(base[i+1:], 3)
	}
	base = clean(base, 8)
	for i := 1; ; i++ {
		suffix := fmt.Sprintf("~%d", i)
		var s [11]byte
		copy(s[:], fmt.Sprintf("%-8s%-3s", base[:min(len(base), 8-len(suffix))]+suffix, ext))
		if !n.taken[s] {
			n.taken[s] = true
			return s
		}
	}
}

// slots is how many entries a name takes.
func slots(name string) int {
	if _, ok := isShort(name); ok {
		return 1
	}
	return 1 + (len(utf16.Encode([]rune(name)))+charsEach-1)/charsEach
}

// appendLong appends the entries of a long name, which stand before the short one, last part first.
func appendLong(dst []byte, name string, short [11]byte) []byte {
	var sum byte
	for _, c := range short {
		sum = sum>>1 | sum<<7
		sum += c
	}
	u := utf16.Encode([]rune(name))
	n := (len(u) + charsEach - 1) / charsEach
	for part := n; part > 0; part-- {
		var e [entrySize]byte
		e[0] = byte(part)
		if part == n {
			e[0] |= 0x40
		}
		e[11], e[13] = attrLong, sum
		for i := range charsEach {
			c := uint16(0xffff)
			switch at := (part-1)*charsEach + i; {
			case at < len(u):
				c = u[at]
			case at == len(u):
				c = 0
			}
			at := 1 + 2*i
			switch {
			case i >= 11:
				at = 28 + 2*(i-11)
			case i >= 5:
				at = 14 + 2*(i-5)
			}
			binary.LittleEndian.PutUint16(e[at:], c)
		}
		dst = append(dst, e[:]...)
	}
	return dst
}

// appendShort appends an entry with a short name.
func appendShort(dst []byte, short [11]byte, attr byte, cluster uint32, size int64, t tree.Time) []byte {
	var e [entrySize]byte
	le := binary.LittleEndian
	copy(e[:], short[:])
	e[11] = attr
	date, clock := dosTime(t)
	le.PutUint16(e[14:], clock) // made
	le.PutUint16(e[16:], date)
	le.PutUint16(e[18:], date) // read
	le.PutUint16(e[20:], uint16(cluster>>16))
	le.PutUint16(e[22:], clock) // modified
	le.PutUint16(e[24:], date)
	le.PutUint16(e[26:], uint16(cluster))
	le.PutUint32(e[28:], uint32(size))
	return append(dst, e[:]...)
}
