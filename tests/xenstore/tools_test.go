package xenstore

import (
	"bytes"
	"context"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"morgana/tests/xenstore/peers"
)

// Xen's own test of xenstore daemons passes, and its random mode for a minute.
func TestXensOwnTest(t *testing.T) {
	p := others(t)
	d := startOurs(t, host(t))
	for _, args := range [][]string{{"-i", "200"}, {"-r", "60"}} {
		c := p.Command(d.Socket(), "test-xenstore", args...)
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("test-xenstore %s: %v\n%s", strings.Join(args, " "), err, out)
		} else {
			t.Logf("test-xenstore %s:\n%s", strings.Join(args, " "), out)
		}
	}
}

// prepared is what the tools do to make a tree, and then to look at it.
var prepared = []string{
	"xenstore-write /a/b/c value",
	"xenstore-write /a/quoted with\\ttab\\\\and\\n",
	"xenstore-write /a/long " + strings.Repeat("x", 300),
	"xenstore-write /local/domain/0/name Domain-0",
	"xenstore-write -r /a/bin a\\x01\\x02",
	"xenstore-write /two 1 /three 2",
	"xenstore-chmod /a/b n0 r5 b6",
	"xenstore-chmod -r /a b0",
	"xenstore-chmod -u /a/b/c w7",
	"xenstore-write /tree/" + strings.Repeat("d/", 12) + "end deep",
	"xenstore-ls",
	"xenstore-ls /",
	"xenstore-ls -f",
	"xenstore-ls -p",
	"xenstore-ls -f -p /a",
	"xenstore-ls /a/b",
	"xenstore-ls /none",
	"xenstore-list /",
	"xenstore-list -p /a",
	"xenstore-list -f /a",
	"xenstore-list /none",
	"xenstore-read /a/b/c",
	"xenstore-read -p /a/b/c",
	"xenstore-read -R /a/quoted",
	"xenstore-read /a/quoted /a/bin",
	"xenstore-read /none",
	"xenstore-read name",
	"xenstore-exists /a/b",
	"xenstore-exists /none",
	"xenstore-rm /a/b/c",
	"xenstore-rm -t /tree/d/d/d/d/d/d/d/d/d/d/d/d/end",
	"xenstore-rm /none",
	"xenstore-ls -f",
	"xenstore-chmod /none n0",
	"xenstore-write /bad//path x",
	"xenstore-control check",
	"xenstore-control quota",
	"xenstore-control quota set nodes 900",
	"xenstore-control quota 0",
	"xenstore-control nonsense",
	"xenstore-control print hello",
	"xenstore-watch -n 1 /a",
}

// outputs is what the tools print against a service, and how they exit.
func outputs(t *testing.T, p *peers.Peers, socket string) string {
	t.Helper()
	var b strings.Builder
	for _, line := range prepared {
		args := strings.Split(line, " ")
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		c := p.Command(socket, args[0], args[1:]...)
		var out, errs bytes.Buffer
		c.Stdout, c.Stderr = &out, &errs
		err := c.Start()
		if err == nil {
			stop := context.AfterFunc(ctx, func() { _ = c.Process.Kill() })
			err = c.Wait()
			stop()
		}
		cancel()
		if _, isExit := err.(*exec.ExitError); err != nil && !isExit {
			t.Fatal(err)
		}
		b.WriteString("$ " + line + "\n" + out.String() + errs.String() + c.ProcessState.String() + "\n")
	}
	return b.String()
}

// Xen's tools print, byte for byte, what they print against xenstored.
func TestXensToolsPrintTheSame(t *testing.T) {
	p := others(t)
	d, err := p.StartC(host(t))
	if err != nil {
		t.Fatal(err)
	}
	defer d.Kill()
	want := outputs(t, p, d.Socket())
	if !strings.Contains(want, `name = "Domain-0"`) || strings.Count(want, "exit status 0") < 25 {
		t.Fatalf("the tools do not work here:\n%s", want)
	}
	got := outputs(t, p, startOurs(t, host(t)).Socket())
	if d := cmp.Diff(strings.Split(want, "\n"), strings.Split(got, "\n")); d != "" {
		t.Errorf("- xenstored, + ours:\n%s", d)
	}
}
