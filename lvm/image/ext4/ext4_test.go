package ext4

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"morgana/block"
	"morgana/block/file"
	"morgana/lvm/image/tree"
)

var testOptions = Options{Label: "test", UUID: [16]byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}, Time: 1700000000}

func program(t testing.TB, name string) string {
	t.Helper()
	for _, dir := range []string{"/usr/sbin", "/sbin"} {
		if p := filepath.Join(dir, name); exists(p) {
			return p
		}
	}
	p, err := exec.LookPath(name)
	if err != nil {
		t.Fatalf("%s is missing; it is in Debian's e2fsprogs", name)
	}
	return p
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// build makes an image and has e2fsck judge it.
func build(t testing.TB, size int64, root *tree.Node, o Options) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fs")
	d, err := file.Create(name, size)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := Write(d, root, o); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(program(t, "e2fsck"), "-fn", name).CombinedOutput(); err != nil {
		t.Fatalf("e2fsck: %v\n%s", err, out)
	}
	return name
}

func debugfs(t testing.TB, image string, commands ...string) string {
	t.Helper()
	c := exec.Command(program(t, "debugfs"), "-f", "-", image)
	c.Stdin = strings.NewReader(strings.Join(commands, "\n") + "\n")
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("debugfs: %v\n%s", err, out)
	}
	return string(out)
}

func dir(perm uint16) *tree.Node { return &tree.Node{Type: tree.Dir, Perm: perm} }

func put(t testing.TB, root *tree.Node, name string, n *tree.Node) *tree.Node {
	t.Helper()
	if err := root.PutAt(name, n); err != nil {
		t.Fatal(err)
	}
	return n
}

// content is a file that is made up as it is read.
func content(seed byte, size int64) *tree.Node {
	return &tree.Node{Perm: 0o644, Size: size, Open: func() (io.ReadCloser, error) {
		return io.NopCloser(io.LimitReader(rand.NewChaCha8([32]byte{seed}), size)), nil
	}}
}

