package metadata

import "strings"

// maxNameLen is the most characters of a name, and of a group's and a volume's together.
const maxNameLen = 127

func nameChar(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || strings.IndexByte("._-+", c) >= 0
}

// ValidName reports whether s may name a volume group or a logical volume: letters, digits and ". _ - +", not first a
// "-", not "." or "..", at most 127 characters.
func ValidName(s string) bool {
	if s == "" || s[0] == '-' || s == "." || s == ".." || len(s) > maxNameLen {
		return false
	}
	for i := range len(s) {
		if !nameChar(s[i]) {
			return false
		}
	}
	return true
}

// ValidTag reports whether s may be a tag: what a name may have, and "/ = ! : & #".
func ValidTag(s string) bool {
	if s == "" || len(s) > 1024 {
		return false
	}
	for i := range len(s) {
		if !nameChar(s[i]) && strings.IndexByte("/=!:&#", s[i]) < 0 {
			return false
		}
	}
	return true
}

var (
	reservedPrefixes = []string{"pvmove", "snapshot"}
	reservedParts    = []string{
		"_cdata", "_cmeta", "_corig", "_cpool", "_cvol", "_wcorig", "_mimage", "_mlog", "_rimage", "_rmeta", "_tdata",
		"_tmeta", "_vdata", "_imeta", "_iorig", "_pmspare", "_vorigin",
	}
)

// CheckLVName says why a logical volume cannot get a name that a user chose, nil if it can. Volumes that LVM2 makes on
// its own have names that are refused here.
func CheckLVName(s string) error {
	for _, p := range reservedPrefixes {
		if strings.HasPrefix(s, p) {
			return refuse(ErrInvalid, "Names starting \"%s\" are reserved. Please choose a different LV name.", p)
		}
	}
	for _, p := range reservedParts {
		if strings.Contains(s, p) {
			return refuse(ErrInvalid, "Names including \"%s\" are reserved. Please choose a different LV name.", p)
		}
	}
	if !ValidName(s) {
		return refuse(ErrInvalid, "Logical volume name \"%s\" is invalid.", s)
	}
	return nil
}

// checkNames is for the names of a group and of a volume together, which make one device-mapper name.
func checkNames(vg, lv string) error {
	if n := len(vg) + len(lv) + 3; n > maxNameLen {
		return refuse(ErrLimit, "LV name \"%s/%s\" length %d is not supported.", vg, lv, n)
	}
	return nil
}
