package console

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// Xen's own log, what was there and what comes, for both daemons; and ours does not log it twice when it starts again.
func TestHypervisorLog(t *testing.T) {
	both(t, []string{"--log=all"}, func(t *testing.T, h *host, d *daemon) {
		file := filepath.Join(h.ConsoleLogs(), "hypervisor.log")
		eventually(t, "the file", func() bool {
			_, err := os.Stat(file)
			return err == nil
		})
		want := ""
		for i := range 20 {
			line := fmt.Sprintf("(XEN) line %d%s\n", i, bytes.Repeat([]byte("."), i*200))
			want += line
			if err := h.XenSays(line); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the log", func() bool { return len(read(t, file)) >= len(want) })
		if d.cmd.Args[0] == program(t, "xenconsoled") {
			d.stop(syscall.SIGKILL)
			h.ours("--log=all")
			want += "(XEN) later\n"
			eventually(t, "the log", func() bool {
				if err := h.XenSays(""); err != nil {
					t.Fatal(err)
				}
				if len(read(t, file)) < len(want) && len(read(t, filepath.Join(h.Dir, "xen.log"))) < len(want) {
					return h.XenSays("(XEN) later\n") != nil
				}
				return len(read(t, file)) >= len(want)
			})
		}
		if got := read(t, file); string(got) != want {
			t.Error(differ(got, []byte(want)))
		}
	})
}

// SIGHUP begins the logs anew, for both daemons; a guest that was renamed has its log under the new name.
func TestHangup(t *testing.T) {
	both(t, []string{"--log=all", "--timestamp=all"}, func(t *testing.T, h *host, d *daemon) {
		g := h.guest(5, "one")
		h.terminal(5, "")
		h.say(g, []byte("first\n"))
		file := h.logFile("one")
		eventually(t, "the log", func() bool { return bytes.HasSuffix(read(t, file), []byte("first\n")) })
		if err := os.Rename(file, file+".old"); err != nil {
			t.Fatal(err)
		}
		if err := h.store.Write(t.Context(), "/local/domain/5/name", "two"); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a new file", func() bool {
			if err := d.cmd.Process.Signal(syscall.SIGHUP); err != nil {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
			_, err := os.Stat(h.logFile("two"))
			return err == nil
		})
		h.say(g, []byte("second\n"))
		eventually(t, "the log", func() bool { return bytes.HasSuffix(read(t, h.logFile("two")), []byte("second\n")) })
		if old := read(t, file+".old"); !bytes.HasSuffix(old, []byte("first\n")) {
			t.Errorf("the old file: %q", old)
		}
	})
}

// Lines of JSON, over rotations and kill -9: each line once, with its time.
func TestJSONLines(t *testing.T) {
	h := newHost(t)
	args := []string{"--log=guest", "--log-format=json", "--rotate-size=20k", "--rotate-keep=100"}
	d := h.ours(args...)
	g := h.guest(5, "one")
	h.terminal(5, "")
	const lines = 1000
	for i := range lines {
		h.say(g, fmt.Appendf(nil, "line %d \"quoted\" \x1b[0m caf\xc3\xa9\r\n", i))
		if i%300 == 299 {
			d.stop(syscall.SIGKILL)
			d = h.ours(args...)
		}
	}
	h.say(g, []byte("no end"))
	if err := g.Drained(within(t)); err != nil {
		t.Fatal(err)
	}
	if err := h.KillGuest(5); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(h.ConsoleLogs(), "guest-one.jsonl")
	eventually(t, "the last line", func() bool { return bytes.Contains(read(t, file), []byte("no end")) })
	var all []byte
	files, err := filepath.Glob(file + ".*")
	if err != nil || len(files) < 2 {
		t.Fatalf("%d old files, %v", len(files), err)
	}
	for i := len(files); i > 0; i-- {
		b := read(t, fmt.Sprintf("%s.%d", file, i))
		if len(b) > 20<<10 {
			t.Errorf("file %d has %d bytes", i, len(b))
		}
		all = append(all, b...)
	}
	all = append(all, read(t, file)...)
	n := 0
	for line := range bytes.Lines(all) {
		var v struct {
			Time    time.Time
			Line    string
			Partial bool
		}
		if err := json.Unmarshal(line, &v); err != nil {
			t.Fatalf("line %d: %v in %q", n, err, line)
		}
		want := fmt.Sprintf("line %d \"quoted\" \x1b[0m café", n)
		if n == lines {
			want = "no end"
		}
		if v.Line != want || v.Partial != (n == lines) || time.Since(v.Time) > patience {
			t.Fatalf("line %d: %+v, want %q", n, v, want)
		}
		n++
	}
	if n != lines+1 {
		t.Errorf("%d lines", n)
	}
}

// A guest that ends while no daemon runs: what the daemon had taken and not logged is logged by the next one.
func TestGuestEndsBetweenDaemons(t *testing.T) {
	h := newHost(t)
	d := h.ours("--log=guest")
	g := h.guest(5, "one")
	h.terminal(5, "")
	all := pattern(1, 100<<10)
	h.say(g, all)
	if err := g.Drained(within(t)); err != nil {
		t.Fatal(err)
	}
	d.stop(syscall.SIGKILL) // within two milliseconds of the last byte, mostly
	if err := h.KillGuest(5); err != nil {
		t.Fatal(err)
	}
	h.ours("--log=guest")
	eventually(t, "the log", func() bool { return len(read(t, h.logFile("one"))) >= len(all) })
	if got := read(t, h.logFile("one")); !bytes.Equal(got, all) {
		t.Error(differ(got, all))
	}
	h.streamEnds(5)
}
