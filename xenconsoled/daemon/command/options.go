package command

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"morgana/xenconsoled/daemon"
)

const usage = `Usage: xenconsoled [options]

The console daemon of dom0: a drop-in for Xen's xenconsoled 4.17, whose options it takes.

  -h, --help                        this text
  -V, --version                     the version
  -v, --verbose                     say more, and on standard error too
  -i, --interactive                 stay in the foreground
      --log none|guest|hv|all       what is logged (none)
      --log-dir DIR                 where (/var/log/xen/console): guest-NAME.log, hypervisor.log
      --pid-file FILE               write the process's number there (/var/run/xen/xenconsoled.pid)
  -t, --timestamp none|guest|hv|all what gets a time before each line (none)
  -o, --overflow-data discard|keep  what becomes of output that nobody reads at the terminal: the oldest and the newest
                                    are kept (discard), or the guest waits (keep)
      --replace-escape              write ESC as a dot into logs

Beyond Xen's:
      --log-format text|json        json: guest-NAME.jsonl, an object {"time":…,"line":…} for each line
      --rotate-size BYTES           begin a new file after that many bytes (10M, 1G; off)
      --rotate-age TIME             begin a new file each such period (1h, 24h; off)
      --rotate-keep N               how many old files are kept, NAME.1 the newest (10)
      --rate BYTES                  what a guest may write in a second (16M); 0: no bound
      --run-dir DIR                 what outlives the process (/run/xenconsoled)
      --socket FILE                 where xconsole connects (RUN-DIR/socket); "off" for nowhere
      --metrics ADDRESS             tell Prometheus of the consoles there (127.0.0.1:9104)
      --domain NAME                 have the domain of that name or number serve the consoles of guests to come, as their
                                    agent in dom0: terminals, xconsole and copies of the logs are here all the same

SIGHUP begins all logs anew. SIGTERM ends it; guests' output waits in their rings for the next one.
XENSTORED_PATH says where xenstore is.

Exit status: 0 ended by a signal, 1 it failed, 22 wrong usage.

Example: xenconsoled --log=all --timestamp=all --rotate-size=10M
`

// options are what the command line says.
type options struct {
	config        daemon.Config
	pidFile       string
	metrics       string
	interactive   bool
	verbose       bool
	help, version bool
}

// flags are the options: their letters or 0, their names, and whether they take a value.
var flags = []struct {
	letter byte
	name   string
	value  bool
}{
	{'h', "help", false},
	{'V', "version", false},
	{'v', "verbose", false},
	{'i', "interactive", false},
	{0, "log", true},
	{0, "log-dir", true},
	{0, "pid-file", true},
	{'t', "timestamp", true},
	{'o', "overflow-data", true},
	{0, "replace-escape", false},
	{0, "log-format", true},
	{0, "rotate-size", true},
	{0, "rotate-age", true},
	{0, "rotate-keep", true},
	{0, "rate", true},
	{0, "run-dir", true},
	{0, "socket", true},
	{0, "metrics", true},
	{0, "domain", true},
}

// find finds a long option by its name or by the beginning of one, as getopt_long does.
func find(name string) (int, error) {
	at := -1
	for i, f := range flags {
		if f.name == name {
			return i, nil
		}
		if strings.HasPrefix(f.name, name) {
			if at >= 0 {
				return 0, fmt.Errorf("option --%s is ambiguous", name)
			}
			at = i
		}
	}
	if at < 0 {
		return 0, fmt.Errorf("no option --%s", name)
	}
	return at, nil
}

