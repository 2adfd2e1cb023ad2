package testbed

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// OwnHost reports whether this machine is the dom0 of a Xen host.
func OwnHost() bool {
	b, err := os.ReadFile("/proc/xen/capabilities")
	return err == nil && bytes.Contains(b, []byte("control_d"))
}

// own is the machine's own Xen: dom0 is here.
type own struct{ dir string }

// adopt makes h this machine's own host.
func (h *Host) adopt(ctx context.Context, o Options) (err error) {
	if h.Share, err = filepath.Abs(h.Share); err != nil {
		return err
	}
	h.Own, h.Dir, h.machine = true, h.Share, own{h.Share}
	h.suffix = "-" + strings.ToLower(rand.Text()[:8])
	if _, err := h.Output(ctx, "xl", "info"); err != nil {
		return fmt.Errorf("testbed: this machine runs on Xen, but its tool stack does not answer; root and Debian's xen-utils are needed: %w", err)
	}
	if !o.NoLogs {
		h.consoles, err = consoleLogs("/proc")
	}
	return err
}

// consoleLogs finds the directory in which xenconsoled logs what guests write; "" if it does not.
func consoleLogs(proc string) (string, error) {
	names, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "cmdline"))
	if err != nil {
		return "", err
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // the process has ended
		}
		if dir := logDir(strings.Split(strings.TrimRight(string(b), "\x00"), "\x00")); dir != "" {
			return dir, nil
		}
	}
	return "", nil
}

// logDir is where a command that is a xenconsoled logs guests; "" if it is none or does not (xenconsoled --help).
func logDir(args []string) string {
	if filepath.Base(args[0]) != "xenconsoled" {
		return ""
	}
	what, dir := "", "/var/log/xen/console"
	for i, a := range args {
		name, value, joined := strings.Cut(a, "=")
		if !joined && i+1 < len(args) {
			value = args[i+1]
		}
		switch name {
		case "--log":
			what = value
		case "--log-dir":
			dir = value
		}
	}
	if what == "guest" || what == "all" {
		return dir
	}
	return ""
}

func (m own) command(ctx context.Context, stdin io.Reader, stdout, stderr io.Writer, args ...string) (int, error) {
	// Programs of the tool stack are in directories that a user's PATH may not have.
	c := exec.CommandContext(ctx, "/usr/bin/env", args...)
	c.Env = append(os.Environ(), "PATH="+os.Getenv("PATH")+":/usr/sbin:/sbin:/usr/bin:/bin")
	c.Dir, c.Stdout, c.Stderr = m.dir, stdout, stderr
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	if stdin != nil {
		// Not c.Stdin: Wait would wait for the reader's end too.
		in, err := c.StdinPipe()
		if err != nil {
			return 0, err
		}
		go func() {
			io.Copy(in, stdin) // fails when the command has ended
			in.Close()
		}()
	}
	var ended *exec.ExitError
	switch err := c.Run(); {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case errors.As(err, &ended):
		return ended.ExitCode(), nil
	default:
		return 0, err
	}
}

func (own) logs() string { return "" }
func (own) close() error { return nil }
