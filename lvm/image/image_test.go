package image

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"morgana/block"
	"morgana/block/file"
	"morgana/lvm"
	"morgana/lvm/image/spec"
	"morgana/lvm/image/tree"
	"morgana/lvm/metadata"
)

// memory is a Source of trees made by hand.
type memory map[string]func() *tree.Node

func (m memory) Dir(name string) (*tree.Node, error) {
	if f := m[name]; f != nil {
		return f(), nil
	}
	return nil, &os.PathError{Op: "open", Path: name, Err: os.ErrNotExist}
}
func (m memory) File(name string) (*tree.Node, error) { return m.Dir(name) }

func rootfs() *tree.Node {
	root := &tree.Node{Type: tree.Dir, Perm: 0o755, UID: 1000, GID: 1000, ModTime: tree.Time{Sec: 1700000000}}
	etc := &tree.Node{Type: tree.Dir, Perm: 0o755, UID: 1000}
	root.Put("etc", etc)
	etc.Put("passwd", tree.Bytes([]byte("root:x:0:0::/:/bin/sh\n"), 0o644))
	etc.Put("shadow", tree.Bytes([]byte("root:*:::::::\n"), 0o600))
	root.Put("random", tree.Bytes(bytes.Repeat([]byte("morgana "), 100_000), 0o644))
	return root
}

const description = `
disk size=160M seed=test time=2026-01-01T00:00:00Z
partition esp  type=esp size=40M format=fat label=ESP from=boot
partition main type=lvm
partition rest type=linux size=16M format=ext4 journal=no
group vg0 on=main extent=1M tags=built
volume root size=32M format=ext4 label=root from=rootfs owner=0:0
  set /etc/shadow mode=0640 owner=0:42
  dir /proc mode=0555
  node /dev/console type=char major=5 minor=1
  symlink /bin/sh target=busybox
  link /etc/hard to=/etc/passwd
  file /etc/hostname text="morgana\n"
  remove /random
volume swap size=8M
volume data extents=50%FREE format=fat readonly=yes tags=a,b
`

var source = memory{"boot": func() *tree.Node {
	root := &tree.Node{Type: tree.Dir}
	root.Put("startup.nsh", tree.Bytes([]byte("echo hello\r\n"), 0))
	return root
}, "rootfs": rootfs}

func build(t testing.TB, text string) (string, *Result) {
	t.Helper()
	s, err := spec.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "disk.img")
	d, err := file.Create(name, s.Disk.Size, file.WithSectorSize(s.Disk.Sector))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	var total, done int64
	r, err := Build(context.Background(), d, s, []byte(text), source, Options{
		Total: func(n int64) { total = n }, Progress: func(n int64) { done += n },
	})
	if err != nil {
		t.Fatal(err)
	}
	if total != done {
		t.Errorf("progress: %d of %d bytes", done, total)
	}
	return name, r
}

func sum(t testing.TB, name string) [32]byte {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	h := sha256.New()
	if _, err := io.Copy(h, f); err != nil {
		t.Fatal(err)
	}
	return [32]byte(h.Sum(nil))
}

func TestSameBytes(t *testing.T) {
	a, first := build(t, description)
	b, second := build(t, description)
	if sum(t, a) != sum(t, b) {
		t.Error("two images of one description differ")
	}
	if x, y := mustJSON(t, first), mustJSON(t, second); x != y {
		t.Errorf("%s\n%s", x, y)
	}
	if c, _ := build(t, strings.Replace(description, "seed=test", "seed=other", 1)); sum(t, a) == sum(t, c) {
		t.Error("the seed changes nothing")
	}
	without := strings.Replace(description, "seed=test", "", 1)
	if c, _ := build(t, without); sum(t, c) == sum(t, a) {
		t.Error("another description makes the same bytes")
	}
}

