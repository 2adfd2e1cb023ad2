package text

import (
	"math"
	"strconv"
	"strings"
	"time"
)

// comment appends what LVM2 adds behind a value in files, lined up behind the width bytes of the line so far.
func (p Printer) comment(dst []byte, width int, s *Section, e *Entry, at Place, depth int) []byte {
	c := p.words(s, e, at)
	if c == "" {
		return dst
	}
	column := (width + 8*min(depth, maxIndent)) / 8
	for column++; ; {
		dst = append(dst, '\t')
		if column++; column >= commentColumn {
			break
		}
	}
	return append(dst, c...)
}

// commentColumn is where comments begin if they can, in tabs.
const commentColumn = 6

func (p Printer) words(s *Section, e *Entry, at Place) string {
	n, isInt := e.Value.Int()
	size := func(unit uint64) string {
		if !isInt {
			return ""
		}
		return sizeWords(uint64(n) * unit)
	}
	switch at {
	case Group:
		switch e.Key {
		case "format":
			return "# informational"
		case "extent_size":
			return size(1)
		}
	case PhysicalVolume:
		switch e.Key {
		case "device":
			return "# Hint only"
		case "dev_size", "ba_size":
			return size(1)
		case "pe_count":
			return size(p.ExtentSize)
		}
	case LogicalVolume:
		switch e.Key {
		case "creation_time":
			return p.timeWords(e)
		case "read_ahead":
			if isInt && n == -1 {
				return "# None"
			}
		}
	case HistoricalVolume:
		if e.Key == "creation_time" || e.Key == "removal_time" {
			return p.timeWords(e)
		}
	case Segment:
		return p.segmentWords(s, e, n, size)
	}
	return ""
}

func (p Printer) segmentWords(s *Section, e *Entry, n int64, size func(uint64) string) string {
	typ, _ := s.Str("type")
	typ, _, _ = strings.Cut(typ, "+")
	switch e.Key {
	case "extent_count", "reshape_count", "extents_moved", "virtual_extents":
		return size(p.ExtentSize)
	case "stripe_count":
		if n == 1 && typ == "striped" {
			return "# linear"
		}
	case "stripe_size":
		if typ == "striped" {
			return size(1)
		}
	case "chunk_size":
		if typ == "thin-pool" {
			return size(1)
		}
	case "header_size":
		return size(1)
	case "block_map_cache_size_mb", "index_memory_size_mb", "slab_size_mb":
		return size(2 * 1024)
	}
	return ""
}

// timeWords explains seconds since 1970.
func (p Printer) timeWords(e *Entry) string {
	n, ok := e.Value.Int()
	if !ok || n == 0 {
		return ""
	}
	return "# " + p.time(n).Format("2006-01-02 15:04:05 -0700")
}

func (p Printer) time(n int64) time.Time {
	if p.Zone == nil {
		return time.Unix(n, 0).UTC()
	}
	return time.Unix(n, 0).In(p.Zone)
}

// sizeWords gives a size in sectors in the biggest unit of which there is more than one 1024th, as C's %g prints it.
func sizeWords(sectors uint64) string {
	units := [...]string{"Kilobytes", "Megabytes", "Gigabytes", "Terabytes", "Petabytes", "Exabytes"}
	d := float64(sectors) / 2
	i := 0
	for ; d > 1024 && i < len(units)-1; i++ {
		d /= 1024
	}
	return "# " + formatG(d) + " " + units[i]
}

// formatG is C's "%g": six significant digits, no trailing zeroes, an exponent of two digits at least.
func formatG(d float64) string {
	if d == 0 {
		return "0"
	}
	e := strconv.FormatFloat(d, 'e', 5, 64)
	exp, _ := strconv.Atoi(e[strings.IndexByte(e, 'e')+1:])
	if exp >= -4 && exp < 6 {
		return trimZeroes(strconv.FormatFloat(d, 'f', max(0, 5-exp), 64))
	}
	m, x, _ := strings.Cut(e, "e")
	if math.Abs(float64(exp)) < 10 && len(x) < 3 {
		x = x[:1] + "0" + x[1:]
	}
	return trimZeroes(m) + "e" + x
}

func trimZeroes(s string) string {
	if strings.Contains(s, ".") {
		s = strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}
