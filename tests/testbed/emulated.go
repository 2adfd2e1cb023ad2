package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"morgana/tests/qemu"
	"morgana/tests/testbed/internal/wire"
)

// emulated is a host in QEMU. Its dom0 runs an agent that takes commands over a virtio serial port.
type emulated struct {
	qemu   *exec.Cmd
	serial *tail
	conn   net.Conn
	done   chan struct{} // closed when QEMU has ended

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

// shareDir is the share's name in the emulated dom0 (scripts/dom0-init.sh).
const shareDir = "/share"

// Files in the share that the emulated dom0's init looks for.
const (
	bedDir         = ".bed"
	bedEnvironment = "environment"
	bedAgent       = "agent"
	bedPort        = "port"
)

// boot boots a host in QEMU.
func (h *Host) boot(ctx context.Context, o Options) error {
	dir, err := Build(ctx, o.Progress)
	if err != nil {
		return err
	}
	m := &emulated{calls: map[int]*call{}, serial: &tail{}, done: make(chan struct{})}
	h.Dir, h.machine, h.consoles = shareDir, m, "/var/log/xen/console"
	if h.stock == "" {
		h.stock = dir
	}
	bed := filepath.Join(h.Share, bedDir)
	if err := os.MkdirAll(bed, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bed, bedEnvironment), []byte(environment(o)), 0o644); err != nil {
		return err
	}
	agent, err := os.ReadFile(agentFile(dir))
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(bed, bedAgent), agent, 0o755); err != nil {
		return err
	}
	args := qemuArgs(dir, h.Share, o)
	state, err := sleeping(ctx, dir, args, o)
	if err != nil {
		return err
	}
	start := time.Now()
	if state != nil {
		args = state.args(args)
	}
	if err := m.start(ctx, filepath.Join(bed, bedPort), args, state != nil); err != nil {
		return errors.Join(err, state.forget())
	}
	h.BootTime = time.Since(start)
	if o.Linux || state.checked() {
		return nil
	}
	if err := h.checkClock(ctx); err != nil {
		return errors.Join(err, state.forget())
	}
	return state.check()
}

// environment is what dom0's init sources before it starts the tool stack.
//
// Xen extrapolates each CPU's time from that CPU's TSC, by a scale that it measures again and again. On a busy machine
// the emulator stops in the midst, the scales are wrong, and the CPUs' times drift apart by up to a minute. A virtual
// CPU that moves to the CPU which is behind sees its clock stand still until that has caught up: no timer fires. So none
// moves: dom0 is pinned (pinned), guests have the CPUs that are left, by default one.
func environment(o Options) string {
	env := "BED_XENSTORED=" + o.Xenstored + "\n"
	if pinned(o) {
		env += fmt.Sprintf("echo 'vm.cpumask=\"%d-%d\"' >>/etc/xen/xl.conf\n", o.Dom0CPUs, o.CPUs-1)
	}
	return env
}

// pinned reports whether dom0 has CPUs of its own.
func pinned(o Options) bool { return o.CPUs > o.Dom0CPUs }

// start starts QEMU, wakes a machine that sleeps, and waits for the agent.
func (m *emulated) start(ctx context.Context, socket string, args []string, asleep bool) error {
	os.Remove(socket)
	l, err := net.Listen("unix", socket)
	if err != nil {
		close(m.done)
		return err
	}
	defer l.Close()
	m.qemu = exec.Command("qemu-system-x86_64", append(args,
		"-chardev", "socket,id=agent,path="+socket, "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent",
		"-serial", "stdio")...)
	m.qemu.Stdout, m.qemu.Stderr = m.serial, m.serial
	m.qemu.SysProcAttr = &syscall.SysProcAttr{
		Setpgid:   true,            // Ctrl-C is for us, who then power it off
		Pdeathsig: syscall.SIGKILL, // no host outlives a test that is killed
	}
	terminal, err := m.qemu.StdinPipe()
	if err == nil {
		err = m.qemu.Start()
	}
	if err != nil {
		close(m.done)
		return err
	}
	go func() {
		m.qemu.Wait()
		close(m.done)
		l.Close()
	}()
	if m.conn, err = l.Accept(); err != nil {
		return fmt.Errorf("%w: QEMU ended:\n%s", ErrHost, m.serial)
	}
	m.enc = json.NewEncoder(m.conn)
	ready := make(chan int, 1)
	up := make(chan struct{})
	defer close(up)
	if asleep {
		go wake(terminal, up)
	}
	m.calls[0] = &call{done: ready}
	go m.read()
	select {
	case _, ok := <-ready:
		if ok {
			return nil
		}
		<-m.done
	case <-m.done:
	case <-time.After(3 * time.Minute):
		return fmt.Errorf("%w: dom0 did not come up:\n%s", ErrHost, m.serial)
	case <-ctx.Done():
		return ctx.Err()
	}
	return fmt.Errorf("%w: QEMU ended:\n%s", ErrHost, m.serial)
}

