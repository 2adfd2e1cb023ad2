// Package browser drives a real headless Chromium for tests, by its DevTools protocol over a pipe: messages of JSON, each
// ended by a NUL, on the descriptors 3 and 4 of the browser.
//
//	b, err := browser.Start(ctx)
//	defer b.Close()
//	p, err := b.Open(ctx, url, 1280, 900)
//	title, err := p.Text(ctx, `document.title`)
//	err = p.Press(ctx, "Tab")
//	png, err := p.Screenshot(ctx)
//	said := p.Said()                        // what its console said, and what failed
//
// Source: https://chromedevtools.github.io/devtools-protocol, of Chromium's --remote-debugging-pipe.
package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// ErrNotFound says that there is no browser on this machine.
var ErrNotFound = errors.New("no chromium is installed; Debian's package chromium has it")

// ErrGone says that the browser has ended.
var ErrGone = errors.New("the browser has ended")

// Browser is a running browser. Safe for concurrent use.
type Browser struct {
	cmd   *exec.Cmd
	out   io.WriteCloser
	home  string
	words *bytes.Buffer // what it wrote to standard error; read after done
	done  chan struct{}

	mu    sync.Mutex
	next  int
	calls map[int]chan message
	pages map[string]*Page // by session
}

type message struct {
	ID      int             `json:"id,omitempty"`
	Session string          `json:"sessionId,omitempty"`
	Method  string          `json:"method,omitempty"`
	Params  json.RawMessage `json:"params,omitempty"`
	Result  json.RawMessage `json:"result,omitempty"`
	Error   *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// Start starts a browser with a home of its own.
func Start(ctx context.Context) (*Browser, error) {
	program := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if p, err := exec.LookPath(name); err == nil {
			program = p
			break
		}
	}
	if program == "" {
		return nil, ErrNotFound
	}
	home, err := os.MkdirTemp("", "morgana-browser")
	if err != nil {
		return nil, err
	}
	b := &Browser{home: home, words: &bytes.Buffer{}, done: make(chan struct{}), calls: make(map[int]chan message), pages: make(map[string]*Page)}
	if err := b.start(program); err != nil {
		return nil, errors.Join(err, os.RemoveAll(home))
	}
	if err := b.call(ctx, "", "Browser.getVersion", nil, nil); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

func (b *Browser) start(program string) error {
	theirIn, ourOut, err := os.Pipe()
	if err != nil {
		return err
	}
	ourIn, theirOut, err := os.Pipe()
	if err != nil {
		return err
	}
	b.cmd = exec.Command(program, "--headless=new", "--remote-debugging-pipe", "--user-data-dir="+b.home, "--no-first-run",
		"--disable-gpu", "--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking", "--hide-scrollbars",
		"--no-sandbox", // root has no other choice, and the pages are our own
		"about:blank")
	b.cmd.Env = append(os.Environ(), "HOME="+b.home)
	b.cmd.Stderr = b.words
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := b.cmd.Start(); err != nil {
		return err
	}
	theirIn.Close()
	theirOut.Close()
	b.out = ourOut
	go b.read(ourIn)
	return nil
}

// read takes the browser's messages until its end.
func (b *Browser) read(r io.ReadCloser) {
	defer close(b.done)
	defer r.Close()
	in := bufio.NewReader(r)
	for {
		text, err := in.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue // not of the protocol
		}
		b.mu.Lock()
		answer, page := b.calls[m.ID], b.pages[m.Session]
		delete(b.calls, m.ID)
		b.mu.Unlock()
		switch {
		case m.ID != 0 && answer != nil:
			answer <- m
		case page != nil:
			page.event(m)
		}
	}
}

// call makes a call of the protocol, and reads its result into result, if that is not nil.
func (b *Browser) call(ctx context.Context, session, method string, params, result any) error {
	m := message{Session: session, Method: method}
	var err error
	if params != nil {
		if m.Params, err = json.Marshal(params); err != nil {
			return err
		}
	}
	answer := make(chan message, 1)
	b.mu.Lock()
	b.next++
	m.ID = b.next
	b.calls[m.ID] = answer
	text, err := json.Marshal(m)
	if err == nil {
		_, err = b.out.Write(append(text, 0))
	}
	b.mu.Unlock()
	if err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	select {
	case r := <-answer:
		if r.Error != nil {
			return fmt.Errorf("%s: %s", method, r.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(r.Result, result)
	case <-b.done:
		return fmt.Errorf("%s: %w: %s", method, ErrGone, b.words)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, context.Cause(ctx))
	}
}

// Close ends the browser and forgets its home.
func (b *Browser) Close() error {
	b.out.Close() // which ends it
	ended := make(chan error, 1)
	go func() { ended <- b.cmd.Wait() }()
	select {
	case <-ended:
	case <-time.After(3 * time.Second):
		_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL) // its helpers too
		<-ended
	}
	return os.RemoveAll(b.home)
}
