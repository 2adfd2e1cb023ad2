package text

import (
	"bytes"
	"strconv"
)

// PlainToFile appends the stanza of a logical volume in the layout of files, made of the same stanza in LVM2's layout
// on disk, line by line: what a big group consists of needs no tree to be printed. It is for stanzas with segments of
// type striped only. depth is how deep the volume's name stands.
func (p Printer) PlainToFile(dst, disk []byte, depth int) []byte {
	for len(disk) > 0 {
		line := disk
		if i := bytes.IndexByte(disk, '\n'); i >= 0 {
			line, disk = disk[:i], disk[i+1:]
		} else {
			disk = nil
		}
		if len(line) == 0 {
			dst = append(dst, '\n')
			continue
		}
		if line[0] == '}' || line[0] == ']' {
			depth--
		}
		for range min(depth, maxIndent) {
			dst = append(dst, '\t')
		}
		dst = append(dst, line...)
		if line[0] != '"' {
			if words := p.plainWords(line); words != "" {
				dst = lineUp(dst, len(line), depth, words)
			}
		}
		dst = append(dst, '\n')
		if last := line[len(line)-1]; last == '{' || last == '[' {
			depth++
		}
	}
	return dst
}

// plainWords is the comment of a line.
func (p Printer) plainWords(line []byte) string {
	key, value, ok := bytes.Cut(line, []byte(" = "))
	if !ok {
		return ""
	}
	var unit uint64
	switch string(key) {
	case "creation_time":
		return p.timeWords(&Entry{Value: Value{Kind: KindInt, Raw: string(value)}})
	case "stripe_count":
		if string(value) == "1" {
			return "# linear"
		}
		return ""
	case "extent_count":
		unit = p.ExtentSize
	case "stripe_size":
		unit = 1
	default:
		return ""
	}
	n, err := strconv.ParseUint(string(value), 10, 63)
	if err != nil {
		return ""
	}
	return sizeWords(n * unit)
}
