package xenconsoled

import (
	"context"
	"errors"
	"fmt"
)

// ErrTaken says that somebody else types at the console.
var ErrTaken = errors.New("the console is taken")

// Mode says what a session may do.
type Mode uint8

const (
	ReadOnly Mode = iota // look
	Shared               // type too, as others may
	Sole                 // type alone
)

// Session is somebody who is attached to a console: a Reader of its stream, who may type. Close it.
type Session struct {
	*Reader
	c    *Console
	mode Mode
	over bool // guarded by c.mu
}

// Attach attaches to the console. from is the first byte to read; Stream.Screen finds a good one. It fails with
// ErrTaken if somebody types alone, or if mode is Sole and somebody types.
func (c *Console) Attach(mode Mode, from uint64) (*Session, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case mode != ReadOnly && c.sole != nil:
		return nil, fmt.Errorf("%w: a session types alone; attach to read only, or ask for it to be ended", ErrTaken)
	case mode == Sole && c.writers > 0:
		return nil, fmt.Errorf("%w: %d sessions may type; attach without being the only one", ErrTaken, c.writers)
	}
	s := &Session{Reader: c.cfg.Stream.NewReader(from, Newest, 0), c: c, mode: mode}
	if mode != ReadOnly {
		c.writers++
	}
	if mode == Sole {
		c.sole = s
	}
	return s, nil
}

// Writers is how many sessions may type.
func (c *Console) Writers() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.writers
}

// may says whether a session, or the terminal (nil), may type.
func (c *Console) may(by *Session) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.sole != nil && c.sole != by {
		return ErrTaken
	}
	return nil
}

// Write types p. It waits until the guest has room or ctx ends.
func (s *Session) Write(ctx context.Context, p []byte) (int, error) {
	if s.mode == ReadOnly {
		return 0, fmt.Errorf("%w: this session only reads", ErrTaken)
	}
	return s.c.write(ctx, p, s)
}

// Close detaches. Idempotent.
func (s *Session) Close() {
	s.Reader.Close()
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.over {
		return
	}
	s.over = true
	if s.mode != ReadOnly {
		s.c.writers--
	}
	if s.c.sole == s {
		s.c.sole = nil
	}
}
