package xenstore

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"morgana/xenstore"
)

// A daemon with --history: git fsck is clean, HEAD is the tree.
func TestHistory(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git")
	}
	h := host(t)
	repo := filepath.Join(h.Dir, "history")
	d := startOurs(t, h, "--history", repo)
	ctx := within(t, 30*time.Second)
	c := dial(t, ctx, h)
	newGuest(t, ctx, c, h, 5)
	if err := c.Transact(ctx, func(tx *xenstore.Tx) error {
		if err := tx.Write(ctx, "/a/b", "1"); err != nil {
			return err
		}
		return tx.Write(ctx, "/a/c", "2")
	}); err != nil {
		t.Fatal(err)
	}
	g, err := h.Guest(5)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	gc := xenstore.NewClient(g)
	defer gc.Close()
	if err := gc.Write(ctx, "data", "five"); err != nil {
		t.Fatal(err)
	}
	if err := c.Remove(ctx, "/a/b"); err != nil {
		t.Fatal(err)
	}
	// SIGTERM lets it write what waits.
	d.Stop(syscall.SIGTERM)
	git := func(args ...string) string {
		t.Helper()
		out, err := exec.Command("git", append([]string{"-C", repo, "-c", "safe.directory=*"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	git("fsck", "--full", "--strict")
	if got := git("show", "main:local/domain/5/data/.value"); got != "five" {
		t.Errorf("data: %q", got)
	}
	if got := git("ls-tree", "--name-only", "main", "a/"); got != "a/.perms\na/c\n" {
		t.Errorf("/a: %q", got)
	}
	log := git("log", "--format=%an: %s")
	for _, want := range []string{"dom5: write /local/domain/5/data", "dom0: transaction of 2 requests: /a/b", "dom0: rm /a/b"} {
		if !strings.Contains(log, want) {
			t.Errorf("the log lacks %q:\n%s", want, log)
		}
	}
}
