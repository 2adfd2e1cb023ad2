package daemon

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore/migration"
	"morgana/xenstore/server"
)

const ok = "OK\x00"

// Control carries out the commands that concern the program.
func (h *host) Control(c *server.Conn, head xs.Header, args []string) (string, xs.Errno, bool) {
	d := (*Daemon)(h)
	cmd, args := args[0], args[1:]
	switch {
	case cmd == "print" && len(args) == 1:
		d.cfg.Words("control: " + args[0])
	case cmd == "log" && len(args) == 1 && (args[0] == "on" || args[0] == "off"):
		if err := d.cfg.Trace.Switch(args[0] == "on"); err != nil {
			d.cfg.Words(err.Error())
		}
		d.traced()
	case cmd == "logfile" && len(args) == 1:
		if err := d.cfg.Trace.Open(args[0]); err != nil {
			d.cfg.Words(err.Error())
		}
		d.traced()
	case cmd == "memreport" && len(args) <= 1:
		return d.memreport(args)
	case canCrash && cmd == "crash":
		d.crashIn(args)
	case cmd == "live-update" && len(args) > 0:
		return d.liveUpdate(c, head, args)
	default:
		return "", xs.EINVAL, false
	}
	return ok, 0, false
}

// update is a live update under way.
type update struct {
	conn     *server.Conn
	head     xs.Header // of the request that started it
	program  string
	args     []string
	force    bool
	deadline time.Time
	started  bool
}

func (d *Daemon) liveUpdate(c *server.Conn, head xs.Header, args []string) (string, xs.Errno, bool) {
	say := func(s string) (string, xs.Errno, bool) { return s + "\x00", 0, false }
	mine := d.update != nil && d.update.conn == c
	switch {
	case args[0] == "-a" && len(args) == 1:
		if d.update == nil {
			return say("No live-update session active.")
		}
		d.abort("Cancellation was requested")
		return ok, 0, false
	case args[0] == "-f" && len(args) == 2:
		fi, err := os.Stat(args[1])
		switch {
		case err != nil:
			return say("File not accessible.")
		case fi.Mode()&0o111 == 0:
			return say("File not executable.")
		case d.update != nil:
			return say("live-update session already active.")
		}
		d.update = &update{conn: c, program: args[1]}
		return ok, 0, false
	case args[0] == "-c" && len(args) == 2:
		if !mine {
			return say("Not in live-update session.")
		}
		d.update.args = strings.Fields(args[1])
		return ok, 0, false
	case args[0] == "-s":
		force, limit := false, 0
		for i := 1; i < len(args); i++ {
			switch {
			case args[i] == "-F":
				force = true
			case args[i] == "-t" && i+1 < len(args):
				i++
				limit, _ = strconv.Atoi(args[i])
			default:
				return "", xs.EINVAL, false
			}
		}
		if !mine {
			return say("Not in live-update session.")
		}
		u := d.update
		u.head, u.force, u.started, u.deadline = head, force, true, time.Now().Add(time.Duration(limit)*time.Second)
		return "", 0, true
	}
	return "", xs.EINVAL, false
}

// abort ends a live update, and answers whoever waits for it.
func (d *Daemon) abort(why string) {
	u := d.update
	d.update = nil
	if u.started {
		d.core.Answer(u.conn, u.head, why+"\x00")
		if c, isClient := u.conn.Data.(*client); isClient {
			d.resume(c)
		}
	}
}

// endUpdateOf ends the live update of a connection that is gone.
func (d *Daemon) endUpdateOf(c *server.Conn) {
	if d.update != nil && d.update.conn == c {
		d.update = nil
	}
}

// stepUpdate executes the next program, once no transaction is open or the time for them is over.
func (d *Daemon) stepUpdate() {
	u := d.update
	if u == nil || !u.started {
		return
	}
	if n := d.core.Transactions(); n > 0 && !(u.force && time.Now().After(u.deadline)) {
		if time.Now().After(u.deadline) {
			d.abort(fmt.Sprintf("%d transactions are open: try -F, or a longer timeout", n))
		}
		return
	}
	if err := d.replace(u); err != nil {
		d.cfg.Words(err.Error())
		d.abort("Error activating new binary.")
	}
}

