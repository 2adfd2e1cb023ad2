package console

import (
	"bytes"
	"fmt"
	"regexp"
	"testing"

	"morgana/xen"
)

func consoleDir(d xen.DomID) string { return fmt.Sprintf("/local/domain/%d/console", d) }

// sample is output of the kinds that guests have.
func sample() []byte {
	var b bytes.Buffer
	for i := range 300 {
		fmt.Fprintf(&b, "[%5d.%06d] line %d: \x1b[1;32mok\x1b[0m\tcaf\xc3\xa9 \xff\r\n", i/7, i*1009%1000000, i)
	}
	b.WriteString("\n\n\rlogin: ")
	return b.Bytes()
}

// The log is what the guest wrote, for our daemon as for Xen's.
func TestLogIsWhatTheGuestWrote(t *testing.T) {
	both(t, []string{"--log=all"}, func(t *testing.T, h *host, _ *daemon) {
		g := h.guest(5, "one")
		h.terminal(5, "")
		h.say(g, sample())
		eventually(t, "the log", func() bool { return len(read(t, h.logFile("one"))) >= len(sample()) })
		if got := read(t, h.logFile("one")); !bytes.Equal(got, sample()) {
			t.Error(differ(got, sample()))
		}
	})
}

var stamp = regexp.MustCompile(`\[\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\] `)

// With times the logs of both daemons have the same lines.
func TestTimesAsXensDaemon(t *testing.T) {
	var logs [][]byte
	both(t, []string{"--log=all", "--timestamp=all", "--replace-escape"}, func(t *testing.T, h *host, _ *daemon) {
		g := h.guest(5, "one")
		h.terminal(5, "")
		// Xen's daemon drops returns after the end of a line only where it sees them in one piece.
		lines, last, _ := bytes.Cut(sample(), []byte("\n\n"))
		h.say(g, append(lines, '\n'))
		if err := g.Drained(within(t)); err != nil {
			t.Fatal(err)
		}
		h.say(g, append([]byte("\n"), last...))
		h.say(g, []byte("root\n"))
		eventually(t, "the log", func() bool { return bytes.HasSuffix(read(t, h.logFile("one")), []byte("root\n")) })
		logs = append(logs, read(t, h.logFile("one")))
	})
	if t.Failed() || len(logs) != 2 {
		return
	}
	for _, l := range logs {
		if !stamp.Match(l) {
			t.Errorf("no time in %q", l[:min(len(l), 100)])
		}
	}
	ours, theirs := stamp.ReplaceAll(logs[0], []byte("[T] ")), stamp.ReplaceAll(logs[1], []byte("[T] "))
	if !bytes.Equal(ours, theirs) {
		t.Errorf("ours: %s", differ(ours, theirs))
	}
}