func sum(t testing.TB, n *tree.Node) [32]byte {
	t.Helper()
	r, err := n.Open()
	if err != nil {
		t.Fatal(err)
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return sha256.Sum256(b)
}

func TestEmpty(t *testing.T) {
	for _, size := range []int64{256 << 10, 1 << 20, 8 << 20, 100 << 20, 128<<20 + 4096, 129 << 20, 1 << 30, 9 << 30} {
		t.Run(fmt.Sprint(size>>10, "KiB"), func(t *testing.T) { build(t, size, dir(0o755), testOptions) })
	}
}

func TestSizesThatAreNone(t *testing.T) {
	for _, size := range []int64{0, 4096, 64 << 10, 1 << 50} {
		if err := Write(block.NewMem(size, 512), dir(0o755), testOptions); !errors.Is(err, ErrSize) {
			t.Errorf("%d bytes: %v", size, err)
		}
	}
}

// What a file system can hold is there, as debugfs reads it.
func TestContent(t *testing.T) {
	root := dir(0o755)
	root.UID, root.GID, root.ModTime = 0, 0, tree.Time{Sec: 1600000000, Nsec: 123456789}
	put(t, root, "/etc", dir(0o755))
	passwd := put(t, root, "/etc/passwd", tree.Bytes([]byte("root:x:0:0::/root:/bin/sh\n"), 0o644))
	passwd.ModTime = tree.Time{Sec: 5_000_000_000, Nsec: 999_999_999} // beyond 2038
	shadow := put(t, root, "/etc/shadow", tree.Bytes([]byte("secret"), 0o640))
	shadow.UID, shadow.GID = 70000, 42
	put(t, root, "/etc/hard", passwd)
	put(t, root, "/su", tree.Bytes(nil, tree.SetUID|0o755))
	put(t, root, "/tmp", dir(tree.Sticky|0o777))
	put(t, root, "/short", &tree.Node{Type: tree.Symlink, Perm: 0o777, Target: "etc/passwd"})
	put(t, root, "/long", &tree.Node{Type: tree.Symlink, Perm: 0o777, Target: strings.Repeat("long/", 40)})
	put(t, root, "/edge", &tree.Node{Type: tree.Symlink, Perm: 0o777, Target: strings.Repeat("x", 60)})
	put(t, root, "/console", &tree.Node{Type: tree.Char, Perm: 0o600, Major: 5, Minor: 1})
	put(t, root, "/big", &tree.Node{Type: tree.Block, Perm: 0o660, Major: 259, Minor: 70000})
	put(t, root, "/fifo", &tree.Node{Type: tree.FIFO, Perm: 0o644})
	put(t, root, "/socket", &tree.Node{Type: tree.Socket, Perm: 0o644})
	large := put(t, root, "/large", content(1, 5<<20+17))
	few := put(t, root, "/few", tree.Bytes([]byte("x"), 0o644))
	few.Xattrs = []tree.Xattr{{Name: "user.a", Value: []byte("1")}, {Name: "user.none"}}
	many := put(t, root, "/many", tree.Bytes([]byte("x"), 0o644))
	for i := range 20 {
		many.Xattrs = append(many.Xattrs, tree.Xattr{Name: fmt.Sprintf("user.name%02d", i), Value: bytes.Repeat([]byte{byte('a' + i)}, i*5)})
	}
	caps := put(t, root, "/ping", tree.Bytes([]byte("x"), 0o755))
	caps.Xattrs = []tree.Xattr{{Name: "security.capability", Value: []byte("\x01\x00\x00\x02\x00\x20\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00")}}
	acl := put(t, root, "/acl", dir(0o755))
	acl.Xattrs = []tree.Xattr{{Name: "system.posix_acl_default", Value: []byte("\x02\x00\x00\x00\x01\x00\x07\x00\xff\xff\xff\xff\x02\x00\x05\x00\xe8\x03\x00\x00" +
		"\x04\x00\x05\x00\xff\xff\xff\xff\x10\x00\x07\x00\xff\xff\xff\xff\x20\x00\x05\x00\xff\xff\xff\xff")}}

	image := build(t, 32<<20, root, testOptions)
	out := filepath.Join(t.TempDir(), "large")
	got := debugfs(t, image, "stat /", "stat /etc/passwd", "stat /etc/hard", "stat /etc/shadow", "stat /su", "stat /tmp", "stat /short", "stat /long", "stat /edge",
		"stat /console", "stat /big", "stat /fifo", "stat /socket", "ea_list /few", "ea_list /many", "ea_list /ping", "ea_list /acl",
		"cat /etc/passwd", "dump /large "+out, "stat /lost+found", "ls -l /")
	for _, want := range []string{
		`mtime: 0x5f5e1000:1d6f3454`,
		`mtime: 0x2a05f200:ee6b27fd`, // 5000000000: bit 32 is in the other field
		`User: 70000   Group:    42`,
		`Type: regular    Mode:  04755`, `Type: directory    Mode:  01777`, `Fast link dest: "etc/passwd"`,
		`Device major/minor number: 05:01`, `Device major/minor number: 259:70000`, `Type: FIFO`, `Type: socket`, `Links: 2`,
		`user.a (1) = "1"`, `user.none (0)`, `user.name06 (30) = "gggggggggggggggggggggggggggggg"`, `user.name19 (95)`, `security.capability (20)`, `system.posix_acl_default`,
		"root:x:0:0::/root:/bin/sh",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	b, err := os.ReadFile(out)
	if err != nil || sha256.Sum256(b) != sum(t, large) {
		t.Errorf("a large file differs; %v", err)
	}
	// Owner, user 1000, group, mask, others, in the shorter form: 4 + 3·4 + 1·8 + 4 bytes.
	if !regexp.MustCompile(`system.posix_acl_default \(28\)`).MatchString(got) {
		t.Errorf("the access control list: %s", got)
	}
}

// Files with more extents than fit into an inode, and more than fit into a block: each second block is a hole.
func TestManyExtents(t *testing.T) {
	root := dir(0o755)
	var sizes []string
	for i, n := range []int{3, 5, 340, 341, 2000} {
		b := make([]byte, 2*n*blockSize)
		for j := range n {
			binary.LittleEndian.PutUint32(b[2*j*blockSize:], uint32(j+1))
		}
		name := fmt.Sprintf("/f%d", i)
		put(t, root, name, tree.Bytes(b, 0o644))
		sizes = append(sizes, name)
	}
	image := build(t, 64<<20, root, testOptions)
	for _, name := range sizes {
		out := filepath.Join(t.TempDir(), "f")
		debugfs(t, image, "dump "+name+" "+out)
		n, _ := root.At(name)
		b, err := os.ReadFile(out)
		if err != nil || sha256.Sum256(b) != sum(t, n) {
			t.Errorf("%s differs; %v", name, err)
		}
	}
}

func TestManyFiles(t *testing.T) {
	n := 30000
	if testing.Short() {
		n = 3000
	}
	root := dir(0o755)
	d := put(t, root, "/d", dir(0o755))
	for i := range n {
		if err := d.Put(fmt.Sprintf("a file with a rather long name %05d", i), tree.Bytes([]byte("x"), 0o644)); err != nil {
			t.Fatal(err)
		}
		if i%10 == 0 {
			if err := root.Put(fmt.Sprintf("d%05d", i), dir(0o755)); err != nil {
				t.Fatal(err)
			}
		}
	}
	build(t, 512<<20, root, testOptions)
}

func TestDoesNotFit(t *testing.T) {
	root := dir(0o755)
	put(t, root, "/f", content(1, 20<<20))
	if err := Write(block.NewMem(16<<20, 512), root, testOptions); !errors.Is(err, ErrNoSpace) || !strings.Contains(err.Error(), "/f") {
		t.Error(err)
	}
	f := root.Lookup("f")
	f.Size++ // a file that shrank meanwhile
	f.Open = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader("short")), nil }
	if err := Write(block.NewMem(64<<20, 512), root, testOptions); err == nil || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Error(err)
	}
	x := dir(0o755)
	x.Xattrs = []tree.Xattr{{Name: "user.big", Value: make([]byte, 4096)}}
	if err := Write(block.NewMem(64<<20, 512), x, testOptions); err == nil || !strings.Contains(err.Error(), "extended attributes") {
		t.Error(err)
	}
}

