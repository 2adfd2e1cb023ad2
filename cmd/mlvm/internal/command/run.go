package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"morgana/cmd/mlvm/internal/args"
	"morgana/lvm/metadata"
)

// Exit codes of lvm2, lib/commands/errors.h.
const (
	ExitOK      = 0
	ExitNoVerb  = 2
	ExitUsage   = 3
	ExitFailed  = 5
	ExitStopped = 130 // by Ctrl-C
)

// System is what the program runs in.
type System struct {
	Stdin  io.Reader
	Stdout io.Writer
	Stderr io.Writer
	Getenv func(string) string
	Args   []string // the command line as it is written into the metadata and its backups

	kept *kept // of a shell
}

// Run is one run of a verb.
type Run struct {
	System
	*args.Parsed
	Verb  *Verb
	Verbs []Verb // all that there are

	in *bufio.Reader
	session
}

// New prepares a run of a verb whose command line was parsed.
func New(s System, v *Verb, p *args.Parsed) *Run { return &Run{System: s, Parsed: p, Verb: v} }

// CommandLine is the command as lvm2 would write it down: the verb and all that follows.
func (r *Run) CommandLine() string {
	return strings.Join(append([]string{r.Verb.Name}, r.Args...), " ")
}

// Test reports whether nothing is to be written.
func (r *Run) Test() bool { return r.Has("test") }

// Force is how often -f was given.
func (r *Run) Force() int { return r.Count("force") }

// Print says what was done, on standard output, indented as lvm2 does.
func (r *Run) Print(format string, a ...any) {
	if r.Count("quiet") == 0 {
		fmt.Fprintf(r.Stdout, "  "+format+"\n", a...)
	}
}

// Warn says something on standard error, indented as lvm2 does.
func (r *Run) Warn(format string, a ...any) { fmt.Fprintf(r.Stderr, "  "+format+"\n", a...) }

// Say tells what a request has to tell beside its outcome.
func (r *Run) Say(op metadata.Operation) {
	for _, n := range op.Notes {
		r.Print("%s", n)
	}
	for _, w := range op.Warnings {
		r.Warn("%s", w)
	}
}

// ErrFailed is a failure whose reasons were already printed.
var ErrFailed = errors.New("failed")

// Failed prints why, and is the error to return then.
func (r *Run) Failed(format string, a ...any) error {
	r.Warn(format, a...)
	return ErrFailed
}

// Fail prints an error, and is the error to return then.
func (r *Run) Fail(err error) error {
	if !errors.Is(err, ErrFailed) {
		for line := range strings.Lines(err.Error()) {
			r.Warn("%s", strings.TrimSuffix(line, "\n"))
		}
	}
	return ErrFailed
}

// Ask asks a question, which ends as lvm2's do ("[y/n]: "), and reports whether the answer was yes. With --yes none is
// asked. The end of the input is a no.
func (r *Run) Ask(format string, a ...any) bool {
	if r.Has("yes") {
		return true
	}
	question := fmt.Sprintf(format, a...)
	if r.in == nil {
		r.in = bufio.NewReader(r.Stdin)
	}
	for {
		fmt.Fprint(r.Stderr, question)
		line, err := r.in.ReadString('\n')
		if err != nil && line == "" {
			fmt.Fprintln(r.Stderr, "[n]")
			return false
		}
		switch answer := strings.ToLower(strings.TrimSpace(line)); {
		case answer != "" && strings.HasPrefix("yes", answer):
			return true
		case answer != "" && strings.HasPrefix("no", answer):
			return false
		}
		fmt.Fprintf(r.Stderr, "  Invalid response '%s' received.\n", strings.TrimSpace(line))
		if err != nil {
			return false
		}
	}
}
