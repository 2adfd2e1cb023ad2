package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// person is somebody at a terminal.
type person struct {
	t      *testing.T
	master *os.File

	mu   sync.Mutex
	seen bytes.Buffer
}

// openTerminal makes a terminal, and returns its other end too.
func openTerminal(t *testing.T) (*person, *os.File) {
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
	if err := unix.IoctlSetWinsize(int(master.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Row: 40, Col: 120}); err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	p := &person{t: t, master: master}
	go func() {
		b := make([]byte, 4096)
		for {
			n, err := master.Read(b)
			p.mu.Lock()
			p.seen.Write(b[:n])
			p.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return p, slave
}

// see waits for a text, and forgets what came before its end.
func (p *person) see(text string) {
	p.t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		p.mu.Lock()
		all := p.seen.String()
		_, after, found := strings.Cut(all, text)
		if found {
			p.seen.Reset()
			p.seen.WriteString(after)
		}
		p.mu.Unlock()
		if found {
			return
		}
		if time.Now().After(end) {
			p.t.Fatalf("%q does not appear; on the terminal is %q", text, all)
		}
	}
}

func (p *person) types(text string) {
	p.t.Helper()
	if _, err := io.WriteString(p.master, text); err != nil {
		p.t.Fatal(err)
	}
}

// At a terminal the host works on while its table moves, takes commands, and at the end is looked at. The terminal is as
// it was then.
func TestHostAtATerminal(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program, and takes seconds")
	}
	program := filepath.Join(t.TempDir(), "stubdom")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	p, tty := openTerminal(t)
	was, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil {
		t.Fatal(err)
	}
	var verdict bytes.Buffer
	c := exec.Command(program, "host", "--sim")
	c.Stdin, c.Stderr, c.Stdout = tty, tty, &verdict
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	p.see("help shows the commands")
	p.see("> ")
	p.see("disk req/s")
	p.types("lvq\x7fs\r")
	p.see("more")
	p.types("nonsense\r")
	p.see(`"nonsense" is no command; help shows them`)
	p.types("attach nobody\r")
	p.see(`"nobody" has no console here`)
	p.types("attach web\r")
	p.see("attached to web; Ctrl-] leaves")
	p.types("stat\r")
	p.see("stat")
	p.see(" requests")
	p.types("\x1d")
	p.see("> ")
	p.types("crash xenstore\r")
	p.see("the next one answers after")
	p.types("quit\r")
	if err := c.Wait(); err != nil {
		t.Fatalf("%v; on the terminal is %q", err, p.seen.String())
	}
	if !strings.Contains(verdict.String(), "the volume group is whole") {
		t.Errorf("verified: %s", &verdict)
	}
	is, err := unix.IoctlGetTermios(int(tty.Fd()), unix.TCGETS)
	if err != nil || *is != *was {
		t.Errorf("the terminal is left as %+v, %v; it was %+v", is, err, was)
	}
}
