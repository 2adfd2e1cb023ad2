package attach

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"time"

	"morgana/xenconsoled"
)

// History is a log that can be read: what consoles said before what their streams keep. Safe for concurrent use.
type History interface {
	// Read calls f with what a guest said from byte `from` on, in order, and the numbers of the first bytes. The guest is
	// the one with the key, or if that is "" the last one of the name. p is valid during the call. ok says that there is
	// such a guest. An error of f ends it.
	Read(name, key string, from uint64, f func(from uint64, p []byte) error) (ok bool, err error)
}

// outlet sends what a console says.
type outlet struct {
	conn    io.Writer
	history History // or nil
	key     string  // of the guest
	buf     []byte  // of a frame
	next    uint64  // the number of the next byte
}

// put sends the bytes that are in buf already, n of them, number from the first.
func (o *outlet) put(from uint64, n int) error {
	appendHead(o.buf[:0], kindOutput, outputHead+n)
	binary.LittleEndian.PutUint64(o.buf[headSize:], from)
	o.next = from + uint64(n)
	_, err := o.conn.Write(o.buf[:headSize+outputHead+n])
	return err
}

func (o *outlet) room() []byte { return o.buf[headSize+outputHead:] }

// errEnough ends the reading of a history.
var errEnough = errors.New("enough was read")

// recall sends what the log has from o.next up to byte upTo. What it does not have is left out.
func (o *outlet) recall(ctx context.Context, name string, upTo uint64) (ok bool, err error) {
	ok, err = o.history.Read(name, o.key, o.next, func(from uint64, p []byte) error {
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case from >= upTo:
			return errEnough
		}
		p = p[:min(uint64(len(p)), upTo-from)]
		for len(p) > 0 {
			n := copy(o.room(), p)
			if err := o.put(from, n); err != nil {
				return err
			}
			p, from = p[n:], from+uint64(n)
		}
		return nil
	})
	if err == errEnough {
		err = nil
	}
	return ok, err
}

// gone sends the log of a guest that is not there any more, if there is one.
func (s *Server) gone(ctx context.Context, conn io.Writer, r Request) (ok bool, err error) {
	if s.History == nil || r.Op != OpLogs {
		return false, nil
	}
	o := newOutlet(conn, s.History, "")
	switch {
	case r.From != nil:
		o.next = *r.From
	case r.Lines > 0:
		if o.next, err = s.lastLines(r.Guest, r.Lines); err != nil {
			return true, err
		}
	}
	ok, err = s.History.Read(r.Guest, "", o.next, func(uint64, []byte) error { return errEnough })
	if !ok || err != nil && err != errEnough {
		return ok, err
	}
	if err := send(conn, kindInfo, &Info{Name: r.Guest}); err != nil {
		return true, err
	}
	if _, err := o.recall(ctx, r.Guest, 1<<64-1); err != nil {
		return true, err
	}
	return true, send(conn, kindEnd, &End{Gone: true, Next: o.next})
}

// linesMost is how many last lines of a guest that is gone are looked for.
const linesMost = 1 << 16

// lastLines is where the last lines of a guest begin that is gone.
func (s *Server) lastLines(guest string, lines int) (uint64, error) {
	lines = min(lines, linesMost)
	starts := make([]uint64, 0, lines+1) // where lines begin, the last of them in turn
	at, began := 0, false
	_, err := s.History.Read(guest, "", 0, func(from uint64, p []byte) error {
		for i, c := range p {
			if !began { // the byte after a line's end, or the first one
				began = true
				if len(starts) < lines {
					starts = append(starts, from+uint64(i))
				} else {
					starts[at] = from + uint64(i)
					at = (at + 1) % lines
				}
			}
			if c == '\n' {
				began = false
			}
		}
		return nil
	})
	if err != nil || len(starts) == 0 {
		return 0, err
	}
	return starts[at%len(starts)], nil
}

// How much of a log is sent at once to who follows it, if so much comes within a moment. Terminals get what there is.
const (
	followBatch = 16 << 10
	followDelay = 20 * time.Millisecond
)

func newOutlet(conn io.Writer, h History, key string) *outlet {
	return &outlet{conn: conn, history: h, key: key, buf: make([]byte, headSize+frameMax)}
}

// follow sends what a reader finds, and before it what only the log has.
func (o *outlet) follow(ctx context.Context, r *xenconsoled.Reader, s *xenconsoled.Stream, name string, follow, patient bool) error {
	for {
		if start := s.Start(); o.history != nil && o.next < start {
			if _, err := o.recall(ctx, name, start); err != nil {
				return err
			}
			r.Seek(max(o.next, start))
			o.next = max(o.next, start)
		}
		if !follow && r.Pending() == 0 {
			return send(o.conn, kindEnd, &End{Next: r.Position()})
		}
		wait := func() error { return r.Wait(ctx, 1) }
		if patient {
			wait = func() error { return r.WaitBatch(ctx, followBatch, followDelay) }
		}
		if err := wait(); err != nil {
			if err == io.EOF {
				return send(o.conn, kindEnd, &End{Gone: true, Next: r.Position()})
			}
			return err
		}
		var n int
		var from uint64
		if o.history == nil {
			n, from = r.Read(o.room())
		} else if n, from = s.Copy(o.room(), o.next); from > o.next {
			continue // it went on just now
		} else {
			r.Seek(from + uint64(n))
		}
		if err := o.put(from, n); err != nil {
			return err
		}
	}
}
