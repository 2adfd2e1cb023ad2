package metadata

import (
	"fmt"
	"io"
)

// UUID identifies a physical volume, a volume group or a logical volume: 32 characters, which are shown in groups of
// 6-4-4-4-4-4-6. On disk a PV header has them without dashes.
type UUID [32]byte

// uuidDigits are what a new UUID is made of. LVM2 accepts '!' and '#' too.
const uuidDigits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"

// NewUUID makes a UUID of what rand gives.
func NewUUID(rand io.Reader) (UUID, error) {
	var id UUID
	var raw [48]byte
	for i := 0; i < len(id); {
		if _, err := io.ReadFull(rand, raw[:]); err != nil {
			return id, fmt.Errorf("new uuid: %w", err)
		}
		for _, b := range raw {
			// Six bits; the two values beyond the digits are thrown away, so that all are equally likely.
			if b &= 63; int(b) < len(uuidDigits) && i < len(id) {
				id[i] = uuidDigits[b]
				i++
			}
		}
	}
	return id, nil
}

// ParseUUID reads a UUID with dashes or without.
func ParseUUID(s string) (UUID, error) {
	var id UUID
	n := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '-':
			continue
		case !uuidChar(c):
			return UUID{}, fmt.Errorf("uuid %q has a character that is not allowed: %q", s, c)
		case n == len(id):
			return UUID{}, fmt.Errorf("uuid %q is longer than 32 characters", s)
		default:
			id[n] = c
			n++
		}
	}
	if n != len(id) {
		return UUID{}, fmt.Errorf("uuid %q has %d characters, want 32", s, n)
	}
	return id, nil
}

func uuidChar(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '!' || c == '#'
}

// String returns the UUID with dashes, "" for the zero UUID.
func (id UUID) String() string {
	if id.IsZero() {
		return ""
	}
	out := make([]byte, 0, 38)
	for i, c := range id {
		if i >= 6 && i <= 26 && (i-6)%4 == 0 {
			out = append(out, '-')
		}
		out = append(out, c)
	}
	return string(out)
}

// IsZero reports whether the UUID is none.
func (id UUID) IsZero() bool { return id == UUID{} }

func compareUUID(a, b UUID) int {
	for i := range a {
		if a[i] != b[i] {
			return int(a[i]) - int(b[i])
		}
	}
	return 0
}
