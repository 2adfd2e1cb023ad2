package testbed

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"morgana/tests/qemu"
)

// A state is a machine that sleeps: all of its memory, as it was when dom0 had booted and had not yet written anything
// (scripts/dom0-init.sh). A host that goes on from it is there in some seconds instead of thirty. QEMU's form of a
// machine that migrates.
type state struct{ dir string }

const (
	fileState   = "state"
	fileChecked = "checked" // the clock of a host from it was right
)

// sleeping finds the state of a machine with the arguments, or makes it: by a boot that ends there. It is nil where a
// machine boots faster or is too odd to be kept.
func sleeping(ctx context.Context, dir string, args []string, o Options) (*state, error) {
	if o.Linux || o.odd() || qemu.Accelerator() == "kvm" {
		return nil, nil
	}
	key, err := stateKey(args, o)
	if err != nil {
		return nil, err
	}
	s := &state{filepath.Join(dir, "asleep-"+key)}
	unlock, err := lock(s.dir+".lock", o.Progress)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if _, err := os.Stat(s.dir); !errors.Is(err, fs.ErrNotExist) {
		return s, err
	}
	fmt.Fprintln(o.Progress, "testbed: booting a host once, for its like to go on from there")
	tmp, err := os.MkdirTemp(dir, "falling-asleep-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp)
	if err := fallAsleep(ctx, s.boots(args), tmp); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrHost, err)
	}
	return s, os.Rename(tmp, s.dir)
}

// odd reports whether the options want a machine that nobody else wants.
func (o *Options) odd() bool {
	var d Options
	d.fill()
	return o.MemoryMiB != d.MemoryMiB || o.Dom0MemoryMiB != d.Dom0MemoryMiB || o.CPUs != d.CPUs || o.Dom0CPUs != d.Dom0CPUs || o.XenArgs != ""
}

// stateKey tells machines apart whose states do: by all that QEMU is told but for names, by the sizes of its disks, and by
// QEMU itself. What dom0 is made of is in the directory's name.
func stateKey(args []string, o Options) (string, error) {
	h := sha256.New()
	version, err := exec.Command("qemu-system-x86_64", "--version").Output()
	if err != nil {
		return "", fmt.Errorf("qemu-system-x86_64 --version: %w", err)
	}
	h.Write(version)
	for i, a := range args {
		if i > 0 && args[i-1] == "-virtfs" || strings.HasPrefix(a, "file=") {
			_, a, _ = strings.Cut(a, ",")
			if i > 0 && args[i-1] == "-virtfs" {
				a = "virtfs"
			}
		}
		fmt.Fprintf(h, "%s\x00", a)
	}
	for _, d := range o.Disks {
		info, err := os.Stat(d)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(h, "%d\x00", info.Size())
	}
	return hex.EncodeToString(h.Sum(nil))[:12], nil
}

// boots are the arguments of the machine that falls asleep, but for its ports.
func (s *state) boots(args []string) []string {
	args = slices.Clone(args)
	for i, a := range args {
		args[i] = strings.Replace(a, " console=hvc0 quiet,", " console=hvc0 quiet bed=asleep,", 1)
	}
	return args
}

// args are the arguments of one that wakes.
func (s *state) args(args []string) []string {
	return append(s.boots(args), "-incoming", "exec:cat "+filepath.Join(s.dir, fileState))
}

// wake types what a sleeping dom0 waits for at its console, again and again: what comes before the machine has its state
// is lost with the state that it had.
func wake(terminal io.Writer, up <-chan struct{}) {
	for tick := time.NewTicker(100 * time.Millisecond); ; {
		now := time.Now()
		if _, err := fmt.Fprintf(terminal, "wake %d.%09d %s\n", now.Unix(), now.Nanosecond(), rand.Text()); err != nil {
			return
		}
		select {
		case <-tick.C:
		case <-up:
			return
		}
	}
}

// checked reports whether the clock was found right already.
func (s *state) checked() bool {
	if s == nil {
		return false
	}
	_, err := os.Stat(filepath.Join(s.dir, fileChecked))
	return err == nil
}

// check notes that the clock is right.
func (s *state) check() error {
	if s == nil {
		return nil
	}
	return os.WriteFile(filepath.Join(s.dir, fileChecked), nil, 0o644)
}

// forget removes a state that is no good.
func (s *state) forget() error {
	if s == nil {
		return nil
	}
	return os.RemoveAll(s.dir)
}

// fallAsleep boots a machine until its dom0 sleeps, and keeps its state in a directory.
func fallAsleep(ctx context.Context, args []string, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute)
	defer cancel()
	monitor := filepath.Join(dir, "monitor")
	serial := &tail{}
	c := exec.CommandContext(ctx, "qemu-system-x86_64", append(slices.Clone(args),
		"-chardev", "null,id=agent", "-device", "virtio-serial-pci", "-device", "virtserialport,chardev=agent,name=agent",
		"-serial", "stdio", "-qmp", "unix:"+monitor+",server=on,wait=off")...)
	c.Stdout, c.Stderr = serial, serial
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := c.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { c.Wait(); close(ended) }()
	defer func() { cancel(); <-ended }()
	for tick := time.NewTicker(50 * time.Millisecond); !strings.Contains(serial.String(), "BED: asleep"); {
		select {
		case <-tick.C:
		case <-ended:
			return fmt.Errorf("dom0 did not come up:\n%s", serial)
		}
	}
	q, err := dialMonitor(ctx, monitor)
	if err != nil {
		return err
	}
	defer q.Close()
	file := filepath.Join(dir, fileState)
	for _, command := range []string{ // it is not stopped before: it would wake as stopped
		`{"execute": "qmp_capabilities"}`,
		`{"execute": "migrate-set-parameters", "arguments": {"max-bandwidth": 17179869184}}`,
		fmt.Sprintf(`{"execute": "migrate", "arguments": {"uri": %q}}`, "exec:cat >"+file),
	} {
		if _, err := q.do(command); err != nil {
			return err
		}
	}
	for {
		answer, err := q.do(`{"execute": "query-migrate"}`)
		if err != nil {
			return err
		}
		var is struct{ Status string }
		if err := json.Unmarshal(answer, &is); err != nil {
			return err
		}
		switch is.Status {
		case "completed":
			_, err := q.do(`{"execute": "quit"}`)
			os.Remove(monitor)
			return err
		case "failed", "cancelled":
			return fmt.Errorf("QEMU does not keep the machine's state: %s", answer)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// monitor is QEMU's (its documentation, interop/qmp-spec).
type monitor struct {
	net.Conn
	in *bufio.Scanner
}

func dialMonitor(ctx context.Context, socket string) (*monitor, error) {
	var d net.Dialer
	c, err := d.DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, err
	}
	if t, ok := ctx.Deadline(); ok {
		c.SetDeadline(t)
	}
	return &monitor{c, bufio.NewScanner(c)}, nil
}

// do has a command carried out and returns what it returned.
func (m *monitor) do(command string) (json.RawMessage, error) {
	if _, err := m.Write([]byte(command + "\n")); err != nil {
		return nil, err
	}
	for m.in.Scan() {
		var answer struct {
			Return json.RawMessage
			Error  *struct{ Desc string }
		}
		switch err := json.Unmarshal(m.in.Bytes(), &answer); {
		case err != nil:
			return nil, err
		case answer.Error != nil:
			return nil, fmt.Errorf("QEMU: %s: %s", command, answer.Error.Desc)
		case answer.Return != nil:
			return answer.Return, nil
		}
	}
	return nil, errors.Join(fmt.Errorf("QEMU ended at %s", command), m.in.Err())
}
