package history

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"morgana/xen/wire/xs"
	"morgana/xenstore/server"
	"morgana/xenstore/store"
)

// git runs plain git on a repository.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	if _, err := exec.LookPath("git"); err != nil {
		t.Fatal("no git")
	}
	c := exec.Command("git", append([]string{"-C", dir, "-c", "safe.directory=*"}, args...)...)
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Plain git clones, checks, logs and diffs what was written, and finds the present tree in it; old commits go.
func TestGitReadsIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "history")
	const keep = 50
	open := func() *Writer {
		w, err := Open(dir, Options{Keep: keep, Every: time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	w := open()
	s := store.New(store.DefaultLimits(), nil)
	rnd := rand.New(rand.NewPCG(1, 1))
	dom0 := &store.Actor{Privileged: true}
	for i := range 400 {
		p := fmt.Sprintf("/local/domain/%d/k%d", rnd.IntN(5), rnd.IntN(20))
		op := xs.Write
		switch rnd.IntN(5) {
		case 0:
			op = xs.Remove
			_, _, _ = s.Remove(dom0, nil, p)
		default:
			_, _ = s.Write(dom0, nil, p, fmt.Sprintf("value %d\x00\xff", i))
		}
		w.Record(server.Commit{Root: s.Root(), Dom: 3, Conn: 7, Op: op, Path: p})
		if i%20 == 0 {
			time.Sleep(3 * time.Millisecond)
		}
		if i == 200 {
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			w = open()
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if out := git(t, dir, "fsck", "--full", "--strict"); strings.Contains(out, "error") || strings.Contains(out, "missing") {
		t.Errorf("git fsck: %s", out)
	}
	var n int
	fmt.Sscan(git(t, dir, "rev-list", "--count", "main"), &n)
	if n < keep || n > 2*keep+queueMax {
		t.Errorf("%d commits are left", n)
	}
	clone := filepath.Join(t.TempDir(), "clone")
	git(t, ".", "clone", "-q", "file://"+dir, clone)
	seen := 0
	for p, node := range s.Root().All("/") {
		seen++
		b, err := os.ReadFile(filepath.Join(clone, p, ".value"))
		if node.Value() == "" && os.IsNotExist(err) {
			err = nil
		}
		if err != nil || string(b) != node.Value() {
			t.Errorf("%s: %q, %v; want %q", p, b, err, node.Value())
		}
		if b, err := os.ReadFile(filepath.Join(clone, p, ".perms")); err != nil || string(b) != "n0\n" {
			t.Errorf("permissions of %s: %q, %v", p, b, err)
		}
	}
	var files int
	err := filepath.WalkDir(clone, func(p string, d os.DirEntry, err error) error {
		if d.Name() == ".git" {
			return filepath.SkipDir
		}
		if d.Name() == ".perms" {
			files++
		}
		return err
	})
	if err != nil || files != seen {
		t.Errorf("%d nodes in the clone, want %d: %v", files, seen, err)
	}
	if log := git(t, dir, "log", "-1", "--format=%an %s%n%b"); !strings.HasPrefix(log, "dom3 ") || !strings.Contains(log, "Connection: 7") {
		t.Errorf("log: %q", log)
	}
	if d := git(t, dir, "log", "-p", "-3"); !strings.Contains(d, "diff --git") {
		t.Errorf("no diffs: %q", d)
	}
}

// What comes faster than it can be written is joined, and the last tree is there.
func TestFloodsAreJoined(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "history")
	w, err := Open(dir, Options{Every: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	s := store.New(store.DefaultLimits(), nil)
	dom0 := &store.Actor{Privileged: true}
	for i := range 3 * queueMax {
		_, _ = s.Write(dom0, nil, "/n", fmt.Sprint(i))
		w.Record(server.Commit{Root: s.Root(), Op: xs.Write, Path: "/n"})
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if v := git(t, dir, "show", "main:n/.value"); v != fmt.Sprint(3*queueMax-1) {
		t.Errorf("the last value is %q", v)
	}
	if b := git(t, dir, "log", "-1", "--format=%b"); !strings.Contains(b, fmt.Sprintf("Joined: %d", 2*queueMax)) {
		t.Errorf("the last commit says %q", b)
	}
	git(t, dir, "fsck", "--full", "--strict")
}
