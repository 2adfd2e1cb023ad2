// Package command is the command line of xenconsoled, for the daemon itself and for tests, which choose the machine.
package command

import (
	"context"
	"fmt"
	"log/syslog"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"morgana/xenconsoled/daemon"
	"morgana/xenstore/daemon/background"
)

// Open opens the machine.
type Open func() (daemon.Machine, error)

// Exit codes; Xen's daemon has the second one too.
const (
	exitFailed = 1
	exitUsage  = 22 // EINVAL
)

// Main runs the daemon and returns the exit code of the process.
func Main(args []string, open Open) int {
	o := options{pidFile: "/var/run/xen/xenconsoled.pid", config: daemon.Config{
		RunDir: "/run/xenconsoled", LogDir: "/var/log/xen/console", Rate: 16 << 20,
	}}
	o.config.Files.Keep = 10
	if err := parse(args[1:], &o); err != nil {
		fmt.Fprintf(os.Stderr, "xenconsoled: %v (see --help)\n", err)
		return exitUsage
	}
	switch {
	case o.help:
		fmt.Print(usage)
		return 0
	case o.version:
		fmt.Println("xenconsoled of Morgana, in place of Xen Console Daemon 3.0")
		return 0
	}
	switch o.config.Socket {
	case "":
		o.config.Socket = filepath.Join(o.config.RunDir, "socket")
	case "off":
		o.config.Socket = ""
	}
	child := background.Child()
	if !o.interactive && !child {
		served, err := background.Start(args)
		switch {
		case err != nil:
			fmt.Fprintln(os.Stderr, "xenconsoled:", err)
			return exitFailed
		case !served:
			return exitFailed
		}
		return 0
	}
	if err := serve(&o, open, child); err != nil {
		fmt.Fprintf(os.Stderr, "xenconsoled: %v\n", strings.TrimPrefix(err.Error(), "xenconsoled: "))
		return exitFailed
	}
	return 0
}

func serve(o *options, open Open, detached bool) error {
	// Guests are many, descriptors are a few each.
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 17, Max: 1 << 17})
	debug.SetGCPercent(50)
	if detached {
		unix.Umask(0o027) // as Xen's daemon
	}
	words := os.Stderr
	say := func(line string) { fmt.Fprintln(words, "xenconsoled:", line) }
	o.config.Warn, o.config.Debug = say, func(string) {}
	if detached {
		if l, err := syslog.New(syslog.LOG_DAEMON|syslog.LOG_WARNING, "xenconsoled"); err == nil {
			defer l.Close()
			o.config.Warn = func(line string) { _ = l.Warning(line) }
			if o.verbose {
				o.config.Debug = func(line string) { _ = l.Debug(line) }
			}
		}
	}
	if o.verbose && !detached {
		o.config.Debug = say
	}
	machine, err := open()
	if err != nil {
		return err
	}
	o.config.Machine = machine
	d, err := daemon.New(o.config)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	closeMetrics, err := o.tellMetrics(ctx)
	if err != nil {
		d.Close()
		return err
	}
	defer closeMetrics()
	if detached {
		if err := writePid(o.pidFile); err != nil {
			d.Close()
			return err
		}
		err := background.Ready()
		if err == nil {
			err = background.Detach()
		}
		if err != nil {
			d.Close()
			return err
		}
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	go func() {
		for range hup {
			d.Reload()
		}
	}()
	err = d.Run(ctx)
	signal.Stop(hup)
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func writePid(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600)
}
