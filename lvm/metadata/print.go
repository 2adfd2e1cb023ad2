package metadata

import (
	"slices"
	"strconv"
	"sync/atomic"
	"time"

	"morgana/lvm/text"
)

// stanza keeps the text of a logical volume, which is made when it is first asked for.
type stanza struct{ text atomic.Pointer[[]byte] }

// lvBytes keeps how long the texts of all logical volumes are together; 0 is not known yet.
type lvBytes struct{ n atomic.Int64 }

// diskDepth is how deep a volume's stanza stands in the text: in the group, in its list.
const diskDepth = 2

// Text returns the volume's stanza as it stands on disk, with the blank line before it. It must not be changed.
func (lv *LV) Text() []byte {
	if lv.tree == nil {
		return lv.raw
	}
	if p := lv.stanza.text.Load(); p != nil {
		return *p
	}
	b := make([]byte, 0, 384)
	b = append(b, '\n')
	b = text.Printer{}.Stanza(b, lv.Name, lv.tree, text.LogicalVolume, diskDepth)
	b = slices.Clip(b)
	lv.stanza.text.Store(&b)
	return b
}

func (pv *PV) append(dst []byte) []byte {
	dst = append(dst, '\n')
	return text.Printer{}.Stanza(dst, pv.Key, pv.section, text.PhysicalVolume, diskDepth)
}

func (pv *PV) measure() int {
	return len(pv.append(make([]byte, 0, 512)))
}

// appendHead appends the group's own keys; also what follows the logical volumes.
func (vg *VG) appendHead(dst []byte) []byte {
	var prev *text.Entry
	for i := range vg.head.Entries {
		if e := &vg.head.Entries[i]; e.Section == nil {
			dst = text.Printer{}.AppendEntry(dst, vg.head, prev, e, text.Group, 1)
			prev = e
		}
	}
	return dst
}

func (vg *VG) appendTail(dst []byte) []byte {
	for _, e := range vg.head.Entries {
		if e.Section != nil {
			dst = text.Printer{}.Stanza(dst, e.Key, e.Section, text.Group.Inside(e.Key), 1)
		}
	}
	return dst
}

const (
	pvsOpen = "\n" + pvsKey + " {\n"
	lvsOpen = lvsKey + " {\n"
	closing = "}\n"
)

// AppendText appends the group's text as a metadata area has it, without the NUL that LVM2 puts behind it. It is what
// LVM2 would write, byte for byte, but for what LVM2 would lose.
func (vg *VG) AppendText(dst []byte, stamp Stamp) []byte {
	dst = append(dst, vg.name...)
	dst = vg.appendHead(append(dst, " {\n"...))
	dst = append(dst, pvsOpen...)
	for _, pv := range vg.pvs {
		dst = pv.append(dst)
	}
	dst = append(dst, closing...)
	dst = append(dst, '\n')
	if vg.order.Len() > 0 {
		dst = append(dst, lvsOpen...)
		for lv := range vg.LVs() {
			dst = append(dst, lv.Text()...)
		}
		dst = append(dst, closing...)
	}
	dst = append(dst, '\n')
	dst = vg.appendTail(dst)
	dst = append(dst, closing...)
	return text.Printer{}.AppendHeader(dst, stamp, vg.top)
}

// AppendFile appends the group's text in the layout of /etc/lvm/backup. Times in comments are in zone, nil for UTC.
func (vg *VG) AppendFile(dst []byte, stamp Stamp, zone *time.Location) []byte {
	p := text.Printer{File: true, ExtentSize: vg.extentSize, Zone: zone}
	dst = p.AppendHeader(dst, stamp, vg.top)
	return p.Stanza(dst, vg.name, vg.Section(), text.Group, 0)
}

// Section returns the whole group as a tree.
func (vg *VG) Section() *text.Section {
	var es, tail []text.Entry
	for _, e := range vg.head.Entries {
		if e.Section == nil {
			es = append(es, e)
		} else {
			tail = append(tail, e)
		}
	}
	pvs, lvs := &text.Section{}, &text.Section{}
	for _, pv := range vg.pvs {
		pvs.Entries = append(pvs.Entries, text.Entry{Key: pv.Key, Section: pv.section})
	}
	for lv := range vg.LVs() {
		lvs.Entries = append(lvs.Entries, text.Entry{Key: lv.Name, Section: lv.Section()})
	}
	es = append(es, text.Entry{Key: pvsKey, Section: pvs})
	if len(lvs.Entries) > 0 {
		es = append(es, text.Entry{Key: lvsKey, Section: lvs})
	}
	return &text.Section{Entries: append(es, tail...)}
}

// TextSize returns how many bytes AppendText would append, without making the text: in a time that does not depend on
// the number of logical volumes once it was asked of the group or of one that it came from.
func (vg *VG) TextSize(stamp Stamp) int {
	n := len(vg.name) + len(" {\n") + len(pvsOpen) + len(closing) + len("\n\n") + len(closing)
	n += len(vg.appendTail(vg.appendHead(make([]byte, 0, 1024))))
	for _, pv := range vg.pvs {
		n += pv.bytes
	}
	if vg.order.Len() > 0 {
		n += len(lvsOpen) + len(closing) + vg.sumLVs()
	}
	return n + len(text.Printer{}.AppendHeader(make([]byte, 0, 512), stamp, vg.top))
}

func (vg *VG) sumLVs() int {
	if n := vg.lvBytes.n.Load(); n > 0 {
		return int(n)
	}
	n := 0
	for lv := range vg.LVs() {
		n += len(lv.Text())
	}
	vg.lvBytes.n.Store(int64(n))
	return n
}

// plainSegment makes the tree of a striped, error or zero segment.
func plainSegment(s *Segment) *text.Section {
	es := make([]text.Entry, 0, 7)
	es = append(es, num("start_extent", s.Start), num("extent_count", s.Count), text.Entry{Key: "type", Value: text.String(s.Type)})
	if len(s.Tags) > 0 {
		es = append(es, text.Entry{Key: "tags", Value: text.StringList(s.Tags...)})
	}
	if s.striped() {
		es = append(es, num("stripe_count", len(s.Stripes)))
		if len(s.Stripes) > 1 {
			es = append(es, num("stripe_size", s.StripeSize))
		}
		list := make([]text.Value, 0, 2*len(s.Stripes))
		for _, a := range s.Stripes {
			list = append(list, text.String(a.PV), text.Int(a.Start))
		}
		es = append(es, text.Entry{Key: "stripes", Value: text.List(list...)})
	}
	return &text.Section{Entries: es}
}

func num[T ~int | ~int64 | ~uint64 | ~uint32 | ~int32](key string, n T) text.Entry {
	return text.Entry{Key: key, Value: text.Int(n)}
}

// withSegments returns a volume's section with other segments. Segments that have a section keep it.
func withSegments(s *text.Section, segments []Segment) *text.Section {
	es := make([]text.Entry, 0, len(s.Entries)+len(segments))
	for _, e := range s.Entries {
		if e.Section == nil {
			if e.Key == "segment_count" {
				e.Value = text.Int(len(segments))
			}
			es = append(es, e)
		}
	}
	for i := range segments {
		if segments[i].section == nil {
			segments[i].section = plainSegment(&segments[i])
		}
		es = append(es, text.Entry{Key: "segment" + strconv.Itoa(i+1), Section: segments[i].section})
	}
	return &text.Section{Entries: es}
}
