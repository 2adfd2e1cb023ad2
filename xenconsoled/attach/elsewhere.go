package attach

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// connect connects to the server that has the other consoles.
func (s *Server) connect(ctx context.Context) (io.ReadWriteCloser, error) {
	conn, err := s.Elsewhere(ctx)
	if err != nil {
		return nil, &Failure{CodeAway, fmt.Sprintf("%v: %v", ErrAway, err)}
	}
	return conn, nil
}

// listAll lists the consoles that are here and those that are elsewhere, by their numbers. If the others cannot be asked,
// those that are here are better than none.
func (s *Server) listAll(ctx context.Context) []Info {
	list := []Info{}
	for _, c := range s.Consoles.Consoles() {
		list = append(list, info(c))
	}
	if s.Elsewhere == nil {
		return list
	}
	conn, err := s.connect(ctx)
	if err != nil {
		return list
	}
	client := NewClient(conn)
	defer client.Close()
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	if others, err := client.List(); err == nil {
		list = append(list, others...)
		slices.SortFunc(list, func(a, b Info) int { return int(a.Dom) - int(b.Dom) })
	}
	return list
}

// relay hands a request, and all that follows, to the server that has the other consoles.
func (s *Server) relay(ctx context.Context, conn io.ReadWriteCloser, r Request) error {
	there, err := s.connect(ctx)
	if err != nil {
		return errors.Join(err, send(conn, kindFailure, err))
	}
	defer there.Close()
	stop := context.AfterFunc(ctx, func() { there.Close() })
	defer stop()
	if err := send(there, kindRequest, r); err != nil {
		return err
	}
	var typing sync.WaitGroup
	typing.Go(func() {
		_, _ = io.Copy(there, conn)
		there.Close() // it takes what was sent, and sees that the client has left
	})
	_, err = io.Copy(conn, there)
	conn.Close()
	typing.Wait()
	return err
}
