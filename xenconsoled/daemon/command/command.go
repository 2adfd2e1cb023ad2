// Package command is the command line of xenconsoled, for the daemon itself and for tests, which choose the machine.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/syslog"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strings"

	"golang.org/x/sys/unix"

	"morgana/xenconsoled/daemon"
)

// Open opens the machine.
type Open func() (daemon.Machine, error)

// Exit codes; Xen's daemon has the second one too.
const (
	exitFailed = 1
	exitUsage  = 22 // EINVAL
)

// readyEnv says that descriptor 3 is where a daemon in the background says that it serves.
const readyEnv = "MORGANA_XENCONSOLED_READY"

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
	ready := os.Getenv(readyEnv)
	if !o.interactive && ready == "" {
		return background(args)
	}
	os.Unsetenv(readyEnv)
	if err := serve(&o, open, ready != ""); err != nil {
		fmt.Fprintf(os.Stderr, "xenconsoled: %v\n", strings.TrimPrefix(err.Error(), "xenconsoled: "))
		return exitFailed
	}
	return 0
}

// background starts the daemon as a process of its own, and waits until it serves.
func background(args []string) int {
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "xenconsoled:", err)
		return exitFailed
	}
	r, w, err := os.Pipe()
	if err != nil {
		return fail(err)
	}
	self, err := os.Executable()
	if err != nil {
		return fail(err)
	}
	c := exec.Command(self, args[1:]...)
	c.Args[0] = args[0]
	c.Env = append(os.Environ(), readyEnv+"=3")
	c.ExtraFiles = []*os.File{w}
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	c.Dir = "/"
	c.SysProcAttr = &unix.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return fail(err)
	}
	w.Close()
	if b, _ := io.ReadAll(r); len(b) == 0 {
		return exitFailed // it has said why
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
	if detached {
		if err := writePid(o.pidFile); err != nil {
			d.Close()
			return err
		}
	}
	if detached {
		if err := detach(); err != nil {
			d.Close()
			return err
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
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

// detach says that the daemon serves, and gives up the terminal, or whoever waits for the end of what we print waits for
// ever.
func detach() error {
	f := os.NewFile(3, "ready")
	_, err := f.WriteString("1")
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for fd := range 3 {
		if err := unix.Dup3(int(null.Fd()), fd, 0); err != nil {
			return os.NewSyscallError("dup3", err)
		}
	}
	return nil
}

func writePid(name string) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, fmt.Appendf(nil, "%d\n", os.Getpid()), 0o600)
}
