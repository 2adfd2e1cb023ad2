package peers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"morgana/xen"
)

// Daemon is a daemon that runs on a fake host.
type Daemon struct {
	*Host
	Name string
	Cmd  *exec.Cmd

	out    bytes.Buffer
	done   chan struct{}
	err    error
	killed bool
}

// StartC starts xenstored, OCaml's oxenstored by StartOCaml, with further arguments.
func (p *Peers) StartC(h *Host, args ...string) (*Daemon, error) {
	c := exec.Command(p.Program("xenstored"), append([]string{"-N", "--pid-file", filepath.Join(h.Dir, "pid")}, args...)...)
	run := filepath.Join(h.Dir, "run")
	c.Env = append(p.env(), "XENSTORED_RUNDIR="+run, "XENSTORED_ROOTDIR="+run, "XENSTORED_PATH="+h.Socket())
	return p.start("C", h, c)
}

// StartOCaml starts oxenstored.
func (p *Peers) StartOCaml(h *Host, args ...string) (*Daemon, error) {
	conf := filepath.Join(h.Dir, "etc", "oxenstored.conf")
	if err := os.WriteFile(conf, []byte("persistent = false\nxenstored-kva = /proc/xen/xsd_kva\nxenstored-port = /proc/xen/xsd_port\n"), 0o644); err != nil {
		return nil, err
	}
	c := exec.Command(p.Program("oxenstored"), append([]string{"--no-fork", "--config-file", conf}, args...)...)
	c.Env = p.env()
	return p.start("OCaml", h, c)
}

// StartEither starts a daemon that a live update may replace: xenstored or one of ours, by its file.
func (p *Peers) StartEither(h *Host, program string) (*Daemon, error) {
	c := exec.Command(program, "-N", "--pid-file", filepath.Join(h.Dir, "pid"))
	run := filepath.Join(h.Dir, "run")
	c.Env = append(p.env(), "XENSTORED_RUNDIR="+run, "XENSTORED_ROOTDIR="+run, "XENSTORED_PATH="+h.Socket())
	return p.start(filepath.Base(program), h, c)
}

func (p *Peers) start(name string, h *Host, c *exec.Cmd) (*Daemon, error) {
	c.Env = append(c.Env, "FAKEXEN="+h.Dir, "LD_PRELOAD="+filepath.Join(p.root, "shim.so"))
	return Start(name, h, c)
}

// Start starts any daemon that serves a fake host, and waits until it listens.
func Start(name string, h *Host, c *exec.Cmd) (*Daemon, error) {
	d := &Daemon{Host: h, Name: name, Cmd: c, done: make(chan struct{})}
	_ = os.Remove(h.Socket())
	c.Stdout, c.Stderr = &d.out, &d.out
	if err := c.Start(); err != nil {
		return nil, err
	}
	go func() {
		d.err = c.Wait()
		close(d.done)
	}()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(2 * time.Millisecond) {
		conn, err := net.Dial("unix", h.Socket())
		if err == nil {
			conn.Close()
			return d, nil
		}
		select {
		case <-d.done:
			return nil, fmt.Errorf("%s daemon ended: %w\n%s", name, d.err, d.out.String())
		default:
		}
		if time.Now().After(end) {
			d.Kill()
			return nil, fmt.Errorf("%s daemon does not listen on %s: %w\n%s", name, h.Socket(), err, d.out.String())
		}
	}
}

// Kill ends the daemon at once, and waits.
func (d *Daemon) Kill() {
	d.killed = true
	_ = d.Cmd.Process.Signal(syscall.SIGKILL)
	<-d.done
}

// Stop ends the daemon by a signal, and waits.
func (d *Daemon) Stop(sig syscall.Signal) {
	d.killed = true
	_ = d.Cmd.Process.Signal(sig)
	select {
	case <-d.done:
	case <-time.After(10 * time.Second):
		d.Kill()
	}
}

// Output is what the daemon wrote; call it when it has ended.
func (d *Daemon) Output() string { return d.out.String() }

// Ended reports whether the daemon ended by itself, and how.
func (d *Daemon) Ended() (bool, error) {
	select {
	case <-d.done:
		return !d.killed, d.err
	default:
		return false, nil
	}
}

// Dial connects as a client of the socket. The daemons listen with a backlog of 1: it tries again.
func (d *Daemon) Dial(ctx context.Context) (net.Conn, error) {
	var dialer net.Dialer
	for {
		c, err := dialer.DialContext(ctx, "unix", d.Socket())
		if !errors.Is(err, syscall.EAGAIN) || ctx.Err() != nil {
			return c, err
		}
		time.Sleep(time.Millisecond)
	}
}

// Open connects as storetest wants it, each read and write within ten seconds.
func (d *Daemon) Open(dom xen.DomID, domain bool) (io.ReadWriteCloser, error) {
	if !domain {
		c, err := d.Dial(context.Background())
		if err != nil {
			return nil, err
		}
		return patient{c}, nil
	}
	g, err := d.Guest(dom)
	if err != nil {
		return nil, err
	}
	return &timed{g}, nil
}

const patience = 10 * time.Second

type patient struct{ net.Conn }

func (p patient) Read(b []byte) (int, error) {
	_ = p.SetReadDeadline(time.Now().Add(patience))
	return p.Conn.Read(b)
}

// timed ends a ring that does not answer.
type timed struct{ *Guest }

func (t *timed) Read(b []byte) (int, error) {
	stop := time.AfterFunc(patience, func() { t.Guest.Close() })
	defer stop.Stop()
	return t.Guest.Read(b)
}
