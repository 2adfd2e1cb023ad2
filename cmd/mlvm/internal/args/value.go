package args

import (
	"math"
	"strconv"
	"strings"
)

// Value is what followed an option.
type Value struct {
	Text    string
	Sign    byte    // '+', '-' or 0
	N       uint64  // a number; of a size, sectors of 512 bytes
	Percent Percent // of what N is a part, with Extents
}

// Percent is what a number of percent is taken of.
type Percent uint8

const (
	NoPercent Percent = iota
	OfVG
	OfFree
	OfLV
	OfPVs
	OfOrigin
)

func (p Percent) String() string {
	return [...]string{"", "VG", "FREE", "LV", "PVS", "ORIGIN"}[p]
}

// ParseValue reads what followed an option. The lines say why it is no good, apart from the option's name; they are
// empty but not nil where lvm2 gives no reason.
func ParseValue(verb string, o Option, text string) (Value, []string) {
	v := Value{Text: text}
	ok := true
	switch o.Kind {
	case Flag, String:
	case Words:
		ok = contains(o.Words, text)
		if o.Name == "reportformat" && text == "json_std" { // of newer lvm2
			ok = true
		}
		if o.Name == "activationmode" {
			ok = true // checked where it is used
		}
	case Bool:
		ok = text == "y" || text == "n"
	case Number:
		v.N, ok = parseUint(strings.TrimPrefix(text, "+"))
	case SizeMiB, SizeKiB:
		return parseSize(verb, o, text)
	case Extents:
		return parseExtents(verb, text)
	case Tag:
		v.Text = strings.TrimPrefix(text, "@")
		ok = ValidTag(v.Text)
	case Alloc:
		if !contains("contiguous cling cling_by_tags normal anywhere inherit", text) {
			return v, []string{"  Unrecognised allocation policy " + text}
		}
	case Activation:
		ok = contains("y n e ey ye s sy ys a ay ya en ne ln nl ly yl", text)
	case Permission:
		ok = contains("r rw wr", text)
	case ReadAhead:
		if strings.EqualFold(text, "auto") || strings.EqualFold(text, "none") {
			break
		}
		var why []string
		if v, why = size(text, 1); why != nil {
			return v, why
		}
		ok = v.Sign != '-'
	case Type:
		if !contains(types, text) {
			return v, []string{"  WARNING: Unrecognised segment type " + text}
		}
	case PVCopies:
		v.N, ok = parseUint(text)
		ok = ok && v.N <= 2
	case VGCopies:
		if strings.EqualFold(text, "all") || strings.EqualFold(text, "unmanaged") {
			break
		}
		v.N, ok = parseUint(text)
		ok = ok && v.N > 0
	}
	if !ok {
		return v, []string{}
	}
	return v, nil
}

// types are the segment types of lvm2.
const types = "linear striped zero error snapshot mirror raid raid0 raid0_meta raid1 raid10 raid10_near raid4 raid5 " +
	"raid5_la raid5_ls raid5_n raid5_ra raid5_rs raid6 raid6_la_6 raid6_ls_6 raid6_n_6 raid6_nc raid6_nr raid6_ra_6 " +
	"raid6_rs_6 raid6_zr thin thin-pool cache cache-pool vdo vdo-pool writecache integrity free"

func contains(words, w string) bool {
	if w == "" {
		return false
	}
	for f := range strings.FieldsSeq(words) {
		if f == w {
			return true
		}
	}
	return false
}

// parseUint reads decimal digits; too many become the largest number, as lvm2 does.
func parseUint(s string) (uint64, bool) {
	if s == "" || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}

func sign(s string) (byte, string) {
	if s != "" && (s[0] == '+' || s[0] == '-') {
		return s[0], s[1:]
	}
	return 0, s
}

func parseSize(verb string, o Option, text string) (Value, []string) {
	factor := 2048.0
	if o.Kind == SizeKiB {
		factor = 2
	}
	v, why := size(text, factor)
	if why != nil || v.Sign == 0 {
		return v, why
	}
	allowed := ""
	switch {
	case o.Kind == SizeKiB:
		allowed = "+"
	case o.Name == "size" || o.Name == "poolmetadatasize":
		allowed = signs(verb)
	}
	if !strings.Contains(allowed, string(v.Sign)) {
		return v, []string{"  Size may not be " + signWord(allowed) + "."}
	}
	return v, nil
}

