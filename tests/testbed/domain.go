package testbed

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// DomainConfig says what to start. Kernel and Ramdisk are files here; those outside of the share are copied into it.
type DomainConfig struct {
	Name      string
	Kernel    string
	Ramdisk   string
	Cmdline   string
	MemoryMiB int      // 64 by default
	Type      string   // pvh (default) or pv
	Disks     []string // xl's disk specifications
	OnCrash   string   // destroy by default
	OnReboot  string   // destroy by default
	EmulTSC   bool     // let Xen emulate the TSC; by default it is native, since emulation costs 40 µs a read here
	Extra     []string // more lines
	Paused    bool     // leave it paused
}

// A Domain is a guest that a test started.
type Domain struct {
	ID      int
	Name    string
	Console *Console

	host   *Host
	cancel context.CancelFunc
	ended  chan struct{}
}

// StockGuest is the configuration of a small stock Linux guest of the given type that runs script and powers off.
func (h *Host) StockGuest(ctx context.Context, name, kind, script string) (DomainConfig, error) {
	dir, err := Build(ctx, os.Stderr)
	if err != nil {
		return DomainConfig{}, err
	}
	return DomainConfig{
		Name: name, Type: kind, MemoryMiB: 256, Kernel: filepath.Join(dir, fileKernel), Ramdisk: filepath.Join(dir, fileGuest),
		Cmdline: "console=hvc0 quiet run=" + base64.StdEncoding.EncodeToString([]byte(script)),
	}, nil
}

// put makes a file reachable in dom0 and returns its name there.
func (h *Host) put(file string) (string, error) {
	abs, err := filepath.Abs(file)
	if err != nil {
		return "", err
	}
	if rel, err := filepath.Rel(h.Share, abs); err == nil && !strings.HasPrefix(rel, "..") {
		return "/share/" + filepath.ToSlash(rel), nil
	}
	b, err := os.ReadFile(abs)
	if err != nil {
		return "", err
	}
	name := filepath.Base(abs)
	return "/share/" + name, os.WriteFile(filepath.Join(h.Share, name), b, 0o755)
}

// StartDomain starts a guest with its console attached: nothing that it writes is lost.
func (h *Host) StartDomain(ctx context.Context, c DomainConfig) (*Domain, error) {
	kernel, err := h.put(c.Kernel)
	if err != nil {
		return nil, err
	}
	or := func(s, def string) string {
		if s == "" {
			return def
		}
		return s
	}
	memory := c.MemoryMiB
	if memory == 0 {
		memory = 64
	}
	var cfg strings.Builder
	fmt.Fprintf(&cfg, "name=%q\ntype=%q\nkernel=%q\nmemory=%d\nvcpus=1\non_crash=%q\non_reboot=%q\non_poweroff=\"destroy\"\n",
		c.Name, or(c.Type, "pvh"), kernel, memory, or(c.OnCrash, "destroy"), or(c.OnReboot, "destroy"))
	if c.Ramdisk != "" {
		r, err := h.put(c.Ramdisk)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(&cfg, "ramdisk=%q\n", r)
	}
	if c.Cmdline != "" {
		fmt.Fprintf(&cfg, "cmdline=%q\n", c.Cmdline)
	}
	if !c.EmulTSC && or(c.Type, "pvh") == "pvh" {
		cfg.WriteString("tsc_mode=\"native\"\n")
	}
	if len(c.Disks) > 0 {
		fmt.Fprintf(&cfg, "disk=[%s]\n", quoteList(c.Disks))
	}
	for _, l := range c.Extra {
		fmt.Fprintln(&cfg, l)
	}
	file := filepath.Join(h.Share, c.Name+".cfg")
	if err := os.WriteFile(file, []byte(cfg.String()), 0o644); err != nil {
		return nil, err
	}
	if _, err := h.Output(ctx, "rm", "-f", consoleLogs+"/guest-"+c.Name+".log", "/var/log/xen/xl-"+c.Name+".log"); err != nil {
		return nil, err
	}
	if _, err := h.Output(ctx, "xl", "create", "-q", "-p", "/share/"+c.Name+".cfg"); err != nil {
		return nil, fmt.Errorf("start domain %s: %w\n%s", c.Name, err, cfg.String())
	}
	id, err := h.Output(ctx, "xl", "domid", c.Name)
	if err != nil {
		return nil, err
	}
	d := &Domain{Name: c.Name, host: h, Console: newConsole(), ended: make(chan struct{})}
	if d.ID, err = strconv.Atoi(strings.TrimSpace(id)); err != nil {
		return nil, fmt.Errorf("xl domid %s: %q", c.Name, id)
	}
	run, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	go func() {
		defer close(d.ended)
		h.Command(run, d.Console.in, d.Console, d.Console, "xl", "console", "-t", "pv", fmt.Sprint(d.ID))
		d.Console.close()
	}()
	if !c.Paused {
		if err := d.Unpause(ctx); err != nil {
			return nil, err
		}
	}
	return d, nil
}

func quoteList(l []string) string {
	q := make([]string, len(l))
	for i, s := range l {
		q[i] = strconv.Quote(s)
	}
	return strings.Join(q, ",")
}

