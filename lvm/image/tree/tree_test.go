package tree

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// small is a tree with a file that has two names.
func small(t *testing.T) *Node {
	t.Helper()
	root := &Node{Type: Dir}
	f := Bytes([]byte("x"), 0o644)
	for _, e := range []struct {
		path string
		n    *Node
	}{{"/d", &Node{Type: Dir}}, {"/d/b", f}, {"/d/a", f}, {"/c", &Node{Type: Symlink, Target: "d"}}} {
		if err := root.PutAt(e.path, e.n); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func paths(t *testing.T, root *Node) (all []string) {
	t.Helper()
	if err := root.Walk(func(path string, n *Node) error {
		all = append(all, path+" "+n.Type.String())
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestPaths(t *testing.T) {
	root := small(t)
	want := []string{"/ directory", "/c symbolic link", "/d directory", "/d/a file", "/d/b file"}
	if diff := cmp.Diff(want, paths(t, root)); diff != "" {
		t.Error(diff)
	}
	if n, err := root.At("d//../d/a"); err != nil || n != root.Lookup("d").Lookup("b") {
		t.Errorf("%v, %v", n, err)
	}
	for _, name := range []string{"/x", "/d/x", "/d/a/x", "/c/a"} { // links are not followed
		if _, err := root.At(name); !errors.Is(err, ErrPath) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range []string{"/x/y", "/d/a/y", "/"} {
		if err := root.PutAt(name, &Node{}); !errors.Is(err, ErrPath) {
			t.Errorf("put %s: %v", name, err)
		}
	}
	for _, name := range []string{"", ".", "..", "a/b", "a\x00", strings.Repeat("x", 256)} {
		if err := root.Put(name, &Node{}); !errors.Is(err, ErrPath) {
			t.Errorf("put %q: %v", name, err)
		}
	}
	clone := root.Clone()
	if err := root.RemoveAt("/d"); err != nil {
		t.Fatal(err)
	}
	if err := root.RemoveAt("/d"); !errors.Is(err, ErrPath) {
		t.Error(err)
	}
	if diff := cmp.Diff(want[:2], paths(t, root)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want, paths(t, clone)); diff != "" {
		t.Errorf("the clone: %s", diff)
	}
}

func TestNodes(t *testing.T) {
	n := Bytes([]byte("hello"), 0o600)
	for range 2 { // as often as one likes
		r, err := n.Open()
		if err != nil {
			t.Fatal(err)
		}
		if b, err := io.ReadAll(r); string(b) != "hello" || err != nil || n.Size != 5 {
			t.Errorf("%q, %v", b, err)
		}
	}
	n.SetXattr("user.b", []byte("1"))
	n.SetXattr("user.a", []byte("2"))
	n.SetXattr("user.b", []byte("3"))
	if diff := cmp.Diff([]Xattr{{"user.a", []byte("2")}, {"user.b", []byte("3")}}, n.Xattrs); diff != "" {
		t.Error(diff)
	}
	stop := errors.New("stop")
	if err := small(t).Walk(func(string, *Node) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
}
