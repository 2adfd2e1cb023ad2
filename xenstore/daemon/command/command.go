// Package command is the xenstore daemon's command line: the flags of xenstored 4.17, and some of our own. A program
// gives it the machine to serve.
package command

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"morgana/xenstore/daemon"
	"morgana/xenstore/daemon/background"
	"morgana/xenstore/server"
	"morgana/xenstore/store"
)

// Open opens the machine; events is the descriptor of event channels that another program handed over, -1 for none.
type Open func(events int) (daemon.Machine, error)

const usage = `Usage: xenstored [options]

The xenstore daemon: a drop-in for Xen's xenstored 4.17, whose options it takes.

  -D, --no-domain-init        serve no domain, only the socket
  -F, --pid-file FILE         write the process's number there
  -H, --help                  this text
  -N, --no-fork               stay in the foreground
  -P, --output-pid            print the process's number
  -T, --trace-file FILE       log there
  -E, --entry-nb N            nodes a domain may own (1000)
  -S, --entry-size N          bytes of a node (2048)
  -W, --watch-nb N            watches of a domain (128)
  -t, --transaction N         open transactions of a domain (10)
  -A, --perm-nb N             permission entries of a node (5)
  -M, --path-max N            bytes of a path (2048)
  -Q, --quota WHAT=N          transaction-nodes, memory or outstanding
  -q, --quota-soft WHAT=N     memory
  -w, --timeout WHAT=SECONDS  watch-event: how long an event waits to be read (20)
  -K, --keep-orphans          give the nodes of a dead domain to dom0
  -U, --live-update           take over from a running daemon (used by it)
  -R, -V, -I                  taken for compatibility; they mean nothing here

Beyond xenstored:
      --journal DIR           where state outlives the process (RUNDIR/journal); "off" for none
      --history DIR           keep every commit as a Git repository there
      --metrics ADDRESS       tell Prometheus of the counters there (127.0.0.1:9102)

XENSTORED_PATH is the socket (RUNDIR/socket), XENSTORED_RUNDIR the directory of what is kept while the host runs
(/run/xenstored).

Example: xenstored --pid-file /run/xenstored.pid
`

// options are what the command line says.
type options struct {
	config            daemon.Config
	pidFile, trace    string
	history           string
	metrics           string
	foreground, print bool
	help              bool
	noDomains         bool
	event             int
	master            int
}

// flags are the options: their letters, their names, and whether they take a value (2: only attached).
var flags = []struct {
	letter byte
	name   string
	value  int
}{
	{'D', "no-domain-init", 0},
	{'E', "entry-nb", 1},
	{'F', "pid-file", 1},
	{'e', "event", 1},
	{'m', "master-domid", 1},
	{'H', "help", 0},
	{'N', "no-fork", 0},
	{'p', "priv-domid", 1},
	{'P', "output-pid", 0},
	{'S', "entry-size", 1},
	{'T', "trace-file", 1},
	{'t', "transaction", 1},
	{'A', "perm-nb", 1},
	{'M', "path-max", 1},
	{'Q', "quota", 1},
	{'q', "quota-soft", 1},
	{'w', "timeout", 1},
	{'R', "no-recovery", 0},
	{'I', "internal-db", 2},
	{'K', "keep-orphans", 0},
	{'V', "verbose", 0},
	{'W', "watch-nb", 1},
	{'U', "live-update", 0},
	{'j', "journal", 1},
	{'h', "history", 1},
	{'x', "metrics", 1},
}

