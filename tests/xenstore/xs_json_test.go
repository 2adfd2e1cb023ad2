package xenstore

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// xs with --json, before the command or after it, and what the shells ask for completion.
func TestXsForPrograms(t *testing.T) {
	xs := xsProgram(t)
	h := host(t)
	repo := filepath.Join(h.Dir, "history")
	startOurs(t, h, "--history", repo)
	run := func(code int, args ...string) string {
		t.Helper()
		c := exec.Command(xs, args...)
		c.Env = append(os.Environ(), "XENSTORED_PATH="+h.Socket(), "XENSTORED_HISTORY="+repo)
		c.Stderr = os.Stderr
		out, err := c.Output()
		if got := c.ProcessState.ExitCode(); got != code {
			t.Errorf("xs %s: exit status %d, want %d: %v", strings.Join(args, " "), got, code, err)
		}
		return string(out)
	}
	run(0, "write", "/j/text", `a "b" <é>`, "/j/bytes", `\xff\x00`, "/j/dir/x", "1")
	for _, tc := range []struct {
		code int
		args string
		want string
	}{
		{0, "read --json /j/text /j/bytes", `[{"path":"/j/text","value":"a \"b\" <é>"},{"path":"/j/bytes","bytes":"/wA="}]`},
		{0, "--json read /j/dir/x", `[{"path":"/j/dir/x","value":"1"}]`},
		{0, "list --json /j /j/dir/x", `{"/j":["text","bytes","dir"],"/j/dir/x":[]}`},
		{1, "exists --json /j /none", `{"/j":true,"/none":false}`},
		{0, "exists --json /j", `{"/j":true}`},
		{0, "ls --json -p /j/dir", `{"path":"/j/dir","value":"","perms":["n0"],"children":[{"path":"/j/dir/x","value":"1","perms":["n0"]}]}`},
		{0, "tree --json /j/dir", `{"path":"/j/dir","value":"","children":[{"path":"/j/dir/x","value":"1"}]}`},
		{0, "watch --json -v -n 1 /j/dir/x", `{"path":"/j/dir/x","watched":"/j/dir/x","value":"1"}`},
		{1, "read --json /none", ``},
	} {
		out := run(tc.code, strings.Split(tc.args, " ")...)
		if tc.want == "" {
			if out != "" {
				t.Errorf("xs %s: %q", tc.args, out)
			}
			continue
		}
		var got, want any
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Errorf("xs %s: %v: %s", tc.args, err, out)
			continue
		}
		if err := json.Unmarshal([]byte(tc.want), &want); err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("xs %s\n got %swant %s", tc.args, out, tc.want)
		}
	}
	var counters map[string]uint64
	if err := json.Unmarshal([]byte(run(0, "stats", "--json")), &counters); err != nil || counters["requests"] == 0 {
		t.Errorf("stats: %v, %v", counters, err)
	}
	// The history is written a little later.
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(repo, "refs/heads/main")); err == nil {
			break
		}
	}
	for line := range strings.Lines(run(0, "log", "--json")) {
		var c struct{ Commit, Time, Author, Subject string }
		if err := json.Unmarshal([]byte(line), &c); err != nil || len(c.Commit) != 40 || c.Author != "dom0" {
			t.Errorf("log: %q: %v", line, err)
		}
	}
	for line, want := range map[string]string{
		"xs wr":                    "write",
		"xs --socket x re":         "read",
		"xs read --p":              "--prefix",
		"xs read /j/":              "/j/bytes,/j/dir/,/j/text",
		"xs read /j/t":             "/j/text",
		"xs write -R /j/d":         "/j/dir/",
		"xs completion f":          "fish",
		"xs control mem":           "memreport",
		"xs --js":                  "--json",
		"xs nothing /j":            "",
		"xs log --history x /j/te": "/j/text",
	} {
		got := strings.Join(strings.Fields(run(0, append([]string{"completion", "words", "--"}, strings.Split(line, " ")...)...)), ",")
		if got != want {
			t.Errorf("completion of %q: %q, want %q", line, got, want)
		}
	}
	for shell, program := range map[string]string{"bash": "bash", "zsh": "zsh", "fish": "fish"} {
		script := run(0, "completion", shell)
		if _, err := exec.LookPath(program); err != nil || shell == "fish" {
			continue
		}
		if out, err := exec.Command(program, "-n", "-c", script).CombinedOutput(); err != nil {
			t.Errorf("completion for %s: %v\n%s", shell, err, out)
		}
	}
	// bash completes with it.
	c := exec.Command("bash", "-c", `source <(xs completion bash); COMP_WORDS=(xs read /j/d); COMP_CWORD=2; compopt() { :; }; _xs; echo "${COMPREPLY[@]}"`)
	c.Env = append(os.Environ(), "XENSTORED_PATH="+h.Socket(), "PATH="+filepath.Dir(xs)+":"+os.Getenv("PATH"))
	if out, err := c.CombinedOutput(); err != nil || string(out) != "/j/dir/\n" {
		t.Errorf("bash completes %q, %v", out, err)
	}
	run(2, "completion", "csh")
	run(2, "read", "--nonsense")
	run(1, "--socket", "/none", "read", "/")
}
