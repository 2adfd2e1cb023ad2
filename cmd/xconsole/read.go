package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/urfave/cli/v2"

	"morgana/xenconsoled/attach"
)

const (
	retryTime  = 30 * time.Second
	retryPause = 50 * time.Millisecond
)

// follower reads a console over as many connections as it takes.
type follower struct {
	c       *cli.Context
	request attach.Request
	out     func(from uint64, b []byte) error
	opened  func(*attach.Client) // a connection was made; nil after the last
}

// run reads until the end, or ctx ends, which is none of its errors.
func (f *follower) run(ctx context.Context) error {
	var lostAt time.Time // when the daemon went away; zero: it is there
	for {
		err := f.once(ctx, func() {
			if !lostAt.IsZero() {
				fmt.Fprintln(os.Stderr, "xconsole: the daemon is back\r")
			}
			lostAt = time.Time{}
		})
		away := errors.Is(err, io.ErrUnexpectedEOF) || f.request.From != nil &&
			(errors.Is(err, errNoDaemon) || errors.Is(err, attach.ErrNotFound) || errors.Is(err, attach.ErrAway))
		switch {
		case ctx.Err() != nil:
			return nil
		case !away:
			return err
		case lostAt.IsZero():
			lostAt = time.Now()
			fmt.Fprintln(os.Stderr, "xconsole: the daemon is away; waiting for it\r")
		case time.Since(lostAt) > f.c.Duration("retry"):
			return err
		}
		select {
		case <-time.After(retryPause):
		case <-ctx.Done():
			return nil
		}
	}
}

// once reads over one connection.
func (f *follower) once(ctx context.Context, connected func()) error {
	client, err := dial(f.c)
	if err != nil {
		return err
	}
	defer client.Close()
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	if _, err := client.Open(f.request); err != nil {
		return broken(err)
	}
	connected()
	if f.opened != nil {
		f.opened(client)
		defer f.opened(nil)
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := client.Read(buf)
		if lost := client.Lost(); lost > 0 {
			fmt.Fprintf(os.Stderr, "\r\nxconsole: %d bytes came too fast and are missing here\r\n", lost)
		}
		if n > 0 {
			next := client.Next()
			if werr := f.out(next-uint64(n), buf[:n]); werr != nil {
				return werr
			}
			f.request.From = &next
		}
		if errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			if client.End().Gone {
				fmt.Fprintln(os.Stderr, "\r\nxconsole: the guest is gone\r")
			}
			return nil
		}
		if err != nil {
			return broken(err)
		}
	}
}

// broken makes an error of a connection io.ErrUnexpectedEOF, and leaves what the service said.
func broken(err error) error {
	if failure := (*attach.Failure)(nil); errors.As(err, &failure) || errors.Is(err, attach.ErrProtocol) {
		return err
	}
	return fmt.Errorf("%w (%w)", io.ErrUnexpectedEOF, err)
}

func logs(c *cli.Context) error {
	if err := want(c, 1); err != nil {
		return err
	}
	f := &follower{c: c, request: attach.Request{
		Op: attach.OpLogs, Guest: c.Args().First(), Lines: c.Int("lines"), Follow: c.Bool("follow"),
	}}
	f.out = func(_ uint64, b []byte) error {
		_, err := os.Stdout.Write(b)
		return err
	}
	flush := func() error { return nil }
	if c.Bool("json") {
		l := &lines{w: json.NewEncoder(os.Stdout)}
		f.out, flush = l.add, l.flush
	}
	err := f.run(c.Context)
	return errors.Join(err, flush())
}

// lines makes an object of each line.
type lines struct {
	w    *json.Encoder
	from uint64
	rest []byte
}

type line struct {
	From    uint64 `json:"from"`
	Line    string `json:"line"`
	Partial bool   `json:"partial,omitempty"`
}

// lineMax is how long a line gets before it is printed in parts.
const lineMax = 64 << 10

func (l *lines) add(from uint64, b []byte) error {
	if len(l.rest) == 0 {
		l.from = from
	}
	for _, c := range b {
		if c != '\n' {
			l.rest = append(l.rest, c)
		}
		if c == '\n' || len(l.rest) >= lineMax {
			if err := l.print(c != '\n'); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *lines) print(partial bool) error {
	text := l.rest
	n := len(text)
	if !partial {
		n++
	}
	for len(text) > 0 && text[len(text)-1] == '\r' {
		text = text[:len(text)-1]
	}
	err := l.w.Encode(line{From: l.from, Line: string(text), Partial: partial})
	l.from += uint64(n)
	l.rest = l.rest[:0]
	return err
}

func (l *lines) flush() error {
	if len(l.rest) == 0 {
		return nil
	}
	return l.print(true)
}