// parse reads a command line as getopt_long does: -N, -E 5, -E5, -NV, --entry-nb 5, --entry-nb=5, --entry.
func parse(args []string, o *options) error {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		long, isLong := strings.CutPrefix(arg, "--")
		switch {
		case isLong && long != "":
			name, value, has := strings.Cut(long, "=")
			at := -1
			for i, f := range flags {
				if f.name == name {
					at = i
					break
				}
				if strings.HasPrefix(f.name, name) {
					if at >= 0 {
						return fmt.Errorf("option --%s is ambiguous", name)
					}
					at = i
				}
			}
			if at < 0 {
				return fmt.Errorf("no option --%s", name)
			}
			f := flags[at]
			if f.value == 1 && !has {
				if len(args) == 0 {
					return fmt.Errorf("option --%s wants a value", f.name)
				}
				value, args = args[0], args[1:]
			}
			if err := o.set(f.letter, value); err != nil {
				return fmt.Errorf("option --%s: %w", f.name, err)
			}
		case len(arg) > 1 && arg[0] == '-' && !isLong:
			for rest := arg[1:]; rest != ""; {
				letter := rest[0]
				rest = rest[1:]
				at := -1
				for i, f := range flags {
					if f.letter == letter {
						at = i
					}
				}
				if at < 0 || letter == 'j' || letter == 'h' || letter == 'x' {
					return fmt.Errorf("no option -%c", letter)
				}
				value := ""
				switch f := flags[at]; {
				case f.value == 1 && rest == "":
					if len(args) == 0 {
						return fmt.Errorf("option -%c wants a value", letter)
					}
					value, args = args[0], args[1:]
				case f.value > 0:
					value, rest = rest, ""
				}
				if err := o.set(letter, value); err != nil {
					return fmt.Errorf("option -%c: %w", letter, err)
				}
			}
		default:
			return fmt.Errorf("%q: no arguments are wanted", arg)
		}
	}
	return nil
}

func (o *options) set(letter byte, value string) error {
	l := &o.config.Limits
	number := func(to *int) error {
		n, err := strconv.Atoi(value)
		if err != nil || n < 0 {
			return fmt.Errorf("%q is no number", value)
		}
		*to = n
		return nil
	}
	pair := func(what map[string]*int) error {
		name, v, ok := strings.Cut(value, "=")
		to := what[name]
		if !ok || to == nil {
			return fmt.Errorf("%q: want WHAT=NUMBER", value)
		}
		value = v
		return number(to)
	}
	switch letter {
	case 'e':
		return number(&o.event)
	case 'm':
		return number(&o.master)
	case 'D':
		o.noDomains = true
	case 'F':
		o.pidFile = value
	case 'H':
		o.help = true
	case 'N':
		o.foreground = true
	case 'P':
		o.print = true
	case 'T':
		o.trace = value
	case 'E':
		return number(&l.Nodes)
	case 'S':
		return number(&l.NodeSize)
	case 'W':
		return number(&l.Watches)
	case 't':
		return number(&l.Tx)
	case 'A':
		return number(&l.Perms)
	case 'M':
		err := number(&l.PathMax)
		l.PathMax = min(l.PathMax, store.DefaultLimits().PathMax)
		return err
	case 'Q':
		return pair(map[string]*int{"transaction-nodes": &l.TxNodes, "memory": &l.Memory, "outstanding": &l.Outstanding})
	case 'q':
		return pair(map[string]*int{"memory": &l.SoftMemory})
	case 'w':
		seconds := 0
		err := pair(map[string]*int{"watch-event": &seconds})
		o.config.EventTimeout = time.Duration(seconds) * time.Second
		return err
	case 'K':
		o.config.KeepOrphans = true
	case 'U':
		o.config.Handover = true
	case 'j':
		o.config.Journal = value
	case 'h':
		o.history = value
	case 'x':
		o.metrics = value
	}
	return nil
}

// Main runs the daemon and returns the exit code of the process.
func Main(args []string, open Open) int {
	run := os.Getenv("XENSTORED_RUNDIR")
	if run == "" {
		run = "/run/xenstored"
	}
	socket := os.Getenv("XENSTORED_PATH")
	if socket == "" {
		socket = filepath.Join(run, "socket")
	}
	o := options{config: daemon.Config{
		Limits: store.DefaultLimits(), EventTimeout: server.EventTimeout * time.Millisecond, RunDir: run, Socket: socket,
		Journal: filepath.Join(run, "journal"), Args: args,
	}}
	if err := parse(args[1:], &o); err != nil {
		fmt.Fprintf(os.Stderr, "xenstored: %v (see --help)\n", err)
		return 1
	}
	if o.help {
		fmt.Print(usage)
		return 0
	}
	if o.config.Journal == "off" {
		o.config.Journal = ""
	}
	child := background.Child()
	if !o.foreground && !o.config.Handover && !child {
		served, err := background.Start(args)
		switch {
		case err != nil:
			fmt.Fprintln(os.Stderr, "xenstored:", err)
			return 1
		case !served:
			return 1
		}
		return 0
	}
	if err := serve(&o, open, child); err != nil {
		fmt.Fprintf(os.Stderr, "xenstored: %v\n", strings.TrimPrefix(err.Error(), "xenstored: "))
		return 1
	}
	return 0
}

