package xenconsoled

import (
	"context"
	"fmt"
	"time"

	"morgana/xen"
)

// How the log is written: as soon as there is a batch, or a moment after the first byte of one (Config.LogDelay). The bytes
// are in the stream meanwhile, whose memory outlives the process.
const (
	batchSize  = 64 << 10
	batchDelay = 2 * time.Millisecond
	retryDelay = time.Second
)

// newLogger makes the logger of a console. From now on the guest waits for the log.
func newLogger(cfg *Config) *logger {
	s := cfg.Stream
	return &logger{
		dom: cfg.Dom, warn: cfg.Warn, sink: cfg.Sink, m: s.mark, batch: min(batchSize, len(s.data)/4), delay: max(cfg.LogDelay, batchDelay),
		r: s.NewReader(s.mark.Position(), Every, 0),
	}
}

// log moves the stream to the sink until stop says so, and then what is left; true says that nothing will follow.
func (l *logger) log(stop <-chan bool) {
	defer l.r.Close()
	ctx, cancel := context.WithCancel(context.Background())
	last := make(chan bool, 1)
	go func() {
		last <- <-stop
		cancel()
	}()
	l.gap()
	l.run(ctx)
	l.end(<-last)
}

// logger writes a stream to its sink.
type logger struct {
	dom    xen.DomID
	warn   func(string)
	sink   Sink
	r      *Reader
	m      *Mark
	batch  int
	delay  time.Duration
	failed bool   // the last write failed: the guest does not wait
	buf    []byte // what cannot be written from where it is
}

// gap counts what was lost before the reader's position.
func (l *logger) gap() {
	if n := l.r.Position() - l.m.Position(); n > 0 {
		l.m.AddLost(n)
		l.m.Set(l.r.Position(), l.m.State())
	}
}

func (l *logger) run(ctx context.Context) {
	timer := time.NewTimer(l.delay)
	defer timer.Stop()
	left := 0 // what the sink left because it waits for more
	if l.m.Lost() > 0 {
		left = l.retry()
	}
	for l.r.Wait(ctx, left+1) == nil {
		if l.failed {
			timer.Reset(retryDelay)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return
			}
			left = l.retry()
			continue
		}
		timer.Reset(l.delay)
		if l.r.wait(ctx, l.batch, timer.C) != nil {
			return
		}
		timer.Stop()
		left = l.write(false)
	}
}

// end writes what is left.
func (l *logger) end(last bool) {
	if l.failed || l.m.Lost() > 0 {
		l.retry()
	}
	if !l.failed {
		l.write(last)
	}
}

// write writes what there is, and returns how much the sink left because it waits for more.
func (l *logger) write(last bool) int {
	for {
		b := l.r.Peek(batchSize)
		if len(b) == 0 {
			return 0
		}
		n, err := l.sink.Write(l.m, b, last && len(b) == l.r.Pending())
		l.r.Skip(n)
		if err == nil && n < len(b) {
			// It waits for the end of a line, which may be behind the end of the scrollback's memory.
			if l.buf == nil {
				l.buf = make([]byte, batchSize)
			}
			b = l.buf[:l.r.Copy(l.buf)]
			n, err = l.sink.Write(l.m, b, last)
			l.r.Skip(n)
			if err == nil && n == 0 {
				return len(b)
			}
		}
		if err != nil {
			l.fail(err)
			return 0
		}
	}
}

func (l *logger) fail(err error) {
	if !l.failed {
		l.warn(fmt.Sprintf("domain %d: the log cannot be written: %v; it is tried again, and the guest does not wait for it", l.dom, err))
	}
	l.failed = true
	l.r.SetPolicy(Newest)
}

// retry writes what there still is after writing failed.
func (l *logger) retry() int {
	l.r.SetPolicy(Every) // what is there now stays there
	l.gap()
	if n := l.m.Lost(); n > 0 {
		if err := l.sink.Lost(l.m, n); err != nil {
			l.fail(err)
			return 0
		}
		l.m.AddLost(-n)
		l.warn(fmt.Sprintf("domain %d: %d bytes are missing in the log", l.dom, n))
	}
	l.failed = false
	return l.write(false)
}
