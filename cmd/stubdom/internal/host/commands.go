package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// managed is a host that takes commands.
type managed interface {
	// Attach attaches to the console of a domain until in or ctx ends.
	Attach(ctx context.Context, name string, in io.Reader, out io.Writer) error
	// Manage has the storage domain carry out a command of mlvm's.
	Manage(ctx context.Context, args ...string) (string, error)
	// CrashStore lets the program of the xenstore domain die, and returns when the next one serves.
	CrashStore(ctx context.Context) error
}

const commandHelp = `attach NAME        a domain's console; Ctrl-] leaves it
lvcreate …, lvs …  and mlvm's other commands, carried out by the storage domain
crash xenstore     let the program of the xenstore domain die
quit               let the guests end, and look whether all is well`

// converse takes commands until quit, the end of what is typed where nobody else looks, or ctx's end.
func (s *show) converse(ctx context.Context, h managed) error {
	k, err := openKeyboard(s.screen)
	if err != nil {
		return err
	}
	defer k.Close()
	if k.live {
		s.screen.note("help shows the commands")
	}
	for {
		line, err := k.Line(ctx)
		switch {
		case errors.Is(err, io.EOF):
			if s.HTTP == "" {
				return nil
			}
			<-ctx.Done() // somebody may look at the page
			return context.Cause(ctx)
		case err != nil:
			return err
		}
		err = s.command(ctx, h, k, strings.Fields(line))
		switch {
		case errors.Is(err, errQuit):
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			s.note(err.Error())
		}
	}
}

// note shows what a command said, on the screen and to who looks on.
func (s *show) note(text string) {
	text = strings.TrimRight(text, "\n")
	s.screen.note(text)
	if first, _, _ := strings.Cut(text, "\n"); first != "" {
		s.tell("word", first)
	}
}

// commandTime is how long a command may take.
const commandTime = time.Minute

func (s *show) command(ctx context.Context, h managed, k *keyboard, words []string) error {
	if len(words) == 0 {
		s.screen.note("")
		return nil
	}
	timed, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	switch {
	case words[0] == "help":
		s.screen.note(commandHelp)
	case words[0] == "quit" || words[0] == "exit":
		return errQuit
	case words[0] == "attach":
		if len(words) != 2 {
			return errors.New("attach wants the name of a domain")
		}
		return k.attach(ctx, h, words[1])
	case words[0] == "crash":
		if len(words) != 2 || words[1] != "xenstore" {
			return errors.New("what can crash is xenstore: crash xenstore")
		}
		begun := time.Now()
		if err := h.CrashStore(timed); err != nil {
			return err
		}
		s.note(fmt.Sprintf("xenstore's program died, and the next one answers after %v", time.Since(begun).Round(time.Millisecond)))
	case strings.HasPrefix(words[0], "lv"), strings.HasPrefix(words[0], "vg"), strings.HasPrefix(words[0], "pv"):
		out, err := h.Manage(timed, words...)
		if err != nil {
			return err
		}
		s.note(strings.Join(words, " ") + "\n" + out)
	default:
		return fmt.Errorf("%q is no command; help shows them", words[0])
	}
	return nil
}
