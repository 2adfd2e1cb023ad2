package dom0

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"morgana/cmd/stubdom/internal/host/model"
	"morgana/xenconsoled/attach"
	"morgana/xenconsoled/logfile"
)

// Where consoles are: the socket of our daemon, and the logs of it and of Xen's.
const (
	DefaultSocket = "/run/xenconsoled/socket"
	DefaultLogs   = "/var/log/xen/console"
)

// Machine is dom0's tool stack. Safe for concurrent use. It implements look.Machine.
type Machine struct {
	Socket, Logs string

	mu     sync.Mutex
	counts map[string]*count      // of logs, by their files
	served map[string]attach.Info // by names
	asked  time.Time              // when the daemon told them
}

// count is how many lines were found in a log so far.
type count struct {
	at    int64
	lines uint64
}

// Bounds of what one look takes.
const (
	countMax  = 4 << 20 // bytes of a log that are counted in a look
	tailMax   = 64 << 10
	daemonMax = 2 * time.Second
)

// Domains implements look.Machine.
func (m *Machine) Domains(ctx context.Context) ([]model.Domain, error) {
	c := exec.CommandContext(ctx, "xl", "list")
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		return nil, fmt.Errorf("xl list: %w: %s", err, strings.TrimSpace(errs.String()))
	}
	return model.ParseList(out.String())
}

// logOf is the log of a domain's console.
func (m *Machine) logOf(d *model.Domain) string {
	return filepath.Join(m.Logs, "guest-"+logfile.Sanitize(d.Name)+".log")
}

// Console implements look.Machine: what our daemon or the console domain tells, else what the log has.
func (m *Machine) Console(_ context.Context, d *model.Domain) (model.Console, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d.ID == 0 {
		return model.Console{}, nil
	}
	m.askLocked()
	if i, ok := m.served[d.Name]; ok && int(i.Dom) == d.ID {
		return model.Console{Served: true, Bytes: i.End, Lines: i.Lines}, nil
	}
	f, err := os.Open(m.logOf(d))
	if errors.Is(err, fs.ErrNotExist) {
		return model.Console{}, nil
	}
	if err != nil {
		return model.Console{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return model.Console{}, err
	}
	if m.counts == nil {
		m.counts = make(map[string]*count)
	}
	n := m.counts[f.Name()]
	if n == nil || n.at > info.Size() { // the file began anew
		n = &count{}
		m.counts[f.Name()] = n
	}
	b, err := io.ReadAll(io.NewSectionReader(f, n.at, countMax))
	n.at += int64(len(b))
	n.lines += uint64(bytes.Count(b, []byte("\n")))
	return model.Console{Served: true, Bytes: uint64(info.Size()), Lines: n.lines}, err
}

// askLocked asks our daemon, if it is there, at most once in half a second.
func (m *Machine) askLocked() {
	if time.Since(m.asked) < 500*time.Millisecond {
		return
	}
	m.asked = time.Now()
	m.served = nil
	c, err := m.dial()
	if err != nil {
		return // Xen's serves
	}
	defer c.Close()
	list, err := c.List()
	if err != nil {
		return
	}
	m.served = make(map[string]attach.Info, len(list))
	for _, i := range list {
		m.served[i.Name] = i
	}
}

func (m *Machine) dial() (*attach.Client, error) {
	conn, err := net.DialTimeout("unix", m.Socket, daemonMax)
	if err != nil {
		return nil, err
	}
	if err := conn.SetDeadline(time.Now().Add(daemonMax)); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return attach.NewClient(conn), nil
}

// Output implements look.Machine.
func (m *Machine) Output(_ context.Context, d *model.Domain) ([]byte, uint64, error) {
	m.mu.Lock()
	m.askLocked()
	i, ok := m.served[d.Name]
	m.mu.Unlock()
	if ok && int(i.Dom) == d.ID {
		if out, n, err := m.attached(d); err == nil {
			return out, n, nil
		}
	}
	f, err := os.Open(m.logOf(d))
	if err != nil {
		return nil, 0, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, err
	}
	out, err := io.ReadAll(io.NewSectionReader(f, max(info.Size()-tailMax, 0), tailMax))
	return out, uint64(info.Size()), err
}

// attached reads the end of a console from our daemon.
func (m *Machine) attached(d *model.Domain) ([]byte, uint64, error) {
	c, err := m.dial()
	if err != nil {
		return nil, 0, err
	}
	defer c.Close()
	if _, err := c.Open(attach.Request{Op: attach.OpLogs, Guest: d.Name, Lines: model.LinesMax}); err != nil {
		return nil, 0, err
	}
	out, err := io.ReadAll(io.LimitReader(c, 4*tailMax))
	return out, c.Next(), err
}
