package nbd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"
	"time"
)

// ErrClient is what errors match that are a client's fault: it broke the protocol or was refused.
var ErrClient = errors.New("nbd client")

// A Server serves exports. Its methods may be called concurrently.
type Server struct {
	config  Config
	exports []*export
	names   map[string]*export
	places  chan struct{} // a token for each connection
}

// NewServer checks the configuration and starts nothing.
func NewServer(c Config) (*Server, error) {
	if err := c.fill(); err != nil {
		return nil, err
	}
	s := &Server{config: c, names: map[string]*export{}, places: make(chan struct{}, c.MaxConnections)}
	for _, e := range c.Exports {
		x := newExport(e)
		s.exports = append(s.exports, x)
		s.names[e.Name] = x
	}
	if _, ok := s.names[""]; !ok && len(s.exports) == 1 {
		s.names[""] = s.exports[0]
	}
	return s, nil
}

// Serve takes connections from l until ctx is done, then closes l and all connections, waits until they have ended and
// flushes every device; the error is then ctx's unless flushing fails. Any other error is the listener's.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	defer context.AfterFunc(ctx, func() { l.Close() })()
	var wg sync.WaitGroup
	conns, cancel := context.WithCancel(ctx)
	err := s.accept(conns, l, &wg)
	cancel()
	wg.Wait()
	return errors.Join(err, s.flush())
}

func (s *Server) accept(ctx context.Context, l net.Listener, wg *sync.WaitGroup) error {
	for pause := time.Duration(0); ; {
		select {
		case s.places <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		c, err := l.Accept()
		if err != nil {
			<-s.places
			if ctx.Err() != nil {
				return ctx.Err()
			}
			// No descriptors left, or a client that was gone before we came: it passes.
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() || isTemporary(err) {
				pause = min(max(2*pause, 5*time.Millisecond), time.Second)
				s.config.Log.Warn("accept", "error", err, "again in", pause)
				select {
				case <-time.After(pause):
				case <-ctx.Done():
				}
				continue
			}
			return fmt.Errorf("nbd: accept: %w", err)
		}
		pause = 0
		wg.Go(func() {
			defer func() { <-s.places }()
			if err := s.ServeConn(ctx, c); err != nil && ctx.Err() == nil {
				s.config.Log.Warn("connection ended", "client", c.RemoteAddr().String(), "error", err)
			}
		})
	}
}

// flush puts on stable storage what clients wrote and did not flush: leaving it is their right, but costs little here.
func (s *Server) flush() error {
	var errs error
	for _, e := range s.exports {
		if !e.ReadOnly {
			if err := e.Device.Flush(); err != nil {
				errs = errors.Join(errs, fmt.Errorf("nbd: export %q: %w", e.Name, err))
			}
		}
	}
	return errs
}

// ServeConn serves one connection and closes it. It returns nil when the client took its leave in the protocol's way,
// or closed the connection between two messages.
func (s *Server) ServeConn(ctx context.Context, c net.Conn) error {
	n := &negotiation{server: s, conn: c}
	defer func() { n.conn.Close() }()
	stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	// With a deadline also for writing: a client may not read. ctx's deadline of long ago must not be overwritten.
	if err := c.SetDeadline(time.Now().Add(s.config.HandshakeTimeout)); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	e, err := n.run(ctx)
	if err == nil && e != nil {
		if err = c.SetDeadline(time.Time{}); err == nil && ctx.Err() == nil {
			err = newSession(n, e, s.config.Depth).run()
		}
	}
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, io.EOF):
		return nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("%w: no export chosen within %v", ErrClient, s.config.HandshakeTimeout)
	}
	return err
}
