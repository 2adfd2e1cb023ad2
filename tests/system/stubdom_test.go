package system

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"morgana/tests/bench"
	"morgana/unikernel/image"
)

// TestStubdomRun: in a dom0, stubdom run uses the Xen that is there; the console is connected both ways, the exit code
// is the domain's end, Ctrl-C destroys it.
func TestStubdomRun(t *testing.T) {
	h := host(t)
	stubdom := process(t, h, "morgana/cmd/stubdom")
	parrot := h.Path(filepath.Base(unikernel(t, h, "morgana/tests/system/parrot")))
	check := h.Path(filepath.Base(unikernel(t, h, "morgana/stubdoms/runtimecheck")))
	before := domains(t, h)
	for _, c := range []struct {
		name, typed, image, arg string
		code                    int
		says                    string
	}{
		{"poweroff", "", check, "exit0", 0, ""},
		{"crash", "", check, "panic", 7, "panic: assignment to entry in nil map"},
		{"exit status", "", check, "exit3", 7, "morgana: exit status 3"},
		{"typed", "a line of words\nquit\n", parrot, "", 0, "heard \"a line of words\"\nheard \"quit\"\n"},
		{"no image", "", stubdom, "", 3, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out, errs bytes.Buffer
			code, err := h.Command(within(t, 2*time.Minute), strings.NewReader(c.typed), &out, &errs, stubdom, "run", "--memory=64", c.image, "--", c.arg)
			if err != nil {
				t.Fatal(err)
			}
			if code != c.code || !strings.Contains(out.String(), c.says) {
				t.Errorf("exit code %d, standard output\n%s\nwant %d and %q; standard error\n%s", code, &out, c.code, c.says, &errs)
			}
		})
	}
	t.Run("Ctrl-C", func(t *testing.T) {
		out := newScreen()
		typed, in := io.Pipe()
		defer in.Close()
		ended := make(chan error, 1)
		var code int
		go func() {
			var err error
			code, err = h.Command(within(t, 2*time.Minute), typed, out, io.Discard, "sh", "-c", fmt.Sprintf("echo pid $$; exec %s run %s", stubdom, parrot))
			ended <- err
		}()
		ctx := within(t, time.Minute)
		out.waitFor(t, ctx, "parrot listens")
		fmt.Fprintln(in, "still there?")
		out.waitFor(t, ctx, `heard "still there?"`)
		var pid int
		if _, err := fmt.Sscanf(out.String(), "pid %d", &pid); err != nil {
			t.Fatalf("%v in %q", err, out)
		}
		if _, err := h.Output(ctx, "kill", "-INT", fmt.Sprint(pid)); err != nil {
			t.Fatal(err)
		}
		if err := <-ended; err != nil || code != 130 {
			t.Errorf("exit code %d, %v; want 130", code, err)
		}
	})
	if after := domains(t, h); fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("domains were %q, are %q", before, after)
	}
}

// TestStubdomRunBoots: on a machine that is no Xen host, stubdom run boots one, and leaves nothing behind.
func TestStubdomRunBoots(t *testing.T) {
	dir := t.TempDir()
	stubdom, parrot := filepath.Join(dir, "stubdom"), filepath.Join(dir, "parrot.elf")
	if _, err := image.BuildProgram(stubdom, "morgana/cmd/stubdom"); err != nil {
		t.Fatal(err)
	}
	run := func(ctx context.Context, in io.Reader, out io.Writer, args ...string) *exec.Cmd {
		c := exec.CommandContext(ctx, stubdom, args...)
		c.Stdin, c.Stdout, c.Env = in, out, append(os.Environ(), "TMPDIR="+dir)
		return c
	}
	ctx := within(t, 5*time.Minute)
	if err := run(ctx, nil, nil, "build", "morgana/tests/system/parrot", "-o", parrot).Run(); err != nil {
		t.Fatal(err)
	}
	typed, in := io.Pipe()
	defer in.Close()
	out, words := newScreen(), newScreen()
	c := run(ctx, nil, out, "run", parrot)
	c.Stderr = words
	stdin, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	go io.Copy(stdin, typed)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	out.waitFor(t, ctx, "parrot listens")
	fmt.Fprintln(in, "from here")
	out.waitFor(t, ctx, "heard \"from here\"\n")
	if err := c.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	var ended *exec.ExitError
	if err := c.Wait(); !errors.As(err, &ended) || ended.ExitCode() != 130 {
		t.Errorf("ended with %v, want exit status 130\n%s", err, words)
	}
	if got := out.String(); got != "parrot listens\nheard \"from here\"\n" {
		t.Errorf("standard output is not the console alone: %q", got)
	}
	if left, err := filepath.Glob(filepath.Join(dir, "morgana-*")); err != nil || len(left) > 0 {
		t.Errorf("left behind: %q, %v", left, err)
	}
}

