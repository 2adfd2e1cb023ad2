package main

import (
	"context"
	"errors"
	"fmt"

	"morgana/cmd/mlvm/internal/command"
	"morgana/lvm/remote"
	"morgana/xenstore"
)

// elsewhere has a storage domain carry out a command.
func elsewhere(ctx context.Context, s command.System, domain, verb string, args []string) int {
	code, err := ask(ctx, s, domain, append([]string{verb}, args...))
	switch {
	case err == nil:
		return code
	case errors.Is(err, context.Canceled):
		fmt.Fprintln(s.Stderr, "  Interrupted. What was done by then stays done; see with lvs.")
		return command.ExitStopped
	}
	fmt.Fprintf(s.Stderr, "  %v\n", err)
	return command.ExitFailed
}

func ask(ctx context.Context, s command.System, domain string, args []string) (int, error) {
	store, err := xenstore.Dial(ctx)
	if err != nil {
		return 0, fmt.Errorf("no xenstore, in which a domain could be asked; is this dom0? %w", err)
	}
	defer store.Close()
	dom, err := remote.Find(ctx, store, domain)
	if err != nil {
		return 0, err
	}
	return remote.Run(ctx, store, dom, args, s.Stdout, s.Stderr)
}
