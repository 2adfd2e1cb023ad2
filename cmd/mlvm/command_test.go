package main

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"morgana/tests/script"
)

// TestCommandScripts runs testdata/lvm2/*.txtar, which say what the program does for an ordinary user on plain files, without
// devices. Beside testscript's own words there are
//
//	exits CODE PROGRAM ARGS...
//	disk SIZE FILE...           make files of a size in MiB
//	fill TEXT FILE OFFSET       write at an offset
func TestCommandScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/lvm2",
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("MLVM_SYSTEM_DIR", filepath.Join(e.WorkDir, "etc"))
			e.Setenv("MLVM_LOCK_DIR", filepath.Join(e.WorkDir, "lock"))
			e.Setenv("TZ", "UTC")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"exits": script.Exits, "disk": disk, "fill": fill},
	})
}

func disk(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: disk SIZE FILE...")
	}
	size, err := strconv.ParseInt(args[0], 10, 64)
	ts.Check(err)
	for _, name := range args[1:] {
		ts.Check(os.WriteFile(ts.MkAbs(name), nil, 0o600))
		ts.Check(os.Truncate(ts.MkAbs(name), size<<20))
	}
}

func fill(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: fill TEXT FILE OFFSET")
	}
	at, err := strconv.ParseInt(args[2], 10, 64)
	ts.Check(err)
	f, err := os.OpenFile(ts.MkAbs(args[1]), os.O_WRONLY, 0)
	ts.Check(err)
	_, err = f.WriteAt([]byte(args[0]), at)
	ts.Check(errors.Join(err, f.Close()))
}
