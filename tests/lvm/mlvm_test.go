package lvm

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"morgana/tests/lvm/oracle"
)

// binary is the program under test.
var binary string

func TestMain(m *testing.M) { os.Exit(build(m)) }

func build(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mlvm")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // other users run it too
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	binary = filepath.Join(dir, "mlvm")
	if out, err := exec.Command("go", "build", "-o", binary, "morgana/cmd/mlvm").CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "%v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// mlvm is the program with disks, locks and backups of its own, or those of an oracle.
type mlvm struct {
	t    testing.TB
	env  []string
	dir  string              // where it runs, "" is here
	user *syscall.Credential // who runs it, nil is who runs the test
}

// beside makes an mlvm that works on an oracle's disks, with its locks and backups.
func beside(o *oracle.Oracle, disks ...oracle.Disk) mlvm {
	return mlvm{t: o.T(), env: environment(o.LockDir(), o.SystemDir(), paths(disks))}
}

func environment(locks, system string, devices []string) []string {
	return []string{
		"MLVM_LOCK_DIR=" + locks, "MLVM_SYSTEM_DIR=" + system, "MLVM_DEVICES=" + strings.Join(devices, ","),
		"LC_ALL=C", "TZ=UTC", "HOME=/nonexistent",
	}
}

func paths(disks []oracle.Disk) []string {
	var list []string
	for _, d := range disks {
		list = append(list, d.Path)
	}
	return list
}

func (m mlvm) run(args ...string) oracle.Result {
	m.t.Helper()
	return m.input("", args...)
}

func (m mlvm) input(input string, args ...string) oracle.Result {
	m.t.Helper()
	c := exec.Command(binary, args...)
	c.Env = append(os.Environ(), m.env...)
	c.Stdin, c.Dir = strings.NewReader(input), m.dir
	if m.user != nil {
		c.SysProcAttr = &syscall.SysProcAttr{Credential: m.user}
	}
	r, err := oracle.Exec(c)
	if err != nil {
		m.t.Fatalf("mlvm %s: %v\n%s", strings.Join(args, " "), err, r.Stderr)
	}
	return r
}

// must runs a command that has nothing to complain about, and returns its standard output.
func (m mlvm) must(args ...string) string {
	m.t.Helper()
	r := m.run(args...)
	if r.Code != 0 || r.Stderr != "" {
		m.t.Fatalf("mlvm %s: exit code %d\n%s%s", strings.Join(args, " "), r.Code, r.Stdout, r.Stderr)
	}
	return r.Stdout
}
