package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/metrics"
	"sync"
	"sync/atomic"
	"time"

	"morgana/xen/wire/xs"
	"morgana/xenstore/server"
)

// Trace is the log that CONTROL log and logfile are about. Safe for concurrent use; a nil one takes nothing.
type Trace struct {
	on   atomic.Bool
	mu   sync.Mutex
	name string
	f    *os.File
}

// NewTrace makes a log to a file, which is opened when it is switched on; "" for none so far.
func NewTrace(name string) *Trace { return &Trace{name: name} }

// Open goes on in another file.
func (t *Trace) Open(name string) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	t.name = name
	t.mu.Unlock()
	return t.Switch(true)
}

// Switch opens the file anew, as after a rotation, or closes it.
func (t *Trace) Switch(on bool) error {
	if t == nil {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	var err error
	if t.f != nil {
		err = t.f.Close()
		t.f = nil
	}
	if on && t.name != "" {
		f, oerr := os.OpenFile(t.name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if oerr != nil {
			return errors.Join(err, oerr)
		}
		t.f = f
		_, _ = f.WriteString("\n***\n") // here it was opened
	}
	t.on.Store(t.f != nil)
	return err
}

// On reports whether it is switched on.
func (t *Trace) On() bool { return t != nil && t.on.Load() }

// Print adds a line with the time.
func (t *Trace) Print(line string) {
	if t.On() {
		t.write(append(appendTime(nil), "xenstored: "+line+"\n"...))
	}
}

func (t *Trace) write(line []byte) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.f != nil {
		_, _ = t.f.Write(line)
	}
}

// report calls f with a file to write to: the log's, which may be switched off.
func (t *Trace) report(f func(io.Writer)) bool {
	if t == nil {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.f != nil {
		f(t.f)
		return true
	}
	return t.name != "" && toFile(t.name, f)
}

func toFile(name string, f func(io.Writer)) bool {
	file, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return false
	}
	f(file)
	return file.Close() == nil
}

func appendTime(dst []byte) []byte { return time.Now().AppendFormat(dst, "20060102 15:04:05 ") }

// tracer writes what happens on connections to the log, a line each, as xenstored does: IN or OUT, the connection, the
// time, the type and the payload, with a space for each NUL. But bytes that no terminal should see are written as \x1b:
// they are a guest's.
type tracer Daemon

func (t *tracer) name(c *server.Conn) string {
	if dom, isDomain := c.Domain(); isDomain {
		return fmt.Sprintf("%d/dom%d", c.ID(), dom)
	}
	return fmt.Sprintf("%d/socket", c.ID())
}

// Message implements server.Tracer.
func (t *tracer) Message(c *server.Conn, out bool, op xs.Op, payload []byte) {
	line := []byte("IN ")
	if out {
		line = []byte("OUT ")
	}
	line = append(append(line, t.name(c)...), ' ')
	line = append(append(appendTime(line), op.String()...), " ("...)
	for _, b := range payload {
		switch {
		case b == 0:
			line = append(line, ' ')
		case b < ' ' || b > '~':
			line = fmt.Appendf(line, "\\x%02x", b)
		default:
			line = append(line, b)
		}
	}
	t.cfg.Trace.write(append(line, ")\n"...))
}

// Object implements server.Tracer.
func (t *tracer) Object(c *server.Conn, made bool, kind string) {
	what := "DESTROY"
	if made {
		what = "CREATE"
	}
	t.cfg.Trace.write(fmt.Appendf(nil, "%s %s %s\n", what, kind, t.name(c)))
}

// traced has the core traced as long as the log is on.
func (d *Daemon) traced() {
	if on := d.cfg.Trace.On(); on != d.tracing {
		d.tracing = on
		if on {
			d.core.SetTracer((*tracer)(d))
		} else {
			d.core.SetTracer(nil)
		}
	}
}

// memreport writes what memory is used for, to a file or to the log.
func (d *Daemon) memreport(args []string) (string, xs.Errno, bool) {
	could := false
	if len(args) == 1 {
		could = toFile(args[0], d.memory)
	} else {
		could = d.cfg.Trace.report(d.memory)
	}
	if !could {
		return "", xs.EINVAL, false
	}
	return ok, 0, false
}

func (d *Daemon) memory(w io.Writer) {
	samples := []metrics.Sample{
		{Name: "/memory/classes/heap/objects:bytes"},
		{Name: "/memory/classes/heap/free:bytes"},
		{Name: "/memory/classes/total:bytes"},
		{Name: "/gc/cycles/total:gc-cycles"},
	}
	metrics.Read(samples)
	for _, s := range samples {
		fmt.Fprintf(w, "%s %d\n", s.Name, s.Value.Uint64())
	}
	fmt.Fprintf(w, "goroutines %d\nconnections %d\nnodes %d\n", runtime.NumGoroutine(), len(d.core.Conns()), d.core.Nodes())
}
