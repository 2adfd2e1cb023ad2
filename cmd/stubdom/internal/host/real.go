package host

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"morgana/cmd/stubdom/internal/host/dom0"
	"morgana/tests/testbed"
)

// lookOn starts this program in dom0 as who is asked about the host, and shows what it tells.
func (j *job) lookOn(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	program, err := os.ReadFile(self)
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(j.h.Share, "stubdom"), program, 0o755); err != nil {
		return err
	}
	requests, ask := io.Pipe()
	told, answers := io.Pipe()
	life, cancel := context.WithCancel(context.WithoutCancel(ctx))
	var agent sync.WaitGroup
	agent.Go(func() {
		code, err := j.h.Command(life, requests, answers, &agentWords{j: j}, j.h.Path("stubdom"), "agent")
		if err == nil && code != 0 {
			err = fmt.Errorf("stubdom agent in dom0: exit status %d", code)
		}
		answers.CloseWithError(err)
		requests.CloseWithError(io.ErrClosedPipe)
	})
	j.undo = append(j.undo, func() { ask.Close(); cancel(); agent.Wait() })
	return j.open(ctx, dom0.NewAsker(told, ask))
}

// agentWords takes what the program in dom0 complains of.
type agentWords struct{ j *job }

func (w *agentWords) Write(b []byte) (int, error) {
	w.j.tell("word", strings.TrimSpace(string(b)))
	return len(b), nil
}

// mlvm puts mlvm into dom0.
func (j *job) mlvm() (string, error) {
	program, err := os.ReadFile(filepath.Join(j.Programs, "mlvm"))
	if err != nil {
		return "", fmt.Errorf("%w; make build makes it", err)
	}
	return j.h.Path("mlvm"), os.WriteFile(filepath.Join(j.h.Share, "mlvm"), program, 0o755)
}

// Manage implements managed.
func (j *job) Manage(ctx context.Context, args ...string) (string, error) {
	if j.storage == nil {
		return "", errors.New("no storage domain serves here")
	}
	return j.h.Output(ctx, append([]string{j.h.Path("mlvm"), "--domain", j.storage.Name}, args...)...)
}

// CrashStore implements managed: the domain's image is one that knows the command.
func (j *job) CrashStore(ctx context.Context) error {
	if !j.crashes {
		return errors.New("xenstore cannot be crashed here: it is served by Xen's daemon, or by an image that is not for tests (make run builds one that is)")
	}
	// Whether it was answered before it died does not matter.
	_, _ = j.h.Output(ctx, "xenstore-control", "crash")
	_, err := j.h.Output(ctx, "xenstore-read", "/local/domain/0/name")
	return err
}

// Attach implements managed.
func (j *job) Attach(ctx context.Context, name string, in io.Reader, out io.Writer) error {
	var d *testbed.Domain
	for _, x := range []*testbed.Domain{j.storage, j.guest, j.consoles} {
		if x != nil && (x.Name == name || strings.HasPrefix(x.Name, name+"-")) {
			d = x
		}
	}
	if d == nil {
		return fmt.Errorf("there is no domain %q whose console was attached", name)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var typing sync.WaitGroup
	defer typing.Wait()
	typing.Go(func() {
		defer cancel()
		b := make([]byte, 256)
		for {
			n, err := in.Read(b)
			if n > 0 {
				d.Console.Type(string(b[:n]))
			}
			if err != nil {
				return
			}
		}
	})
	all := d.Console.String()
	lines := strings.SplitAfter(all, "\n")
	shown := len(all) - len(strings.Join(lines[max(0, len(lines)-10):], ""))
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		if all = d.Console.String(); len(all) > shown {
			if _, err := io.WriteString(out, strings.ReplaceAll(all[shown:], "\n", "\r\n")); err != nil {
				return err
			}
			shown = len(all)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			tick.Stop()
			return nil
		}
	}
}