func serve(o *options, open Open, child bool) error {
	// Clients and domains are many, descriptors are one each.
	_ = unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: 1 << 16, Max: 1 << 16})
	debug.SetGCPercent(thrifty)
	o.config.Tune = collect()
	if err := os.MkdirAll(o.config.RunDir, 0o755); err != nil {
		return err
	}
	if o.pidFile != "" {
		unlock, err := writePid(o.pidFile, o.config.Handover)
		if err != nil {
			return err
		}
		defer unlock()
	}
	events := -1
	if o.config.Handover {
		var err error
		if events, err = daemon.InheritedEvents(o.config.RunDir); err != nil {
			return fmt.Errorf("take over: %w", err)
		}
	}
	o.config.Trace = daemon.NewTrace(o.trace)
	if err := o.config.Trace.Switch(o.trace != ""); err != nil {
		return err
	}
	words := io.Writer(os.Stderr)
	prefix := "xenstored: "
	o.config.Words = func(line string) {
		_, _ = io.WriteString(words, prefix+line+"\n")
		o.config.Trace.Print(line)
	}
	var err error
	if o.noDomains {
		o.config.Machine, err = newNoMachine()
	} else {
		o.config.Machine, err = open(events)
	}
	if err != nil {
		return err
	}
	closeHistory, err := o.keepHistory()
	if err != nil {
		return err
	}
	defer closeHistory()
	d, err := daemon.New(o.config)
	if err != nil {
		return err
	}
	defer d.Close()
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGTERM, unix.SIGINT)
	defer stop()
	closeMetrics, err := o.tellMetrics(ctx)
	if err != nil {
		return err
	}
	defer closeMetrics()
	if o.print {
		fmt.Println(os.Getpid())
	}
	if child {
		if err := background.Ready(); err != nil {
			return err
		}
		l, err := newSystemLog(logSocket) // nobody reads what we print any more
		if err != nil {
			return err
		}
		defer l.Close()
		words, prefix = l, ""
		if err := background.Detach(); err != nil {
			return err
		}
	}
	hup := make(chan os.Signal, 1)
	signal.Notify(hup, unix.SIGHUP)
	defer signal.Stop(hup)
	go func() {
		for {
			select {
			case <-hup:
				_ = o.config.Trace.Switch(true)
			case <-ctx.Done():
				return
			}
		}
	}()
	return d.Run(ctx)
}

// thrifty is the collector's percentage for a small store, which is to stay small: how much garbage there may be for what is
// in use.
const thrifty = 40

// collect returns what sets the collector for so many nodes: to walk a large store takes long, and memory buys walking it
// less often.
func collect() func(nodes int) {
	now := thrifty
	return func(nodes int) {
		// By steps, so that a store that changes a little does not change it each time.
		if want := thrifty + min(nodes/6000, 5)*10; want != now {
			now = want
			debug.SetGCPercent(now)
		}
	}
}

// writePid writes the process's number to a file and keeps it locked, as xenstored does: two daemons are one too many.
func writePid(name string, again bool) (func() error, error) {
	f, err := os.OpenFile(name, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	if err := unix.FcntlFlock(f.Fd(), unix.F_SETLK, &unix.Flock_t{Type: unix.F_WRLCK}); err != nil && !again {
		f.Close()
		return nil, fmt.Errorf("%s is locked: a daemon runs already", name)
	}
	if err := f.Truncate(0); err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(f, "%d\n", os.Getpid()); err != nil {
		return nil, err
	}
	return f.Close, nil // closed when the process ends, or the lock would be gone
}
