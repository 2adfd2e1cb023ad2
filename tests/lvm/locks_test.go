package lvm

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"morgana/tests/lvm/oracle"
)

// asking is a command that holds its locks while it waits for an answer.
type asking struct {
	t      *testing.T
	cmd    *exec.Cmd
	answer io.WriteCloser
}

// ask starts a command and waits until it asks.
func ask(t *testing.T, c *exec.Cmd) *asking {
	t.Helper()
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stderr, err := c.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	a := &asking{t, c, in}
	t.Cleanup(func() { c.Process.Kill(); c.Wait() })
	r := bufio.NewReader(stderr)
	var said bytes.Buffer
	for !strings.HasSuffix(said.String(), "[y/n]: ") {
		b, err := r.ReadByte()
		if err != nil {
			t.Fatalf("%v: %v after %q", c.Args, err, said.String())
		}
		said.WriteByte(b)
	}
	return a
}

func (a *asking) no() {
	a.t.Helper()
	fmt.Fprintln(a.answer, "n")
	a.answer.Close()
	a.cmd.Wait() // its exit code is that of a refusal
}

// waits runs something that must not end before release has been called.
func waits(t *testing.T, what string, do func() oracle.Result, release func()) {
	t.Helper()
	ended := make(chan oracle.Result, 1)
	go func() { ended <- do() }()
	select {
	case r := <-ended:
		t.Fatalf("%s did not wait: %+v", what, r)
	case <-time.After(300 * time.Millisecond): // long for a command that does not wait
	}
	release()
	select {
	case r := <-ended:
		if r.Code != 0 {
			t.Errorf("%s afterwards: %+v", what, r)
		}
	case <-time.After(20 * time.Second):
		t.Fatalf("%s still waits", what)
	}
}

// Whoever has a group's lock, lvm2 or mlvm, keeps the other out.
func TestLocksExclude(t *testing.T) {
	o := oracle.New(t)
	disks := o.Disks(2, 32<<20)
	m := beside(o, disks...)
	o.Quiet("vgcreate", "-s", "1m", "vg0", disks[0].Path)
	o.Must("lvcreate", "-an", "-Zn", "-Wn", "-L4M", "-n", "a", "vg0")

	lvm2 := func(args ...string) *exec.Cmd {
		c := exec.Command("lvm", args...)
		c.Env = append(os.Environ(), o.Env()...)
		return c
	}
	mine := func(args ...string) *exec.Cmd {
		c := exec.Command(binary, args...)
		c.Env = append(os.Environ(), m.env...)
		return c
	}
	for _, args := range [][]string{
		{"lvcreate", "-an", "-Zn", "-L1M", "-n", "b", "vg0"}, {"lvs", "vg0"}, {"vgs"}, {"vgcreate", "vg1", disks[1].Path},
	} {
		a := ask(t, lvm2("vgremove", "vg0"))
		waits(t, "mlvm "+args[0], func() oracle.Result { return m.run(args...) }, a.no)
	}
	for _, args := range [][]string{
		{"lvcreate", "-an", "-Zn", "-Wn", "-L1M", "-n", "c", "vg0"}, {"lvs", "vg0"}, {"vgs"}, {"vgremove", "vg1"},
	} {
		a := ask(t, mine("vgremove", "vg0"))
		waits(t, "lvm2 "+args[0], func() oracle.Result { return o.Run(args...) }, a.no)
	}
	a := ask(t, mine("vgremove", "vg0"))
	waits(t, "mlvm lvs", func() oracle.Result { return m.run("lvs", "vg0") }, a.no)
	if e, _ := filepath.Glob(o.LockDir() + "/V_*"); len(e) != 0 {
		t.Errorf("left: %v", e)
	}
}

// Twelve commands at once, of both tools, each make a volume, and none is lost.
func TestNothingIsLost(t *testing.T) {
	if testing.Short() {
		t.Skip("runs many commands at once")
	}
	o := oracle.New(t)
	disks := o.Disks(1, 64<<20)
	m := beside(o, disks...)
	o.Quiet("vgcreate", "-s", "1m", "vg0", disks[0].Path)
	var wg sync.WaitGroup
	const n = 12
	for i := range n {
		wg.Go(func() {
			run := m.run
			if i%2 == 0 {
				run = o.Run
			}
			if r := run("lvcreate", "-an", "-Zn", "-Wn", "-L1M", "-n", fmt.Sprintf("v%d", i), "vg0"); r.Code != 0 {
				t.Errorf("%d: %+v", i, r)
			}
		})
	}
	wg.Wait()
	if got := strings.TrimSpace(o.Must("vgs", "--noheadings", "-olv_count", "vg0")); got != fmt.Sprint(n) {
		t.Errorf("%s volumes, want %d", got, n)
	}
	same(t, o, m)
}

// Ordinary users share no folder of locks; the files themselves keep their commands apart.
func TestFilesAreLocks(t *testing.T) {
	o := oracle.New(t)
	dir := t.TempDir()
	m := nobody(t, dir)
	name := filepath.Join(dir, "a.img")
	if err := os.WriteFile(name, nil, 0o666); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Truncate(name, 64<<20), os.Chown(name, 65534, 65534)); err != nil {
		t.Fatal(err)
	}
	m.env = append(m.env, "MLVM_DEVICES=a.img")
	m.must("vgcreate", "-s", "1m", "vg0", "a.img")
	var wg sync.WaitGroup
	const n = 8
	for i := range n {
		wg.Go(func() {
			mine := m
			mine.env = append(append([]string(nil), m.env...), fmt.Sprintf("MLVM_LOCK_DIR=%s/locks%d", dir, i))
			if r := mine.run("lvcreate", "-L1M", "-n", fmt.Sprintf("v%d", i), "vg0"); r.Code != 0 {
				t.Errorf("%d: %+v", i, r)
			}
		})
	}
	wg.Wait()
	if got := strings.TrimSpace(m.must("vgs", "--noheadings", "-olv_count", "vg0")); got != fmt.Sprint(n) {
		t.Errorf("%s volumes, want %d", got, n)
	}
	d := o.Attach(name)
	o.Quiet("vgck")
	same(t, o, beside(o, d...))
}
