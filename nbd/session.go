package nbd

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"morgana/nbd/wire"
)

// A session is a connection whose client has chosen an export.
//
// Its workers take turns: the one that holds reading takes the next request off the connection, with its data, lets go
// and carries the request out while another waits for the next. So a request never changes hands, and a client that has
// one request under way at a time costs two goroutines, however deep others go.
type session struct {
	server     *Server
	export     *export
	conn       net.Conn
	structured bool
	allocation bool

	reading sync.Mutex
	r       *bufio.Reader // guarded by reading
	ended   bool          // guarded by reading
	err     error         // guarded by reading: why it ended
	workers int           // guarded by reading

	waiting atomic.Int32 // workers that wait for reading
	running sync.WaitGroup
	depth   int

	writing sync.Mutex // held while a reply is written
}

func newSession(n *negotiation, e *export, depth int) *session {
	return &session{
		server: n.server, export: e, conn: n.conn, r: n.r, structured: n.structured, allocation: n.allocation == e, depth: depth,
	}
}

// run serves until the client leaves, breaks the protocol or is gone, and all that was begun has been answered.
func (s *session) run() error {
	s.reading.Lock()
	s.hireLocked()
	s.reading.Unlock()
	s.running.Wait()
	return s.err
}

// lastWords is how long a client may take to read the replies to what it asked before it left.
const lastWords = 10 * time.Second

// endLocked ends the session once what is under way is done. The first reason counts.
func (s *session) endLocked(err error) {
	if !s.ended {
		s.ended, s.err = true, err
		s.conn.SetWriteDeadline(time.Now().Add(lastWords))
	}
}

// broken ends the session because a reply could not be written. Closing wakes who waits for the next request.
func (s *session) broken(err error) {
	s.conn.Close()
	s.reading.Lock()
	s.endLocked(err)
	s.reading.Unlock()
}

// hireLocked adds a worker unless one is waiting already or there are enough.
func (s *session) hireLocked() {
	if s.waiting.Load() > 0 || s.workers == s.depth {
		return
	}
	s.workers++
	w := &worker{session: s, buf: make([]byte, headroom+4096)}
	s.running.Go(w.run)
}

// headroom is what a buffer has before the data for a reply's header, so that both leave in one write: a chunk's header
// and its offset.
const headroom = wire.ChunkSize + 8

// A worker is a goroutine of a session.
type worker struct {
	*session
	buf  []byte // headroom, then data
	head [wire.RequestSize]byte
}

// data is a buffer of n bytes, or of maxBuffer if n is more.
func (w *worker) data(n int) []byte {
	n = min(n, maxBuffer)
	if len(w.buf)-headroom < n {
		size := 4096
		for size < n {
			size *= 2
		}
		w.buf = make([]byte, headroom+size)
	}
	return w.buf[headroom : headroom+n]
}

func (w *worker) run() {
	for {
		w.waiting.Add(1)
		w.reading.Lock()
		w.waiting.Add(-1)
		if w.ended {
			w.reading.Unlock()
			return
		}
		req, data, errno, err := w.next()
		if err != nil || req.Command == wire.CmdDisc {
			w.endLocked(err)
		} else {
			w.hireLocked()
		}
		w.reading.Unlock()
		if err != nil || req.Command == wire.CmdDisc {
			return
		}
		if err := w.serve(req, data, errno); err != nil {
			w.broken(err)
			return
		}
	}
}

// next reads a request, and a write's data unless it was too long for a buffer: then it has been written already, and
// there is none. errno says that the request is not to be carried out.
func (w *worker) next() (req wire.Request, data []byte, errno wire.Errno, err error) {
	if _, err := io.ReadFull(w.r, w.head[:]); err != nil {
		return req, nil, 0, err
	}
	if req, err = wire.ParseRequest(w.head[:]); err != nil {
		return req, nil, 0, fmt.Errorf("%w: %w", ErrClient, err)
	}
	errno = w.check(&req)
	if req.Command != wire.CmdWrite || req.Length == 0 {
		return req, nil, errno, nil
	}
	switch {
	case req.Length > maxPayload:
		return req, nil, 0, fmt.Errorf("%w: a write of %d bytes; the most is %d", ErrClient, req.Length, maxPayload)
	case errno != wire.OK:
		_, err := w.r.Discard(int(req.Length))
		return req, nil, errno, unexpected(err)
	case req.Length <= maxBuffer:
		data = w.data(int(req.Length))
		_, err := io.ReadFull(w.r, data)
		return req, data, errno, unexpected(err)
	}
	for at, end := req.Offset, req.Offset+uint64(req.Length); at < end; {
		b := w.data(int(end - at))
		if _, err := io.ReadFull(w.r, b); err != nil {
			return req, nil, 0, unexpected(err)
		}
		if errno == wire.OK {
			_, err := w.export.Device.WriteAt(b, int64(at))
			errno = w.errno(req, err)
		}
		at += uint64(len(b))
	}
	return req, nil, errno, nil
}

// allowed are the flags that each command may have.
var allowed = map[wire.Command]wire.CommandFlags{
	wire.CmdRead:        wire.FlagFUA | wire.FlagDF,
	wire.CmdWrite:       wire.FlagFUA,
	wire.CmdFlush:       wire.FlagFUA,
	wire.CmdTrim:        wire.FlagFUA,
	wire.CmdCache:       wire.FlagFUA,
	wire.CmdWriteZeroes: wire.FlagFUA | wire.FlagNoHole | wire.FlagFastZero,
	wire.CmdBlockStatus: wire.FlagFUA | wire.FlagReqOne,
	wire.CmdDisc:        wire.FlagFUA,
}

// check says why a request cannot be, OK if it can.
func (s *session) check(r *wire.Request) wire.Errno {
	flags, known := allowed[r.Command]
	switch {
	case !known, r.Flags&^flags != 0:
		return wire.EINVAL
	case r.Command == wire.CmdDisc:
		return wire.OK
	case r.Command == wire.CmdFlush:
		if r.Offset != 0 || r.Length != 0 {
			return wire.EINVAL
		}
		return wire.OK
	}
	writes := r.Command == wire.CmdWrite || r.Command == wire.CmdTrim || r.Command == wire.CmdWriteZeroes
	switch {
	case writes && s.export.ReadOnly:
		return wire.EPERM
	case r.Length == 0, r.Command == wire.CmdBlockStatus && !s.allocation, r.Command == wire.CmdRead && r.Length > maxPayload,
		r.Command == wire.CmdTrim && s.export.discard == nil, r.Flags&wire.FlagDF != 0 && !s.structured:
		return wire.EINVAL
	case r.Offset > s.export.size || uint64(r.Length) > s.export.size-r.Offset:
		if writes {
			return wire.ENOSPC
		}
		return wire.EINVAL
	}
	return wire.OK
}
