package xs

import (
	"fmt"
	"strconv"

	"morgana/xen"
)

// Access is what a permission entry allows, by its letter on the wire.
type Access byte

// The letters of permission strings.
const (
	AccessNone  Access = 'n'
	AccessRead  Access = 'r'
	AccessWrite Access = 'w'
	AccessBoth  Access = 'b'
)

// CanRead reports whether the entry allows reading.
func (a Access) CanRead() bool { return a == AccessRead || a == AccessBoth }

// CanWrite reports whether the entry allows writing.
func (a Access) CanWrite() bool { return a == AccessWrite || a == AccessBoth }

// Perm is one entry of a node's permissions. The first entry of a list is special: Dom owns the node and may do
// everything, Access is what every domain without an entry of its own may do.
type Perm struct {
	Access Access
	Dom    xen.DomID
}

func (p Perm) String() string { return string(AppendPerm(nil, p)) }

// AppendPerm appends p without a terminator: "b5".
func AppendPerm(dst []byte, p Perm) []byte {
	return strconv.AppendUint(append(dst, byte(p.Access)), uint64(p.Dom), 10)
}

// ParsePerm decodes "b5".
func ParsePerm(s string) (Perm, error) {
	if len(s) < 2 {
		return Perm{}, fmt.Errorf("xenstore permission %q: want a letter n, r, w or b and a domain, as in b5: %w", s, EINVAL)
	}
	switch a := Access(s[0]); a {
	case AccessNone, AccessRead, AccessWrite, AccessBoth:
		d, err := parseUint(s[1:], 16)
		if err != nil {
			return Perm{}, fmt.Errorf("xenstore permission %q: bad domain: %w", s, EINVAL)
		}
		return Perm{Access: a, Dom: xen.DomID(d)}, nil
	}
	return Perm{}, fmt.Errorf("xenstore permission %q: letter is not n, r, w or b: %w", s, EINVAL)
}

// AppendPerms appends a list of entries, each with its NUL: the reply to GET_PERMS.
func AppendPerms(dst []byte, perms []Perm) []byte {
	for _, p := range perms {
		dst = append(AppendPerm(dst, p), 0)
	}
	return dst
}

// ParsePerms decodes a list of entries; there is at least one.
func ParsePerms(b []byte) ([]Perm, error) {
	fields, err := ParseStrings(b)
	if err != nil {
		return nil, err
	}
	if len(fields) == 0 {
		return nil, fmt.Errorf("xenstore permissions: none: %w", EINVAL)
	}
	perms := make([]Perm, len(fields))
	for i, f := range fields {
		if perms[i], err = ParsePerm(f); err != nil {
			return nil, err
		}
	}
	return perms, nil
}

// parseUint is strconv.ParseUint for decimal digits alone, without sign or underscore.
func parseUint(s string, bits int) (uint64, error) {
	for i := 0; i < len(s); i++ {
		if s[i] < '0' || s[i] > '9' {
			return 0, EINVAL
		}
	}
	n, err := strconv.ParseUint(s, 10, bits)
	if err != nil {
		return 0, EINVAL
	}
	return n, nil
}
