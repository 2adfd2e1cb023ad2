package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"mlvm": main, "wait-for": waitFor})
}

// waitFor waits until a file is there and not empty: wait-for FILE.
func waitFor() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	for ctx.Err() == nil {
		if st, err := os.Stat(os.Args[1]); err == nil && (st.Size() > 0 || st.Mode()&os.ModeSocket != 0) {
			return
		}
		syscall.Select(0, nil, nil, nil, &syscall.Timeval{Usec: 10_000})
	}
}

// The scripts in testdata/script show what the verbs do that lvm2 has not.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(e *testscript.Env) error {
			e.Setenv("MLVM_LOCK_DIR", e.WorkDir+"/locks")
			e.Setenv("MLVM_SYSTEM_DIR", e.WorkDir+"/system")
			e.Setenv("MLVM_DEVICES", e.WorkDir+"/a.img,"+e.WorkDir+"/b.img")
			e.Setenv("HOME", e.WorkDir)
			return nil
		},
	})
}
