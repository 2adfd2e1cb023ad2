// Package progress draws a bar for work that takes long. It draws only on a terminal, and only once a second has passed,
// so scripts and quick commands see nothing of it.
package progress

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Bar is work that goes on. A nil *Bar is no bar, and all its methods do nothing. Methods may be called concurrently.
type Bar struct {
	w     io.Writer
	what  string
	start time.Time
	now   func() time.Time
	width func() int

	mu    sync.Mutex // guards what follows
	total int64
	done  int64
	drawn time.Time
	shown bool
}

const (
	patience = time.Second            // before the bar appears
	interval = 100 * time.Millisecond // between two drawings
)

// New begins work of so many bytes. The result is nil if w is no terminal.
func New(w io.Writer, what string, total int64) *Bar {
	f, ok := w.(*os.File)
	if !ok {
		return nil
	}
	width := func() int {
		size, err := unix.IoctlGetWinsize(int(f.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			return 0
		}
		return int(size.Col)
	}
	if width() == 0 {
		return nil
	}
	return &Bar{w: w, what: what, total: total, start: time.Now(), now: time.Now, width: width}
}

// Add tells that n more bytes are done.
func (b *Bar) Add(n int64) {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done += n
	now := b.now()
	if now.Sub(b.start) < patience || now.Sub(b.drawn) < interval {
		return
	}
	b.drawn, b.shown = now, true
	fmt.Fprint(b.w, "\r", b.lineLocked(now))
}

// End removes the bar.
func (b *Bar) End() {
	if b == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown {
		fmt.Fprint(b.w, "\r\x1b[K")
		b.shown = false
	}
}

// lineLocked is what the bar looks like.
func (b *Bar) lineLocked(now time.Time) string {
	part := 1.0
	if b.total > 0 {
		part = min(float64(b.done)/float64(b.total), 1)
	}
	elapsed := now.Sub(b.start).Seconds()
	right := fmt.Sprintf(" %3.0f%% %6.1f MiB/s", part*100, float64(b.done)/(1<<20)/elapsed)
	if part > 0 && part < 1 {
		right += fmt.Sprintf(" %5s", time.Duration(elapsed*(1-part)/part*float64(time.Second)).Round(time.Second))
	}
	room := b.width() - len(b.what) - len(right) - 4
	if room < 4 {
		return b.what + right + "\x1b[K"
	}
	full := int(part * float64(room))
	return b.what + " [" + strings.Repeat("#", full) + strings.Repeat(".", room-full) + "]" + right + "\x1b[K"
}
