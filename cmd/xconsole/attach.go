package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"

	"morgana/xenconsoled/attach"
)

func attachTo(c *cli.Context) error {
	if err := want(c, 1); err != nil {
		return err
	}
	escape, err := escapeKey(c.String("escape"))
	if err != nil {
		return err
	}
	r := attach.Request{Op: attach.OpAttach, Guest: c.Args().First(), Mode: attach.ModeShared, Lines: c.Int("lines")}
	switch {
	case c.Bool("read-only") && c.Bool("sole"):
		return fmt.Errorf("%w: --read-only and --sole exclude each other", errUsage)
	case c.Bool("read-only"):
		r.Mode = attach.ModeRead
	case c.Bool("sole"):
		r.Mode = attach.ModeSole
	}
	ctx, leave := context.WithCancel(c.Context)
	defer leave()
	k := &keyboard{escape: escape, leave: leave, quiet: c.Bool("read-only"), ready: make(chan struct{}), ctx: ctx}
	if r.Mode == attach.ModeShared {
		k.shared = attach.NewKeyboard(func(ctx context.Context) (*attach.Client, attach.Info, error) {
			return openToType(ctx, c, r.Guest)
		})
		defer k.shared.Close()
	}
	f := &follower{c: c, request: r, opened: k.connect}
	f.out = func(_ uint64, b []byte) error {
		_, err := os.Stdout.Write(b)
		return err
	}
	restore, err := k.raw()
	if err != nil {
		return err
	}
	defer restore()
	go k.run()
	return f.run(ctx)
}

// escapeKey reads a key as xl does: "^]" is Ctrl-].
func escapeKey(s string) (byte, error) {
	switch {
	case len(s) == 1:
		return s[0], nil
	case len(s) == 2 && s[0] == '^':
		return s[1] & 0x1f, nil
	}
	return 0, fmt.Errorf("%w: --escape %q: want a character, or ^ and one", errUsage, s)
}

// openToType connects to type at a guest: it waits for a daemon that is away, until who reads gives up.
func openToType(ctx context.Context, c *cli.Context, guest string) (*attach.Client, attach.Info, error) {
	for {
		client, err := dial(c)
		if err == nil {
			stop := context.AfterFunc(ctx, func() { client.Close() })
			info, err := client.Open(attach.Request{Op: attach.OpType, Guest: guest})
			if stop(); err == nil {
				return client, info, nil
			}
			client.Close()
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return nil, attach.Info{}, context.Cause(ctx)
		}
	}
}

// leaveTime is how long the guest has to be given what was typed before the key that leaves.
const leaveTime = time.Second

// ahead is how many pieces of standard input wait for a guest that does not read: so the key that leaves is seen.
const ahead = 64

// keyboard sends what is typed. What is typed before the first connection waits for it; what is typed while the daemon is
// away waits too, but for one who types alone: that goes over the connection which made it so, and is lost with it.
type keyboard struct {
	ready  chan struct{}    // closed when there is the first connection
	ctx    context.Context  // ends when there will be none any more
	shared *attach.Keyboard // nil: over the connection there is
	escape byte
	leave  func()
	quiet  bool // nothing is sent
	tty    bool

	mu     sync.Mutex
	client *attach.Client
}

func (k *keyboard) connect(c *attach.Client) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.client = c
	select {
	case <-k.ready:
	default:
		close(k.ready)
	}
}

// raw has a terminal pass on every key, until restore.
func (k *keyboard) raw() (restore func(), err error) {
	old, err := unix.IoctlGetTermios(0, unix.TCGETS)
	if err != nil {
		return func() {}, nil // not a terminal
	}
	k.tty = true
	t := *old
	t.Iflag &^= unix.IGNBRK | unix.BRKINT | unix.PARMRK | unix.ISTRIP | unix.INLCR | unix.IGNCR | unix.ICRNL | unix.IXON
	t.Oflag &^= unix.OPOST
	t.Lflag &^= unix.ECHO | unix.ECHONL | unix.ICANON | unix.ISIG | unix.IEXTEN
	t.Cflag = t.Cflag&^(unix.CSIZE|unix.PARENB) | unix.CS8
	if err := unix.IoctlSetTermios(0, unix.TCSETS, &t); err != nil {
		return nil, os.NewSyscallError("set the terminal", err)
	}
	return func() { _ = unix.IoctlSetTermios(0, unix.TCSETS, old) }, nil
}

// run reads standard input until its end; then the console is only read.
func (k *keyboard) run() {
	typed := make(chan []byte, ahead)
	written := make(chan struct{})
	go func() {
		defer close(written)
		for b := range typed {
			k.write(b)
		}
	}()
	left := k.read(typed)
	close(typed)
	if !left {
		return
	}
	ctx, cancel := context.WithTimeout(k.ctx, leaveTime)
	defer cancel()
	select {
	case <-written:
		if k.shared != nil {
			_ = k.shared.Flush(ctx)
		}
	case <-ctx.Done():
	}
	fmt.Fprint(os.Stderr, "\r\n")
	k.leave()
}

// read reads standard input until its end, or until the key that leaves.
func (k *keyboard) read(typed chan<- []byte) (left bool) {
	buf := make([]byte, 4096)
	for {
		n, err := os.Stdin.Read(buf)
		b := buf[:n]
		if k.tty {
			if i := bytes.IndexByte(b, k.escape); i >= 0 {
				b, left = b[:i], true
			}
		}
		if len(b) > 0 && !k.quiet && k.wait(left) {
			select {
			case typed <- bytes.Clone(b):
			case <-k.ctx.Done():
				return false
			}
		}
		if left {
			return true
		}
		if err != nil && !errors.Is(err, unix.EINTR) {
			return false
		}
	}
}

// wait waits for the first connection, unless somebody leaves before it, and says whether there is one.
func (k *keyboard) wait(leaves bool) bool {
	select {
	case <-k.ready:
		return true
	default:
	}
	if leaves {
		return false
	}
	select {
	case <-k.ready:
		return true
	case <-k.ctx.Done():
		return false
	}
}

// write types; that there is no connection any more the reader sees.
func (k *keyboard) write(b []byte) {
	if k.shared != nil {
		_, _ = k.shared.Write(k.ctx, b)
		return
	}
	k.mu.Lock()
	c := k.client
	k.mu.Unlock()
	if c != nil {
		_, _ = c.Write(b)
	}
}
