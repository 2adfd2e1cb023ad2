package console

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"morgana/tests/xenstore/peers"
	"morgana/xen"
	"morgana/xenstore"
)

var built string // the directory of what was built

var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "ours")
	if err != nil {
		return "", err
	}
	built = dir
	for name, pkg := range map[string]string{
		"xenconsoled": "morgana/tests/console/ours", "xconsole": "morgana/cmd/xconsole", "xenstored": "morgana/tests/xenstore/ours",
	} {
		c := exec.Command("go", "build", "-o", filepath.Join(dir, name), pkg)
		c.Env = append(os.Environ(), "CGO_ENABLED=0")
		c.Stderr = os.Stderr
		if err := c.Run(); err != nil {
			return "", err
		}
	}
	return dir, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// program is the path of a program of ours.
func program(t testing.TB, name string) string {
	t.Helper()
	dir, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, name)
}

// patience is how long anything may take that is not measured.
const patience = 60 * time.Second

// host is a fake host with Xen's xenstored and guests.
type host struct {
	*peers.Host
	t     testing.TB
	peers *peers.Peers
	store *xenstore.Client
}

func newHost(t testing.TB) *host {
	t.Helper()
	h := emptyHost(t)
	d, err := h.peers.StartC(h.Host)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Kill)
	h.dial()
	return h
}

// dial connects to the host's xenstored.
func (h *host) dial() {
	h.t.Helper()
	store, err := xenstore.DialPath(h.t.Context(), h.Socket())
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { store.Close() })
	h.store = store
}

// emptyHost is one without a xenstored.
func emptyHost(t testing.TB) *host {
	t.Helper()
	if testing.Short() {
		t.Skip("needs the daemons of others")
	}
	p, err := peers.Find()
	if err != nil {
		t.Fatal(err)
	}
	// A socket's path is short: not below t.TempDir, whose names are long.
	dir, err := os.MkdirTemp("", "xc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	ph, err := peers.NewHost(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &host{Host: ph, t: t, peers: p}
}

// guest makes a domain and attaches to its console as its kernel.
func (h *host) guest(d xen.DomID, name string) *peers.Console {
	h.t.Helper()
	if err := h.MakeGuest(h.t.Context(), h.store, d, name); err != nil {
		h.t.Fatal(err)
	}
	c, err := h.Console(d)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(c.Close)
	return c
}

func (h *host) logFile(name string) string {
	return filepath.Join(h.ConsoleLogs(), "guest-"+name+".log")
}

// daemon is a console daemon that runs.
type daemon struct {
	t    testing.TB
	cmd  *exec.Cmd
	out  bytes.Buffer
	done chan struct{}
	ends bool // it may
}

func (h *host) run(c *exec.Cmd) *daemon {
	h.t.Helper()
	d := &daemon{t: h.t, cmd: c, done: make(chan struct{})}
	c.Stdout, c.Stderr = &d.out, &d.out
	if err := c.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() {
		_ = c.Wait()
		close(d.done)
	}()
	h.t.Cleanup(func() {
		select {
		case <-d.done:
			if !d.ends {
				h.t.Errorf("the daemon ended by itself: %v", c.ProcessState)
			}
		default:
		}
		d.stop(syscall.SIGKILL)
		if h.t.Failed() {
			h.t.Logf("%s says: %s", filepath.Base(c.Path), d.out.String())
		}
	})
	return d
}

func (d *daemon) stop(sig syscall.Signal) {
	d.ends = true
	_ = d.cmd.Process.Signal(sig)
	select {
	case <-d.done:
	case <-time.After(10 * time.Second):
		d.t.Errorf("the daemon does not end by %v", sig)
		_ = d.cmd.Process.Kill()
		<-d.done
	}
}

// ours starts our daemon.
func (h *host) ours(args ...string) *daemon {
	h.t.Helper()
	c := exec.Command(program(h.t, "xenconsoled"), append([]string{"-i", "-v", "--log-dir", h.ConsoleLogs(), "--run-dir", h.runDir()}, args...)...)
	c.Env = append(os.Environ(), "FAKEXEN="+h.Dir, "XENSTORED_PATH="+h.Socket())
	return h.run(c)
}

func (h *host) runDir() string { return filepath.Join(h.Dir, "consoles") }

// streamEnds waits until our daemon has let go of a domain's stream.
func (h *host) streamEnds(dom int) {
	h.t.Helper()
	eventually(h.t, "the end of the stream's file", func() bool {
		_, err := os.Stat(filepath.Join(h.runDir(), fmt.Sprintf("domain-%d", dom)))
		return os.IsNotExist(err)
	})
}

// theirs starts Xen's daemon.
func (h *host) theirs(args ...string) *daemon {
	h.t.Helper()
	return h.run(h.peers.Consoled(h.Host, args...))
}

// both runs a test with our daemon and with Xen's.
func both(t *testing.T, args []string, f func(t *testing.T, h *host, d *daemon)) {
	t.Run("ours", func(t *testing.T) {
		h := newHost(t)
		f(t, h, h.ours(args...))
	})
	t.Run("Xen's", func(t *testing.T) {
		h := newHost(t)
		f(t, h, h.theirs(args...))
	})
}

// eventually waits until a condition holds.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// terminal waits for the name of a guest's terminal.
func (h *host) terminal(d xen.DomID, not string) (name string) {
	h.t.Helper()
	eventually(h.t, "a terminal in xenstore", func() bool {
		v, err := h.store.Read(h.t.Context(), consoleDir(d)+"/tty")
		name = v
		return err == nil && v != "" && v != not
	})
	return name
}

func within(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func (h *host) say(c *peers.Console, text []byte) {
	h.t.Helper()
	if n, err := c.Write(within(h.t), text); err != nil {
		h.t.Fatalf("the guest wrote %d of %d bytes: %v", n, len(text), err)
	}
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return b
}
