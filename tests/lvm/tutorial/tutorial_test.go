// Package tutorial runs the commands of docs/lvm-tutorial.md as they stand there.
package tutorial

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const root = "../../.."

// A command is a block of the document.
type command struct {
	text string
	root bool
}

// commands takes them out of the document.
func commands(t *testing.T) []command {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, "docs/lvm-tutorial.md"))
	if err != nil {
		t.Fatal(err)
	}
	var list []command
	for _, m := range regexp.MustCompile("(?ms)^```sh( root)?\n(.*?)^```$").FindAllSubmatch(b, -1) {
		list = append(list, command{string(m[2]), len(m[1]) > 0})
	}
	return list
}

func TestTutorial(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program and images")
	}
	for _, p := range []string{"nbdcopy", "qemu-io", "vgck", "e2fsck", "losetup"} {
		if _, err := exec.LookPath(p); err != nil {
			if _, err := os.Stat(filepath.Join("/usr/sbin", p)); err != nil {
				t.Fatalf("%s is missing; the document says which packages it needs", p)
			}
		}
	}
	list := commands(t)
	if len(list) < 10 {
		t.Fatalf("the document has %d commands", len(list))
	}
	abs, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	var script strings.Builder
	// The first command is given in the source tree, and all work in a directory of their own.
	fmt.Fprintf(&script, "set -euo pipefail -o monitor\nexport LVM_SUPPRESS_FD_WARNINGS=1 DRIVER=%s\n", driver())
	for i, c := range list {
		if c.root && os.Getuid() != 0 {
			t.Logf("command %d is root's, and left out", i+1)
			continue
		}
		text := c.text
		if i == 0 {
			text = strings.Replace(text, "go build -o mlvm ./cmd/mlvm", "(cd "+abs+" && CGO_ENABLED=0 go build -o "+dir+"/mlvm ./cmd/mlvm)", 1)
			if text == c.text {
				t.Fatal("the first command builds something else than is known here")
			}
		}
		fmt.Fprintf(&script, "echo '=== %d'\n%s\n", i+1, text)
	}
	c := exec.Command("bash", "-c", script.String())
	c.Dir = dir
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin", "MLVM_LOCK_DIR="+dir+"/locks", "MLVM_SYSTEM_DIR="+dir+"/system", "HOME="+dir,
		"GOCACHE="+goEnv(t, "GOCACHE"), "GOMODCACHE="+goEnv(t, "GOMODCACHE"), "GOPATH="+goEnv(t, "GOPATH"))
	var out bytes.Buffer
	c.Stdout, c.Stderr = &out, &out
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	// What a reader should see.
	for _, want := range []string{
		`Image "disk.img" successfully built.`, "disk.img:2 vg0 lvm2", "root 128.00m", "scratch 32.00m", "home 96.00m", "vg0: ", "nbd+unix:///vg0/root?socket=vg0.sock",
		"read 4194304/4194304 bytes", "files (0.0% non-contiguous)",
	} {
		if flat := regexp.MustCompile(`[ \t]+`).ReplaceAllString(out.String(), " "); !strings.Contains(flat, want) {
			t.Errorf("no %q in what it prints", want)
		}
	}
	if os.Getuid() == 0 {
		if ours, theirs := table(out.String(), 5), table(out.String(), 10); len(theirs) == 0 || strings.Contains(strings.Join(theirs, ""), "rror") || len(ours) == 0 {
			t.Errorf("lvm2's report: %q", theirs)
		}
	}
	if svg, err := os.ReadFile(filepath.Join(dir, "vg0.svg")); err != nil || !bytes.Contains(svg, []byte("</svg>")) {
		t.Errorf("the picture: %v", err)
	}
	if t.Failed() {
		t.Log(out.String())
	}
}

// table is what the nth command printed.
func table(out string, n int) []string {
	_, rest, _ := strings.Cut(out, fmt.Sprintf("=== %d\n", n))
	part, _, _ := strings.Cut(rest, "=== ")
	return strings.Split(strings.TrimSpace(part), "\n")
}

// driver is what lvm2 has to be told where the kernel has no device-mapper.
func driver() string {
	if _, err := os.Stat("/dev/mapper/control"); errors.Is(err, os.ErrNotExist) {
		return "'--driverloaded n'"
	}
	return "''"
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	out, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}