func (d *Domain) xl(ctx context.Context, args ...string) error {
	_, err := d.host.Output(ctx, append([]string{"xl"}, args...)...)
	return err
}

// Unpause, Pause, Destroy, Shutdown, Reboot, Save do what xl's command of that name does.
func (d *Domain) Unpause(ctx context.Context) error { return d.xl(ctx, "unpause", fmt.Sprint(d.ID)) }

// Pause stops the domain's CPUs.
func (d *Domain) Pause(ctx context.Context) error { return d.xl(ctx, "pause", fmt.Sprint(d.ID)) }

// Destroy ends the domain at once.
func (d *Domain) Destroy(ctx context.Context) error {
	defer d.cancel()
	return d.xl(ctx, "destroy", fmt.Sprint(d.ID))
}

// Shutdown asks the domain to power off and waits until it has.
func (d *Domain) Shutdown(ctx context.Context) error {
	return d.xl(ctx, "shutdown", "-w", fmt.Sprint(d.ID))
}

// Reboot asks the domain to reboot.
func (d *Domain) Reboot(ctx context.Context) error { return d.xl(ctx, "reboot", fmt.Sprint(d.ID)) }

// Wait waits for the domain's end and returns its reason: poweroff, reboot, suspend, crash, or unknown if xl's log does
// not say.
func (d *Domain) Wait(ctx context.Context) (string, error) {
	reasons := map[string]string{"0": "poweroff", "1": "reboot", "2": "suspend", "3": "crash", "4": "watchdog", "5": "soft reset"}
	re := regexp.MustCompile(fmt.Sprintf(`Domain %d has shut down, reason code (\d+)`, d.ID))
	for {
		log, err := d.host.Output(ctx, "sh", "-c", "cat /var/log/xen/xl-"+d.Name+".log* 2>/dev/null")
		if err != nil && ctx.Err() != nil {
			return "", fmt.Errorf("domain %s did not end: %w; its console:\n%s", d.Name, ctx.Err(), d.Console)
		}
		if m := re.FindStringSubmatch(log); m != nil {
			// The console's end follows when the domain is destroyed.
			select {
			case <-d.ended:
			case <-time.After(5 * time.Second):
				d.cancel()
			case <-ctx.Done():
			}
			return reasons[m[1]], d.lastWords(ctx)
		}
		select {
		case <-time.After(200 * time.Millisecond):
		case <-ctx.Done():
			return "", fmt.Errorf("domain %s did not end: %w; its console:\n%s", d.Name, ctx.Err(), d.Console)
		}
	}
}

// consoleLogs is where xenconsoled of the test bed logs what guests write.
const consoleLogs = "/var/log/xen/console"

// lastWords completes the console from xenconsoled's log: the terminal of a domain that ends may close before it was
// read.
func (d *Domain) lastWords(ctx context.Context) error {
	log, err := d.host.Output(ctx, "cat", consoleLogs+"/guest-"+d.Name+".log")
	if err != nil {
		return err
	}
	d.Console.mu.Lock()
	defer d.Console.mu.Unlock()
	d.Console.b = []byte(strings.ReplaceAll(log, "\r", ""))
	return nil
}

// A Console is what a domain wrote so far, and its keyboard.
type Console struct {
	mu     sync.Mutex
	b      []byte
	change chan struct{}
	closed bool
	in     *pipe
}

func newConsole() *Console { return &Console{change: make(chan struct{}), in: newPipe()} }

// Write takes the domain's output.
func (c *Console) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.b = append(c.b, bytes.ReplaceAll(p, []byte("\r"), nil)...)
	close(c.change)
	c.change = make(chan struct{})
	return len(p), nil
}

func (c *Console) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	close(c.change)
	c.change = make(chan struct{})
}

// String is all that the domain wrote.
func (c *Console) String() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return string(c.b)
}

// Type sends s to the domain.
func (c *Console) Type(s string) { c.in.write([]byte(s)) }

// WaitFor waits until what the domain wrote matches re, and returns the match and its groups.
func (c *Console) WaitFor(ctx context.Context, re string) ([]string, error) {
	r, err := regexp.Compile(re)
	if err != nil {
		return nil, err
	}
	for {
		c.mu.Lock()
		m := r.FindSubmatch(c.b)
		change, closed := c.change, c.closed
		c.mu.Unlock()
		if m != nil {
			s := make([]string, len(m))
			for i := range m {
				s[i] = string(m[i])
			}
			return s, nil
		}
		if closed {
			return nil, fmt.Errorf("the console ended without %q:\n%s", re, c)
		}
		select {
		case <-change:
		case <-ctx.Done():
			return nil, fmt.Errorf("%q did not come: %w; the console:\n%s", re, ctx.Err(), c)
		}
	}
}

// pipe is an unbounded pipe, so that typing never blocks.
type pipe struct {
	mu   sync.Mutex
	cond *sync.Cond
	b    []byte
}

func newPipe() *pipe {
	p := &pipe{}
	p.cond = sync.NewCond(&p.mu)
	return p
}

func (p *pipe) write(b []byte) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.b = append(p.b, b...)
	p.cond.Signal()
}

func (p *pipe) Read(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.b) == 0 {
		p.cond.Wait()
	}
	n := copy(b, p.b)
	p.b = p.b[n:]
	return n, nil
}
