package testbed

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"
	"sync"
	"time"
)

// A Console is what a domain wrote so far, and its keyboard.
type Console struct {
	mu     sync.Mutex
	b      []byte
	tee    io.Writer // gets a copy, nil for none
	change chan struct{}
	closed bool

	errors  tail // of the program that reads the terminal
	in      *pipe
	feed    func(io.Reader) // takes what is typed to the domain, until the reader's end
	feeding sync.Once
}

func newConsole(tee io.Writer) *Console {
	return &Console{change: make(chan struct{}), in: newPipe(), tee: tee}
}

// Write takes the domain's output.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.addLocked(bytes.ReplaceAll(p, []byte("\r"), nil))
	return len(p), nil
}

func (c *Console) addLocked(p []byte) {
	if c.tee != nil {
		c.tee.Write(p)
	}
	c.b = append(c.b, p...)
	c.changedLocked()
}

func (c *Console) changedLocked() {
	close(c.change)
	c.change = make(chan struct{})
}

// complete takes a log of all that the domain wrote, which may end with more than has arrived.
func (c *Console) complete(log string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	all := strings.ReplaceAll(log, "\r", "")
	if rest, ok := strings.CutPrefix(all, string(c.b)); ok {
		c.addLocked([]byte(rest))
		return
	}
	c.b = []byte(all)
	c.changedLocked()
}

func (c *Console) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.changedLocked()
	c.in.close()
}

// String is all that the domain wrote.
func (c *Console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.b)
}

// Type sends s to the domain.
func (c *Console) Type(s string) {
	c.feeding.Do(func() { go c.feed(c.in) })
	c.in.write([]byte(s))
}

// WaitFor waits until what the domain wrote matches re, and returns the match and its groups.
func (c *Console) WaitFor(ctx context.Context, re string) ([]string, error) {
	r, err := regexp.Compile(re)
	if err != nil {
		return nil, err
	}
	for {
		c.mu.Lock()
		m := r.FindSubmatch(c.b)
		change, closed := c.change, c.closed
		c.mu.Unlock()
		if m != nil {
			s := make([]string, len(m))
			for i := range m {
				s[i] = string(m[i])
			}
			return s, nil
		}
		if closed {
			return nil, fmt.Errorf("the console ended without %q:\n%s%s", re, c, c.errors.String())
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, fmt.Errorf("%q did not come: %w; the console:\n%s", re, ctx.Err(), c)
		}
	}
}

// settle waits until nothing has come for a while, or the terminal is closed.
func (c *Console) settle(ctx context.Context, quiet time.Duration) {
	for {
		c.mu.Lock()
		change, closed := c.change, c.closed
		c.mu.Unlock()
		if closed {
			return
		}
		select {
		case <-change:
		case <-time.After(quiet):
			return
		case <-ctx.Done():
			return
		}
	}
}

// pipe is an unbounded pipe, so that typing never blocks.
type pipe struct {
	mu     sync.Mutex
	cond   *sync.Cond
	b      []byte
	closed bool
}

func newPipe() *pipe {
	p := &pipe{}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) write(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.b = append(p.b, b...)
	p.cond.Signal()
}

func (p *pipe) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.cond.Broadcast()
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.b) == 0 && !p.closed {
		p.cond.Wait()
	}
	if p.closed {
		return 0, io.EOF
	}
	n := copy(b, p.b)
	p.b = p.b[n:]
	return n, nil
}
