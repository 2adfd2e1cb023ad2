package serving

import (
	"context"
	"io"

	"morgana/blkback"
	"morgana/lvm/remote"
	"morgana/metrics"
)

// Metrics is the command with which a domain that serves disks is asked for the figures of its backend: it answers with
// them in Prometheus' text format.
const Metrics = "metrics"

// Commands are what a domain carries out that serves the volumes with a backend: mlvm's commands, and Metrics. Without
// volumes, nil, it is Metrics alone.
func Commands(v *Volumes, server *blkback.Server) remote.Command {
	return func(ctx context.Context, args []string, stdout, stderr io.Writer) int {
		if len(args) == 1 && args[0] == Metrics {
			var set metrics.Set
			server.Collect(&set)
			if _, err := stdout.Write(set.Append(nil)); err != nil {
				return exitFailed
			}
			return 0
		}
		if v == nil {
			_, _ = io.WriteString(stderr, "  No volumes are served here.\n") // who asked has the exit code too
			return exitFailed
		}
		return v.Run(ctx, args, stdout, stderr)
	}
}

// exitFailed is lvm2's exit code of a command that failed (ECMD_FAILED).
const exitFailed = 5
