package testbed

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"morgana/tests/testbed/internal/wire"
)

// Options of a host. The zero value is a host with 3 GiB, 1 GiB and one CPU of it for dom0, and C xenstored.
type Options struct {
	MemoryMiB     int       // of the machine
	Dom0MemoryMiB int       // of dom0
	CPUs          int       // of the machine; 2 by default
	Dom0CPUs      int       // of dom0; 1 by default
	XenArgs       string    // more of Xen's command line
	Xenstored     string    // a program in dom0, or "none"; xenstored by default
	Share         string    // directory to share; a temporary one by default
	Progress      io.Writer // words about building; os.Stderr by default
}

// A Host is a running Xen host. Its methods may be called concurrently.
type Host struct {
	// Share is the directory here that dom0 has as /share.
	Share string

	temporary bool
	qemu      *exec.Cmd
	serial    *tail
	conn      net.Conn
	done      chan struct{} // closed when QEMU has ended

	mu     sync.Mutex
	enc    *json.Encoder
	nextID int
	calls  map[int]*call
	err    error
}

type call struct {
	stdout, stderr io.Writer
	done           chan int
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
	if o.Progress == nil {
		o.Progress = os.Stderr
	}
}

// Start boots a host and waits until its tool stack is up.
func Start(ctx context.Context, o Options) (*Host, error) {
	o.fill()
	dir, err := Build(ctx, o.Progress)
	if err != nil {
		return nil, err
	}
	for try := 1; ; try++ {
		h, err := start(ctx, dir, o)
		if err == nil || !errors.Is(err, errClock) || try == 5 {
			return h, err
		}
		fmt.Fprintf(o.Progress, "testbed: %v; booting again\n", err)
	}
}

func start(ctx context.Context, dir string, o Options) (*Host, error) {
	var err error
	h := &Host{Share: o.Share, calls: map[int]*call{}, serial: &tail{}, done: make(chan struct{})}
	if h.Share == "" {
		if h.Share, err = os.MkdirTemp("", "morgana-share"); err != nil {
			return nil, err
		}
		h.temporary = true
	}
	if err = h.boot(ctx, dir, o); err == nil {
		err = h.checkClock(ctx)
	}
	if err != nil {
		h.Close()
		return nil, err
	}
	return h, nil
}

func (h *Host) boot(ctx context.Context, dir string, o Options) error {
	bed := filepath.Join(h.Share, ".bed")
	if err := os.MkdirAll(bed, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bed, "environment"), []byte("BED_XENSTORED="+o.Xenstored+"\nmkdir -p "+consoleLogs+"\n"), 0o644); err != nil {
		return err
	}
	build := exec.CommandContext(ctx, "go", "build", "-o", filepath.Join(bed, "agent"), "morgana/tests/testbed/agent")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the agent: %w\n%s", err, out)
	}
	socket := filepath.Join(bed, "port")
	os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	defer l.Close()
	h.qemu = exec.Command("qemu-system-x86_64", qemuArgs(dir, h.Share, o,
		"-chardev", "socket,id=agent,path="+socket, "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent",
		"-serial", "stdio")...)
	h.qemu.Stdout, h.qemu.Stderr = h.serial, h.serial
	h.qemu.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // no host outlives a test that is killed
	if err := h.qemu.Start(); err != nil {
		return err
	}
	go func() {
		h.qemu.Wait()
		close(h.done)
		l.Close()
	}()
	if h.conn, err = l.Accept(); err != nil {
		return fmt.Errorf("%w: QEMU ended:\n%s", ErrHost, h.serial)
	}
	h.enc = json.NewEncoder(h.conn)
	ready := make(chan int, 1)
	h.calls[0] = &call{done: ready}
	go h.read()
	select {
	case <-ready:
		return nil
	case <-h.done:
		return fmt.Errorf("%w: QEMU ended:\n%s", ErrHost, h.serial)
	case <-time.After(3 * time.Minute):
		return fmt.Errorf("%w: dom0 did not come up:\n%s", ErrHost, h.serial)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// qemuArgs is the machine: an AMD CPU with SVM and nested paging, by KVM only where the CPU says that it can nest.
func qemuArgs(dir, share string, o Options, more ...string) []string {
	accel, cpu := "tcg,thread=multi", "qemu64,+svm,+npt"
	if info, err := os.ReadFile("/proc/cpuinfo"); err == nil && (bytes.Contains(info, []byte(" svm ")) || bytes.Contains(info, []byte(" vmx "))) {
		if f, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0); err == nil {
			f.Close()
			accel, cpu = "kvm", "host"
		}
	}
	in := func(f string) string { return filepath.Join(dir, f) }
	args := []string{
		"-machine", "q35", "-accel", accel, "-cpu", cpu, "-smp", fmt.Sprint(o.CPUs), "-m", fmt.Sprintf("%dM", o.MemoryMiB),
		"-display", "none", "-no-reboot", "-monitor", "none", "-net", "none",
		"-kernel", in(fileXen), "-append", fmt.Sprintf("console=com1 com1=115200,8n1 dom0_mem=%dM,max:%dM dom0_max_vcpus=%d loglvl=warning guest_loglvl=all %s", o.Dom0MemoryMiB, o.Dom0MemoryMiB, o.Dom0CPUs, o.XenArgs),
		"-initrd", in(fileKernel) + " console=hvc0 quiet," + in(fileInitrd),
		"-drive", "file=" + in(fileDom0) + ",if=virtio,format=raw,snapshot=on",
		"-virtfs", "local,path=" + share + ",mount_tag=share,security_model=none",
	}
	return append(args, more...)
}

