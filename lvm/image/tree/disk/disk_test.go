package disk

import (
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/pkg/xattr"

	"morgana/lvm/image/tree"
)

func TestRead(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.Mkdir(at("d"), 0o750))
	must(os.WriteFile(at("d/f"), []byte("hello"), 0o600))
	must(os.Chmod(at("d/f"), 0o640|os.ModeSetuid))
	when := time.Unix(1700000000, 123456789)
	must(os.Chtimes(at("d/f"), when, when))
	must(os.Link(at("d/f"), at("hard")))
	must(os.Symlink("d/f", at("soft")))
	must(syscall.Mkfifo(at("fifo"), 0o644))
	attrs := xattr.Set(at("d/f"), "user.a", []byte("1")) == nil
	must(os.Chtimes(at("d/f"), when, when))
	root, err := Read(dir)
	must(err)
	f, err := root.At("/d/f")
	must(err)
	if f.Type != tree.File || f.Perm != 0o4640 || f.Size != 5 || f.ModTime != (tree.Time{Sec: 1700000000, Nsec: 123456789}) ||
		f.UID != uint32(os.Getuid()) || f.GID != uint32(os.Getgid()) {
		t.Errorf("%+v", f)
	}
	if attrs && (len(f.Xattrs) != 1 || f.Xattrs[0].Name != "user.a" || string(f.Xattrs[0].Value) != "1") {
		t.Errorf("%+v", f.Xattrs)
	}
	r, err := f.Open()
	must(err)
	defer r.Close()
	if b, err := io.ReadAll(r); err != nil || string(b) != "hello" {
		t.Errorf("%q, %v", b, err)
	}
	if root.Lookup("hard") != f {
		t.Error("a hard link is another file")
	}
	if s := root.Lookup("soft"); s.Type != tree.Symlink || s.Target != "d/f" {
		t.Errorf("%+v", s)
	}
	if n := root.Lookup("fifo"); n.Type != tree.FIFO {
		t.Errorf("%+v", n)
	}
	if n := root.Lookup("d"); n.Type != tree.Dir || n.Perm != 0o750 {
		t.Errorf("%+v", n)
	}
	if _, err := Read(at("hard")); err == nil {
		t.Error("a file is read as a directory")
	}
}
