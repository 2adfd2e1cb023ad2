package host

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// A screen shows the steps: on a terminal those done, the one under way with its time, and a table below, drawn anew
// twice a second; elsewhere a line at each step's end. Its methods may be called concurrently.
type screen struct {
	w    io.Writer
	live bool
	now  func() time.Time

	mu    sync.Mutex
	step  string // under way, "" if none
	since time.Time
	words string // what is known of the step under way
	table string
	notes string // what a command said
	typed string // the line at the bottom, with what is typed; "" for none
	quiet bool   // somebody else has the terminal
	drawn int    // lines that the next drawing replaces

	stop    chan struct{}
	stopped chan struct{}
}

// notesMax is how many lines of what a command said are shown.
const notesMax = 12

const (
	green = "\x1b[32m"
	red   = "\x1b[31;1m"
	dim   = "\x1b[2m"
	plain = "\x1b[0m"
)

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

func newScreen(w io.Writer) *screen { return newScreenAt(w, terminal(w), time.Now) }

func newScreenAt(w io.Writer, live bool, now func() time.Time) *screen {
	s := &screen{w: w, live: live, now: now, stop: make(chan struct{}), stopped: make(chan struct{})}
	go func() {
		defer close(s.stopped)
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-s.stop:
				return
			case <-tick.C:
				s.mu.Lock()
				s.drawLocked()
				s.mu.Unlock()
			}
		}
	}()
	return s
}

// begin starts a step.
func (s *screen) begin(step string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step, s.since, s.words = step, s.now(), ""
	s.drawLocked()
}

// say replaces what is shown beside the step under way.
func (s *screen) say(format string, args ...any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.words = fmt.Sprintf(format, args...)
	s.drawLocked()
}

// show replaces the table.
func (s *screen) show(table string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table = strings.TrimRight(table, "\n")
}

// note replaces what is below the table.
func (s *screen) note(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.live {
		if text != "" {
			fmt.Fprintln(s.w, text)
		}
		return
	}
	s.notes = text
	s.drawLocked()
}

// prompt replaces the line at the bottom.
func (s *screen) prompt(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.typed = line
	s.drawLocked()
}

// pause leaves the terminal to somebody else until resume.
func (s *screen) pause(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eraseLocked()
	s.quiet = true
	fmt.Fprintln(s.w, line)
}

func (s *screen) resume() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.quiet = false
	fmt.Fprintln(s.w)
	s.drawLocked()
}

// end finishes the step under way, and returns the line that tells of it.
func (s *screen) end(err error) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	mark, colour := "ok  ", green
	if err != nil {
		mark, colour = "FAIL", red
	}
	s.eraseLocked()
	line := s.lineLocked()
	fmt.Fprintf(s.w, "%s%s %s\n", s.paint(colour, mark), s.elapsed(s.now().Sub(s.since)), line)
	s.step, s.notes, s.typed = "", "", ""
	s.drawLocked()
	return line
}

// close ends the drawing and leaves the steps.
func (s *screen) close() {
	close(s.stop)
	<-s.stopped
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eraseLocked()
}

func (s *screen) paint(colour, text string) string {
	if !s.live {
		return text
	}
	return colour + text + plain
}

func (s *screen) elapsed(d time.Duration) string { return fmt.Sprintf("%6.1f s ", d.Seconds()) }

func (s *screen) lineLocked() string {
	if s.words == "" {
		return s.step
	}
	return s.step + ": " + s.words
}

func (s *screen) eraseLocked() {
	if s.drawn > 0 {
		fmt.Fprintf(s.w, "\x1b[%dA\r\x1b[J", s.drawn)
		s.drawn = 0
	}
}

func (s *screen) drawLocked() {
	if !s.live || s.quiet || s.step == "" {
		return
	}
	width := 120
	if size, err := unix.IoctlGetWinsize(int(os.Stderr.Fd()), unix.TIOCGWINSZ); err == nil && size.Col > 20 {
		width = int(size.Col)
	}
	lines := []string{"  .." + s.elapsed(s.now().Sub(s.since)) + " " + s.lineLocked()}
	if s.table != "" {
		lines = append(lines, "")
		lines = append(lines, strings.Split(s.table, "\n")...)
	}
	if s.notes != "" {
		lines = append(lines, "")
		notes := strings.Split(s.notes, "\n")
		lines = append(lines, notes[max(0, len(notes)-notesMax):]...)
	}
	if s.typed != "" {
		lines = append(lines, "", s.typed)
	}
	s.eraseLocked()
	for _, l := range lines {
		if r := []rune(l); len(r) >= width {
			l = string(r[:width-1])
		}
		fmt.Fprintln(s.w, l)
	}
	s.drawn = len(lines)
}
