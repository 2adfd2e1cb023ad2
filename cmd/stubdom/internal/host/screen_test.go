package host

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
)

// testScreen is a screen whose clock the test moves.
func testScreen(t *testing.T, live bool) (s *screen, out *bytes.Buffer, pass func(time.Duration)) {
	t.Helper()
	out = new(bytes.Buffer)
	now := time.Unix(0, 0)
	s = newScreenAt(out, live, func() time.Time { return now })
	return s, out, func(d time.Duration) { now = now.Add(d) }
}

func TestLines(t *testing.T) {
	s, out, pass := testScreen(t, false)
	s.begin("first")
	s.say("words of %d", 1)
	pass(1500 * time.Millisecond)
	s.end(nil)
	s.show("not shown without a terminal")
	s.begin("second")
	pass(time.Second)
	s.end(errors.New("no"))
	s.close()
	if got, want := out.String(), "ok     1.5 s  first: words of 1\nFAIL   1.0 s  second\n"; got != want {
		t.Errorf("the screen says\n%swant\n%s", got, want)
	}
}

// On a terminal each drawing takes the place of the last, and the steps stay.
func TestLive(t *testing.T) {
	s, out, pass := testScreen(t, true)
	s.begin("first")
	s.show("Name  ID\nDomain-0  0")
	pass(time.Second)
	s.say("a line that is %s", strings.Repeat("long ", 100))
	s.end(nil)
	s.close()
	var lines []string // as the terminal has them at the end
	for line := range strings.Lines(out.String()) {
		for {
			before, after, ok := strings.Cut(line, "\x1b[")
			if !ok {
				break
			}
			n, rest, ok := strings.Cut(after, "A\r\x1b[J")
			if !ok || len(n) != 1 {
				break
			}
			lines = lines[:len(lines)-int(n[0]-'0')]
			line = before + rest
		}
		lines = append(lines, line)
	}
	if len(lines) != 1 || !strings.Contains(lines[0], "ok  ") || !strings.Contains(lines[0], "1.0 s  first: a line") {
		t.Errorf("left on the terminal is %q, want the step that ended", lines)
	}
	if strings.Count(out.String(), "Domain-0") != 1 {
		t.Errorf("the table was drawn %d times, want once:\n%q", strings.Count(out.String(), "Domain-0"), out)
	}
}
