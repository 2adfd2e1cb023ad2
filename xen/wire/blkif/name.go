package blkif

import "strconv"

// DiskName is the name that Linux gives a disk by its number: 51712 is xvda (docs/man/xen-vbd-interface.7).
func DiskName(number uint32) string {
	const (
		xvd      = 202
		extended = 1 << 28
	)
	switch {
	case number&extended != 0:
		return "xvd" + letters(int(number&^extended)>>8) + partition(number&255)
	case number>>8 == xvd:
		return "xvd" + letters(int(number&255)>>4) + partition(number&15)
	}
	return "vbd" + strconv.FormatUint(uint64(number), 10)
}

func letters(n int) (s string) {
	for ; n >= 0; n = n/26 - 1 {
		s = string(rune('a'+n%26)) + s
	}
	return s
}

func partition(n uint32) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatUint(uint64(n), 10)
}
