package daemon

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"

	"golang.org/x/sys/unix"

	"morgana/xenconsoled"
	"morgana/xenconsoled/agent"
	"morgana/xenconsoled/attach"
	"morgana/xenconsoled/logfile"
	"morgana/xenstore"
)

// Config is how a daemon is to be.
type Config struct {
	Machine Machine
	// Dial connects to xenstore; nil stands for xenstore.Dial.
	Dial func(context.Context) (*xenstore.Client, error)
	// RunDir is where streams lie, best on a tmpfs, and Socket where clients connect; "" for none.
	RunDir, Socket string
	// LogDir is where logs are, of guests and of Xen if they are wished.
	LogDir                       string
	LogGuests, LogHypervisor     bool
	StampGuests, StampHypervisor bool
	Files                        logfile.Options // but for Stamp
	// Keep has guests wait for who reads their terminals, instead of dropping the middle.
	Keep bool
	// Rate bounds what a guest may write, in bytes a second; 0: nothing does.
	Rate int
	// Domain is the name or the number of a domain that serves the consoles of guests to come; "" for none.
	Domain string
	// Warn takes what there is to say, Debug what is for the curious; a line a call.
	Warn, Debug func(string)
}

// Daemon serves the consoles of all guests of this machine.
type Daemon struct {
	cfg      Config
	service  *xenconsoled.Service
	agent    *agent.Agent // of the console domain, or nil
	ptys     *ptys
	hv       *hypervisor
	listener net.Listener
	lock     *os.File

	mu     sync.Mutex
	copies map[xenconsoled.Sink]string // copies of logs that the console domain keeps, and their guests
}

// New makes a daemon that is ready to run. Close it if Run is not called.
func New(cfg Config) (*Daemon, error) {
	for _, f := range []*func(string){&cfg.Warn, &cfg.Debug} {
		if *f == nil {
			*f = func(string) {}
		}
	}
	if cfg.Dial == nil {
		cfg.Dial = xenstore.Dial
	}
	d := &Daemon{cfg: cfg}
	if err := d.setUp(); err != nil {
		d.Close()
		return nil, fmt.Errorf("xenconsoled: %w", err)
	}
	return d, nil
}

func (d *Daemon) setUp() (err error) {
	if err := d.cfg.Files.Valid(); err != nil {
		return err
	}
	if err := os.MkdirAll(d.cfg.RunDir, 0o755); err != nil {
		return err
	}
	if err := d.takeLock(); err != nil {
		return err
	}
	if d.cfg.LogGuests || d.cfg.LogHypervisor {
		if err := os.MkdirAll(d.cfg.LogDir, 0o755); err != nil {
			return err
		}
	}
	if d.ptys, err = newPTYs(); err != nil {
		return err
	}
	h := xenconsoled.Host{
		Dial: d.cfg.Dial, Mapper: d.cfg.Machine, Events: d.cfg.Machine, Alive: d.cfg.Machine.Alive, Memory: d.memory,
		Terminal: func(c *xenconsoled.Console, limit int) (xenconsoled.Terminal, error) {
			return d.ptys.newPTY(c.Dom(), newHere(c, limit, d.cfg.Keep))
		},
		Named: d.ptys.named, Warn: d.cfg.Warn, Debug: d.cfg.Debug,
	}
	if d.cfg.LogGuests {
		h.Log = d.openLog
	}
	if d.service, err = xenconsoled.NewService(h, xenconsoled.Options{Rate: d.cfg.Rate}); err != nil {
		return err
	}
	if d.cfg.Domain != "" {
		if err := d.makeAgent(); err != nil {
			return err
		}
	}
	if err := d.finishOld(); err != nil {
		return err
	}
	if d.cfg.LogHypervisor {
		if d.hv, err = d.openHypervisor(); err != nil {
			return err
		}
	}
	return d.listen()
}

// takeLock sees to it that one daemon serves: two would take the bytes from each other.
func (d *Daemon) takeLock() error {
	f, err := os.OpenFile(filepath.Join(d.cfg.RunDir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return fmt.Errorf("%s is locked: a daemon serves already", f.Name())
	}
	d.lock = f
	return nil
}

func (d *Daemon) listen() error {
	if d.cfg.Socket == "" {
		return nil
	}
	if err := os.Remove(d.cfg.Socket); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	// The mode is right from the beginning: who can connect can type at every console.
	old := unix.Umask(0o177)
	l, err := net.Listen("unix", d.cfg.Socket)
	unix.Umask(old)
	d.listener = l
	return err
}

func (d *Daemon) extension() string {
	if d.cfg.Files.JSON {
		return ".jsonl"
	}
	return ".log"
}

func (d *Daemon) logName(guest string) string {
	return filepath.Join(d.cfg.LogDir, "guest-"+logfile.Sanitize(guest)+d.extension())
}

// guestLog is the log of a guest: its file follows the guest's name.
type guestLog struct {
	*logfile.File
	d *Daemon
}

// Reopen is what xenconsoled.Service.Reload calls.
func (l guestLog) Reopen(guest string) error { return l.File.Reopen(l.d.logName(guest)) }

func (d *Daemon) openLog(guest, _ string, m *xenconsoled.Mark) (xenconsoled.Sink, error) {
	opts := d.cfg.Files
	opts.Stamp = d.cfg.StampGuests
	f, err := logfile.Open(d.logName(guest), m, opts)
	if err != nil {
		return nil, err
	}
	return guestLog{f, d}, nil
}

// Reload begins all logs anew: what SIGHUP asks for.
func (d *Daemon) Reload() {
	d.service.Reload()
	d.reloadCopies()
	if d.hv != nil {
		if err := d.hv.file.Reopen(""); err != nil {
			d.cfg.Warn(err.Error())
		}
	}
}

// Run serves until ctx ends, and closes everything. What guests write meanwhile waits in their rings for the next one.
func (d *Daemon) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var parts sync.WaitGroup
	part := func(what string, f func() error) {
		parts.Go(func() {
			if err := f(); err != nil && ctx.Err() == nil {
				d.cfg.Warn(fmt.Sprintf("%s: %v", what, err))
			}
		})
	}
	part("terminals", d.ptys.run)
	if d.hv != nil {
		part("Xen's log", func() error { return d.hv.run(ctx) })
	}
	if d.listener != nil {
		server := &attach.Server{Consoles: d.service}
		if d.agent != nil {
			server.Elsewhere = d.agent.Dial
		}
		part("clients", func() error { return server.Serve(ctx, d.listener) })
	}
	if d.agent != nil {
		part("the console domain's agent", func() error { return d.agent.Run(ctx) })
	}
	err := d.service.Run(ctx)
	cancel(err)
	d.ptys.Close()
	parts.Wait()
	d.Close()
	return err
}

// Close closes what New opened.
func (d *Daemon) Close() {
	if d.listener != nil {
		d.listener.Close()
	}
	if d.ptys != nil {
		d.ptys.Close()
	}
	if d.hv != nil {
		d.hv.close()
		d.hv = nil
	}
	if d.lock != nil {
		d.lock.Close()
	}
}
