// Command xconsole lists the consoles of guests, attaches to them, and reads what they said, at a console daemon of ours.
//
// Data goes to standard output, words to standard error. Exit status: 0 done, 1 failed, 2 wrong usage, 3 no such guest,
// 4 somebody else types at the console, 5 no daemon, or its console domain is away, 130 interrupted.
package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v2"

	"morgana/xenconsoled"
	"morgana/xenconsoled/attach"
)

// Exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitNotFound    = 3
	exitTaken       = 4
	exitNoDaemon    = 5
	exitInterrupted = 130
)

var (
	errUsage    = errors.New("wrong usage")
	errNoDaemon = errors.New("no console daemon")
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	err := app().RunContext(ctx, os.Args)
	interrupted := ctx.Err() != nil
	stop()
	switch {
	case interrupted:
		os.Exit(exitInterrupted)
	case err == nil:
		return
	}
	fmt.Fprintln(os.Stderr, "xconsole:", err)
	os.Exit(exitCode(err))
}

func exitCode(err error) int {
	switch {
	case errors.Is(err, errUsage):
		return exitUsage
	case errors.Is(err, attach.ErrNotFound):
		return exitNotFound
	case errors.Is(err, xenconsoled.ErrTaken):
		return exitTaken
	case errors.Is(err, errNoDaemon), errors.Is(err, attach.ErrAway):
		return exitNoDaemon
	}
	return exitFailed
}

func app() *cli.App {
	usage := func(_ *cli.Context, err error, _ bool) error { return fmt.Errorf("%w: %w", errUsage, err) }
	a := &cli.App{
		Name:                   "xconsole",
		Usage:                  "consoles of guests: list, attach, read",
		UsageText:              "xconsole list\nxconsole attach web1\nxconsole logs -f web1",
		HideVersion:            true,
		UseShortOptionHandling: true,
		ExitErrHandler:         func(*cli.Context, error) {},
		OnUsageError:           usage,
		Action: func(c *cli.Context) error {
			if c.NArg() > 0 {
				return fmt.Errorf("%w: no command %q; see xconsole --help", errUsage, c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		Flags: []cli.Flag{
			&cli.StringFlag{
				Name: "socket", EnvVars: []string{"XENCONSOLED_SOCKET"}, Value: "/run/xenconsoled/socket", Usage: "the daemon's `SOCKET`",
			},
		},
		Commands: []*cli.Command{
			{
				Name: "list", Usage: "print the guests that have a console", Action: list,
				Flags: []cli.Flag{&cli.BoolFlag{Name: "json", Usage: "an object a line"}, &cli.BoolFlag{Name: "names", Usage: "names only"}},
			},
			{
				Name: "attach", ArgsUsage: "GUEST", Usage: "see and type at a console; Ctrl-] leaves", Action: attachTo,
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "read-only", Aliases: []string{"r"}, Usage: "only see"},
					&cli.BoolFlag{Name: "sole", Usage: "be the only one who types"},
					&cli.IntFlag{Name: "lines", Aliases: []string{"n"}, Value: 50, Usage: "begin with the last `N` lines"},
					&cli.StringFlag{Name: "escape", Value: "^]", Usage: "the `KEY` that leaves: a character, or ^ and one"},
					retryFlag(),
				},
			},
			{
				Name: "logs", ArgsUsage: "GUEST", Usage: "print what a guest said, as far as it is kept", Action: logs,
				Flags: []cli.Flag{
					&cli.BoolFlag{Name: "follow", Aliases: []string{"f"}, Usage: "go on until the guest is gone"},
					&cli.IntFlag{Name: "lines", Aliases: []string{"n"}, Usage: "the last `N` lines only"},
					&cli.BoolFlag{Name: "json", Usage: `an object a line: {"from":…,"line":…}`},
					retryFlag(),
				},
			},
			{Name: "completion", ArgsUsage: "bash|zsh|fish", Usage: "print what makes a shell complete words", Action: completion},
		},
	}
	for _, c := range a.Commands {
		c.OnUsageError, c.HideHelpCommand = usage, true
	}
	return a
}

func retryFlag() cli.Flag {
	return &cli.DurationFlag{Name: "retry", Value: retryTime, Usage: "how long to wait for a daemon that went away"}
}

// want checks the number of arguments.
func want(c *cli.Context, n int) error {
	if c.NArg() == n {
		return nil
	}
	return fmt.Errorf("%w: xconsole %s %s", errUsage, c.Command.Name, c.Command.ArgsUsage)
}

func dial(c *cli.Context) (*attach.Client, error) {
	var d net.Dialer
	conn, err := d.DialContext(c.Context, "unix", c.String("socket"))
	if err != nil {
		return nil, fmt.Errorf("%w: %w; does xenconsoled run?", errNoDaemon, err)
	}
	return attach.NewClient(conn), nil
}