// parse reads a command line as getopt_long does: -v, -t all, -tall, -vi, --log all, --log=all.
func parse(args []string, o *options) error {
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		value := func(name string) (string, error) {
			if len(args) == 0 {
				return "", fmt.Errorf("option %s wants a value", name)
			}
			v := args[0]
			args = args[1:]
			return v, nil
		}
		if long, ok := strings.CutPrefix(arg, "--"); ok && long != "" {
			name, v, has := strings.Cut(long, "=")
			i, err := find(name)
			switch {
			case err != nil:
				return err
			case has && !flags[i].value:
				return fmt.Errorf("option --%s takes no value", flags[i].name)
			case !has && flags[i].value:
				if v, err = value("--" + flags[i].name); err != nil {
					return err
				}
			}
			if err := o.set(flags[i].name, v); err != nil {
				return fmt.Errorf("option --%s: %w", flags[i].name, err)
			}
			continue
		}
		letters, ok := strings.CutPrefix(arg, "-")
		if !ok || letters == "" || letters == "-" {
			return fmt.Errorf("%q: no arguments are wanted", arg)
		}
		for letters != "" {
			at := -1
			for i, f := range flags {
				if f.letter == letters[0] {
					at = i
				}
			}
			if at < 0 {
				return fmt.Errorf("no option -%c", letters[0])
			}
			letter := "-" + letters[:1]
			v := ""
			if letters = letters[1:]; flags[at].value {
				if v, letters = letters, ""; v == "" {
					var err error
					if v, err = value(letter); err != nil {
						return err
					}
				}
			}
			if err := o.set(flags[at].name, v); err != nil {
				return fmt.Errorf("option %s: %w", letter, err)
			}
		}
	}
	return nil
}

func (o *options) set(name, value string) error {
	c := &o.config
	both := func(guests, hv *bool) error {
		switch value {
		case "none":
			*guests, *hv = false, false
		case "guest":
			*guests = true
		case "hv":
			*hv = true
		case "all":
			*guests, *hv = true, true
		default:
			return fmt.Errorf("%q: want none, guest, hv or all", value)
		}
		return nil
	}
	var err error
	switch name {
	case "help":
		o.help = true
	case "version":
		o.version = true
	case "verbose":
		o.verbose = true
	case "interactive":
		o.interactive = true
	case "log":
		return both(&c.LogGuests, &c.LogHypervisor)
	case "timestamp":
		return both(&c.StampGuests, &c.StampHypervisor)
	case "log-dir":
		c.LogDir = value
	case "pid-file":
		o.pidFile = value
	case "overflow-data":
		if value != "keep" && value != "discard" {
			return fmt.Errorf("%q: want discard or keep", value)
		}
		c.Keep = value == "keep"
	case "replace-escape":
		c.Files.Escape = true
	case "log-format":
		if value != "json" && value != "text" {
			return fmt.Errorf("%q: want text or json", value)
		}
		c.Files.JSON = value == "json"
	case "rotate-size":
		c.Files.MaxSize, err = bytes(value)
	case "rotate-age":
		if c.Files.MaxAge, err = time.ParseDuration(value); err == nil && c.Files.MaxAge < time.Second {
			err = errors.New("at least a second")
		}
	case "rotate-keep":
		c.Files.Keep, err = strconv.Atoi(value)
	case "rate":
		var n int64
		n, err = bytes(value)
		c.Rate = int(min(n, 1<<31-1))
	case "run-dir":
		c.RunDir = value
	case "socket":
		c.Socket = value
	case "metrics":
		o.metrics = value
	case "domain":
		if value == "" || value == "0" {
			return errors.New("the name or number of a console domain is wanted")
		}
		c.Domain = value
	}
	return err
}

// bytes reads a number of bytes: 100, 64k, 10M, 1G, of 1024 each.
func bytes(s string) (int64, error) {
	shift := 0
	if s != "" {
		switch s[len(s)-1] {
		case 'k', 'K':
			shift = 10
		case 'm', 'M':
			shift = 20
		case 'g', 'G':
			shift = 30
		}
	}
	digits := s
	if shift > 0 {
		digits = s[:len(s)-1]
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > 1<<62>>shift {
		return 0, fmt.Errorf("%q is no number of bytes; 100, 64k, 10M or 1G are", s)
	}
	return n << shift, nil
}
