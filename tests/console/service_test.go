package console

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"morgana/tests/xenstore/peers"
	"morgana/xen"
)

// xenstored of ours is killed: consoles go on, and guests that come when it is back are served, with terminals.
func TestXenstoreAway(t *testing.T) {
	h := emptyHost(t)
	xenstored := func() *peers.Daemon {
		c := exec.Command(program(t, "xenstored"), "--no-fork")
		run := filepath.Join(h.Dir, "run")
		c.Env = append(os.Environ(), "FAKEXEN="+h.Dir, "XENSTORED_RUNDIR="+run, "XENSTORED_PATH="+h.Socket())
		d, err := peers.Start("our", h.Host, c)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.Kill)
		return d
	}
	xs := xenstored()
	h.dial()
	h.ours("--log=guest")
	g := h.guest(5, "one")
	h.terminal(5, "")
	h.say(g, []byte("before "))
	xs.Kill()
	h.say(g, []byte("meanwhile "))
	eventually(t, "the log", func() bool { return string(read(t, h.logFile("one"))) == "before meanwhile " })
	// A guest that is destroyed while nobody can tell is let go of all the same.
	h.say(g, []byte("last"))
	if err := g.Drained(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := h.Destroy(5); err != nil {
		t.Fatal(err)
	}
	h.streamEnds(5)
	if got := read(t, h.logFile("one")); string(got) != "before meanwhile last" {
		t.Errorf("the log: %q", got)
	}
	xenstored()
	h.dial()
	other := h.guest(6, "other")
	h.terminal(6, "")
	h.say(other, []byte("hello"))
	eventually(t, "the log", func() bool { return string(read(t, h.logFile("other"))) == "hello" })
}

// In the background, as Debian's scripts start it: it returns when it serves, keeps no descriptor of ours, writes its
// number, and a second one says that it is one too many.
func TestBackground(t *testing.T) {
	h := newHost(t)
	pidFile := filepath.Join(h.Dir, "pid-of-consoles")
	command := func() *exec.Cmd {
		c := exec.Command(program(t, "xenconsoled"), "--log=all", "--log-dir", h.ConsoleLogs(), "--run-dir", h.runDir(), "--pid-file", pidFile)
		c.Env = append(os.Environ(), "FAKEXEN="+h.Dir, "XENSTORED_PATH="+h.Socket())
		return c
	}
	if out, err := command().CombinedOutput(); err != nil || len(out) > 0 { // CombinedOutput waits for whoever has the descriptors
		t.Fatalf("%v: %s", err, out)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(read(t, pidFile))))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(pid, syscall.SIGKILL) }()
	g := h.guest(5, "one")
	h.terminal(5, "")
	h.say(g, []byte("hello"))
	eventually(t, "the log", func() bool { return string(read(t, h.logFile("one"))) == "hello" })
	if out, err := command().CombinedOutput(); err == nil || !bytes.Contains(out, []byte("serves already")) {
		t.Errorf("a second daemon: %v: %s", err, out)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the end of the daemon", func() bool { return syscall.Kill(pid, 0) != nil })
	h.say(g, []byte(" while nobody serves"))
	if out, err := command().CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	eventually(t, "the log", func() bool { return string(read(t, h.logFile("one"))) == "hello while nobody serves" })
	if pid, err = strconv.Atoi(strings.TrimSpace(string(read(t, pidFile)))); err != nil {
		t.Fatal(err)
	}
}

// A domain's number that comes again is another guest: its log, its screen and its terminal begin anew.
func TestNumberAgain(t *testing.T) {
	h := newHost(t)
	h.ours("--log=guest")
	for i := range 5 {
		name := fmt.Sprintf("guest%d", i)
		g := h.guest(5, name)
		h.terminal(5, "")
		h.say(g, []byte(name))
		eventually(t, "the log", func() bool { return string(read(t, h.logFile(name))) == name })
		if out := h.output(0, "logs", name); out != name {
			t.Errorf("logs %s: %q", name, out)
		}
		g.Close()
		if err := h.KillGuest(5); err != nil {
			t.Fatal(err)
		}
		if i%2 == 0 {
			eventually(t, "the end of the guest", func() bool { return h.output(0, "list", "--names") == "" })
		} else {
			time.Sleep(time.Millisecond) // or not
		}
		if err := h.store.Remove(t.Context(), "/local/domain/5"); err != nil {
			t.Fatal(err)
		}
	}
}

// A tmpfs without room: guests that it has no room for are served all the same, from memory that ends with the daemon.
func TestNoRoom(t *testing.T) {
	h := newHost(t)
	if err := os.MkdirAll(h.runDir(), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", h.runDir(), "tmpfs", 0, "size=2500k"); err != nil {
		t.Fatalf("no tmpfs can be mounted here, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(h.runDir(), syscall.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	h.ours("--log=guest")
	for i := range 4 {
		name := fmt.Sprintf("g%d", i)
		g := h.guest(xen.DomID(5+i), name)
		h.terminal(xen.DomID(5+i), "")
		all := pattern(i, 3<<20)
		h.say(g, all)
		eventually(t, "the log", func() bool { return len(read(t, h.logFile(name))) >= len(all) })
		if got := read(t, h.logFile(name)); !bytes.Equal(got, all) {
			t.Error(differ(got, all))
		}
	}
}

// With oxenstored, which is Debian's: guests are found, served and let go.
func TestOxenstored(t *testing.T) {
	h := emptyHost(t)
	d, err := h.peers.StartOCaml(h.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Kill)
	h.dial()
	h.ours("--log=guest")
	for i := range 3 {
		n := xen.DomID(5 + i)
		name := fmt.Sprintf("g%d", i)
		g := h.guest(n, name)
		h.terminal(n, "")
		h.say(g, []byte("login: "))
		p := h.xenconsole(int(n))
		p.sees("login: ")
		p.types("root\n")
		if err := g.Expect(within(t), "root\n"); err != nil {
			t.Fatal(err)
		}
		if err := h.KillGuest(n); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the end of the stream's file", func() bool {
			_, err := os.Stat(filepath.Join(h.runDir(), fmt.Sprintf("domain-%d", n)))
			return os.IsNotExist(err)
		})
		if got := read(t, h.logFile(name)); string(got) != "login: " {
			t.Errorf("the log: %q", got)
		}
	}
}
