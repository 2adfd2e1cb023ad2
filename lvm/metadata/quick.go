package metadata

import (
	"strconv"
	"strings"

	"morgana/lvm/text"
)

// quickLV reads the stanza of a logical volume that has LVM2's own layout to the byte, and nothing but what plain
// volumes have; that is nearly every volume of a big group, and several times as fast as by way of a tree. It returns
// false for any other stanza, which readLV must read then. It makes no tree: see LV.Section.
func quickLV(lv *LV, raw string) bool {
	c := cursor{s: raw}
	name := c.upTo(' ')
	*lv = LV{Name: name, Major: -1, Minor: -1}
	if !ValidName(name) || !c.lit(" {\nid = \"") {
		return false
	}
	id, err := ParseUUID(c.upTo('"'))
	if err != nil || !c.lit("\"\nstatus = ") {
		return false
	}
	lv.ID = id
	if c.lit(visibleList) {
		lv.Status = commonLists[1]
	} else if lv.Status = c.list(); !known(lv.Status, lvStatus) {
		return false
	}
	if !c.lit("\nflags = ") {
		return false
	}
	if !c.lit("[]") {
		lv.Flags = c.list()
	}
	if c.lit("\ntags = ") {
		lv.Tags = c.list()
	}
	if c.lit("\ncreation_time = ") {
		n := c.number(1 << 62)
		lv.CreationTime = int64(n)
		if !c.lit("\ncreation_host = ") {
			return false
		}
		lv.CreationHost = c.str()
	}
	if c.lit("\nallocation_policy = ") {
		lv.Allocation, _ = ParseAllocation(c.str())
	}
	if !c.lit("\nsegment_count = ") {
		return false
	}
	segments := int(c.number(1 << 16))
	if !c.lit("\n\n") || c.bad || segments == 0 {
		return false
	}
	lv.Segments = make([]Segment, segments)
	for i := range lv.Segments {
		s := &lv.Segments[i]
		if !c.segment(s, i+1) || s.Start != lv.Extents || uint64(lv.Extents)+uint64(s.Count) > maxExtents {
			return false
		}
		lv.Extents += s.Count
	}
	if !c.lit("}") || c.s != "" || c.bad {
		return false
	}
	lv.place.hidden = !lv.Visible()
	return true
}

const visibleList = `["READ", "WRITE", "VISIBLE"]`

func known(list, all []string) bool {
	for _, s := range list {
		found := false
		for _, k := range all {
			found = found || k == s
		}
		if !found {
			return false
		}
	}
	return true
}

// segment reads a segment that plainSegment would print the same.
func (c *cursor) segment(s *Segment, n int) bool {
	if !c.lit("segment") || c.number(1<<16) != uint64(n) || !c.lit(" {\nstart_extent = ") {
		return false
	}
	s.Start = Extent(c.number(maxExtents))
	if !c.lit("\nextent_count = ") {
		return false
	}
	s.Count = Extent(c.number(maxExtents))
	if !c.lit("\n\ntype = \"striped\"\nstripe_count = ") {
		return false
	}
	stripes := int(c.number(128))
	if stripes > 1 {
		if !c.lit("\nstripe_size = ") {
			return false
		}
		s.StripeSize = c.number(1<<32 - 1)
	}
	if c.bad || stripes == 0 || s.Count == 0 || uint32(s.Count)%uint32(stripes) != 0 || !c.lit("\n\nstripes = [\n") {
		return false
	}
	s.Type, s.Known = "striped", true
	s.Stripes = make([]Area, stripes)
	for i := range s.Stripes {
		if i > 0 && !c.lit(",\n") {
			return false
		}
		s.Stripes[i].PV = c.str()
		if !c.lit(", ") {
			return false
		}
		s.Stripes[i].Start = Extent(c.number(maxExtents))
	}
	return c.lit("\n]\n}\n") && !c.bad
}

// cursor reads what it expects. After anything else it is bad.
type cursor struct {
	s   string
	bad bool
}

func (c *cursor) lit(s string) bool {
	if !strings.HasPrefix(c.s, s) {
		return false
	}
	c.s = c.s[len(s):]
	return true
}

func (c *cursor) upTo(b byte) string {
	i := strings.IndexByte(c.s, b)
	if i < 0 {
		c.bad = true
		return ""
	}
	s := c.s[:i]
	c.s = c.s[i:]
	return s
}

// number reads a decimal number in its shortest form, up to limit.
func (c *cursor) number(limit uint64) uint64 {
	i, n := 0, uint64(0)
	for i < len(c.s) && i < 19 && c.s[i]-'0' <= 9 {
		n = n*10 + uint64(c.s[i]-'0')
		i++
	}
	if i == 0 || i > 1 && c.s[0] == '0' || n > limit || i < len(c.s) && c.s[i] != '\n' && c.s[i] != ' ' && c.s[i] != ',' {
		c.bad = true
	}
	c.s = c.s[i:]
	return n
}

// str reads a string without escapes.
func (c *cursor) str() string {
	if !c.lit("\"") {
		c.bad = true
		return ""
	}
	s := c.upTo('"')
	if strings.IndexByte(s, '\\') >= 0 || strings.IndexByte(s, 0) >= 0 || !c.lit("\"") {
		c.bad = true
	}
	return s
}

// list reads a list of strings, which has one at least.
func (c *cursor) list() []string {
	if !c.lit("[") {
		c.bad = true
		return nil
	}
	var list []string
	for !c.bad {
		list = append(list, c.str())
		if c.lit("]") {
			return intern(list)
		}
		c.bad = c.bad || !c.lit(", ")
	}
	return nil
}

// sectionOf parses a stanza that quickLV has read.
func sectionOf(stanza []byte) *text.Section {
	top, err := text.Parse(stanza)
	if err != nil || len(top.Entries) != 1 {
		panic("metadata: a stanza that was read is wrong: " + strconv.Quote(string(stanza)))
	}
	return top.Entries[0].Section
}
