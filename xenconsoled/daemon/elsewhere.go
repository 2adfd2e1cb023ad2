package daemon

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"morgana/xen"
	"morgana/xen/duplex"
	"morgana/xenconsoled"
	"morgana/xenconsoled/agent"
	"morgana/xenconsoled/attach"
)

// makeAgent makes the agent of the console domain: its guests have terminals and logs here as others have.
func (d *Daemon) makeAgent() (err error) {
	m, ok := d.cfg.Machine.(duplex.Sharer)
	if !ok {
		return errors.New("this machine shares no pages, and so has no console domain")
	}
	c := agent.Config{
		Domain: d.cfg.Domain, Dial: d.cfg.Dial, Machine: m, Alive: d.cfg.Machine.Alive, Warn: d.cfg.Warn, Debug: d.cfg.Debug,
		Terminal: func(g *agent.Guest) (xenconsoled.Terminal, error) { return d.ptys.newPTY(g.Dom, newThere(g)) },
		Named:    d.ptys.named,
	}
	if d.cfg.LogGuests {
		c.Copy = func(ctx context.Context, g *agent.Guest) {
			if err := d.copyLog(ctx, g); err != nil {
				d.cfg.Warn(fmt.Sprintf("domain %d (%s): the copy of its log: %v", g.Dom, g.Name, err))
			}
		}
	}
	d.agent, err = agent.New(c)
	return err
}

// copyPrefix is what files in RunDir are called that say how far the copies of logs got.
const copyPrefix = "copy-"

// Where things are in them: a mark, and whose it is.
const (
	copyOwner    = 64 // u32 length and bytes
	copyOwnerMax = 1024
	copySize     = 4096
)

// lastWords is how long the copy of a log waits for the last words of a guest that is gone.
const lastWords = 5 * time.Second

// copyLog copies what a guest says into its log here, each byte once, until it is gone or ctx ends.
func (d *Daemon) copyLog(ctx context.Context, g *agent.Guest) error {
	m, err := mapFile(d.copyFile(g.Dom), copySize)
	if err != nil {
		return err
	}
	gone := false
	defer func() { _ = m.Close(gone) }()
	owner := g.VM[:min(len(g.VM), copyOwnerMax)]
	if had := m.mem[copyOwner:]; int(binary.LittleEndian.Uint32(had)) != len(owner) || string(had[4:4+len(owner)]) != owner {
		clear(m.mem)
		binary.LittleEndian.PutUint32(had, uint32(len(owner)))
		copy(had[4:], owner)
	}
	mark, err := xenconsoled.NewMark(m.mem)
	if err != nil {
		return err
	}
	name := g.Name
	if name == "" {
		name = strconv.Itoa(int(g.Dom))
	}
	log, err := d.openLog(name, "", mark)
	if err != nil {
		return err
	}
	d.hold(log, name)
	defer d.letGo(log)

	// The guest's end is told by the domain, behind its last words; ctx says no more than that they are to come soon.
	within, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), xenconsoled.ErrGone) {
			time.AfterFunc(lastWords, cancel)
		} else {
			cancel()
		}
	})
	defer stop()
	for within.Err() == nil {
		err := copyOnce(within, g, mark, log)
		gone = err == io.EOF || errors.Is(context.Cause(ctx), xenconsoled.ErrGone)
		pause := retry
		var failed *logError
		switch {
		case err == io.EOF:
			return nil
		case errors.As(err, &failed):
			d.cfg.Warn(fmt.Sprintf("domain %d (%s): %v; it is tried again", g.Dom, name, err))
			pause = time.Second
		case ctx.Err() != nil && errors.Is(err, attach.ErrNotFound):
			return nil
		}
		select {
		case <-time.After(pause):
		case <-within.Done():
		}
	}
	return nil
}

// hold has SIGHUP begin a copy anew, letGo closes it.
func (d *Daemon) hold(log xenconsoled.Sink, guest string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.copies == nil {
		d.copies = make(map[xenconsoled.Sink]string)
	}
	d.copies[log] = guest
}

func (d *Daemon) letGo(log xenconsoled.Sink) {
	d.mu.Lock()
	delete(d.copies, log)
	d.mu.Unlock()
	if err := log.Close(); err != nil {
		d.cfg.Warn(err.Error())
	}
}

func (d *Daemon) reloadCopies() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for log, guest := range d.copies {
		if r, ok := log.(interface{ Reopen(string) error }); ok {
			if err := r.Reopen(guest); err != nil {
				d.cfg.Warn(err.Error())
			}
		}
	}
}

// logError is an error of the log, and none of the connection's.
type logError struct{ err error }

func (e *logError) Error() string { return "the log cannot be written: " + e.err.Error() }

// copyOnce copies over one connection. io.EOF says that the guest is gone, and all is in the log.
func copyOnce(ctx context.Context, g *agent.Guest, mark *xenconsoled.Mark, log xenconsoled.Sink) error {
	from := mark.Position()
	c, _, err := g.Open(ctx, attach.Request{Op: attach.OpLogs, From: &from, Follow: true})
	if err != nil {
		return err
	}
	defer c.Close()
	stop := context.AfterFunc(ctx, func() { c.Close() })
	defer stop()
	buf := make([]byte, 64<<10)
	have := 0 // what the log left because it waits for more
	for {
		n, err := c.Read(buf[have:])
		if lost := c.Lost(); lost > 0 {
			if err := flush(mark, log, buf[:have]); err != nil {
				return err
			}
			have = copy(buf, buf[have:have+n])
			n = 0
			if err := log.Lost(mark, lost); err != nil {
				return &logError{err}
			}
			mark.Set(mark.Position()+lost, mark.State())
		}
		have += n
		last := err == io.EOF
		for have > 0 {
			took, werr := log.Write(mark, buf[:have], last)
			if werr != nil {
				return &logError{werr}
			}
			have = copy(buf, buf[took:have])
			if took == 0 {
				if have == len(buf) {
					return &logError{errors.New("it takes nothing of a full buffer")}
				}
				break
			}
		}
		if err != nil {
			return err
		}
	}
}

// flush writes what the log waited with.
func flush(mark *xenconsoled.Mark, log xenconsoled.Sink, b []byte) error {
	for len(b) > 0 {
		n, err := log.Write(mark, b, true)
		if err != nil || n == 0 {
			return &logError{err}
		}
		b = b[n:]
	}
	return nil
}

func (d *Daemon) copyFile(dom xen.DomID) string {
	return filepath.Join(d.cfg.RunDir, copyPrefix+strconv.Itoa(int(dom)))
}

// removeOldCopies removes what says how far the copies got of guests that are gone.
func (d *Daemon) removeOldCopies(files []os.DirEntry) error {
	for _, f := range files {
		number, ok := strings.CutPrefix(f.Name(), copyPrefix)
		if n, err := strconv.ParseUint(number, 10, 15); ok && err == nil && !d.cfg.Machine.Alive(xen.DomID(n)) {
			if err := os.Remove(d.copyFile(xen.DomID(n))); err != nil {
				return err
			}
		}
	}
	return nil
}
