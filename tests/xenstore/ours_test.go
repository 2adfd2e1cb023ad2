package xenstore

import (
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"morgana/tests/xenstore/peers"
)

var built string // the directory of what was built

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ours")
	if err != nil {
		return "", err
	}
	built = dir
	file := filepath.Join(dir, "xenstored")
	c := exec.Command("go", "build", "-o", file, "./ours")
	c.Env = append(os.Environ(), "CGO_ENABLED=0")
	c.Stderr = os.Stderr
	return file, c.Run()
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// startOurs starts our daemon on a fake host; it ends with the test.
func startOurs(t testing.TB, h *peers.Host, args ...string) *peers.Daemon {
	t.Helper()
	file, err := build()
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(file, append([]string{"--no-fork"}, args...)...)
	run := filepath.Join(h.Dir, "run")
	c.Env = append(os.Environ(), "FAKEXEN="+h.Dir, "XENSTORED_RUNDIR="+run, "XENSTORED_PATH="+h.Socket())
	d, err := peers.Start("our", h, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if ended, err := d.Ended(); ended {
			t.Errorf("the daemon ended: %v\n%s", err, d.Output())
		}
		d.Kill()
		if t.Failed() {
			t.Logf("the daemon says: %s", d.Output())
		}
	})
	return d
}
