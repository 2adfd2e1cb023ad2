package testbed

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// Options of a host. The zero value is this machine's own Xen, or an emulated host with 3 GiB, 1 GiB and one CPU of it
// for dom0, and C xenstored.
type Options struct {
	// Those that say how the machine is to be: with any of them set the host is emulated on a machine with Xen too.
	MemoryMiB     int      // of the machine
	Dom0MemoryMiB int      // of dom0
	CPUs          int      // of the machine; 2 by default
	Dom0CPUs      int      // of dom0; 1 by default
	XenArgs       string   // more of Xen's command line
	Xenstored     string   // a program in dom0, or "none"; xenstored by default
	Disks         []string // raw image files of here: dom0's /dev/vdb, /dev/vdc, …; it writes to them
	Emulated      bool     // no other reason
	Linux         bool     // dom0's Linux alone, without Xen below it: for what needs a kernel and no domains

	Share    string    // directory to share; a temporary one by default
	Stock    string    // directory with vmlinuz and guest.gz for StockGuest; by default they are built with the emulated host
	NoLogs   bool      // on an own host: take the console's terminal for all there is, as if xenconsoled kept no logs
	Progress io.Writer // words about building; os.Stderr by default
}

// A machine is what a Host drives: its dom0, wherever it is.
type machine interface {
	// command runs a command in dom0 with the share as its directory, as Host.Command tells.
	command(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args ...string) (int, error)
	// logs is what the machine said outside of Xen's own log, "" if nothing.
	logs() string
	// close ends what was started for the host.
	close() error
}

// A Host is a running Xen host. Its methods may be called concurrently.
type Host struct {
	// Share is a directory here that is in dom0 too, as Dir.
	Share string
	// Dir is the name that Share has in dom0.
	Dir string
	// Own says that it is this machine's own Xen, where other domains may run.
	Own bool
	// BootTime is how long an emulated host took from QEMU's start until its tool stack was up.
	BootTime time.Duration

	machine   machine
	temporary bool   // Share is ours
	suffix    string // of domains' names, so that they are unique on the host
	consoles  string // directory in dom0 of xenconsoled's logs, "" if it keeps none
	stock     string // Options.Stock
	progress  io.Writer

	mu      sync.Mutex
	started []string // names of domains on an own host, to be removed
}

// ErrHost is what errors of a host that is gone match.
var ErrHost = errors.New("the Xen host is gone")

func (o *Options) fill() {
	def := func(p *int, v int) {
		if *p == 0 {
			*p = v
		}
	}
	def(&o.MemoryMiB, 3072)
	def(&o.Dom0MemoryMiB, 1024)
	def(&o.CPUs, 2)
	def(&o.Dom0CPUs, 1)
	if o.Linux {
		o.Xenstored = "none"
	}
	if o.Progress == nil {
		o.Progress = os.Stderr
	}
}

// shapes reports whether the options want a machine of their making.
func (o *Options) shapes() bool {
	return o.Emulated || o.Linux || o.MemoryMiB != 0 || o.Dom0MemoryMiB != 0 || o.CPUs != 0 || o.Dom0CPUs != 0 || o.XenArgs != "" ||
		o.Xenstored != "" || len(o.Disks) > 0
}

// Start takes this machine's own Xen where it is a Xen host's dom0, else it boots a host and waits until its tool stack
// is up.
func Start(ctx context.Context, o Options) (*Host, error) {
	own := OwnHost() && !o.shapes()
	o.fill()
	if own {
		return start(ctx, o, (*Host).adopt)
	}
	for try := 1; ; try++ {
		h, err := start(ctx, o, (*Host).boot)
		if err == nil || !errors.Is(err, errClock) || try == 5 {
			return h, err
		}
		fmt.Fprintf(o.Progress, "testbed: %v; booting again\n", err)
	}
}

func start(ctx context.Context, o Options, how func(*Host, context.Context, Options) error) (*Host, error) {
	h := &Host{Share: o.Share, stock: o.Stock, progress: o.Progress}
	if h.Share == "" {
		var err error
		if h.Share, err = os.MkdirTemp("", "morgana-share"); err != nil {
			return nil, err
		}
		h.temporary = true
	}
	if err := how(h, ctx, o); err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

// Path is the name in dom0 of a file in the share.
func (h *Host) Path(name string) string { return path.Join(h.Dir, filepath.ToSlash(name)) }

// put makes a file reachable in dom0 and returns its name there.
func (h *Host) put(file string) (string, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(h.Share, abs); err == nil && filepath.IsLocal(rel) {
		return h.Path(rel), nil
	}
	b, err := os.ReadFile(abs)
	if err != nil {
		return "", err
	}
	name := filepath.Base(abs)
	return h.Path(name), os.WriteFile(filepath.Join(h.Share, name), b, 0o755)
}

// Command runs a command in dom0 with its output going to the writers as it comes, and returns its exit status. Its
// directory is the share. When ctx ends the command and its children are killed.
func (h *Host) Command(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args ...string) (int, error) {
	code, err := h.machine.command(ctx, stdin, stdout, stderr, args...)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", strings.Join(args, " "), err)
	}
	return code, nil
}

// Output runs a command in dom0 and returns what it wrote to standard output; a non-zero exit status is an error with
// what it wrote to standard error.
func (h *Host) Output(ctx context.Context, args ...string) (string, error) {
	var out, errs bytes.Buffer
	code, err := h.Command(ctx, nil, &out, &errs, args...)
	if err == nil && code != 0 {
		err = fmt.Errorf("%s: exit status %d: %s%s", strings.Join(args, " "), code, out.String(), errs.String())
	}
	return out.String(), err
}

// Script runs a shell script in dom0.
func (h *Host) Script(ctx context.Context, script string) (string, error) {
	return h.Output(ctx, "bash", "-c", script)
}

// XenLog is Xen's own log and what the serial console said: for a failure's report.
func (h *Host) XenLog(ctx context.Context) string {
	out, err := h.Output(ctx, "xl", "dmesg")
	if err != nil {
		out = err.Error() + "\n"
	}
	if serial := h.machine.logs(); serial != "" {
		out += "--- serial ---\n" + serial
	}
	return out
}

// Close powers an emulated host off; on an own one it destroys the domains that were started and still run, and
// removes their logs. Idempotent.
func (h *Host) Close() error {
	var err error
	if h.machine != nil {
		err = errors.Join(h.sweep(), h.machine.close())
	}
	if h.temporary {
		err = errors.Join(err, os.RemoveAll(h.Share))
	}
	return err
}

// sweep removes what this host's domains left on an own host.
func (h *Host) sweep() error {
	h.mu.Lock()
	names := h.started
	h.started = nil
	h.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var errs error
	for _, name := range names {
		// A domain that has ended is not there.
		if _, err := h.Output(ctx, "xl", "domid", name); err == nil {
			_, err = h.Output(ctx, "xl", "destroy", name)
			errs = errors.Join(errs, err)
		}
		errs = errors.Join(errs, h.forget(ctx, name))
	}
	return errs
}

// tail keeps the beginning, which tells of the boot, and the last of what is written to it.
type tail struct {
	mu      sync.Mutex
	head, b []byte
}

const (
	headSize = 16 << 10
	tailSize = 64 << 10
)

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	k := min(len(p), headSize-len(t.head))
	t.head = append(t.head, p[:k]...)
	if t.b = append(t.b, p[k:]...); len(t.b) > tailSize {
		t.b = append(t.b[:0], t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.head) + string(t.b)
}
