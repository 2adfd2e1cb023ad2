package spec

import (
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strings"

	"morgana/lvm/image/tree"
	"morgana/lvm/metadata"
)

// defaultTime is the earliest that every part can hold: FAT begins with 1980.
const defaultTime = 315532800

// PartitionTypes are the words for types of partitions and their GUIDs.
var PartitionTypes = map[string]string{
	"esp":   "C12A7328-F81F-11D2-BA4B-00A0C93EC93B",
	"lvm":   "E6D6D379-F507-44C2-A23C-238F2A3DF928",
	"linux": "0FC63DAF-8483-4772-8E79-3D69D8477DE4",
	"swap":  "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F",
	"bios":  "21686148-6449-6E6F-744E-656564454649",
}

// Parse reads a description. Errors are *Error.
func Parse(b []byte) (*Spec, error) {
	p := &parser{spec: &Spec{}}
	for i, line := range strings.Split(string(b), "\n") {
		p.line = i + 1
		words, err := split(line)
		if err == nil && len(words) > 0 {
			err = p.statement(words)
		}
		if err != nil {
			return nil, &Error{p.line, err.Error()}
		}
	}
	if err := p.spec.check(); err != nil {
		return nil, err
	}
	return p.spec, nil
}

type parser struct {
	spec *Spec
	line int
	fs   *FS // that edits are for
	of   string
}

// statement reads a line. The first word is a verb, the second a name where the verb has one.
func (p *parser) statement(words []word) error {
	verb := words[0]
	read, ok := map[string]func(string, *options) error{
		"partition": p.partition, "group": p.group, "volume": p.volume,
		"dir": p.edit("dir"), "file": p.edit("file"), "symlink": p.edit("symlink"), "link": p.edit("link"), "node": p.edit("node"),
		"set": p.edit("set"), "remove": p.edit("remove"),
	}[verb.key]
	switch {
	case verb.option:
		return fmt.Errorf("the line begins with an option; disk, partition, group, volume, dir, file, symlink, link, node, set or remove come first")
	case verb.key == "disk":
		return p.disk(words[1:])
	case !ok:
		return fmt.Errorf("%q is not known; disk, partition, group, volume, dir, file, symlink, link, node, set and remove are", verb.key)
	case len(words) < 2 || words[1].option:
		return fmt.Errorf("%s wants a name", verb.key)
	}
	o, err := newOptions(words[2:])
	if err != nil {
		return err
	}
	if err := read(words[1].key, o); err != nil {
		return err
	}
	return o.unknown(verb.key)
}

// options are those of a line. What was taken is known.
type options struct {
	values map[string]string
	taken  map[string]bool
	err    error
}

func newOptions(words []word) (*options, error) {
	o := &options{map[string]string{}, map[string]bool{}, nil}
	for _, w := range words {
		if !w.option {
			return nil, fmt.Errorf("%q is no option; those have the form key=value", w.key)
		}
		if _, ok := o.values[w.key]; ok {
			return nil, fmt.Errorf("%s is given twice", w.key)
		}
		o.values[w.key] = w.value
	}
	return o, nil
}

// take returns an option's value.
func (o *options) take(key string) (string, bool) {
	v, ok := o.values[key]
	o.taken[key] = true
	return v, ok
}

// get reads an option, if it is given. The first error is kept.
func get[T any](o *options, key string, to *T, read func(string) (T, error)) bool {
	s, ok := o.take(key)
	if !ok {
		return false
	}
	v, err := read(s)
	if err != nil && o.err == nil {
		o.err = fmt.Errorf("%s: %w", key, err)
	}
	*to = v
	return true
}

func text(s string) (string, error) { return s, nil }

// oneOf reads one of some words.
func oneOf(words ...string) func(string) (string, error) {
	return func(s string) (string, error) {
		if !slices.Contains(words, s) {
			return "", fmt.Errorf("%q is not known; %s are", s, strings.Join(words, ", "))
		}
		return s, nil
	}
}

func (o *options) unknown(verb string) error {
	if o.err != nil {
		return o.err
	}
	for _, key := range slices.Sorted(maps.Keys(o.values)) {
		if !o.taken[key] {
			return fmt.Errorf("%s has no option %s; it has %s", verb, key, strings.Join(slices.Sorted(maps.Keys(o.taken)), ", "))
		}
	}
	return nil
}

func (p *parser) disk(words []word) error {
	d := &p.spec.Disk
	if d.Size != 0 {
		return fmt.Errorf("a second disk")
	}
	o, err := newOptions(words)
	if err != nil {
		return err
	}
	var sector string
	d.Sector, d.Time = 512, defaultTime
	hasSize := get(o, "size", &d.Size, size)
	if get(o, "sector", &sector, oneOf("512", "4096")) && sector == "4096" {
		d.Sector = 4096
	}
	get(o, "seed", &d.Seed, text)
	get(o, "time", &d.Time, moment)
	switch err := o.unknown("disk"); {
	case err != nil:
		return err
	case !hasSize:
		return fmt.Errorf("the disk wants a size")
	case d.Size%4096 != 0:
		return fmt.Errorf("the size is no multiple of 4096 bytes")
	}
	return nil
}

