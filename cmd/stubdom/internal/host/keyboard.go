package host

import (
	"bufio"
	"context"
	"io"
	"os"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// keyboard is what a person types: lines, edited on the screen; on anything but a terminal whole lines as they come.
type keyboard struct {
	screen *screen
	live   bool
	was    unix.Termios
	bytes  chan byte // closed at the end of what is typed
	lines  chan string

	once sync.Once
}

// openKeyboard takes the terminal: what is typed is not shown by it any more, and comes at once.
func openKeyboard(s *screen) (*keyboard, error) {
	k := &keyboard{screen: s, live: s.live && terminal(os.Stdin), bytes: make(chan byte, 64), lines: make(chan string)}
	if !k.live {
		go func() {
			defer close(k.lines)
			for in := bufio.NewScanner(os.Stdin); in.Scan(); {
				k.lines <- in.Text()
			}
		}()
		return k, nil
	}
	t, err := unix.IoctlGetTermios(int(os.Stdin.Fd()), unix.TCGETS)
	if err != nil {
		return nil, os.NewSyscallError("tcgetattr", err)
	}
	k.was = *t
	t.Lflag &^= unix.ICANON | unix.ECHO
	t.Iflag &^= unix.ICRNL
	t.Cc[unix.VMIN], t.Cc[unix.VTIME] = 1, 0
	if err := unix.IoctlSetTermios(int(os.Stdin.Fd()), unix.TCSETS, t); err != nil {
		return nil, os.NewSyscallError("tcsetattr", err)
	}
	go func() {
		defer close(k.bytes)
		b := make([]byte, 64)
		for {
			n, err := os.Stdin.Read(b)
			for _, c := range b[:n] {
				k.bytes <- c
			}
			if err != nil {
				return
			}
		}
	}()
	return k, nil
}

// Close gives the terminal back. Idempotent.
func (k *keyboard) Close() {
	if !k.live {
		return
	}
	k.once.Do(func() {
		k.screen.prompt("")
		_ = unix.IoctlSetTermios(int(os.Stdin.Fd()), unix.TCSETS, &k.was) // a terminal that is gone needs nothing
	})
}

// Line waits for a line. It ends with io.EOF, or ctx's error.
func (k *keyboard) Line(ctx context.Context) (string, error) {
	if !k.live {
		select {
		case l, ok := <-k.lines:
			if !ok {
				return "", io.EOF
			}
			return l, nil
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
	var e editor
	k.screen.prompt("> ")
	for {
		select {
		case c, ok := <-k.bytes:
			if !ok {
				return "", io.EOF
			}
			if line, done := e.key(c); done {
				k.screen.prompt("> ")
				return line, nil
			}
			k.screen.prompt("> " + e.text())
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
	}
}

// editor is a line that is being typed.
type editor struct {
	b      []byte
	escape int // 1 after ESC, 2 within a sequence
}

func (e *editor) text() string { return string(e.b) }

// key takes a byte, and reports whether the line is done.
func (e *editor) key(c byte) (line string, done bool) {
	switch {
	case e.escape == 1:
		e.escape = 0
		if c == '[' || c == 'O' {
			e.escape = 2
		}
	case e.escape == 2: // arrows and so on mean nothing
		if c >= 0x40 && c <= 0x7e {
			e.escape = 0
		}
	case c == 0x1b:
		e.escape = 1
	case c == '\r' || c == '\n':
		return strings.TrimSpace(string(e.b)), true
	case c == 0x7f || c == 8:
		for len(e.b) > 0 { // a character, of one byte or more
			last := e.b[len(e.b)-1]
			e.b = e.b[:len(e.b)-1]
			if last&0xc0 != 0x80 {
				break
			}
		}
	case c == 'U'-'@':
		e.b = e.b[:0]
	case c == 'D'-'@' && len(e.b) == 0:
		return "quit", true
	case c >= ' ' && len(e.b) < 1000:
		e.b = append(e.b, c)
	}
	return "", false
}

// leave is the key that leaves a console: Ctrl-].
const leave = 0x1d

// attach gives the terminal to the console of a domain until Ctrl-].
func (k *keyboard) attach(ctx context.Context, h managed, name string) error {
	if !k.live {
		return h.Attach(ctx, name, strings.NewReader(""), os.Stderr)
	}
	k.screen.pause("attached to " + name + "; Ctrl-] leaves")
	defer k.screen.resume()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	return h.Attach(ctx, name, &typing{k: k, ctx: ctx}, os.Stderr)
}

// typing is the keyboard as a stream that ends at Ctrl-].
type typing struct {
	k    *keyboard
	ctx  context.Context
	over bool
}

func (t *typing) Read(b []byte) (int, error) {
	if t.over || len(b) == 0 {
		return 0, io.EOF
	}
	select {
	case c, ok := <-t.k.bytes:
		if !ok || c == leave {
			t.over = true
			return 0, io.EOF
		}
		b[0] = c
		return 1, nil
	case <-t.ctx.Done():
		return 0, context.Cause(t.ctx)
	}
}
