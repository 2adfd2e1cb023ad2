package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"morgana/xenconsoled/attach"
)

// xconsole is our program as a client of our daemon.
func (h *host) xconsole(args ...string) *exec.Cmd {
	return exec.Command(program(h.t, "xconsole"), append([]string{"--socket", filepath.Join(h.runDir(), "socket")}, args...)...)
}

// output runs it, and wants an exit code.
func (h *host) output(code int, args ...string) string {
	h.t.Helper()
	var stdout, stderr bytes.Buffer
	c := h.xconsole(args...)
	c.Stdout, c.Stderr = &stdout, &stderr
	err := c.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		h.t.Fatal(err)
	}
	if got := c.ProcessState.ExitCode(); got != code {
		h.t.Errorf("xconsole %s: exit code %d, want %d\n%s%s", strings.Join(args, " "), got, code, stdout.String(), stderr.String())
	}
	if code != 0 && stdout.Len()+stderr.Len() == 0 {
		h.t.Errorf("xconsole %s says nothing about what is wrong", strings.Join(args, " "))
	}
	return stdout.String()
}

func TestXconsole(t *testing.T) {
	h := newHost(t)
	h.output(5, "list") // no daemon
	h.ours("--log=guest")
	g := h.guest(5, "one")
	h.guest(7, "other")
	h.terminal(5, "")
	h.terminal(7, "")
	h.say(g, []byte("first line\r\nsecond\xff line\r\nlogin: "))
	if err := g.Drained(within(t)); err != nil {
		t.Fatal(err)
	}

	if out := h.output(0, "list"); !strings.Contains(out, "one") || strings.Count(out, "\n") != 3 {
		t.Errorf("list: %q", out)
	}
	if out := h.output(0, "list", "--names"); out != "one\nother\n" {
		t.Errorf("list --names: %q", out)
	}
	var info struct {
		Dom  int
		Name string
		End  int
	}
	line, _, _ := strings.Cut(h.output(0, "list", "--json"), "\n")
	if err := json.Unmarshal([]byte(line), &info); err != nil || info.Dom != 5 || info.Name != "one" || info.End != 33 {
		t.Errorf("list --json: %q: %+v, %v", line, info, err)
	}
	for name, want := range map[string]string{"one": "first line\r\nsecond\xff line\r\nlogin: ", "5": "first line\r\nsecond\xff line\r\nlogin: ", "other": ""} {
		if out := h.output(0, "logs", name); out != want {
			t.Errorf("logs %s: %q", name, out)
		}
	}
	if out := h.output(0, "logs", "-n", "2", "one"); out != "second\xff line\r\nlogin: " {
		t.Errorf("logs -n 2: %q", out)
	}
	want := `{"from":0,"line":"first line"}` + "\n" + `{"from":12,"line":"second` + "\ufffd" + ` line"}` + "\n" + `{"from":26,"line":"login: ","partial":true}` + "\n"
	if out := h.output(0, "logs", "--json", "one"); strings.ReplaceAll(out, `\ufffd`, "\ufffd") != want {
		t.Errorf("logs --json: %q", out)
	}
	h.output(3, "logs", "nobody")
	h.output(3, "attach", "nobody")
	h.output(2, "logs")
	h.output(2, "nonsense")
	h.output(2, "logs", "one", "two")
	h.output(2, "attach", "--nonsense", "one")
	h.output(2, "attach", "--escape", "ctrl", "one")
	h.output(2, "attach", "--sole", "--read-only", "one")
	h.output(2, "completion", "csh")
	for _, shell := range []string{"bash", "zsh", "fish"} {
		out := h.output(0, "completion", shell)
		if _, err := exec.LookPath(shell); err == nil {
			if b, err := exec.Command(shell, "-n", "-c", out).CombinedOutput(); err != nil {
				t.Errorf("%s does not take its completion: %v\n%s", shell, err, b)
			}
		}
	}
}

// Many see a console, those who may type at it; one may ask to be the only one.
func TestManyReadersSomeWriters(t *testing.T) {
	h := newHost(t)
	h.ours()
	g := h.guest(5, "one")
	h.terminal(5, "")
	h.say(g, []byte("login: "))
	var all []*person
	for range 5 {
		all = append(all, start(t, h.xconsole("attach", "one")))
	}
	reader := start(t, h.xconsole("attach", "--read-only", "one"))
	for _, p := range append(all, reader) {
		p.sees("login: ")
	}
	reader.types("not this")
	for _, p := range all {
		p.types("word\n")
		if err := g.Expect(within(t), "word\n"); err != nil {
			t.Fatal(err)
		}
	}
	h.say(g, []byte("welcome"))
	for _, p := range append(all, reader) {
		p.sees("login: welcome")
	}
	h.output(4, "attach", "--sole", "one")
	for _, p := range all {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
	sole := start(t, h.xconsole("attach", "--sole", "one"))
	sole.sees("login: welcome")
	h.output(4, "attach", "one")
	stock := h.xenconsole(5) // its typing is dropped
	stock.sees("welcome")
	stock.types("dropped\n")
	time.Sleep(50 * time.Millisecond)
	sole.types("alone\n")
	if err := g.Expect(within(t), "alone\n"); err != nil {
		t.Fatal(err)
	}
	reader.types("") // is still there
	if err := h.KillGuest(5); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*person{sole, reader} {
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("after the guest's end: %v", err)
		}
	}
}