func (p *parser) partition(name string, o *options) error {
	x := Partition{Line: p.line, Name: name}
	get(o, "type", &x.Type, func(s string) (string, error) {
		if PartitionTypes[s] == "" && !isGUID(s) {
			return "", fmt.Errorf("%q is not known; %s and GUIDs are", s, strings.Join(slices.Sorted(maps.Keys(PartitionTypes)), ", "))
		}
		return s, nil
	})
	get(o, "size", &x.Size, size)
	if x.FS = p.format(o, "partition "+name); o.err != nil {
		return o.err
	}
	switch {
	case x.Type == "":
		return fmt.Errorf("partition %s wants a type", name)
	case len(name) > 36:
		return fmt.Errorf("partition %s: names have at most 36 characters", name)
	case slices.ContainsFunc(p.spec.Partitions, func(y Partition) bool { return y.Name == name }) || name == "disk":
		return fmt.Errorf("the name %s is taken", name)
	case x.Type == "lvm" && x.FS != nil:
		return fmt.Errorf("partition %s is for a group and cannot have a file system of its own", name)
	}
	p.spec.Partitions = append(p.spec.Partitions, x)
	return nil
}

func isGUID(s string) bool {
	b, err := hex.DecodeString(strings.ReplaceAll(s, "-", ""))
	return err == nil && len(b) == 16 && len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-'
}

func (p *parser) group(name string, o *options) error {
	g := Group{Line: p.line, Name: name, Extent: 4 << 20}
	get(o, "on", &g.On, list)
	get(o, "extent", &g.Extent, size)
	get(o, "tags", &g.Tags, tags)
	p.fs = nil
	switch {
	case o.err != nil:
		return o.err
	case len(g.On) == 0:
		return fmt.Errorf("group %s wants on=PARTITION or on=disk", name)
	case !metadata.ValidName(name):
		return fmt.Errorf("%q is no name for a group", name)
	case slices.ContainsFunc(p.spec.Groups, func(y Group) bool { return y.Name == name }):
		return fmt.Errorf("the name %s is taken", name)
	}
	p.spec.Groups = append(p.spec.Groups, g)
	return nil
}

func tags(s string) ([]string, error) {
	l, err := list(s)
	for _, x := range l {
		if err == nil && !metadata.ValidTag(x) {
			err = fmt.Errorf("%q is no tag", x)
		}
	}
	return l, err
}

func (p *parser) volume(name string, o *options) error {
	if len(p.spec.Groups) == 0 {
		return fmt.Errorf("volume %s is in no group; a line with group comes before", name)
	}
	g := &p.spec.Groups[len(p.spec.Groups)-1]
	v := Volume{Line: p.line, Name: name, Stripes: 1}
	var bytes int64
	var stripes uint32
	if get(o, "size", &bytes, size) {
		v.Size = metadata.Sectors(uint64(bytes) / metadata.SectorSize)
	}
	n := get(o, "extents", &v.Size, extents)
	if get(o, "stripes", &stripes, number) {
		v.Stripes = int(min(stripes, 1<<16))
	}
	get(o, "stripesize", &v.StripeSize, size)
	get(o, "tags", &v.Tags, tags)
	get(o, "readonly", &v.ReadOnly, yesNo)
	v.FS = p.format(o, "volume "+name)
	switch {
	case o.err != nil:
		return o.err
	case n == (bytes > 0):
		return fmt.Errorf("volume %s wants either a size or extents", name)
	case stripes > 128 || v.Stripes == 0:
		return fmt.Errorf("volume %s: %d stripes; 1 to 128 can be had", name, stripes)
	case slices.ContainsFunc(g.Volumes, func(y Volume) bool { return y.Name == name }):
		return fmt.Errorf("the name %s is taken", name)
	}
	if err := metadata.CheckLVName(name); err != nil {
		return err
	}
	g.Volumes = append(g.Volumes, v)
	return nil
}

