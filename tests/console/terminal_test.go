package console

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// person is somebody at a terminal or a program: what they see is collected.
type person struct {
	t   testing.TB
	in  io.WriteCloser
	mu  sync.Mutex
	got bytes.Buffer
	cmd *exec.Cmd
}

func (p *person) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.got.Write(b)
}

func (p *person) saw() []byte {
	p.mu.Lock()
	defer p.mu.Unlock()
	return bytes.Clone(p.got.Bytes())
}

func (p *person) sees(text string) {
	p.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		if bytes.Contains(p.saw(), []byte(text)) {
			return
		}
		if time.Now().After(end) {
			b := p.saw()
			p.t.Fatalf("does not see %q but %d bytes: %q", text, len(b), b[max(0, len(b)-300):])
		}
	}
}

func (p *person) types(text string) {
	p.t.Helper()
	if _, err := p.in.Write([]byte(text)); err != nil {
		p.t.Fatal(err)
	}
}

func start(t testing.TB, c *exec.Cmd) *person {
	t.Helper()
	p := &person{t: t, cmd: c}
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	p.in = in
	c.Stdout, c.Stderr = p, p
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Process.Kill()
		_ = c.Wait()
	})
	return p
}

// xenconsole is the program that xl console runs.
func (h *host) xenconsole(domain int) *person {
	h.t.Helper()
	return start(h.t, h.peers.Command(h.Socket(), "xenconsole", fmt.Sprint(domain), "--type", "pv", "--interactive"))
}

// Xen's own client attaches to both daemons: it sees what came before and after, and the guest gets what is typed.
func TestXenconsole(t *testing.T) {
	both(t, nil, func(t *testing.T, h *host, _ *daemon) {
		g := h.guest(5, "one")
		h.terminal(5, "")
		h.say(g, []byte("booting\r\nlogin: "))
		p := h.xenconsole(5)
		p.sees("booting\r\nlogin: ")
		p.types("root\n")
		if err := g.Expect(within(t), "root\n"); err != nil {
			t.Fatal(err)
		}
		h.say(g, []byte("welcome\r\n"))
		p.sees("login: welcome\r\n")
		p.types("\x1d")
		if err := p.cmd.Wait(); err != nil {
			t.Errorf("xenconsole: %v", err)
		}
	})
}

// Who attaches again sees the last screen once more; Xen's daemon shows nothing.
func TestLastScreenAgain(t *testing.T) {
	h := newHost(t)
	h.ours()
	g := h.guest(5, "one")
	h.terminal(5, "")
	h.say(g, append(pattern(1, 100<<10), "login: "...))
	for range 3 {
		p := h.xenconsole(5)
		p.sees("login: ")
		p.types("\x1d")
		_ = p.cmd.Wait()
	}
	p := h.xenconsole(5)
	p.sees("login: ")
	if n := bytes.Count(p.saw(), []byte("\n")); n > 60 || n < 20 {
		t.Errorf("the last screen has %d lines", n)
	}
}

// The last screen is there for who opens the terminal in the moment after somebody else has closed it.
func TestTerminalOpenedAgainAtOnce(t *testing.T) {
	h := newHost(t)
	h.ours()
	g := h.guest(5, "one")
	name := h.terminal(5, "")
	h.say(g, []byte("login: "))
	for i := range 200 {
		f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY|unix.O_NONBLOCK, 0)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
			t.Fatal(err)
		}
		got := make([]byte, 7)
		if n, err := io.ReadFull(f, got); err != nil || string(got) != "login: " {
			t.Fatalf("the %dth time: %q, %v", i, got[:n], err)
		}
		f.Close()
	}
}

// A terminal that nobody reads keeps the oldest and the newest bytes: with our daemon no less of either than with Xen's.
func TestOverflowKeepsTheEnds(t *testing.T) {
	both(t, []string{"--log=guest"}, func(t *testing.T, h *host, _ *daemon) {
		if err := h.MakeGuest(t.Context(), h.store, 5, "one"); err != nil {
			t.Fatal(err)
		}
		if err := h.store.Write(t.Context(), consoleDir(5)+"/limit", "65536"); err != nil {
			t.Fatal(err)
		}
		g, err := h.Console(5)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Close)
		h.terminal(5, "")
		all := pattern(1, 300<<10)
		h.say(g, all) // does not block
		h.say(g, []byte("the end"))
		p := h.xenconsole(5)
		p.sees("the end")
		saw := p.saw()
		head := 0
		for head < len(saw) && saw[head] == all[head] {
			head++
		}
		tail := 0
		whole := append(bytes.Clone(all), "the end"...)
		for tail < len(saw) && saw[len(saw)-1-tail] == whole[len(whole)-1-tail] {
			tail++
		}
		t.Logf("of %d bytes the oldest %d and the newest %d", len(whole), head, tail)
		if head < 32<<10 || tail < 32<<10 {
			t.Errorf("less than 32 KiB of one of them")
		}
		if got := read(t, h.logFile("one")); !bytes.Equal(got, whole) {
			t.Errorf("the log: %s", differ(got, whole))
		}
	})
}

// With --overflow-data=keep the guest waits for who reads the terminal, and nothing is missing.
func TestOverflowKeep(t *testing.T) {
	h := newHost(t)
	h.ours("--overflow-data=keep")
	g := h.guest(5, "one")
	name := h.terminal(5, "")
	all := pattern(1, 3<<20)
	done := make(chan int, 1)
	go func() {
		n, _ := g.Write(within(t), all)
		done <- n
	}()
	select {
	case n := <-done:
		t.Fatalf("the guest wrote %d bytes that nobody reads", n)
	case <-time.After(300 * time.Millisecond):
	}
	f, err := os.OpenFile(name, os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, len(all))
	if n, err := io.ReadFull(f, got); err != nil || !bytes.Equal(got, all) {
		t.Errorf("%d bytes, %v: %s", n, err, differ(got[:n], all))
	}
	if n := <-done; n != len(all) {
		t.Errorf("the guest wrote %d of %d bytes", n, len(all))
	}
}

// xenconsole follows to the terminal of a daemon that was started again.
func TestXenconsoleFollowsARestart(t *testing.T) {
	h := newHost(t)
	d := h.ours()
	g := h.guest(5, "one")
	h.terminal(5, "")
	p := h.xenconsole(5)
	h.say(g, []byte("first\r\n"))
	p.sees("first")
	d.stop(syscall.SIGKILL)
	h.say(g, []byte("meanwhile\r\n"))
	h.ours()
	p.sees("meanwhile")
	p.types("typed\n")
	if err := g.Expect(within(t), "typed\n"); err != nil {
		t.Fatal(err)
	}
	h.say(g, []byte("last\r\n"))
	p.sees("last")
}

// The terminal ends with the guest, and xenconsole with it.
func TestGuestEnds(t *testing.T) {
	both(t, []string{"--log=guest"}, func(t *testing.T, h *host, _ *daemon) {
		g := h.guest(5, "one")
		name := h.terminal(5, "")
		h.say(g, []byte("bye"))
		if err := g.Drained(within(t)); err != nil {
			t.Fatal(err)
		}
		if err := h.KillGuest(5); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the end of "+name, func() bool {
			_, err := os.Stat(name)
			return os.IsNotExist(err)
		})
		if got := read(t, h.logFile("one")); string(got) != "bye" {
			t.Errorf("the log: %q", got)
		}
	})
}
