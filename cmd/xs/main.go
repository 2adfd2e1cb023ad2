// Command xs reads, writes and watches xenstore: what the xenstore-* tools do, and a tree in colour, statistics and the
// history that our daemon keeps.
//
// Data goes to standard output, words to standard error. Exit status: 0 done, 1 failed or does not exist, 2 wrong usage, 130
// interrupted. With --json data is JSON: one value, or one a line where there is no end (watch, log).
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/urfave/cli/v2"
	"golang.org/x/sys/unix"
)

// errUsage says that a command was called wrongly.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := app().RunContext(ctx, os.Args)
	switch {
	case err == nil:
	case errors.Is(err, errQuiet):
		os.Exit(1)
	case errors.Is(err, errUsage):
		fmt.Fprintln(os.Stderr, "xs:", err)
		os.Exit(2)
	case ctx.Err() != nil:
		os.Exit(130)
	default:
		fmt.Fprintln(os.Stderr, "xs:", err)
		os.Exit(1)
	}
}

// jsonCommands can print JSON.
var jsonCommands = []string{"read", "list", "ls", "tree", "exists", "watch", "stats", "log"}

func app() *cli.App {
	jsonFlag := &cli.BoolFlag{Name: "json", Usage: "print JSON (" + strings.Join(jsonCommands, ", ") + ")"}
	flag := func(name, short, usage string) cli.Flag {
		return &cli.BoolFlag{Name: name, Aliases: []string{short}, Usage: usage}
	}
	app := &cli.App{
		Name:      "xs",
		Usage:     "read, write and watch xenstore",
		UsageText: "xs tree /local/domain\nxs write /a/b value\nxs watch -n 1 /a\nxs --json read /a/b | jq -r .[].value",
		Description: `Exit status: 0 done, 1 failed or does not exist, 2 wrong usage, 130 interrupted.
For completion of commands and paths: source <(xs completion bash).`,
		HideVersion:            true,
		UseShortOptionHandling: true,
		ExitErrHandler:         func(*cli.Context, error) {},
		OnUsageError:           wrongly,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "socket", EnvVars: []string{"XENSTORED_PATH"}, Usage: "the daemon's `SOCKET`, or /dev/xen/xenbus"},
			jsonFlag,
		},
		Commands: []*cli.Command{
			{
				Name: "read", ArgsUsage: "PATH...", Usage: "print values", Action: read,
				Flags: []cli.Flag{flag("prefix", "p", "print the path before each"), flag("raw", "R", "bytes as they are, no line ends")},
			},
			{
				Name: "write", ArgsUsage: "PATH VALUE...", Usage: `set values, all or none; \n, \\ and \x1f stand for bytes`, Action: write,
				Flags: []cli.Flag{flag("raw", "R", "values as they are")},
			},
			{
				Name: "list", ArgsUsage: "PATH...", Usage: "print the names of children", Action: list,
				Flags: []cli.Flag{flag("prefix", "p", "print whole paths")},
			},
			{
				Name: "ls", ArgsUsage: "[PATH...]", Usage: "print all below, as xenstore-ls does", Action: ls,
				Flags: []cli.Flag{flag("flat", "f", "whole paths and values"), flag("perms", "p", "permissions too")},
			},
			{
				Name: "tree", ArgsUsage: "[PATH]", Usage: "print all below as a tree, in colour on a terminal", Action: tree,
				Flags: []cli.Flag{flag("perms", "p", "permissions too"), &cli.StringFlag{Name: "colour", Value: "auto", Usage: "auto, always or never"}},
			},
			{
				Name: "rm", ArgsUsage: "PATH...", Usage: "remove nodes with all below, all or none", Action: remove,
				Flags: []cli.Flag{flag("tidy", "t", "remove parents too that are empty then")},
			},
			{Name: "exists", ArgsUsage: "PATH...", Usage: "succeed if all exist", Action: exists},
			{
				Name: "chmod", ArgsUsage: "PATH PERM...", Usage: "set permissions: owner and default first, as in n0 r5", Action: chmod,
				Flags: []cli.Flag{flag("recurse", "r", "of all below too"), flag("upto", "u", "of all above too")},
			},
			{
				Name: "watch", ArgsUsage: "PATH...", Usage: "print the path of each event; goes on when the daemon is restarted", Action: watch,
				Flags: []cli.Flag{
					&cli.IntFlag{Name: "number", Aliases: []string{"n"}, Usage: "end after `N` events"},
					flag("values", "v", "print the value too"),
				},
			},
			{Name: "control", ArgsUsage: "COMMAND [ARG...]", Usage: "send a command to the daemon", Action: control, SkipFlagParsing: true},
			{Name: "stats", Usage: "print the counters of our daemon", Action: stats},
			{
				Name: "log", ArgsUsage: "[PATH]", Usage: "print who changed what, from the daemon's --history", Action: history("log"),
				Flags: historyFlags(&cli.IntFlag{Name: "number", Aliases: []string{"n"}, Usage: "the newest `N` only"}),
			},
			{
				Name: "completion", ArgsUsage: "bash|zsh|fish", Usage: "print what a command shell needs to complete words",
				Action: completion, SkipFlagParsing: true,
			},
			{
				Name: "diff", ArgsUsage: "[REVISION [REVISION]] [PATH]", Usage: "print what changed, from the daemon's --history",
				Action: history("diff"), Flags: historyFlags(),
			},
		},
	}
	for _, c := range app.Commands {
		c.OnUsageError = wrongly
		if slices.Contains(jsonCommands, c.Name) {
			c.Flags = append(c.Flags, &cli.BoolFlag{Name: "json", Usage: "print JSON"})
		}
	}
	return app
}

// wrongly says that options are wrong.
func wrongly(_ *cli.Context, err error, _ bool) error { return fmt.Errorf("%w: %w", errUsage, err) }

// width is that of a terminal on standard output, 80 if it is none.
func width() int {
	if ws, err := unix.IoctlGetWinsize(1, unix.TIOCGWINSZ); err == nil {
		return int(ws.Col) - 2
	}
	return 80
}

func terminal() bool {
	_, err := unix.IoctlGetTermios(1, unix.TCGETS)
	return err == nil
}
