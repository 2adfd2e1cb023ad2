package xenstore

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A typed is a line of the tutorial, and what is printed below it.
type typed struct {
	command string
	prints  []string
}

// typedLines takes them out of the document.
func typedLines(t *testing.T) []typed {
	t.Helper()
	b, err := os.ReadFile("../../docs/xenstore-tutorial.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []typed
	for _, m := range regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllSubmatch(b, -1) {
		for line := range strings.Lines(string(m[1])) {
			line = strings.TrimSuffix(line, "\n")
			if command, ok := strings.CutPrefix(line, "$ "); ok {
				all = append(all, typed{command: command})
			} else if n := len(all); n > 0 {
				all[n-1].prints = append(all[n-1].prints, line)
			} else {
				t.Fatalf("%q is printed before anything is typed", line)
			}
		}
	}
	return all
}

// The tutorial does what it says, and prints it.
func TestTutorial(t *testing.T) {
	if testing.Short() {
		t.Skip("builds programs and waits")
	}
	lines := typedLines(t)
	if len(lines) < 30 {
		t.Fatalf("the document has %d commands", len(lines))
	}
	abs, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "xs") // short: a socket is in it
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	defer func() { // the daemon, if a step failed
		if b, err := os.ReadFile(filepath.Join(dir, "pid")); err == nil {
			if pid, err := strconv.Atoi(strings.TrimSpace(string(b))); err == nil {
				_ = syscall.Kill(pid, syscall.SIGKILL)
			}
		}
	}()
	var script strings.Builder
	script.WriteString("set -m\n") // for jobs
	for i, l := range lines {
		text := l.command
		if i == 0 {
			if text = strings.Replace(text, "go build -o bin/", "cd "+abs+" && CGO_ENABLED=0 go build -o "+dir+"/bin/", 1); text == l.command {
				t.Fatal("the first command builds something else than is known here")
			}
			text = "(" + text + ")"
		}
		fmt.Fprintf(&script, "%s\necho \"=== %d\"\n", text, i)
	}
	c := exec.Command("bash", "-c", script.String())
	c.Dir = dir
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, out.String(), errs.String())
	}
	rest := out.String()
	for i, l := range lines {
		printed, after, found := strings.Cut(rest, fmt.Sprintf("=== %d\n", i))
		if !found {
			t.Fatalf("%s: nothing came after it\n%s%s", l.command, out.String(), errs.String())
		}
		rest = after
		got := strings.Split(strings.TrimSuffix(printed, "\n"), "\n")
		if printed == "" {
			got = nil
		}
		if !matches(l.prints, got) {
			t.Errorf("%s\n- the tutorial, + what it prints:\n%s", l.command, cmp.Diff(l.prints, got))
		}
	}
	if t.Failed() {
		t.Logf("%s", errs.String())
	}
}

// matches compares lines; … in what is wanted is anything.
func matches(want, got []string) bool {
	if len(want) != len(got) {
		return false
	}
	for i := range want {
		parts := strings.Split(want[i], "…")
		for k := range parts {
			parts[k] = regexp.QuoteMeta(parts[k])
		}
		if !regexp.MustCompile("^" + strings.Join(parts, ".*") + "$").MatchString(got[i]) {
			return false
		}
	}
	return true
}
