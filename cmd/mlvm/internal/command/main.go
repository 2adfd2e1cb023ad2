package command

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"morgana/cmd/mlvm/internal/args"
)

// Main runs the verb of a command line and returns the exit code.
func Main(ctx context.Context, s System, verbs []Verb, name string) int {
	i := -1
	for j := range verbs {
		if verbs[j].Name == name {
			i = j
		}
	}
	if i < 0 {
		if args.Known(name) {
			fmt.Fprintf(s.Stderr, "  Command %s of lvm2 is not supported by mlvm.\n", name)
		} else {
			fmt.Fprintln(s.Stderr, "  No such command.  Try 'mlvm help'.")
		}
		return ExitNoVerb
	}
	v := &verbs[i]
	if s.kept != nil && s.kept.resident != nil && !MayReside(name) {
		fmt.Fprintf(s.Stderr, "  %v\n", refuseGone(name))
		return ExitFailed
	}
	p, err := args.Parse(name, s.Args, v.Own)
	if err == nil {
		err = v.Check(p)
	}
	if err == nil && (p.Has("help") || p.Has("longhelp")) {
		v.WriteHelp(s.Stdout)
		return ExitOK
	}
	if err == nil && p.Has("version") {
		WriteVersion(s.Stdout)
		return ExitOK
	}
	r := New(s, v, p)
	r.Verbs = verbs
	if err == nil {
		if r.Test() {
			r.Warn("TEST MODE: Metadata will NOT be updated and volumes will not be (de)activated.")
		}
		err = v.Run(ctx, r)
	}
	if cerr := r.close(context.WithoutCancel(ctx)); err == nil {
		err = cerr
	}
	var usage *args.UsageError
	var exit Exit
	switch {
	case err == nil:
		return ExitOK
	case errors.As(err, &exit):
		return int(exit)
	case errors.As(err, &usage):
		fmt.Fprintln(s.Stderr, strings.Join(usage.Lines, "\n"))
		for _, line := range usage.Out {
			fmt.Fprintln(s.Stdout, line)
		}
		return ExitUsage
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		r.Warn("Interrupted.")
		return ExitStopped
	}
	_ = r.Fail(err)
	return ExitFailed
}

// Exit ends a run with an exit code when all is said.
type Exit int

func (e Exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }
