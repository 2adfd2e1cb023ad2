package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"morgana/tests/script"
)

func TestMain(m *testing.M) { testscript.Main(m, map[string]func(){"stubdom": main}) }

// TestScripts runs testdata/*.txtar, which say what the commands do. Beside testscript's own words there is
//
//	exits CODE PROGRAM ARGS...
func TestScripts(t *testing.T) {
	out, err := exec.Command("go", "env", "GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN").Output()
	if err != nil {
		t.Fatal(err)
	}
	values := strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			for i, name := range []string{"GOCACHE", "GOMODCACHE", "GOPROXY", "GOSUMDB", "GOTOOLCHAIN"} {
				e.Setenv(name, values[i])
			}
			e.Setenv("CGO_ENABLED", "0")
			e.Setenv("GOFLAGS", "")
			e.Setenv("GOWORK", "off")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": script.Exits, "cut": cut},
	})
}

// cut writes the first N bytes of a file to another.
func cut(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: cut N FILE TO")
	}
	n, err := strconv.Atoi(args[0])
	ts.Check(err)
	b, err := os.ReadFile(ts.MkAbs(args[1]))
	ts.Check(err)
	ts.Check(os.WriteFile(filepath.Clean(ts.MkAbs(args[2])), b[:min(n, len(b))], 0o755))
}