// A full file system is a correct one.
func TestFull(t *testing.T) {
	o := testOptions
	o.ReservedPercent, o.NoJournal = -1, true
	lo, hi := int64(0), int64(8<<20)
	for hi-lo > blockSize { // the largest file that fits
		mid := (lo + hi) / 2
		root := dir(0o755)
		put(t, root, "/f", content(1, mid))
		if err := Write(block.NewMem(8<<20, 512), root, o); err == nil {
			lo = mid
		} else if hi = mid; !errors.Is(err, ErrNoSpace) {
			t.Fatal(err)
		}
	}
	root := dir(0o755)
	put(t, root, "/f", content(1, lo))
	if build(t, 8<<20, root, o); lo < 6<<20 {
		t.Errorf("only %d bytes of 8 MiB", lo)
	}
}

func TestReproducible(t *testing.T) {
	image := func() []byte {
		root := dir(0o755)
		put(t, root, "/a", content(1, 1<<20))
		d := put(t, root, "/d", dir(0o700))
		d.Xattrs = []tree.Xattr{{Name: "user.b", Value: []byte("2")}, {Name: "user.a", Value: []byte("1")}}
		put(t, root, "/d/b", content(2, 100))
		b, err := os.ReadFile(build(t, 16<<20, root, testOptions))
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	if !bytes.Equal(image(), image()) {
		t.Error("two images of the same content differ")
	}
}

// Random trees are correct file systems.
func TestRandomTrees(t *testing.T) {
	rounds := 40
	if testing.Short() {
		rounds = 5
	}
	for seed := range rounds {
		r := rand.New(rand.NewPCG(uint64(seed), 1))
		root := dir(uint16(r.Uint32() & 0o7777))
		dirs, files := []*tree.Node{root}, []*tree.Node{}
		for range r.IntN(400) {
			in := dirs[r.IntN(len(dirs))]
			var n *tree.Node
			switch k := r.IntN(10); {
			case k < 2:
				n = dir(uint16(r.Uint32() & 0o7777))
				dirs = append(dirs, n)
			case k == 2:
				n = &tree.Node{Type: tree.Symlink, Target: strings.Repeat("t", 1+r.IntN(200))}
			case k == 3 && len(files) > 0:
				n = files[r.IntN(len(files))]
			case k == 4:
				n = &tree.Node{Type: tree.Char, Major: r.Uint32N(4000), Minor: r.Uint32N(1 << 20)}
			default:
				n = content(byte(r.Uint32()), r.Int64N(1<<uint(1+r.IntN(20))))
				files = append(files, n)
			}
			n.UID, n.GID, n.ModTime = r.Uint32(), r.Uint32N(70000), tree.Time{Sec: r.Int64N(1 << 33), Nsec: r.Uint32N(1e9)}
			n.Xattrs = nil
			for i := range r.IntN(4) {
				n.Xattrs = append(n.Xattrs, tree.Xattr{Name: fmt.Sprintf("user.x%d%s", i, strings.Repeat("n", r.IntN(20))), Value: bytes.Repeat([]byte{'v'}, r.IntN(300))})
			}
			if err := in.Put(strings.Repeat(string(rune('a'+r.IntN(26))), 1+r.IntN(255)), n); err != nil {
				t.Fatal(err)
			}
		}
		build(t, 200<<20+r.Int64N(1<<20), root, testOptions)
	}
}
