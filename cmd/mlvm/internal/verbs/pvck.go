package verbs

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"morgana/cmd/mlvm/internal/args"
	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm"
	"morgana/lvm/ondisk"
	"morgana/lvm/text"
)

// checks are the verbs that look at what is on a disk, sound or not.
func checks() []command.Verb {
	return []command.Verb{{
		Name: "pvck", Summary: "check and show what is on a disk", Usage: []string{"PV ...", "--dump headers|metadata|metadata_all|metadata_search|metadata_area PV"},
		Min: 1, Max: -1,
		Supports: "dump file pvmetadatacopies reportformat labelsector",
		Details: `Never writes to a disk. --dump shows the headers, the metadata, all copies of the metadata that are left in the areas
(metadata_all), also without a usable header (metadata_search), or the bytes of the first area (metadata_area, with
--file). With --file, metadata go to a file; edited or not, vgcfgrestore takes them back.`,
		Examples: []string{"pvck a.img", "pvck --dump metadata_search -f found.txt a.img"},
		Run:      pvck,
	}}
}

// dumps are what --dump takes.
var dumps = []string{"headers", "metadata", "metadata_all", "metadata_search", "metadata_area"}

func pvck(ctx context.Context, r *command.Run) error {
	what := r.Str("dump", "")
	if what != "" && !contains(dumps, what) {
		return &args.UsageError{Lines: []string{"  Invalid argument for --dump: " + what, "  Error during parsing of command line."}}
	}
	if _, err := r.Scan(ctx, command.Need{Disks: r.Operands}); err != nil {
		return err
	}
	var failed error
	for _, name := range r.Operands {
		d, ok := r.Disk(name)
		if !ok {
			failed = r.Failed("Cannot access device %s.", name)
			continue
		}
		if file := r.Str("file", ""); file != "" && what != "" {
			if err := r.NotOurs(file); err != nil {
				return err
			}
		}
		c := &checker{r: r, disk: d, area: int(r.Uint("pvmetadatacopies", 1))}
		var err error
		switch what {
		case "":
			err = c.check()
		case "headers":
			err = c.headers()
		case "metadata":
			err = c.metadata()
		case "metadata_all", "metadata_search":
			err = c.search(what == "metadata_search")
		default:
			err = c.dumpArea()
		}
		if err != nil {
			failed = r.Fail(err)
		}
	}
	return failed
}

// checker looks at one disk.
type checker struct {
	r    *command.Run
	disk lvm.Disk
	area int // which metadata area is meant, from 1
	bad  int
}

func (c *checker) read(off, n uint64) ([]byte, error) {
	size := uint64(c.disk.Device.Size())
	if off > size || n > size-off {
		return nil, fmt.Errorf("%s: bytes %d to %d are behind the end of the disk", c.disk.Name, off, off+n)
	}
	b := make([]byte, n)
	_, err := c.disk.Device.ReadAt(b, int64(off))
	return b, err
}

// label finds the label, or else looks where it should be.
func (c *checker) label() (sector uint64, raw []byte, l ondisk.Label, err error) {
	head, err := c.read(0, ondisk.LabelArea)
	if err != nil {
		return 0, nil, l, err
	}
	for s := range uint64(ondisk.LabelSectors) {
		raw = head[s*ondisk.SectorSize:][:ondisk.SectorSize]
		if bytes.HasPrefix(raw, []byte("LABELONE")) {
			l, err = ondisk.ParseLabel(s, raw)
			return s, raw, l, err
		}
	}
	//lint:ignore ST1005 a sentence for users
	return 0, nil, l, fmt.Errorf("Could not find LVM label on %s", c.disk.Name)
}

func (c *checker) check() error {
	s, _, l, err := c.label()
	if err != nil {
		return err
	}
	c.r.Print("Found label on %s, sector %d, type=LVM2 001", c.disk.Name, s)
	for _, a := range l.Metadata {
		c.r.Print("Found text metadata area: offset=%d, size=%d", a.Offset, a.Size)
	}
	for i, a := range l.Metadata {
		if _, _, _, err := c.text(i+1, a); err != nil {
			c.problem("%v", err)
		}
	}
	if c.bad > 0 {
		return command.ErrFailed
	}
	return nil
}

func (c *checker) problem(format string, a ...any) {
	c.bad++
	c.r.Print("CHECK: "+format, a...)
}

// text reads an area's committed metadata: where they begin, their bytes and checksum.
func (c *checker) text(n int, a ondisk.Area) (off uint64, raw []byte, crc uint32, err error) {
	b, err := c.read(a.Offset, ondisk.HeaderSize)
	if err != nil {
		return 0, nil, 0, err
	}
	h, err := ondisk.ParseHeader(a.Offset, b)
	if err != nil {
		return 0, nil, 0, fmt.Errorf("mda_header_%d: %w", n, err)
	}
	if h.Empty() {
		return 0, nil, 0, nil
	}
	pieces, err := h.Pieces(h.Slots[0])
	if err != nil {
		return 0, nil, 0, fmt.Errorf("mda_header_%d: %w", n, err)
	}
	for _, p := range pieces {
		b, err := c.read(p.Offset, p.N)
		if err != nil {
			return 0, nil, 0, err
		}
		raw = append(raw, b...)
	}
	off, crc = pieces[0].Offset, h.Slots[0].CRC
	if got := ondisk.CRC(ondisk.CRCInit, raw); got != crc {
		return off, raw, crc, fmt.Errorf("metadata text at %d crc does not match mda_header_%d.raw_locn[0].checksum", off, n)
	}
	return off, raw, crc, nil
}

