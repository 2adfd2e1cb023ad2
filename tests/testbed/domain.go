package testbed

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DomainConfig says what to start. Kernel and Ramdisk are files here; those outside of the share are copied into it.
type DomainConfig struct {
	Name      string
	Kernel    string
	InDom0    string // a kernel that is a file of dom0's, in place of Kernel
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
	// XLConsole has xl console read what it writes, which goes on when another console daemon takes over. It stays for
	// 5 s after the domain's end, so that a program that reads the terminal itself is the default.
	XLConsole bool

	Output io.Writer // gets what the domain writes to its console, as it comes
}

// A Domain is a guest that was started.
type Domain struct {
	ID      int
	Name    string // on an own host with something added to the wanted name, so that it is unique
	Console *Console
	// Created is how long xl took to create it.
	Created time.Duration

	host   *Host
	cancel context.CancelFunc
	ended  chan struct{} // closed when the console's terminal is
	kept   bool          // it stays after its end until Wait has read the console
}

// ShareStock puts the stock guest's files into the share, for a program in dom0 that starts one: Options.Stock there is
// Dir here.
func (h *Host) ShareStock() error {
	c, err := h.StockGuest(context.Background(), "stock", "pvh", "")
	if err != nil {
		return err
	}
	for _, f := range []string{c.Kernel, c.Ramdisk} {
		if _, err := h.put(f); err != nil {
			return err
		}
	}
	return nil
}

// Files is what a stock guest gets into its file system beside what is there: names, without the leading slash, and
// content. All are executable.
type Files map[string][]byte

// StockGuest is the configuration of a small stock Linux guest of the given type (pvh or pv) that runs a script and
// powers off.
func (h *Host) StockGuest(ctx context.Context, name, kind, script string, more ...Files) (DomainConfig, error) {
	dir := h.stock
	if dir == "" {
		var err error
		if dir, err = Build(ctx, h.progress); err != nil {
			return DomainConfig{}, err
		}
	}
	c := DomainConfig{
		Name: name, Type: kind, MemoryMiB: 256, Kernel: filepath.Join(dir, fileKernel), Ramdisk: filepath.Join(dir, fileGuest),
		Cmdline: "console=hvc0 quiet run=" + base64.StdEncoding.EncodeToString([]byte(script)),
	}
	if !h.Own {
		c.InDom0 = unpackedKernel
		// What no guest here needs takes the emulator two seconds: Linux's tests of its ciphers, and a look for PCI.
		c.Cmdline += " cryptomgr.notests pci=off"
	}
	if len(more) == 0 {
		return c, nil
	}
	ramdisk, err := os.ReadFile(c.Ramdisk)
	if err != nil {
		return DomainConfig{}, err
	}
	for _, files := range more {
		var r initramfs
		for _, name := range slices.Sorted(maps.Keys(files)) {
			r.file(name, files[name])
		}
		ramdisk = r.appendTo(ramdisk)
	}
	c.Ramdisk = filepath.Join(h.Share, name+"-"+fileGuest)
	return c, os.WriteFile(c.Ramdisk, ramdisk, 0o644)
}

// RootGuest is StockGuest with a Debian as its root file system: what PutRoot gives, on the disk that the guest has as
// xvda. The script is bash's, and init remounts the disk read-only before the power goes.
func (h *Host) RootGuest(ctx context.Context, name, kind, script string) (DomainConfig, error) {
	c, err := h.StockGuest(ctx, name, kind, script)
	c.Cmdline = "root=/dev/xvda " + c.Cmdline
	return c, err
}