// qemuArgs is the machine: an AMD CPU with SVM and nested paging, by KVM only where the CPU says that it can nest.
func qemuArgs(dir, share string, o Options) []string {
	accel, cpu := "tcg,thread=multi", "qemu64,+svm,+npt"
	if qemu.Accelerator() == "kvm" {
		accel, cpu = "kvm", "host"
	}
	xenArgs := o.XenArgs
	if pinned(o) {
		xenArgs += " dom0_vcpus_pin"
	}
	in := func(f string) string { return filepath.Join(dir, f) }
	args := []string{
		"-machine", "q35", "-accel", accel, "-cpu", cpu, "-smp", fmt.Sprint(o.CPUs), "-m", fmt.Sprintf("%dM", o.MemoryMiB),
		"-display", "none", "-no-reboot", "-monitor", "none", "-net", "none",
	}
	if o.Linux {
		args = append(args, "-kernel", in(fileKernel), "-append", "console=ttyS0 quiet panic=-1", "-initrd", in(fileInitrd))
	} else {
		args = append(args,
			"-kernel", in(fileXen), "-append", fmt.Sprintf("console=com1 com1=115200,8n1 dom0_mem=%dM,max:%dM dom0_max_vcpus=%d loglvl=warning guest_loglvl=all %s", o.Dom0MemoryMiB, o.Dom0MemoryMiB, o.Dom0CPUs, xenArgs),
			"-initrd", in(fileELF)+" console=hvc0 quiet,"+in(fileInitrd))
	}
	args = append(args,
		"-drive", "file="+in(fileDom0)+",if=virtio,format=raw,snapshot=on",
		"-virtfs", "local,path="+share+",mount_tag=share,security_model=none")
	for _, d := range o.Disks {
		args = append(args, "-drive", "file="+d+",if=virtio,format=raw,cache=unsafe") // the emulator outlives what is tested
	}
	return args
}

// read takes the agent's replies.
func (m *emulated) read() {
	dec := json.NewDecoder(m.conn)
	for {
		var r wire.Reply
		if err := dec.Decode(&r); err != nil {
			m.mu.Lock()
			m.err = fmt.Errorf("%w: %v", ErrHost, err)
			for id, c := range m.calls {
				delete(m.calls, id)
				close(c.done)
			}
			m.mu.Unlock()
			return
		}
		m.mu.Lock()
		c := m.calls[r.ID]
		if r.Done {
			delete(m.calls, r.ID)
		}
		m.mu.Unlock()
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

func (m *emulated) send(r wire.Request) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return m.err
	}
	return m.enc.Encode(r)
}

func (m *emulated) command(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args ...string) (int, error) {
	if stdout == nil {
		stdout = io.Discard
	}
	if stderr == nil {
		stderr = io.Discard
	}
	m.mu.Lock()
	if m.err != nil {
		m.mu.Unlock()
		return 0, m.err
	}
	m.nextID++
	id := m.nextID
	c := &call{stdout: stdout, stderr: stderr, done: make(chan int, 1)}
	m.calls[id] = c
	m.mu.Unlock()
	if err := m.send(wire.Request{ID: id, Args: args, Open: stdin != nil}); err != nil {
		return 0, err
	}
	if stdin != nil {
		go func() {
			b := make([]byte, 4096)
			for {
				n, err := stdin.Read(b)
				if n > 0 && m.send(wire.Request{ID: id, Stdin: b[:n]}) != nil {
					return
				}
				if err != nil {
					m.send(wire.Request{ID: id, Close: true})
					return
				}
			}
		}()
	}
	select {
	case code, ok := <-c.done:
		if !ok {
			return 0, fmt.Errorf("%w\n%s", ErrHost, m.serial)
		}
		return code, nil
	case <-ctx.Done():
		m.send(wire.Request{ID: id, Kill: true})
		return 0, ctx.Err()
	}
}

func (m *emulated) logs() string { return m.serial.String() }

// close powers the host off.
func (m *emulated) close() error {
	if m.conn != nil {
		m.send(wire.Request{Quit: true})
		select {
		case <-m.done:
		case <-time.After(15 * time.Second):
		}
		m.conn.Close()
	}
	if m.qemu != nil && m.qemu.Process != nil {
		m.qemu.Process.Kill()
		<-m.done
	}
	return nil
}

// Shell boots a host and connects the caller's terminal to a shell in dom0. It returns when the shell ends. Ctrl-C goes
// to what runs in the shell.
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
	bed := filepath.Join(share, bedDir)
	if err := os.MkdirAll(bed, 0o755); err != nil {
		return err
	}
	os.Remove(filepath.Join(bed, bedAgent))
	env := environment(o)
	if ws, err := unix.IoctlGetWinsize(int(os.Stdin.Fd()), unix.TIOCGWINSZ); err == nil && ws.Row > 0 {
		env += fmt.Sprintf("BED_STTY='rows %d cols %d'\nBED_TERM='xterm'\n", ws.Row, ws.Col)
	}
	if err := os.WriteFile(filepath.Join(bed, bedEnvironment), []byte(env), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(o.Progress, "xenhost: booting; %s here is %s there; exit leaves and powers off\n", share, shareDir)
	c := exec.CommandContext(ctx, "qemu-system-x86_64", append(qemuArgs(dir, share, o),
		"-chardev", "stdio,id=terminal,signal=off", "-serial", "chardev:terminal")...)
	c.Stdin, c.Stdout, c.Stderr = os.Stdin, os.Stdout, os.Stderr
	return c.Run()
}