// signWord is how lvm2 calls a sign that is not allowed.
func signWord(allowed string) string {
	switch allowed {
	case "+":
		return "negative"
	case "-":
		return "positive"
	}
	return "relative/signed"
}

// size reads a number with a unit; without one it counts factor sectors.
func size(text string, factor float64) (Value, []string) {
	v := Value{Text: text}
	var s string
	v.Sign, s = sign(text)
	if sg, _ := sign(s); sg != 0 {
		return v, []string{"  Multiple sign symbols detected."}
	}
	if s == "" || (s[0] < '0' || s[0] > '9') && s[0] != '.' {
		return v, []string{"  Size requires number argument."}
	}
	n, rest, ok := float(s)
	if !ok {
		return v, []string{"  Can't parse size argument at '" + s[:1] + "'."}
	}
	if rest == "" {
		n *= factor
	} else {
		const units = "kmgtpe"
		switch c := rest[0] | 0x20; {
		case c == 's':
		case c == 'b':
			b := uint64(min(n, 1<<63))
			if over := b % 512; over != 0 {
				low, high := strconv.FormatUint(b-over, 10), strconv.FormatUint(b-over+512, 10)
				return v, []string{"  Size is not a multiple of 512. Try using " + low + " or " + high + "."}
			}
			n /= 512
		case strings.IndexByte(units, c) >= 0:
			n *= 2 * math.Pow(1024, float64(strings.IndexByte(units, c)))
		default:
			return v, []string{"  Can't parse size argument."}
		}
	}
	if n >= float64(uint64(math.MaxUint64)>>9) {
		return v, []string{"  Size is too big (>=16EiB)."}
	}
	v.N = uint64(n)
	return v, nil
}

// float reads the longest number at the begin of s, as strtod(3) does: the e of exabytes is no exponent.
func float(s string) (n float64, rest string, ok bool) {
	digits := func(i int, set string) int {
		for i < len(s) && strings.IndexByte(set, s[i]) >= 0 {
			i++
		}
		return i
	}
	if len(s) > 2 && s[0] == '0' && s[1]|0x20 == 'x' {
		if i := digits(2, "0123456789abcdefABCDEF"); i > 2 {
			u, err := strconv.ParseUint(s[2:i], 16, 64)
			if err != nil {
				return math.MaxUint64, s[i:], true
			}
			return float64(u), s[i:], true
		}
	}
	const decimal = "0123456789"
	i := digits(0, decimal)
	count := i
	if i < len(s) && s[i] == '.' {
		j := digits(i+1, decimal)
		count += j - i - 1
		i = j
	}
	if count == 0 {
		return 0, s, false
	}
	if i < len(s) && s[i]|0x20 == 'e' {
		j := i + 1
		if j < len(s) && (s[j] == '+' || s[j] == '-') {
			j++
		}
		if k := digits(j, decimal); k > j {
			i = k
		}
	}
	n, err := strconv.ParseFloat(s[:i], 64)
	if err != nil && !math.IsInf(n, 0) {
		return 0, s, false
	}
	return n, s[i:], true
}

// parseExtents reads 5, +50%FREE and their like.
func parseExtents(verb, text string) (Value, []string) {
	v := Value{Text: text}
	var s string
	v.Sign, s = sign(text)
	i := 0
	for i < len(s) && s[i] >= '0' && s[i] <= '9' {
		i++
	}
	var ok bool
	if v.N, ok = parseUint(s[:i]); !ok {
		return v, []string{}
	}
	if rest := s[i:]; rest != "" {
		if rest[0] != '%' {
			return v, []string{}
		}
		switch strings.ToUpper(rest[1:]) {
		case "V", "VG":
			v.Percent = OfVG
		case "L", "LV":
			v.Percent = OfLV
		case "P", "PV", "PVS":
			v.Percent = OfPVs
		case "F", "FR", "FREE":
			v.Percent = OfFree
		case "O", "OR", "ORIGIN":
			v.Percent = OfOrigin
		default:
			return v, []string{"  Specified %" + rest[1:] + " is unknown."}
		}
		if v.N >= math.MaxUint32 {
			return v, []string{"  Percentage is too big (>=-1%)."}
		}
	}
	if allowed := signs(verb); v.Sign != 0 && !strings.Contains(allowed, string(v.Sign)) {
		return v, []string{"  Extents may not be " + signWord(allowed) + "."}
	}
	return v, nil
}
