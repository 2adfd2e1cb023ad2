package verbs

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"morgana/cmd/mlvm/internal/command"
)

// program runs mlvm in the test's own process, on disks and with files of its own.
type program struct {
	t      *testing.T
	env    map[string]string
	stdout string
	stderr string
}

func newProgram(t *testing.T, disks ...string) *program {
	t.Helper()
	dir := t.TempDir()
	p := &program{t: t, env: map[string]string{
		"MLVM_SYSTEM_DIR": filepath.Join(dir, "etc"), "XDG_RUNTIME_DIR": dir, "HOME": dir, "XDG_CONFIG_HOME": dir,
	}}
	var names []string
	for _, d := range disks {
		name := filepath.Join(dir, d)
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(name, 64<<20); err != nil {
			t.Fatal(err)
		}
		names = append(names, name)
		p.env[d] = name
	}
	p.env["MLVM_DEVICES"] = strings.Join(names, ",")
	return p
}

// run runs a command line, with something to read.
func (p *program) run(input string, line ...string) int {
	p.t.Helper()
	var stdout, stderr bytes.Buffer
	s := command.System{
		Stdin: strings.NewReader(input), Stdout: &stdout, Stderr: &stderr, Args: line[1:],
		Getenv: func(name string) string { return p.env[name] },
	}
	code := command.Main(context.Background(), s, All(), line[0])
	p.stdout, p.stderr = stdout.String(), stderr.String()
	return code
}

// must runs a command line that must end with 0 and say nothing on standard error.
func (p *program) must(line ...string) string {
	p.t.Helper()
	if code := p.run("", line...); code != 0 || p.stderr != "" {
		p.t.Fatalf("%q: exit code %d\n%s%s", line, code, p.stdout, p.stderr)
	}
	return p.stdout
}

func (p *program) want(want string, line ...string) {
	p.t.Helper()
	trim := regexp.MustCompile(`(?m) +$`)
	if d := cmp.Diff(want, trim.ReplaceAllString(p.must(line...), "")); d != "" {
		p.t.Fatalf("%q (-want +got):\n%s", line, d)
	}
}

// Many commands in one process, about volumes and about other things, as one after the other.
func TestShell(t *testing.T) {
	p := newProgram(t, "a.img", "b.img")
	a, b := p.env["a.img"], p.env["b.img"]
	code := p.run(fmt.Sprintf(`# makes a group
vgcreate --redolog y -s 1m vg %s
lvcreate -l 1 -n one vg
lvm lvcreate -l 2 --addtag 'a+b' -n "two" vg   # of two extents
lvs --noheadings -o name,seg_pe_ranges,tags vg
lvrename vg one uno
vgextend vg %s
lvextend -l+3 vg/two
lvremove vg/uno
y
nosuch
lvs --noheadings -o name,size vg
`, a, b), "shell")
	if code != 2 { // that of the command that does not exist
		t.Errorf("exit code %d", code)
	}
	for _, want := range []string{
		`Logical volume "two" created.`, "two  " + a + ":9-10 a+b", `Volume group "vg" successfully extended`,
		`Logical volume "uno" successfully removed.`, "two  5.00m",
	} {
		if !strings.Contains(p.stdout, want) {
			t.Errorf("%q is not in\n%s", want, p.stdout)
		}
	}
	if !strings.Contains(p.stderr, "No such command") || strings.Contains(p.stderr, "WARNING") {
		t.Errorf("said: %s", p.stderr)
	}
	// All is folded.
	p.want("  Volume group \"vg\": all changes are in the metadata, LVM2 may use it.\n", "log", "show", "vg")
	p.want("  two 5.00m\n", "lvs", "--noheadings", "-o", "name,size", "--separator", " ", "vg")
}

// What one-shot commands leave in the log, the next ones find; sync writes it out.
func TestRedoLogVerbs(t *testing.T) {
	p := newProgram(t, "a.img")
	p.must("vgcreate", "-s", "1m", "vg", p.env["a.img"])
	p.must("vgchange", "--redolog", "y", "--redologsize", "4m", "vg")
	p.must("lvcreate", "-l1", "-n", "one", "vg")
	p.must("lvcreate", "-l1", "-n", "two", "vg")
	p.must("lvremove", "-f", "vg/one")
	p.want("  two\n", "lvs", "--noheadings", "-o", "name", "vg")
	if out := p.must("log", "show", "vg"); strings.Count(out, "* seqno") != 2 || !strings.Contains(out, "two is 1 extents") {
		t.Errorf("log show: %s", out)
	}
	file := filepath.Join(t.TempDir(), "log.json")
	p.must("log", "export", "-f", file, "vg")
	if b, err := os.ReadFile(file); err != nil || !strings.Contains(string(b), `"put"`) {
		t.Errorf("export: %v %s", err, b)
	}
	if code := p.run("", "log", "discard", "-y", "vg"); code != 5 || !strings.Contains(p.stderr, "in order") {
		t.Errorf("discard: %d %s", code, p.stderr)
	}
	p.want("  Volume group \"vg\": 2 changes written to the metadata\n", "sync")
	p.want("", "sync", "vg")
	if code := p.run("", "sync", "nosuch"); code != 5 || !strings.Contains(p.stderr, `"nosuch" not found`) {
		t.Errorf("sync nosuch: %d %s", code, p.stderr)
	}
	p.must("lvcreate", "-l1", "-n", "three", "vg")
	p.must("lvcreate", "-l1", "-n", "four", "vg")
	p.must("vgchange", "--redolog", "n", "vg")
	p.want("  two\n  three\n  four\n", "lvs", "-a", "--noheadings", "-o", "name", "-O", "lv_time", "vg")
	if code := p.run("", "log", "show", "vg"); code != 5 {
		t.Errorf("log show without a log: %d", code)
	}
}

func TestShellWords(t *testing.T) {
	p := newProgram(t)
	code := p.run("version 'x\nexit\nnosuch\n", "shell")
	if code != 3 || !strings.Contains(p.stderr, "quote") || strings.Contains(p.stderr, "No such command") {
		t.Errorf("%d: %s", code, p.stderr)
	}
}