// format reads the options of a file system and makes it that which edits are for.
func (p *parser) format(o *options, of string) *FS {
	f := &FS{}
	p.fs, p.of = nil, of
	get(o, "format", &f.Format, oneOf("ext4", "fat", "none"))
	if f.Format == "" || f.Format == "none" {
		return nil
	}
	get(o, "label", &f.Label, text)
	get(o, "from", &f.From, text)
	get(o, "owner", &f.Owner, owner)
	var times string
	f.KeepTimes = get(o, "times", &times, oneOf("keep"))
	if f.Format == "ext4" {
		get(o, "uuid", &f.UUID, func(s string) (string, error) {
			if !isGUID(s) {
				return "", fmt.Errorf("%q is no UUID", s)
			}
			return strings.ToLower(s), nil
		})
		get(o, "inodes", &f.Inodes, number)
		journal, reserved := true, uint32(0)
		if get(o, "journal", &journal, yesNo) {
			f.NoJournal = !journal
		}
		if get(o, "reserved", &reserved, number) {
			if f.Reserved = int(min(reserved, 99)); reserved == 0 {
				f.Reserved = -1
			}
		}
	}
	p.fs = f
	return f
}

// edit reads a line that changes what is in the file system above.
func (p *parser) edit(verb string) func(string, *options) error {
	return func(name string, o *options) error {
		if p.fs == nil {
			return fmt.Errorf("%s %s: there is no file system above it", verb, name)
		}
		e := Edit{Line: p.line, Verb: verb}
		var err error
		if e.Path, err = absolute(name); err != nil {
			return err
		}
		missing := ""
		want := func(ok bool, key string) {
			if !ok && missing == "" {
				missing = key
			}
		}
		switch verb {
		case "file":
			hasFrom := get(o, "from", &e.From, text)
			want(get(o, "text", &e.Text, text) != hasFrom, "either from or text")
		case "symlink":
			want(get(o, "target", &e.Target, text) && e.Target != "", "a target")
		case "link":
			want(get(o, "to", &e.To, absolute), "to=PATH")
		case "node":
			want(get(o, "type", &e.Type, nodeType), "a type")
			if major, minor := get(o, "major", &e.Major, number), get(o, "minor", &e.Minor, number); e.Type == tree.Char || e.Type == tree.Block {
				want(major && minor, "major and minor")
			}
		}
		if verb != "link" && verb != "remove" {
			get(o, "mode", &e.Mode, mode)
			get(o, "owner", &e.Owner, owner)
			var t int64
			if get(o, "time", &t, moment) {
				e.Time = &t
			}
			for _, key := range slices.Sorted(maps.Keys(o.values)) {
				if x, ok := strings.CutPrefix(key, "xattr."); ok && x != "" {
					v, _ := o.take(key)
					e.Xattrs = append(e.Xattrs, tree.Xattr{Name: x, Value: []byte(v)})
				}
			}
			o.taken["xattr.NAME"] = true
		}
		switch {
		case o.err != nil:
			return o.err
		case missing != "":
			return fmt.Errorf("%s %s wants %s", verb, name, missing)
		case e.Path == "/" && verb != "set" && verb != "dir":
			return fmt.Errorf("%s cannot be done to the root", verb)
		case e.Major >= 1<<12 || e.Minor >= 1<<20:
			return fmt.Errorf("node %s: device numbers are less than 4096 and 1048576", name)
		}
		p.fs.Edits = append(p.fs.Edits, e)
		return nil
	}
}

func nodeType(s string) (tree.Type, error) {
	switch s {
	case "char":
		return tree.Char, nil
	case "block":
		return tree.Block, nil
	case "fifo":
		return tree.FIFO, nil
	case "socket":
		return tree.Socket, nil
	}
	return 0, fmt.Errorf("%q is not known; char, block, fifo and socket are", s)
}

// check is what can be said only of the whole.
func (s *Spec) check() error {
	if s.Disk.Size == 0 {
		return &Error{0, "there is no disk; a line such as disk size=1G is needed"}
	}
	rest := ""
	for _, p := range s.Partitions {
		if p.Size == 0 {
			if rest != "" {
				return &Error{p.Line, fmt.Sprintf("partitions %s and %s are both without a size", rest, p.Name)}
			}
			rest = p.Name
		}
	}
	used := map[string]string{}
	for _, g := range s.Groups {
		for _, on := range g.On {
			i := slices.IndexFunc(s.Partitions, func(p Partition) bool { return p.Name == on })
			switch {
			case used[on] != "":
				return &Error{g.Line, fmt.Sprintf("group %s: %s is taken by group %s", g.Name, on, used[on])}
			case on == "disk" && len(s.Partitions) > 0:
				return &Error{g.Line, fmt.Sprintf("group %s is on the disk, which has partitions", g.Name)}
			case on != "disk" && i < 0:
				return &Error{g.Line, fmt.Sprintf("group %s: there is no partition %s", g.Name, on)}
			case on != "disk" && s.Partitions[i].Type != "lvm":
				return &Error{g.Line, fmt.Sprintf("group %s: partition %s is not of type lvm", g.Name, on)}
			}
			used[on] = g.Name
		}
	}
	return nil
}
