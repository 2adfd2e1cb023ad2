package bench

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// shell is an mlvm shell whose commands are written to it one by one.
type shell struct {
	t   testing.TB
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func (r *rig) shell() *shell {
	r.t.Helper()
	c := exec.Command(r.mlvm, "--devices", r.disk.Path, "shell")
	c.Env = r.environment()
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err == nil {
		var out io.ReadCloser
		if out, err = c.StdoutPipe(); err == nil {
			if err = c.Start(); err == nil {
				return &shell{t: r.t, cmd: c, in: in, out: bufio.NewScanner(out)}
			}
		}
	}
	r.t.Fatal(err)
	return nil
}

// run gives a command that answers with one line, and tells how long it took.
func (s *shell) run(line, want string) time.Duration {
	s.t.Helper()
	start := time.Now()
	fmt.Fprintln(s.in, line)
	if !s.out.Scan() || !strings.Contains(s.out.Text(), want) {
		s.t.Fatalf("%s: %q", line, s.out.Text())
	}
	return time.Since(start)
}

func (s *shell) end() {
	s.t.Helper()
	s.in.Close()
	if err := s.cmd.Wait(); err != nil {
		s.t.Fatal(err)
	}
}

// TestShell measures commands of a shell, from the line written to the answer read, in groups with a redo log.
func TestShell(t *testing.T) {
	if testing.Short() {
		t.Skip("takes many seconds")
	}
	ns, rounds := sizes, 300
	if !*full {
		ns, rounds = []int{1, 1000}, 20
	}
	program := buildProgram(t)
	took := make([][]time.Duration, len(ns))
	rigs, shells := make([]*rig, len(ns)), make([]*shell, len(ns))
	for i, n := range ns {
		rigs[i] = newRig(t, program, n)
		rigs[i].ours("vgchange", "--redolog", "y", "vg")
		shells[i] = rigs[i].shell()
		shells[i].run("lvcreate -an -Zn -l1 -n first vg", "created") // arms
	}
	for k := range rounds {
		for i, s := range shells {
			took[i] = append(took[i], s.run(fmt.Sprintf("lvcreate -an -Zn -l1 -n new%d vg", k), "created"))
			took[i] = append(took[i], s.run(fmt.Sprintf("lvremove -f vg/new%d", k), "removed"))
		}
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "%6s | %10s %10s | %s\n", "LVs", "p50", "p99", "against one volume")
	base := percentile(took[0], 50)
	for i, n := range ns {
		p50 := percentile(took[i], 50)
		fmt.Fprintf(&b, "%6d | %10v %10v | %.2f\n", n, p50, percentile(took[i], 99), float64(p50)/float64(base))
		shells[i].end()
		rigs[i].o.Quiet("vgck", "vg")
	}
	t.Logf("lvcreate and lvremove in a shell, with their flush\n%s", b.String())
	keep(t, "lvm-shell.txt", b.String())
	if last := percentile(took[len(ns)-1], 50); *full && float64(last) > float64(base)*growth {
		t.Errorf("a command takes %.2f times as long with %d volumes as with one; the goal is %.2f", float64(last)/float64(base), ns[len(ns)-1], growth)
	}
}