func mustJSON(t testing.TB, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// What was built, taken apart again and judged by the tools of each part.
func TestBuild(t *testing.T) {
	image, r := build(t, description)
	if out := run(t, "/usr/sbin/sfdisk", "--verify", image); !strings.Contains(out, "No errors detected") {
		t.Error(out)
	}
	var table struct {
		Partitiontable struct {
			Partitions []struct {
				Name, Type  string
				Start, Size int64
			}
		}
	}
	if err := json.Unmarshal([]byte(run(t, "/usr/sbin/sfdisk", "--json", image)), &table); err != nil {
		t.Fatal(err)
	}
	for i, p := range table.Partitiontable.Partitions {
		if w := r.Partitions[i]; p.Name != w.Name || p.Start*512 != w.Start || p.Size*512 != w.Size {
			t.Errorf("%+v, want %+v", p, w)
		}
	}
	d, err := file.OpenReadOnly(image)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	part := func(i int) block.Device {
		p, err := block.Sub(d, r.Partitions[i].Start, r.Partitions[i].Size)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	run(t, "/usr/sbin/fsck.fat", "-n", extract(t, part(0)))
	run(t, "/usr/sbin/e2fsck", "-fn", extract(t, part(2)))

	inv, err := lvm.Scan(context.Background(), []lvm.Disk{{Name: "main", Device: part(1)}}, lvm.ScanOptions{})
	if err != nil || len(inv.Problems()) > 0 {
		t.Fatal(err, inv.Problems())
	}
	g, err := inv.Open("vg0", lvm.OpenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	disks := map[metadata.UUID]block.Device{g.Members()[0].ID: part(1)}
	volume := func(name string) string {
		lv, err := lvm.OpenVolume(g.VG(), name, disks, true)
		if err != nil {
			t.Fatal(err)
		}
		return extract(t, lv)
	}
	root := volume("root")
	run(t, "/usr/sbin/e2fsck", "-fn", root)
	run(t, "/usr/sbin/fsck.fat", "-n", volume("data"))
	got := run(t, "/usr/sbin/debugfs", "-R", "ls -l /etc", root) + run(t, "/usr/sbin/debugfs", "-R", "ls -l /", root) +
		run(t, "/usr/sbin/debugfs", "-R", "cat /etc/hostname", root)
	for _, want := range []string{"100640 (1)      0     42", "100644 (1)      0      0      22  1-Jan-2026", " hard", "40555 (2)", "morgana\n"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "random") {
		t.Error("what was removed is there")
	}
	if lv := g.VG().LV("data"); lv.Writable() || len(lv.Tags) != 2 {
		t.Errorf("%+v", lv)
	}
}

func run(t testing.TB, program string, args ...string) string {
	t.Helper()
	if _, err := os.Stat(program); err != nil {
		t.Fatalf("%s is missing; Debian's fdisk, e2fsprogs and dosfstools have the judges", program)
	}
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s", program, args, err, out)
	}
	return string(out)
}

func extract(t testing.TB, d block.Device) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "part")
	b := make([]byte, d.Size())
	if _, err := d.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Other shapes: large sectors, a group on several partitions, one on the bare disk.
func TestOtherShapes(t *testing.T) {
	for _, text := range []string{
		"disk size=512M sector=4096\npartition esp type=esp size=300M format=fat\npartition a type=lvm\ngroup g on=a\nvolume v size=32M format=ext4 from=rootfs",
		"disk size=200M\npartition a type=lvm size=64M\npartition b type=lvm\ngroup g on=a,b extent=1M\nvolume v size=64M stripes=2 stripesize=16K format=ext4 from=rootfs",
		"disk size=64M\ngroup g on=disk\nvolume v extents=100%FREE format=ext4 from=rootfs",
	} {
		build(t, text)
	}
}

// What is wrong is told with the line of the description.
func TestErrors(t *testing.T) {
	for _, c := range []struct{ text, want string }{
		{"disk size=16M\npartition a type=lvm size=20M", "line 2: the partitions up to a take 20 MiB"},
		{"disk size=16M\npartition a type=lvm size=14M\npartition b type=esp", "line 3: nothing is left for partition b"},
		{"disk size=16M\npartition a type=linux format=ext4 from=nothere", "line 2: open nothere"},
		{"disk size=16M\npartition a type=linux format=ext4\nset /x mode=0644", "line 3: no such path: /x"},
		{"disk size=16M\npartition a type=linux format=ext4\ndir /x\nlink /y to=/x", "line 4: /x is a directory"},
		{"disk size=16M\npartition a type=linux format=ext4\nfile /x text=1\nfile /x/y text=1", "line 4: /x is a file and no directory"},
		{"disk size=64M\npartition a type=linux format=fat\nsymlink /x target=y", "line 2: partition a: fat: /x is a symbolic link"},
		{"disk size=64M\ngroup g on=disk\nvolume a size=1G", "line 3: volume a: "},
		{"disk size=64M\ngroup g on=disk extent=3K", "line 2: group g: "},
		{"disk size=64M\ngroup g on=disk\nvolume a size=32M stripes=2", "line 3: volume a: "},
		{"disk size=64M\ngroup g on=disk\nvolume a size=32M format=ext4 label=\"a very long label\"", "line 3: volume a: ext4: the label"},
	} {
		s, err := spec.Parse([]byte(c.text))
		if err != nil {
			t.Errorf("%q: %v", c.text, err)
			continue
		}
		_, err = Build(context.Background(), block.NewMem(s.Disk.Size, s.Disk.Sector), s, []byte(c.text), source, Options{})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v, want %q", c.text, err, c.want)
		}
	}
}
