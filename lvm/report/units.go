package report

import (
	"errors"
	"math"
	"strconv"
	"strings"
)

// Units is how sizes are printed. The zero value is not useful; DefaultUnits is lvm2's own.
type Units struct {
	letter byte   // as given: h H r R b B s S k K m M g G t T p P e E, or U for a multiple of one
	factor uint64 // bytes of a unit; 0 is for humans
	suffix bool
}

// DefaultUnits picks a unit of 1024ⁿ bytes by the size and marks a size that rounding made larger with <.
var DefaultUnits = Units{letter: 'r', suffix: true}

// ErrUnits is a unit that does not exist.
var ErrUnits = errors.New("Invalid units specification") //nolint:staticcheck // lvm2's words

// ParseUnits reads what follows --units: a letter, or a number and a letter.
func ParseUnits(s string, suffix bool) (Units, error) {
	letter, factor, rest, ok := unitFactor(s)
	if !ok || rest != "" {
		return Units{}, ErrUnits
	}
	u := Units{letter: letter, factor: factor, suffix: suffix}
	if strings.IndexByte("hHrR", letter) >= 0 {
		u.factor = 0
	}
	return u, nil
}

// Letters are the letters of units from the largest to bytes; upper case is for powers of 1000.
const letters = "eptgmkb"

// unitFactor reads a unit at the begin of s, with a number before it or not: how many bytes it is.
func unitFactor(s string) (letter byte, factor uint64, rest string, ok bool) {
	number := 0
	for number < len(s) && (s[number] >= '0' && s[number] <= '9' || s[number] == '.' && number > 0) {
		number++
	}
	custom := 1.0
	if number > 0 {
		n, err := strconv.ParseFloat(s[:number], 64)
		if err != nil {
			return 0, 0, s, false
		}
		custom = n
	}
	if number == len(s) {
		return 0, 0, s, false
	}
	c := s[number]
	letter = c
	if math.Trunc(custom) != 1 {
		letter = 'U'
	}
	base := 0.0
	switch lower := c | 0x20; {
	case strings.IndexByte("hHrR", c) >= 0:
		return c, 1, s[number+1:], true
	case lower == 'b':
		base = 1
	case lower == 's':
		base = 512
	case strings.IndexByte(letters[:6], lower) >= 0:
		unit := 1024.0
		if c != lower {
			unit = 1000
		}
		base = math.Pow(unit, float64(6-strings.IndexByte(letters, lower)))
	default:
		return 0, 0, s, false
	}
	f := custom * base
	if f >= math.MaxUint64 {
		return 0, 0, s, false
	}
	return letter, uint64(f), s[number+1:], true
}

// Size prints a size in sectors of 512 bytes with a short suffix: 4.00m.
func (u Units) Size(sectors uint64) string { return u.format(sectors, short) }

// SizeLong prints a size in sectors of 512 bytes as sentences need it: 4.00 MiB.
func (u Units) SizeLong(sectors uint64) string { return u.format(sectors, long) }

// Size prints a size for a sentence, in the default units.
func Size(sectors uint64) string { return DefaultUnits.SizeLong(sectors) }

type style uint8

const (
	short style = iota
	long
)

// suffixes are lvm2's, in the order of letters; then those of multiples and sectors.
var (
	long1024 = [...]string{" EiB", " PiB", " TiB", " GiB", " MiB", " KiB", " B"}
	long1000 = [...]string{" EB", " PB", " TB", " GB", " MB", " kB", " B"}
)

// ending is what follows the number for a unit's letter.
func ending(letter byte, st style) string {
	if st == short {
		if strings.IndexByte("bsuU", letter) >= 0 {
			return string(letter &^ 0x20)
		}
		return string(letter)
	}
	switch letter | 0x20 {
	case 'u':
		return " Un"
	case 's':
		return " Se"
	case 'b':
		return " B "
	}
	i := strings.IndexByte(letters, letter|0x20)
	if letter&0x20 != 0 {
		return long1024[i]
	}
	return long1000[i]
}

func (u Units) format(sectors uint64, st style) string {
	human := u.factor == 0
	if sectors == 0 {
		switch {
		case !u.suffix:
			return "0"
		case !human:
			return "0" + ending(u.letter, st)
		case st == short:
			return "0 "
		}
		return "0   "
	}
	size := sectors * 512
	if !human {
		end := ""
		if u.suffix {
			end = ending(u.letter, st)
		}
		precision := 2
		if strings.IndexByte("bBsS", u.letter) >= 0 {
			precision = 0
		}
		return strconv.FormatFloat(float64(size)/float64(u.factor), 'f', precision, 64) + end
	}
	unit := uint64(1024)
	upper := u.letter == 'H' || u.letter == 'R'
	if upper {
		unit = 1000
	}
	byteOf, i := unit*unit*unit*unit*unit*unit, 0
	for i < len(letters)-1 && size < byteOf {
		byteOf /= unit
		i++
	}
	mark := ""
	if i < len(letters) && (u.letter == 'r' || u.letter == 'R') {
		d := 100 * float64(size) / float64(byteOf)
		if math.RoundToEven(d) > math.Floor(d) {
			mark = "<"
		}
	}
	letter := letters[i]
	if upper {
		letter &^= 0x20
	}
	precision := 2
	end := string(letter)
	if letter|0x20 == 'b' {
		precision = 0
	}
	if st == long {
		end = long1024[i]
		if upper {
			end = long1000[i]
		}
	}
	return mark + strconv.FormatFloat(float64(size)/float64(byteOf), 'f', precision, 64) + end
}