// replace executes another program in place of this one. It returns only if that fails.
func (d *Daemon) replace(u *update) error {
	state, fds := d.handover(u)
	file := filepath.Join(d.cfg.RunDir, stateFile)
	if err := os.WriteFile(file, state, 0o600); err != nil {
		return fmt.Errorf("live update: %w", err)
	}
	args := u.args
	if args == nil {
		args = d.cfg.Args[1:]
	}
	args = append([]string{u.program}, args...)
	if !contains(args, "-U") && !contains(args, "--live-update") {
		args = append(args, "-U")
	}
	for _, fd := range fds {
		if err := closeOnExec(fd, false); err != nil {
			return err
		}
	}
	// The one that comes binds this port anew.
	_ = d.cfg.Machine.Unbind(d.exception)
	d.cfg.Words("live update: executing " + strings.Join(args, " "))
	err := unix.Exec(u.program, args, os.Environ())
	for _, fd := range fds {
		_ = closeOnExec(fd, true)
	}
	_ = os.Remove(file)
	if p, berr := d.cfg.Machine.BindException(); berr == nil {
		d.exception = p
	}
	return fmt.Errorf("live update: execute %s: %w", u.program, err)
}

func contains(args []string, a string) bool {
	for _, x := range args {
		if x == a {
			return true
		}
	}
	return false
}

func closeOnExec(fd int, on bool) error {
	flags := 0
	if on {
		flags = unix.FD_CLOEXEC
	}
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, flags)
	return os.NewSyscallError("fcntl", err)
}

// handover is the state for another program, and the descriptors that go with it.
func (d *Daemon) handover(u *update) (state []byte, fds []int) {
	state = migration.AppendPreamble(nil)
	state = migration.AppendGlobal(state, migration.Global{Socket: int32(d.listener), Events: int32(d.cfg.Machine.FD())})
	fds = append(fds, d.cfg.Machine.FD())
	if d.listener >= 0 {
		fds = append(fds, d.listener)
	}
	state = d.core.AppendHandover(state, func(c *server.Conn) int32 {
		x, isClient := c.Data.(*client)
		if !isClient {
			return -1
		}
		fds = append(fds, x.fd)
		return int32(x.fd)
	}, func(c *server.Conn) []byte {
		if c == u.conn {
			return xs.AppendMessage(nil, u.head, []byte(ok))
		}
		return nil
	})
	return migration.Append(state, migration.End), fds
}

// InheritedEvents is the descriptor of event channels that another program left for us in a directory.
func InheritedEvents(runDir string) (int, error) {
	b, err := os.ReadFile(filepath.Join(runDir, stateFile))
	if err != nil {
		return 0, err
	}
	rest, err := migration.ParsePreamble(b)
	if err != nil {
		return 0, err
	}
	t, body, _, err := migration.Parse(rest)
	if err != nil {
		return 0, err
	}
	if t != migration.GlobalType {
		return 0, fmt.Errorf("%w: the first record is of type %d", migration.ErrFormat, t)
	}
	g, err := migration.ParseGlobal(body)
	return int(g.Events), err
}

// takeOver begins with what another program handed over.
func (d *Daemon) takeOver() error {
	file := filepath.Join(d.cfg.RunDir, stateFile)
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	rest, err := migration.ParsePreamble(b)
	if err != nil {
		return err
	}
	r := server.NewRestorer(d.coreConfig())
	if err := each(rest, func(t migration.Type, body []byte) error {
		if t == migration.GlobalType {
			g, err := migration.ParseGlobal(body)
			if err == nil && g.Socket >= 0 {
				d.listener = int(g.Socket)
			}
			return err
		}
		if t == migration.End {
			return nil
		}
		return r.Record(t, body)
	}); err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	d.core = r.Finish()
	if d.listener >= 0 {
		if err := d.inherit(d.listener); err != nil {
			return err
		}
		if err := d.add(d.listener, unix.EPOLLIN); err != nil {
			return err
		}
	}
	for _, c := range d.core.Conns() {
		if fd, isFD := c.Data.(int32); isFD {
			if err := d.inherit(int(fd)); err != nil {
				return fmt.Errorf("client on descriptor %d: %w", fd, err)
			}
			if err := d.adopt(int(fd), c); err != nil {
				return err
			}
			continue
		}
		port := c.Port()
		if err := d.reattach(c, func() (xen.Port, error) { return port, nil }); err != nil {
			d.cfg.Words(err.Error())
			d.core.Fail(c, xs.RingErrorComm)
		}
	}
	d.restart()
	d.cfg.Words(fmt.Sprintf("live update: took over %d connections", len(d.core.Conns())))
	return os.Remove(file)
}

// inherit makes a descriptor of another program ours.
func (d *Daemon) inherit(fd int) error {
	if err := unix.SetNonblock(fd, true); err != nil {
		return os.NewSyscallError("fcntl", err)
	}
	return closeOnExec(fd, true)
}