// read takes the agent's replies.
func (h *Host) read() {
	dec := json.NewDecoder(h.conn)
	for {
		var r wire.Reply
		if err := dec.Decode(&r); err != nil {
			h.mu.Lock()
			h.err = fmt.Errorf("%w: %v", ErrHost, err)
			for id, c := range h.calls {
				delete(h.calls, id)
				close(c.done)
			}
			h.mu.Unlock()
			return
		}
		h.mu.Lock()
		c := h.calls[r.ID]
		if r.Done {
			delete(h.calls, r.ID)
		}
		h.mu.Unlock()
		if c == nil {
			continue
		}
		if len(r.Stdout) > 0 {
			c.stdout.Write(r.Stdout)
		}
		if len(r.Stderr) > 0 {
			c.stderr.Write(r.Stderr)
		}
		if r.Done {
			c.done <- r.Exit
		}
	}
}

func (h *Host) send(r wire.Request) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.err != nil {
		return h.err
	}
	return h.enc.Encode(r)
}

// Command runs a command in dom0 with its output going to the writers as it comes, and returns its exit status. When ctx
// ends the command and its children are killed.
func (h *Host) Command(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args ...string) (int, error) {
	h.mu.Lock()
	if h.err != nil {
		h.mu.Unlock()
		return 0, h.err
	}
	h.nextID++
	id := h.nextID
	c := &call{stdout: stdout, stderr: stderr, done: make(chan int, 1)}
	h.calls[id] = c
	h.mu.Unlock()
	if err := h.send(wire.Request{ID: id, Args: args, Open: stdin != nil}); err != nil {
		return 0, err
	}
	if stdin != nil {
		go func() {
			b := make([]byte, 4096)
			for {
				n, err := stdin.Read(b)
				if n > 0 {
					if h.send(wire.Request{ID: id, Stdin: b[:n]}) != nil {
						return
					}
				}
				if err != nil {
					h.send(wire.Request{ID: id, Close: true})
					return
				}
			}
		}()
	}
	select {
	case code, ok := <-c.done:
		if !ok {
			return 0, fmt.Errorf("%s: %w\n%s", strings.Join(args, " "), ErrHost, h.serial)
		}
		return code, nil
	case <-ctx.Done():
		h.send(wire.Request{ID: id, Kill: true})
		return 0, fmt.Errorf("%s: %w", strings.Join(args, " "), ctx.Err())
	}
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
	return out + "--- serial ---\n" + h.serial.String()
}

// Close powers the host off. Idempotent.
func (h *Host) Close() error {
	if h.conn != nil {
		h.send(wire.Request{Quit: true})
		select {
		case <-h.done:
		case <-time.After(15 * time.Second):
		}
		h.conn.Close()
	}
	if h.qemu != nil && h.qemu.Process != nil {
		h.qemu.Process.Kill()
		<-h.done
	}
	if h.temporary {
		return os.RemoveAll(h.Share)
	}
	return nil
}

// Shell boots a host and connects the caller's terminal to a shell in dom0. It returns when the shell ends.
func Shell(ctx context.Context, o Options) error {
	o.fill()
	dir, err := Build(ctx, o.Progress)
	if err != nil {
		return err
	}
	share := o.Share
	if share == "" {
		if share, err = os.MkdirTemp("", "morgana-share"); err != nil {
			return err
		}
		defer os.RemoveAll(share)
	}
	fmt.Fprintf(o.Progress, "xenhost: %s here is /share there; leave with poweroff -f\n", share)
	c := exec.CommandContext(ctx, "qemu-system-x86_64", qemuArgs(dir, share, o, "-serial", "stdio")...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	return c.Run()
}

// tail keeps the last of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const tailSize = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.b = append(t.b, p...); len(t.b) > tailSize {
		t.b = append(t.b[:0], t.b[len(t.b)-tailSize:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.b)
}
