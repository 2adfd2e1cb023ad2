package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"morgana/cmd/stubdom/internal/host/feed"
	"morgana/cmd/stubdom/internal/host/model"
	"morgana/cmd/stubdom/internal/host/page"
)

// A show is a script that is played: its screen, what was verified, and who looks on.
type show struct {
	Options
	screen  *screen
	begun   time.Time
	verdict []string

	feed  *feed.Feed
	parts sync.WaitGroup // of who looks on
	leave context.CancelFunc
}

// step is a part of a script.
type step struct {
	name string
	do   func(context.Context) error
	open bool // it ends when a person wants it to
}

func newShow(o Options) *show {
	return &show{Options: o, screen: newScreen(o.Words), begun: time.Now(), leave: func() {}}
}

// play plays steps one after the other, up to the first that fails.
func (s *show) play(ctx context.Context, steps []step) error {
	for _, x := range steps {
		s.screen.begin(x.name)
		err := s.within(ctx, x)
		line := s.screen.end(err)
		kind := "done"
		if err != nil {
			kind = "failed"
		}
		s.tell(kind, line)
		if err != nil {
			return fmt.Errorf("%s: %w", x.name, err)
		}
	}
	return nil
}

// within does a step in the time that it may take.
func (s *show) within(ctx context.Context, x step) error {
	if s.Patience <= 0 || x.open {
		return x.do(ctx)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.Patience, fmt.Errorf("it took longer than %v (--timeout)", s.Patience))
	defer cancel()
	return x.do(ctx)
}

// tell tells those who look on.
func (s *show) tell(kind, text string) {
	if s.feed != nil {
		s.feed.Tell(kind, text)
	}
}

// verified adds a line to the end's summary.
func (s *show) verified(format string, args ...any) {
	s.verdict = append(s.verdict, fmt.Sprintf(format, args...))
}

// every is how often a host is looked at.
const every = time.Second

// open lets people look at a host: on the terminal, and on a page if one is wished.
func (s *show) open(ctx context.Context, source model.Source) error {
	ctx, s.leave = context.WithCancel(context.WithoutCancel(ctx))
	s.feed = feed.New(source, every)
	s.parts.Go(func() { _ = s.feed.Run(ctx) }) // until its end
	if s.screen.live {
		s.parts.Go(func() {
			for seen := (feed.Seen{}); ; {
				n, err := s.feed.Next(ctx, &seen)
				if err != nil {
					return
				}
				if n.Snapshot != nil {
					s.screen.show(table(n.Snapshot))
				}
			}
		})
	}
	if s.HTTP == "" {
		return nil
	}
	p, err := page.Listen(s.HTTP, s.feed)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.Words, "the host is shown at %s\n", p.URL())
	s.parts.Go(func() {
		if err := p.Serve(ctx); err != nil && ctx.Err() == nil {
			s.tell("failed", err.Error())
		}
	})
	return nil
}

// close ends the looking on, and the screen.
func (s *show) close() {
	s.leave()
	s.parts.Wait()
	s.screen.close()
}

// summary prints what was verified.
func (s *show) summary(out io.Writer) error {
	var b strings.Builder
	fmt.Fprintln(&b, "Verified")
	for _, l := range s.verdict {
		fmt.Fprintln(&b, "  "+l)
	}
	fmt.Fprintf(&b, "In all %.*f s.\n", s.digits(), time.Since(s.begun).Seconds())
	_, err := io.WriteString(out, b.String())
	return err
}

// digits are those of seconds behind the point: a short run is told exactly.
func (s *show) digits() int {
	if time.Since(s.begun) < 10*time.Second {
		return 1
	}
	return 0
}

// stays reports whether the host is to go on working for somebody who looks, until quit.
func (s *show) stays() bool { return s.HTTP != "" || s.screen.live && terminal(os.Stdin) }

// errQuit is what the command quit ends a conversation with.
var errQuit = errors.New("quit")