// TestStubdomRunQEMU: without Xen, the same exit codes.
func TestStubdomRunQEMU(t *testing.T) {
	dir := t.TempDir()
	stubdom, check := filepath.Join(dir, "stubdom"), filepath.Join(dir, "check.elf")
	if _, err := image.BuildProgram(stubdom, "morgana/cmd/stubdom"); err != nil {
		t.Fatal(err)
	}
	ctx := within(t, 3*time.Minute)
	if out, err := exec.CommandContext(ctx, stubdom, "build", "morgana/stubdoms/runtimecheck", "-o", check).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, x := range []struct {
		mode string
		code int
		says string
	}{
		{"exit0", 0, ""},
		{"panic", 7, "panic: assignment to entry in nil map"},
	} {
		out, err := exec.CommandContext(ctx, stubdom, "run", "--qemu", check, "--", x.mode).Output()
		code := 0
		var ended *exec.ExitError
		if errors.As(err, &ended) {
			code = ended.ExitCode()
		} else if err != nil {
			t.Fatal(err)
		}
		if code != x.code || !strings.Contains(string(out), x.says) {
			t.Errorf("%s: exit code %d, want %d; output\n%s", x.mode, code, x.code, out)
		}
	}
}

// TestStubdomBench: every figure is there, ours and the peer's. What they are is for people to judge.
func TestStubdomBench(t *testing.T) {
	h := host(t)
	stubdom := process(t, h, "morgana/cmd/stubdom")
	if err := h.ShareStock(); err != nil {
		t.Fatal(err)
	}
	hello := h.Path(filepath.Base(unikernel(t, h, "morgana/stubdoms/hello")))
	out, err := h.Output(within(t, 5*time.Minute), stubdom, "bench", "--json", "--runs=1", "--rounds=100", "--stock="+h.Dir, hello)
	if err != nil {
		t.Fatal(err)
	}
	var rep bench.Report
	if err := json.Unmarshal([]byte(out), &rep); err != nil {
		t.Fatalf("%v in %q", err, out)
	}
	var text strings.Builder
	if err := rep.WriteText(&text); err != nil {
		t.Fatal(err)
	}
	t.Log("\n" + text.String())
	if len(rep.Images) != 2 {
		t.Fatalf("%d images, want hello and the trivial kernel", len(rep.Images))
	}
	for _, l := range rep.Images {
		if l.Reason != "poweroff" || l.Create.Median <= 0 || l.Life.Median <= 0 || l.Size == 0 {
			t.Errorf("no whole life of %s: %+v", l.Name, l)
		}
	}
	seen := map[string]bool{}
	for _, r := range rep.Machine {
		seen[r.Name] = true
		if r.Ours <= 0 || r.Peer <= 0 {
			t.Errorf("%s: ours %v, peer's %v", r.Name, r.Ours, r.Peer)
		}
	}
	for _, name := range []string{
		"system call", "goroutine switch", "thread switch", "time.Now", "hypercall", "event round trip with dom0",
		"timer of 1 ms late, median", "timer of 1 ms late, 99 of 100", "GC pause, median", "allocation of 64 bytes",
	} {
		if !seen[name] {
			t.Errorf("no figure %q", name)
		}
	}
}
