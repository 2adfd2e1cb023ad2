package fat

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"morgana/block"
	"morgana/block/file"
	"morgana/lvm/image/tree"
)

// build makes an image and has fsck.fat judge it.
func build(t testing.TB, size int64, sector int, root *tree.Node, o Options) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "fs")
	d, err := file.Create(name, size, file.WithSectorSize(sector))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := Write(d, root, o); err != nil {
		t.Fatal(err)
	}
	fsck := "/usr/sbin/fsck.fat"
	if _, err := os.Stat(fsck); err != nil {
		t.Fatal("fsck.fat is missing; it is in Debian's dosfstools")
	}
	if out, err := exec.Command(fsck, "-n", "-v", name).CombinedOutput(); err != nil || strings.Contains(string(out), "differ") {
		t.Fatalf("fsck.fat: %v\n%s", err, out)
	}
	return name
}

func dir() *tree.Node { return &tree.Node{Type: tree.Dir} }

func put(t testing.TB, root *tree.Node, name string, n *tree.Node) {
	t.Helper()
	if err := root.PutAt(name, n); err != nil {
		t.Fatal(err)
	}
}

func content(t testing.TB) *tree.Node {
	root := dir()
	put(t, root, "/EFI", dir())
	put(t, root, "/EFI/BOOT", dir())
	big := make([]byte, 300_000)
	rand.NewChaCha8([32]byte{1}).Read(big)
	boot := tree.Bytes(big, 0o644)
	boot.ModTime = tree.Time{Sec: 1700000000}
	put(t, root, "/EFI/BOOT/BOOTX64.EFI", boot)
	put(t, root, "/empty", tree.Bytes(nil, 0o644))
	put(t, root, "/a long name with spaces.config", tree.Bytes([]byte("one"), 0o644))
	put(t, root, "/a long name with spaces.conf", tree.Bytes([]byte("two"), 0o644))
	put(t, root, "/größer.txt", tree.Bytes([]byte("three"), 0o644))
	put(t, root, "/.hidden", tree.Bytes([]byte("four"), 0o644))
	put(t, root, "/thirteen char", tree.Bytes([]byte("five"), 0o644))
	return root
}

func TestEveryKind(t *testing.T) {
	for _, c := range []struct {
		size   int64
		sector int
		kind   string
	}{
		{1 << 20, 512, "FAT12"},
		{12 << 20, 512, "FAT16"},
		{30 << 20, 512, "FAT16"},
		{34 << 20, 512, "FAT32"},
		{300 << 20, 512, "FAT32"},
		{400 << 20, 4096, "FAT32"},
		{9 << 30, 512, "FAT32"},
	} {
		t.Run(fmt.Sprintf("%dMiB-%d", c.size>>20, c.sector), func(t *testing.T) {
			image := build(t, c.size, c.sector, content(t), Options{Label: "boot", Serial: 0xdeadbeef, Time: 1700000000})
			b := make([]byte, 512)
			f, err := os.Open(image)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			if _, err := f.ReadAt(b, 0); err != nil || !bytes.Contains(b, []byte(c.kind)) {
				t.Errorf("no %s: %q", c.kind, b[:90])
			}
			mcopy, err := exec.LookPath("mcopy")
			if err != nil {
				t.Fatal("mcopy is missing; it is in Debian's mtools")
			}
			out := t.TempDir()
			cmd := exec.Command(mcopy, "-s", "-m", "-i", image, "::/", out)
			cmd.Env = append(os.Environ(), "MTOOLS_SKIP_CHECK=1", "LC_ALL=C.UTF-8")
			if o, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("mcopy: %v\n%s", err, o)
			}
			err = content(t).Walk(func(name string, n *tree.Node) error {
				if n.Type == tree.Dir {
					return nil
				}
				r, err := n.Open()
				if err != nil {
					return err
				}
				var want bytes.Buffer
				want.ReadFrom(r)
				got, err := os.ReadFile(filepath.Join(out, name))
				if err == nil && !bytes.Equal(got, want.Bytes()) {
					err = fmt.Errorf("%s: %d bytes differ", name, want.Len())
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

func TestWhatFATCannotHold(t *testing.T) {
	for name, put := range map[string]func(*tree.Node) error{
		"case":  func(r *tree.Node) error { return errors.Join(r.Put("a", dir()), r.Put("A", dir())) },
		"FAT's": func(r *tree.Node) error { return r.Put("a:b", dir()) },
		"dot":   func(r *tree.Node) error { return r.Put("a.", dir()) },
		"UTF-8": func(r *tree.Node) error { return r.Put("\xff", dir()) },
		"/l is": func(r *tree.Node) error { return r.Put("l", &tree.Node{Type: tree.Symlink, Target: "x"}) },
		"fit":   func(r *tree.Node) error { return r.Put("f", tree.Bytes(make([]byte, 2<<20), 0)) },
		"4 GiB": func(r *tree.Node) error { return r.Put("f", &tree.Node{Size: 1 << 32}) },
	} {
		root := dir()
		if err := put(root); err != nil {
			t.Fatal(err)
		}
		if err := Write(block.NewMem(1<<20, 512), root, Options{}); err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := Write(block.NewMem(1<<20, 512), dir(), Options{Label: "twelve chars"}); err == nil {
		t.Error("a label of twelve characters")
	}
	if err := Write(block.NewMem(1024, 512), dir(), Options{}); !errors.Is(err, ErrSize) {
		t.Error(err)
	}
}

func TestRandomTrees(t *testing.T) {
	rounds := 30
	if testing.Short() {
		rounds = 5
	}
	for seed := range rounds {
		r := rand.New(rand.NewPCG(uint64(seed), 7))
		root := dir()
		dirs := []*tree.Node{root}
		for i := range r.IntN(200) {
			in := dirs[r.IntN(len(dirs))]
			n := tree.Bytes(make([]byte, r.IntN(5000)), 0)
			if r.IntN(5) == 0 {
				n = dir()
				dirs = append(dirs, n)
			}
			n.ModTime = tree.Time{Sec: r.Int64N(1 << 33)}
			name := fmt.Sprintf("%s%d", strings.Repeat(string(rune('a'+r.IntN(26))), r.IntN(40)), i)
			if r.IntN(2) == 0 {
				name = strings.ToUpper(name) + ".TXT"
			}
			if err := in.Put(name, n); err != nil {
				t.Fatal(err)
			}
		}
		build(t, 3<<20+r.Int64N(60<<20), 512, root, Options{Label: "X"})
	}
}