// StartDomain starts a guest with its console attached: nothing that it writes is lost.
func (h *Host) StartDomain(ctx context.Context, c DomainConfig) (*Domain, error) {
	kernel := c.InDom0
	if kernel == "" {
		var err error
		if kernel, err = h.put(c.Kernel); err != nil {
			return nil, err
		}
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
	// Without a log of what the domain writes its last words are lost, unless it stays until its console was read.
	name, end, kept := c.Name+h.suffix, "destroy", false
	if h.consoles == "" {
		end, kept = "preserve", true
	}
	var cfg strings.Builder
	fmt.Fprintf(&cfg, "name=%q\ntype=%q\nkernel=%q\nmemory=%d\nvcpus=1\non_crash=%q\non_reboot=%q\non_poweroff=%q\n",
		name, or(c.Type, "pvh"), kernel, memory, or(c.OnCrash, end), or(c.OnReboot, end), end)
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
	if err := os.WriteFile(filepath.Join(h.Share, name+".cfg"), []byte(cfg.String()), 0o644); err != nil {
		return nil, err
	}
	if err := h.forget(ctx, name); err != nil {
		return nil, err
	}
	h.starts(name)
	start := time.Now()
	if _, err := h.Output(ctx, "xl", "create", "-q", "-p", h.Path(name+".cfg")); err != nil {
		return nil, fmt.Errorf("start domain %s: %w\n%s", name, err, cfg.String())
	}
	created := time.Since(start)
	d, err := h.attach(ctx, name, c.Output, c.XLConsole)
	if err != nil {
		return nil, err
	}
	d.Created = created
	d.kept = kept
	if !c.Paused {
		if err := d.Unpause(ctx); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// starts notes that a domain of ours begins.
func (h *Host) starts(name string) {
	if h.Own {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.started = append(h.started, name)
	}
}

// xlLog is what xl's process that watches over a domain logs.
func xlLog(name string) string { return "/var/log/xen/xl-" + name + ".log" }

// forget removes the logs of a domain.
func (h *Host) forget(ctx context.Context, name string) error {
	rm := []string{"rm", "-f", xlLog(name)}
	if h.consoles != "" {
		rm = append(rm, h.consoleLog(name))
	}
	_, err := h.Output(ctx, rm...)
	return err
}

// consoleLog is where xenconsoled logs what a domain writes.
func (h *Host) consoleLog(name string) string { return h.consoles + "/guest-" + name + ".log" }

// RestoreDomain starts the domain that `xl save` wrote to a file of dom0's.
func (h *Host) RestoreDomain(ctx context.Context, name, file string) (*Domain, error) {
	if _, err := h.Output(ctx, "xl", "restore", "-p", file); err != nil {
		return nil, err
	}
	d, err := h.attach(ctx, name, nil, false)
	if err != nil {
		return nil, err
	}
	return d, d.Unpause(ctx)
}

// attach connects to the console of a paused domain.
func (h *Host) attach(ctx context.Context, name string, tee io.Writer, xlConsole bool) (*Domain, error) {
	id, err := h.Output(ctx, "xl", "domid", name)
	if err != nil {
		return nil, err
	}
	d := &Domain{Name: name, host: h, Console: newConsole(tee), ended: make(chan struct{})}
	if d.ID, err = strconv.Atoi(strings.TrimSpace(id)); err != nil {
		return nil, fmt.Errorf("xl domid %s: %q", name, id)
	}
	// xenconsoled makes the terminal in its own time; xl does not wait for long.
	tty := fmt.Sprintf("/local/domain/%d/console/tty", d.ID)
	wait := "until [ -n \"$(xenstore-read " + tty + " 2>/dev/null)\" ]; do sleep 0.05; done"
	if _, err := h.Output(ctx, "sh", "-c", wait); err != nil {
		return nil, fmt.Errorf("wait for the console of domain %s: %w", name, err)
	}
	run, cancel := context.WithCancel(context.Background())
	d.cancel = cancel
	read := []string{"sh", "-c", "exec cat \"$(xenstore-read " + tty + ")\""}
	if xlConsole {
		read = []string{"xl", "console", "-t", "pv", fmt.Sprint(d.ID)}
	}
	// xl reads what is typed from a terminal only.
	d.Console.feed = func(r io.Reader) {
		h.Command(run, r, nil, nil, "sh", "-c", "exec cat >\"$(xenstore-read "+tty+")\"")
	}
	go func() {
		defer close(d.ended)
		h.Command(run, nil, d.Console, &d.Console.errors, read...)
		// A domain can be gone before its terminal was opened.
		if run.Err() == nil {
			d.lastWords(run)
		}
		d.Console.close()
	}()
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
		log, err := d.host.Output(ctx, "sh", "-c", "cat "+xlLog(d.Name)+"* 2>/dev/null")
		if err != nil && ctx.Err() != nil {
			return "", fmt.Errorf("domain %s did not end: %w; its console:\n%s", d.Name, ctx.Err(), d.Console)
		}
		if m := re.FindStringSubmatch(log); m != nil {
			if d.kept {
				d.Console.settle(ctx, 300*time.Millisecond)
				return reasons[m[1]], d.Destroy(ctx)
			}
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

// EmulatorFault reports whether it was the emulator that ended the domain, with reason reboot: QEMU's SVM, now and then
// under load, enters a guest with the registers of Xen, and the triple fault that follows is not the guest's. Xen's dump
// tells: the guest's code segment is Xen's own (e008), which no guest can load.
func (d *Domain) EmulatorFault(ctx context.Context) bool {
	log, err := d.host.Output(ctx, "xl", "dmesg")
	return err == nil && emulatorFault(log, d.ID)
}

func emulatorFault(log string, id int) bool {
	_, after, found := strings.Cut(log, fmt.Sprintf("d%dv0 Triple fault", id))
	dump, _, _ := strings.Cut(after, "Triple fault") // another domain's
	return found && strings.Contains(dump, "cs: e008")
}

// lastWords completes the console from xenconsoled's log: the terminal of a domain that ends may close before it was
// read.
func (d *Domain) lastWords(ctx context.Context) error {
	if d.host.consoles == "" {
		return nil
	}
	log, err := d.host.Output(ctx, "cat", d.host.consoleLog(d.Name))
	if err != nil {
		return err
	}
	d.Console.complete(log)
	return nil
}