// logs -f goes on where it was when the daemon was killed: no byte is missing or twice.
func TestFollowOverRestarts(t *testing.T) {
	h := newHost(t)
	d := h.ours()
	g := h.guest(5, "one")
	h.terminal(5, "")
	all := pattern(1, 900<<10)
	c := h.xconsole("logs", "-f", "one")
	follow := &person{t: t, cmd: c}
	c.Stdout = follow
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for i := range 9 {
		h.say(g, all[i*100<<10:(i+1)*100<<10])
		if i%3 == 2 {
			d.stop(syscall.SIGKILL)
			d = h.ours()
		}
	}
	if err := g.Drained(within(t)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all of it", func() bool { return len(follow.saw()) >= len(all) })
	if err := h.KillGuest(5); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Fatal(err)
	}
	if got := follow.saw(); !bytes.Equal(got, all) {
		t.Error(differ(got, all))
	}
}

// What is typed by xconsole attach while the daemon is killed again and again gets to the guest byte for byte, and when it
// leaves, what was typed before.
func TestAttachOverRestarts(t *testing.T) {
	h := newHost(t)
	d := h.ours()
	g := h.guest(5, "one")
	h.terminal(5, "")
	p := start(t, h.xconsole("attach", "one"))
	h.say(g, []byte("login: "))
	p.sees("login: ")
	all := pattern(1, 40<<10)
	go func() { _, _ = p.in.Write(all) }()
	var got []byte
	buf := make([]byte, 700)
	for kills := 0; len(got) < len(all); {
		n, err := g.Read(within(t), buf)
		if err != nil {
			t.Fatalf("after %d bytes: %v", len(got), err)
		}
		if got = append(got, buf[:n]...); len(got) > (kills+1)*5<<10 {
			d.stop(syscall.SIGKILL)
			d = h.ours()
			kills++
		}
	}
	if !bytes.Equal(got, all) {
		t.Error(differ(got, all))
	}
	h.say(g, []byte("welcome"))
	p.sees("welcome")
}

// On a terminal every key goes to the guest, but the one that leaves; the terminal is then as it was.
func TestKeys(t *testing.T) {
	h := newHost(t)
	h.ours()
	g := h.guest(5, "one")
	h.terminal(5, "")
	master, slave := openTerminal(t)
	before, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	c := h.xconsole("attach", "one")
	p := atTerminal(t, c, master, slave)
	h.say(g, []byte("login: "))
	p.sees("login: ")
	p.types("a\x03\x04\x1a\x1c\r\n")
	if err := g.Expect(within(t), "a\x03\x04\x1a\x1c\r\n"); err != nil {
		t.Fatal(err)
	}
	p.types("b\x1d")
	if err := g.Expect(within(t), "b"); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("it was left, and says: %v", err)
	}
	after, err := unix.IoctlGetTermios(int(slave.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	if *before != *after {
		t.Errorf("the terminal was %+v and is %+v", before, after)
	}
}

// The key that leaves does so at a guest that does not read what is typed, too.
func TestLeavesTheDeaf(t *testing.T) {
	h := newHost(t)
	h.ours()
	g := h.guest(5, "one")
	h.terminal(5, "")
	master, slave := openTerminal(t)
	c := h.xconsole("attach", "one")
	p := atTerminal(t, c, master, slave)
	h.say(g, []byte("login: "))
	p.sees("login: ")
	for range 60 {
		p.types(strings.Repeat("x", 1024))
	}
	p.types("\x1d")
	ended := make(chan error, 1)
	go func() { ended <- c.Wait() }()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("it was left, and says: %v", err)
		}
	case <-time.After(patience):
		_ = c.Process.Kill()
		t.Errorf("it does not leave: %v", <-ended)
	}
}

// atTerminal starts a program at a terminal.
func atTerminal(t *testing.T, c *exec.Cmd, master, slave *os.File) *person {
	t.Helper()
	p := &person{t: t, in: master, cmd: c}
	c.Stdin, c.Stdout, c.Stderr = slave, slave, slave
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		b := make([]byte, 1024)
		for {
			n, err := master.Read(b)
			_, _ = p.Write(b[:n])
			if err != nil {
				return
			}
		}
	}()
	return p
}

func openTerminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(filepath.Join("/dev/pts", strconv.Itoa(n)), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { slave.Close() })
	return master, slave
}

// Who reads slowly still gets all that is kept when the guest is gone and its memory is given back; what they type then
// goes nowhere.
func TestReadingAfterTheEnd(t *testing.T) {
	h := newHost(t)
	h.ours()
	for i := range 5 {
		g := h.guest(5, "one")
		h.terminal(5, "")
		all := pattern(i, 900<<10) // less than the scrollback, more than a socket takes
		h.say(g, all)
		var slow []*attach.Client
		for range 4 {
			conn, err := net.Dial("unix", filepath.Join(h.runDir(), "socket"))
			if err != nil {
				t.Fatal(err)
			}
			c := attach.NewClient(conn)
			defer c.Close()
			if _, err := c.Open(attach.Request{Op: attach.OpAttach, Guest: "one", From: new(uint64)}); err != nil {
				t.Fatal(err)
			}
			slow = append(slow, c)
		}
		if _, err := slow[0].Write(bytes.Repeat([]byte("typed and never read "), 1000)); err != nil {
			t.Fatal(err)
		}
		if err := g.Drained(within(t)); err != nil {
			t.Fatal(err)
		}
		if err := h.KillGuest(5); err != nil {
			t.Fatal(err)
		}
		h.streamEnds(5)
		if _, err := slow[1].Write([]byte("too late")); err != nil {
			t.Fatal(err)
		}
		for n, c := range slow[2:] {
			got, err := io.ReadAll(c)
			if err != nil || !bytes.Equal(got, all) || !c.End().Gone {
				t.Errorf("reader %d: %v: %s", n, err, differ(got, all))
			}
		}
		g.Close()
		if err := h.store.Remove(t.Context(), "/local/domain/5"); err != nil {
			t.Fatal(err)
		}
	}
}
