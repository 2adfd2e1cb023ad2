package xenstore

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"morgana/tests/xenstore/peers"
)

// privileged makes pyxs believe that it runs in dom0 as who may do everything.
const privileged = `import os
from pyxs.client import Client

Client.SU = True
there = os.path.exists
os.path.exists = lambda path: path == "/dev/xen" or there(path)
`

var pyxsLine = regexp.MustCompile(`(?m)^(tests/\S+::\S+) (PASSED|FAILED|ERROR|SKIPPED)`)

// pyxs runs the tests of a Python client against a service, and returns those that passed.
func pyxs(t *testing.T, p *peers.Peers, socket string) []string {
	t.Helper()
	dir, ok := p.PyxsTests()
	if !ok {
		t.Skip("the tests of pyxs could not be downloaded")
	}
	python, err := exec.LookPath("/usr/bin/python3")
	if err != nil {
		t.Skip("no Python")
	}
	plugin := t.TempDir()
	if err := os.WriteFile(filepath.Join(plugin, "privileged.py"), []byte(privileged), 0o644); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second) // now and then Python does not end
	defer cancel()
	c := exec.CommandContext(ctx, python, "-m", "pytest", "-p", "privileged", "-p", "no:cacheprovider", "-v", "tests")
	c.Dir = dir
	c.Env = append(os.Environ(), "XENSTORED_PATH="+socket, "PYTHONDONTWRITEBYTECODE=1", "PYTHONPATH="+strings.Join([]string{plugin, dir, p.Python()}, ":"))
	c.WaitDelay = time.Second
	out, _ := c.CombinedOutput() // some need a /dev/xen/xenbus, and fail everywhere
	var passed []string
	for _, m := range pyxsLine.FindAllStringSubmatch(string(out), -1) {
		if m[2] == "PASSED" {
			passed = append(passed, m[1])
		}
	}
	if len(passed) < 40 {
		t.Fatalf("%d tests passed:\n%s", len(passed), out)
	}
	slices.Sort(passed)
	return passed
}

// The tests of pyxs that pass on xenstored pass here.
func TestPyxs(t *testing.T) {
	p := others(t)
	d, err := p.StartC(host(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Kill()
	want := pyxs(t, p, d.Socket())
	got := pyxs(t, p, startOurs(t, host(t)).Socket())
	for _, name := range want {
		if _, ok := slices.BinarySearch(got, name); !ok {
			t.Errorf("%s passes on xenstored", name)
		}
	}
	t.Logf("%d passed on xenstored, %d here", len(want), len(got))
}
