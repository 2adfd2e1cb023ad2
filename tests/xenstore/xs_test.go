package xenstore

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func xsProgram(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "xs")
	c := exec.Command("go", "build", "-o", file, "morgana/cmd/xs")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := c.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return file
}

// xs does what the xenstore-* tools do: the same on standard output, and it succeeds when they do.
func TestXsIsLikeTheTools(t *testing.T) {
	p := others(t)
	xs := xsProgram(t)
	ours, theirs := startOurs(t, host(t)), startOurs(t, host(t))
	for _, line := range prepared {
		args := strings.Split(line, " ")
		if args[0] == "xenstore-control" || strings.Contains(line, "-r ") && args[0] == "xenstore-write" ||
			strings.HasPrefix(line, "xenstore-list -f") {
			continue // other options, and texts for programmers
		}
		tool := p.Command(theirs.Socket(), args[0], args[1:]...)
		want, werr := tool.Output()
		mine := exec.Command(xs, append([]string{"--socket", ours.Socket(), strings.TrimPrefix(args[0], "xenstore-")}, args[1:]...)...)
		got, gerr := mine.Output()
		if string(got) != string(want) || (gerr == nil) != (werr == nil) {
			t.Errorf("%s\n got %q, %v\nwant %q, %v", line, got, gerr, want, werr)
		}
	}
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.Command(xs, append([]string{"--socket", ours.Socket()}, args...)...).CombinedOutput()
		if err != nil {
			t.Errorf("xs %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	if out := run("tree", "/a"); !strings.Contains(out, "├─ b") || !strings.Contains(out, "└─ long = xxx") {
		t.Errorf("tree:\n%s", out)
	}
	if out := run("tree", "--colour", "always", "/a"); !strings.Contains(out, "\x1b[") {
		t.Errorf("tree in colour:\n%q", out)
	}
	if out := run("stats"); !strings.Contains(out, "requests ") {
		t.Errorf("stats:\n%s", out)
	}
	if out := run("control", "check"); out != "OK\n" {
		t.Errorf("control check: %q", out)
	}
	var exit *exec.ExitError
	if err := exec.Command(xs, "read").Run(); err == nil {
		t.Error("read without a path succeeds")
	} else if exit, _ = err.(*exec.ExitError); exit == nil || exit.ExitCode() != 2 {
		t.Errorf("read without a path: %v", err)
	}
}

func TestXsHistory(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("no git")
	}
	xs := xsProgram(t)
	h := host(t)
	repo := filepath.Join(h.Dir, "history")
	d := startOurs(t, h, "--history", repo)
	run := func(args ...string) string {
		t.Helper()
		c := exec.Command(xs, args...)
		c.Env = append(os.Environ(), "XENSTORED_PATH="+h.Socket(), "XENSTORED_HISTORY="+repo)
		out, err := c.CombinedOutput()
		if err != nil {
			t.Errorf("xs %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	run("write", "/h/a", "one")
	run("write", "/h/a", "two")
	d.Stop(syscall.SIGTERM)
	if out := run("log", "/h/a"); strings.Count(out, "dom0") != 2 {
		t.Errorf("log:\n%s", out)
	}
	if out := run("diff"); !strings.Contains(out, "-one") || !strings.Contains(out, "+two") {
		t.Errorf("diff:\n%s", out)
	}
}