// headers shows the label and the headers of the areas, field by field.
func (c *checker) headers() error {
	s, raw, l, err := c.label()
	if raw == nil {
		return err
	}
	p := c.r.Print
	at := s * ondisk.SectorSize
	le32, le64 := binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	p("label_header at %d", at)
	p("label_header.id %s", printable(raw[:8]))
	p("label_header.sector %d", le64(raw[8:]))
	p("label_header.crc 0x%x", le32(raw[16:]))
	p("label_header.offset %d", le32(raw[20:]))
	p("label_header.type %s", printable(raw[24:32]))
	if want := ondisk.CRC(ondisk.CRCInit, raw[20:]); want != le32(raw[16:]) {
		c.problem("label_header.crc expected 0x%x", want)
	}
	pos := int(min(le32(raw[20:]), 472))
	p("pv_header at %d", at+uint64(pos))
	p("pv_header.pv_uuid %s", printable(raw[pos:pos+32]))
	p("pv_header.device_size %d", le64(raw[pos+32:]))
	pos += 40
	index := 0
	list := func(what, title string) {
		for pos+16 <= len(raw) {
			off, size := le64(raw[pos:]), le64(raw[pos+8:])
			words := title
			if off == 0 {
				words = "location list end"
			} else if title != "bootloader area" {
				words = "location of " + title
			}
			p("%s.disk_locn[%d] at %d # %s", what, index, at+uint64(pos), words)
			p("%s.disk_locn[%d].offset %d", what, index, off)
			p("%s.disk_locn[%d].size %d", what, index, size)
			pos, index = pos+16, index+1
			if off == 0 {
				return
			}
		}
	}
	list("pv_header", "data area")
	list("pv_header", "metadata area")
	if pos+8 <= len(raw) {
		p("pv_header_extension at %d", at+uint64(pos))
		p("pv_header_extension.version %d", le32(raw[pos:]))
		p("pv_header_extension.flags %d", le32(raw[pos+4:]))
		pos, index = pos+8, 0
		list("pv_header_extension", "bootloader area")
	}
	if err != nil {
		c.problem("%v", err)
	}
	if len(l.Metadata) == 0 {
		p("zero metadata copies")
	}
	for i, a := range l.Metadata {
		if err := c.header(i+1, a); err != nil {
			c.problem("%v", err)
		}
	}
	if c.bad > 0 {
		return command.ErrFailed
	}
	return nil
}

// header shows one area's header and what it points to.
func (c *checker) header(n int, a ondisk.Area) error {
	b, err := c.read(a.Offset, ondisk.HeaderSize)
	if err != nil {
		return err
	}
	le32, le64 := binary.LittleEndian.Uint32, binary.LittleEndian.Uint64
	p := c.r.Print
	p("mda_header_%d at %d # metadata area", n, a.Offset)
	p("mda_header_%d.checksum 0x%x", n, le32(b))
	p("mda_header_%d.magic 0x%s", n, hex.EncodeToString(b[4:20]))
	p("mda_header_%d.version %d", n, le32(b[20:]))
	p("mda_header_%d.start %d", n, le64(b[24:]))
	p("mda_header_%d.size %d", n, le64(b[32:]))
	for i, words := range []string{"commit", "precommit"} {
		pos := 40 + 24*i
		flags := le32(b[pos+20:])
		note := ""
		if flags&1 != 0 {
			note = " # RAW_LOCN_IGNORED"
		}
		if off, size := le64(b[pos:]), le64(b[pos+8:]); off+size > le64(b[32:]) {
			words += " wrapped"
		}
		p("mda_header_%d.raw_locn[%d] at %d # %s", n, i, a.Offset+uint64(pos), words)
		p("mda_header_%d.raw_locn[%d].offset %d", n, i, le64(b[pos:]))
		p("mda_header_%d.raw_locn[%d].size %d", n, i, le64(b[pos+8:]))
		p("mda_header_%d.raw_locn[%d].checksum 0x%x", n, i, le32(b[pos+16:]))
		p("mda_header_%d.raw_locn[%d].flags 0x%x%s", n, i, flags, note)
	}
	off, raw, crc, err := c.text(n, a)
	if err != nil || raw == nil {
		return err
	}
	name, seqno, _ := identify(raw)
	p("metadata text at %d crc 0x%x # vgname %s seqno %d", off, crc, name, seqno)
	return nil
}

func printable(b []byte) string {
	return strings.Map(func(c rune) rune {
		if c < 0x20 || c > 0x7e {
			return '.'
		}
		return c
	}, strings.TrimRight(string(b), "\x00"))
}

