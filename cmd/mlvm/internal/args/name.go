package args

import (
	"strings"
)

// nameLimit is the most characters that a name may have, lvm2's NAME_LEN less its end.
const nameLimit = 127

// ValidName reports whether a volume or group may be called so, apart from reserved names of volumes.
func ValidName(s string) bool {
	return s != "" && len(s) <= nameLimit && s[0] != '-' && s != "." && s != ".." && onlyNameChars(s, "")
}

// ValidTag reports whether s may be a tag, without the leading @.
func ValidTag(s string) bool {
	return s != "" && len(s) <= 1024 && onlyNameChars(s, "/=!:&#")
}

func onlyNameChars(s, more string) bool {
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("+_.-"+more, c) >= 0:
		default:
			return false
		}
	}
	return true
}

// Reserved returns lvm2's words about a volume's name that it keeps for itself, or "".
func Reserved(s string) string {
	for _, p := range [...]string{"pvmove", "snapshot"} {
		if strings.HasPrefix(s, p) {
			return "Names starting \"" + p + "\" are reserved. Please choose a different LV name."
		}
	}
	for _, p := range [...]string{
		"_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_wcorig", "_mimage", "_mlog", "_rimage", "_rmeta",
		"_tdata", "_tmeta", "_vdata", "_imeta", "_iorig", "_pmspare", "_vorigin",
	} {
		if strings.Contains(s, p) {
			return "Names including \"" + p + "\" are reserved. Please choose a different LV name."
		}
	}
	return ""
}

// SplitLV takes a volume's name apart: vg/lv, /dev/vg/lv or /dev/mapper/vg-lv. lv is "" if only a group is named.
func SplitLV(s string) (vg, lv string) {
	if mapped, ok := strings.CutPrefix(s, "/dev/mapper/"); ok {
		return splitMapped(mapped)
	}
	s = StripDev(s)
	vg, lv, _ = strings.Cut(s, "/")
	return vg, lv
}

// StripDev takes the folder of device nodes off a name.
func StripDev(s string) string {
	for strings.HasPrefix(s, "//") {
		s = s[1:]
	}
	if rest, ok := strings.CutPrefix(s, "/dev/"); ok {
		return strings.TrimLeft(rest, "/")
	}
	return s
}

// splitMapped takes a device-mapper name apart, in which a - of a name is doubled.
func splitMapped(s string) (vg, lv string) {
	for i := 0; i < len(s); i++ {
		if s[i] != '-' {
			continue
		}
		if i+1 < len(s) && s[i+1] == '-' {
			i++
			continue
		}
		return strings.ReplaceAll(s[:i], "--", "-"), strings.ReplaceAll(s[i+1:], "--", "-")
	}
	return strings.ReplaceAll(s, "--", "-"), ""
}
