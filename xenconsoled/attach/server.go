package attach

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"morgana/xenconsoled"
)

// Consoles is who has the consoles: a xenconsoled.Service.
type Consoles interface {
	Consoles() []*xenconsoled.Console
	Find(guest string) (*xenconsoled.Console, bool)
}

// connectionsMax is how many connections are served at once.
const connectionsMax = 1024

// typedMax is how many frames wait for a guest that does not read what is typed.
const typedMax = 16

// leaveTime is how long the guest has to read what a client typed that has left.
const leaveTime = time.Second

// requestTime is how long a client may take to say what it wants.
const requestTime = 10 * time.Second

// Server serves clients.
type Server struct {
	Consoles Consoles
	// History is the log, where it can be read: OpLogs then begins with what it has. It may be nil.
	History History
	// Elsewhere connects to a server that has the consoles that are not here, and waits for it a while. It may be nil.
	Elsewhere func(context.Context) (io.ReadWriteCloser, error)
}

// Serve serves a listener until ctx ends or the listener fails; it closes it, and waits for its connections.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	stop := context.AfterFunc(ctx, func() { l.Close() })
	defer stop()
	free := make(chan struct{}, connectionsMax)
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			if ne := net.Error(nil); errors.As(err, &ne) && !errors.Is(err, net.ErrClosed) { // out of descriptors
				time.Sleep(10 * time.Millisecond)
				continue
			}
			return err
		}
		select {
		case free <- struct{}{}:
			all.Go(func() {
				defer func() { <-free }()
				_ = s.ServeConn(ctx, conn) // it is the client's to know
			})
		default:
			_ = send(conn, kindFailure, &Failure{CodeBusy, ErrBusy.Error()})
			conn.Close()
		}
	}
}

// ServeConn serves one connection until it or ctx ends, and closes it.
func (s *Server) ServeConn(ctx context.Context, conn io.ReadWriteCloser) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	defer conn.Close()
	late := time.AfterFunc(requestTime, func() { conn.Close() })
	in := &frames{r: conn}
	kind, body, err := in.next()
	late.Stop()
	if err != nil {
		return err
	}
	if kind != kindRequest {
		return fmt.Errorf("%w: it begins with %q", ErrProtocol, kind)
	}
	r, mode, err := parseRequest(body)
	if err != nil {
		return errors.Join(err, send(conn, kindFailure, &Failure{CodeRequest, err.Error()}))
	}
	if r.Op == OpList {
		return send(conn, kindList, s.listAll(ctx))
	}
	c, ok := s.find(r)
	if !ok && s.Elsewhere != nil {
		return s.relay(ctx, conn, r)
	}
	if !ok {
		if ok, err := s.gone(ctx, conn, r); ok {
			return err
		}
		return send(conn, kindFailure, &Failure{CodeNotFound, fmt.Sprintf("no guest %q has a console here", r.Guest)})
	}
	if r.Op == OpType {
		return typeAt(ctx, cancel, conn, in, c)
	}
	stream := c.Stream()
	var from uint64
	switch {
	case r.From != nil && r.Lines > 0:
		from = min(*r.From, stream.Screen(r.Lines, 1<<30))
	case r.From != nil:
		from = *r.From
	case r.Lines > 0:
		from = stream.Screen(r.Lines, 1<<30)
	case r.Op == OpAttach:
		from = stream.End()
	}
	session, err := c.Attach(mode, from)
	if err != nil {
		return errors.Join(err, send(conn, kindFailure, &Failure{CodeTaken, err.Error()}))
	}
	defer session.Close()
	if err := send(conn, kindInfo, info(c)); err != nil {
		return err
	}
	var typing sync.WaitGroup
	defer typing.Wait()
	defer conn.Close()
	defer cancel()
	typing.Go(func() {
		defer cancel()
		take(ctx, cancel, in, func(b []byte) error {
			_, err := session.Write(ctx, b)
			return err
		})
	})
	var h History
	if r.Op == OpLogs {
		h = s.History
	}
	o := newOutlet(conn, h, stream.Key())
	o.next = from
	return o.follow(ctx, session.Reader, stream, c.Name(), r.Op == OpAttach || r.Follow, r.Op == OpLogs && r.Follow)
}

func (s *Server) find(r Request) (*xenconsoled.Console, bool) {
	if r.Dom == 0 {
		return s.Consoles.Find(r.Guest)
	}
	for _, c := range s.Consoles.Consoles() {
		if uint16(c.Dom()) == r.Dom {
			return c, true
		}
	}
	return nil, false
}

func info(c *xenconsoled.Console) Info {
	n := c.Stats()
	return Info{
		Dom: uint16(n.Dom), Name: n.Name, Start: c.Stream().Start(), End: n.Bytes, Logged: n.Logged, Lost: n.Lost, Lines: n.Lines,
		Dropped: n.Dropped, Typed: n.Typed, Writers: n.Writers,
	}
}

// send sends a frame of JSON.
func send(w io.Writer, kind byte, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	_, err = w.Write(append(appendHead(nil, kind, len(body)), body...))
	return err
}
