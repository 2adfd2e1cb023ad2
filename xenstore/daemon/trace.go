package daemon

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"runtime/metrics"
	"sync"
	"time"

	"morgana/xen/wire/xs"
)

// Trace is the log that CONTROL log and logfile are about. Safe for concurrent use; a nil one takes nothing.
type Trace struct {
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
	}
	return err
}

// Print adds a line with the time.
func (t *Trace) Print(line string) {
	if t == nil {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.f != nil {
		_, _ = fmt.Fprintf(t.f, "%s %s\n", time.Now().Format("20060102 15:04:05.000000"), line)
	}
}

// memreport writes what memory is used for, to a file or to the log.
func (d *Daemon) memreport(args []string) (string, xs.Errno, bool) {
	var w io.Writer
	if len(args) == 1 {
		f, err := os.OpenFile(args[0], os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			return "", xs.EINVAL, false
		}
		defer f.Close()
		w = f
	} else if d.cfg.Trace != nil && d.cfg.Trace.f != nil {
		w = d.cfg.Trace.f
	} else {
		return "", xs.EINVAL, false
	}
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
	fmt.Fprintf(w, "goroutines %d\nconnections %d\n", runtime.NumGoroutine(), len(d.core.Conns()))
	return ok, 0, false
}
