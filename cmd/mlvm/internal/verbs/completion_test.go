package verbs

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func TestCompletion(t *testing.T) {
	p := newProgram(t, "a", "b")
	p.must("vgcreate", "vg0", p.env["a"], p.env["b"])
	p.must("lvcreate", "-L8m", "-n", "root", "vg0")
	for _, tc := range []struct{ line, want string }{
		{"mlvm vgcfg", "vgcfgbackup vgcfgrestore"},
		{"mlvm --dev", "--devices --devicesfile"},
		{"mlvm help pvr", "pvremove pvresize"},
		{"mlvm vgs --uni", "--units"},
		{"vgs --uni", "--units"},
		{"mlvm lvs -o lv_name,+seg_st", "lv_name,+seg_start lv_name,+seg_start_pe"},
		{"mlvm lvs --sort=-seg_start_", "--sort=-seg_start_pe"},
		{"mlvm lvs --sort = -seg_start_", "-seg_start_pe"}, // as bash has it
		{"mlvm lvs -S lv_mi", "lv_minor="},
		{"mlvm vgcreate --alloc an", "anywhere"},
		{"mlvm lvs --reportformat j", "json"},
		{"mlvm lvcreate --type l", "linear"},
		{"mlvm lvcreate -ky", ""},
		{"mlvm lvcreate -p r", "r rw"},
		{"mlvm lvremove ", "vg0 vg0/root"},
		{"mlvm lvremove vg0/", "vg0/root"},
		{"mlvm vgremove v", "vg0"},
		{"mlvm pvs --devices " + p.env["a"] + " " + p.env["b"], ""},
		{"mlvm pvs " + p.env["b"][:len(p.env["b"])-1], p.env["a"] + " " + p.env["b"]},
	} {
		p.must(append([]string{"completion", "words", "--"}, strings.Split(tc.line, " ")...)...)
		got := strings.Fields(p.stdout)
		want := strings.Fields(tc.want)
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", tc.line, got, want)
		}
	}
}

// TestCompletionOfBash lets the shell complete, in which a function stands for the program.
func TestCompletionOfBash(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Fatal("no bash")
	}
	p := newProgram(t)
	p.must("completion", "bash")
	script := filepath.Join(t.TempDir(), "script")
	if err := os.WriteFile(script, []byte(p.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(bash, "--norc", "-c", `mlvm() { printf '%s\n' "$# words"; }
. "$1"
COMP_WORDS=(mlvm lvs -o x more) COMP_CWORD=3
_mlvm
printf '[%s]' "${COMPREPLY[@]}"`, "bash", script).CombinedOutput()
	if want := "[7 words]"; err != nil || string(out) != want {
		t.Errorf("%q %v, want %q", out, err, want)
	}
	for _, shell := range []string{"zsh", "fish"} {
		p.must("completion", shell)
		path, err := exec.LookPath(shell)
		if err != nil {
			continue
		}
		if err := os.WriteFile(script, []byte(p.stdout), 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := exec.Command(path, "-n", script).CombinedOutput(); err != nil {
			t.Errorf("%s: %v %s", shell, err, out)
		}
	}
	if code := p.run("", "completion", "csh"); code != 3 {
		t.Errorf("exit code %d for a shell that it does not know", code)
	}
}