// identify reads a group's name, number and uuid out of its text.
func identify(raw []byte) (name string, seqno int64, id string) {
	top, err := text.Parse(bytes.TrimRight(raw, "\x00"))
	if err != nil {
		return "", 0, ""
	}
	for _, e := range top.Entries {
		if e.Section != nil {
			seqno, _ = e.Section.Int("seqno")
			id, _ = e.Section.Str("id")
			return e.Key, seqno, id
		}
	}
	return "", 0, ""
}

// chosen is the metadata area that is meant.
func (c *checker) chosen() (ondisk.Area, error) {
	_, _, l, err := c.label()
	if err != nil {
		return ondisk.Area{}, err
	}
	if c.area < 1 || c.area > len(l.Metadata) {
		//lint:ignore ST1005 a sentence for users
		return ondisk.Area{}, fmt.Errorf("%s has no metadata area %d.", c.disk.Name, c.area)
	}
	return l.Metadata[c.area-1], nil
}

func (c *checker) metadata() error {
	a, err := c.chosen()
	if err != nil {
		return err
	}
	off, raw, crc, err := c.text(c.area, a)
	if err != nil {
		return err
	}
	if raw == nil {
		c.r.Print("zero metadata copies")
		return nil
	}
	name, seqno, _ := identify(raw)
	c.r.Print("metadata text at %d crc 0x%x # vgname %s seqno %d", off, crc, name, seqno)
	words := bytes.TrimRight(raw, "\x00")
	if file := c.r.Str("file", ""); file != "" {
		return os.WriteFile(file, words, 0o600)
	}
	c.r.Print("---")
	fmt.Fprintf(c.r.Stdout, "%s\n", words)
	c.r.Print("---")
	return nil
}

// search finds all texts in an area, also old ones. Without a label, where LVM2 usually puts the area.
func (c *checker) search(anywhere bool) error {
	a, err := c.chosen()
	if err != nil {
		if !anywhere {
			return err
		}
		a = ondisk.Area{Offset: 4096, Size: min(1044480, uint64(c.disk.Device.Size())-4096)}
		c.r.Print("Using common defaults for first mda: offset %d size %d.", a.Offset, a.Size)
	}
	if anywhere {
		c.r.Print("Searching for metadata at offset %d size %d", a.Offset, a.Size)
	}
	b, err := c.read(a.Offset, a.Size)
	if err != nil {
		return err
	}
	var file *os.File
	if name := c.r.Str("file", ""); name != "" {
		if file, err = os.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600); err != nil {
			return err
		}
		defer file.Close()
	}
	found, first, several := 0, "", false
	for pos := ondisk.SectorSize; pos+ondisk.SectorSize <= len(b); pos += ondisk.SectorSize {
		raw := textAt(b, pos)
		if raw == nil {
			continue
		}
		name, seqno, id := identify(raw)
		if id == "" {
			continue
		}
		c.r.Print("metadata at %d length %d crc %08x vg %s seqno %d id %s", a.Offset+uint64(pos), len(raw),
			ondisk.CRC(ondisk.CRCInit, raw), name, seqno, id)
		if c.r.Has("verbose") {
			c.describe(raw)
		}
		if file != nil {
			if found > 0 {
				fmt.Fprint(file, "\n--\n")
			}
			if _, err := file.Write(bytes.TrimRight(raw, "\x00")); err != nil {
				return err
			}
		}
		found++
		if first == "" {
			first = id
		}
		several = several || id != first
	}
	if several {
		c.r.Warn("WARNING: metadata from multiple VGs was found.")
	}
	if file != nil {
		return file.Sync()
	}
	return nil
}

// textAt cuts out the text that begins in a sector, up to its NUL. It may go on at the begin of the ring.
func textAt(b []byte, pos int) []byte {
	line, _, ok := bytes.Cut(b[pos:min(pos+256, len(b))], []byte(" {\n"))
	if !ok || len(line) == 0 || !args.ValidName(string(line)) {
		return nil
	}
	if end := bytes.IndexByte(b[pos:], 0); end >= 0 {
		return b[pos : pos+end+1]
	}
	ring := b[ondisk.HeaderSize:pos]
	end := bytes.IndexByte(ring, 0)
	if end < 0 {
		return nil
	}
	return append(bytes.Clone(b[pos:]), ring[:end+1]...)
}

// describe shows who wrote a text and when.
func (c *checker) describe(raw []byte) {
	for _, key := range []string{"description = ", "creation_time = "} {
		if i := bytes.Index(raw, []byte(key)); i >= 0 {
			line, _, _ := bytes.Cut(raw[i:], []byte("\n"))
			c.r.Print("%s", line)
		}
	}
	fmt.Fprintln(c.r.Stdout)
}

// dumpArea writes the first area's bytes to a file.
func (c *checker) dumpArea() error {
	name := c.r.Str("file", "")
	if name == "" {
		return c.r.Failed("Use --file to specify a file for metadata_area.")
	}
	a, err := c.chosen()
	if err != nil {
		return err
	}
	b, err := c.read(a.Offset, a.Size)
	if err != nil {
		return err
	}
	return os.WriteFile(name, b, 0o600)
}
