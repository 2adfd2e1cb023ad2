package spec

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/lvm/image/tree"
	"morgana/lvm/metadata"
)

const example = `
# a disk that boots by EFI
disk size=2G seed="release 7" time=2026-01-01T00:00:00Z
partition esp  type=esp size=64M format=fat label=ESP from=boot  # comment
partition main type=lvm
group vg0 on=main extent=8M tags=a,b
volume root size=1.5G format=ext4 label=root from=rootfs owner=0:0 reserved=0 journal=no
  set    /etc/shadow  mode=0640 owner=0:42 xattr.user.a="1 \"2\"\n\x00"
  node   /dev/console type=char major=5 minor=1 mode=0600
  file   /etc/hostname text="morgana"
  symlink /sbin target=usr/sbin
  link /etc/hard to=/etc/hostname
  remove /etc/../tmp
volume data extents=50%FREE stripes=2 stripesize=64K
`

func TestExample(t *testing.T) {
	got, err := Parse([]byte(example))
	if err != nil {
		t.Fatal(err)
	}
	m := func(n uint16) *uint16 { return &n }
	want := &Spec{
		Disk: Disk{Size: 2 << 30, Sector: 512, Seed: "release 7", Time: 1767225600},
		Partitions: []Partition{
			{Line: 4, Name: "esp", Type: "esp", Size: 64 << 20, FS: &FS{Format: "fat", Label: "ESP", From: "boot"}},
			{Line: 5, Name: "main", Type: "lvm"},
		},
		Groups: []Group{{Line: 6, Name: "vg0", On: []string{"main"}, Extent: 8 << 20, Tags: []string{"a", "b"}, Volumes: []Volume{
			{Line: 7, Name: "root", Size: metadata.Sectors(3 << 20), Stripes: 1, FS: &FS{
				Format: "ext4", Label: "root", From: "rootfs", Owner: &Owner{}, Reserved: -1, NoJournal: true,
				Edits: []Edit{
					{Line: 8, Verb: "set", Path: "/etc/shadow", Mode: m(0o640), Owner: &Owner{0, 42}, Xattrs: []tree.Xattr{{Name: "user.a", Value: []byte("1 \"2\"\n\x00")}}},
					{Line: 9, Verb: "node", Path: "/dev/console", Mode: m(0o600), Type: tree.Char, Major: 5, Minor: 1},
					{Line: 10, Verb: "file", Path: "/etc/hostname", Text: "morgana"},
					{Line: 11, Verb: "symlink", Path: "/sbin", Target: "usr/sbin"},
					{Line: 12, Verb: "link", Path: "/etc/hard", To: "/etc/hostname"},
					{Line: 13, Verb: "remove", Path: "/tmp"},
				},
			}},
			{Line: 14, Name: "data", Size: metadata.Percent(50, metadata.OfFree), Stripes: 2, StripeSize: 64 << 10},
		}}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(tree.Node{})); diff != "" {
		t.Error(diff)
	}
}

// What is wrong is told with its line and, where it can be, what would be right.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"", "there is no disk"},
		{"disk", "line 1: the disk wants a size"},
		{"disk size=1G\n\ndisk size=1G", "line 3: a second disk"},
		{"disk size=10", "no unit"},
		{"disk size=1.5", "no unit"},
		{"disk size=100B", "multiple of 512"},
		{"disk size=1G colour=red", "disk has no option colour; it has sector, seed, size, time"},
		{"disk size=1G size=2G", "size is given twice"},
		{"disk size=1G sector=1024", "512, 4096 are"},
		{"disk size=1G seed=\"x", "the quote has no end"},
		{"disk size=1G seed=\"\\q\"", `\q stands for nothing`},
		{"disk size=1G time=yesterday", "no time"},
		{"disk size=1G fast", `"fast" is no option`},
		{"size=1G", "begins with an option"},
		{"dusk size=1G", `"dusk" is not known`},
		{"disk size=1G\npartition", "line 2: partition wants a name"},
		{"disk size=1G\npartition a", "wants a type"},
		{"disk size=1G\npartition a type=hpfs", "esp, linux, lvm, swap and GUIDs are"},
		{"disk size=1G\npartition a type=esp\npartition b type=lvm", "both without a size"},
		{"disk size=1G\npartition a type=esp\npartition a type=lvm size=1M", "the name a is taken"},
		{"disk size=1G\npartition a type=lvm format=ext4", "is for a group"},
		{"disk size=1G\npartition a type=esp\ngroup g on=a", "not of type lvm"},
		{"disk size=1G\ngroup g on=b", "no partition b"},
		{"disk size=1G\ngroup g", "wants on="},
		{"disk size=1G\ngroup g on=disk\ngroup h on=disk", "disk is taken by group g"},
		{"disk size=1G\nvolume v size=1G", "is in no group"},
		{"disk size=1G\ngroup g on=disk\nvolume v", "either a size or extents"},
		{"disk size=1G\ngroup g on=disk\nvolume v size=1G extents=3", "either a size or extents"},
		{"disk size=1G\ngroup g on=disk\nvolume v extents=3%ORIGIN", "FREE and VG are known"},
		{"disk size=1G\ngroup g on=disk\nvolume v size=1G format=zfs", "ext4, fat, none are"},
		{"disk size=1G\ngroup g on=disk\nvolume v size=1G label=x", "volume has no option label"},
		{"disk size=1G\ngroup g on=disk\nvolume v size=1G\ndir /x", "no file system above"},
		{"disk size=1G\ngroup g on=disk\nvolume pvmove0 size=1G", "pvmove"},
		{"disk size=1G\ngroup g on=disk\nvolume v size=1G format=ext4\ndir x", "does not begin with /"},
		{"disk size=1G\ngroup g on=disk\nvolume v size=1G format=ext4\ndir /x mode=9", "no mode"},
		{"disk size=1G\ngroup g on=disk\nvolume v size=1G format=ext4\nfile /x", "either from or text"},
		{"disk size=1G\ngroup g on=disk\nvolume v size=1G format=ext4\nnode /x type=char", "major and minor"},
		{"disk size=1G\ngroup g on=disk\nvolume v size=1G format=ext4\nremove /", "cannot be done to the root"},
		{"disk size=1G\ngroup g on=disk\nvolume v size=1G format=ext4\nset /x owner=root", "UID:GID"},
	} {
		_, err := Parse([]byte(c.text))
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}

// Whatever is written, Parse says what is wrong or returns what can be built.
func FuzzParse(f *testing.F) {
	f.Add(example)
	f.Add("disk size=1G\ngroup g on=disk\nvolume v extents=3 stripes=2 tags=x readonly=yes format=fat\nnode /x type=fifo")
	f.Fuzz(func(t *testing.T, s string) {
		x, err := Parse([]byte(s))
		if err != nil {
			var e *Error
			if !errors.As(err, &e) || e.Line < 0 || e.Line > strings.Count(s, "\n")+1 || e.Msg == "" {
				t.Errorf("%q: %v", s, err)
			}
			return
		}
		if x.Disk.Size <= 0 || x.Disk.Size%4096 != 0 {
			t.Errorf("%q: %d bytes", s, x.Disk.Size)
		}
		for _, p := range x.Partitions {
			if p.Size < 0 || p.Name == "" {
				t.Errorf("%q: %+v", s, p)
			}
		}
		for _, g := range x.Groups {
			for _, v := range g.Volumes {
				if v.Stripes < 1 || v.Size == (metadata.Amount{}) {
					t.Errorf("%q: %+v", s, v)
				}
			}
		}
	})
}
