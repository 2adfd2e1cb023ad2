package xentest

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"morgana/xen"
	"morgana/xenstore"
)

// Session is one case under way, seen from one side. Not for concurrent use.
type Session struct {
	*Env
	Dir     string // this run's own directory below Env.Path
	watch   *xenstore.Watch
	figures []Figure
	closers []func()
}

const keyDone = "done"

func (r Role) dir() string {
	if r == Responder {
		return "r"
	}
	return "i"
}

func (r Role) other() Role { return 1 - r }

func newSession(ctx context.Context, e *Env, dir string) (*Session, error) {
	w, err := e.Store.Watch(ctx, dir)
	if err != nil {
		return nil, err
	}
	return &Session{Env: e, Dir: dir, watch: w}, nil
}

func (s *Session) close() {
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.watch.Close()
}

// Defer runs f when this side of the case is over, last first.
func (s *Session) Defer(f func()) { s.closers = append(s.closers, f) }

// Put tells the other side something.
func (s *Session) Put(ctx context.Context, key string, value any) error {
	return s.Store.Write(ctx, xenstore.Join(s.Dir, s.Role.dir(), key), fmt.Sprint(value))
}

// Get waits until the other side put key and returns its value. It fails when the other side is done without.
func (s *Session) Get(ctx context.Context, key string) (string, error) {
	from := xenstore.Join(s.Dir, s.Role.other().dir())
	for {
		// The order matters: once done is there, key is there or never will be.
		done, derr := s.Store.Read(ctx, xenstore.Join(from, keyDone))
		if derr != nil && !errors.Is(derr, xenstore.ErrNotExist) {
			return "", derr
		}
		v, err := s.Store.Read(ctx, xenstore.Join(from, key))
		if !errors.Is(err, xenstore.ErrNotExist) {
			return v, err
		}
		if derr == nil {
			return "", fmt.Errorf("the %v ended before %q: %s", s.Role.other(), key, done)
		}
		if _, err := s.watch.Next(ctx); err != nil {
			return "", fmt.Errorf("waiting for the %v's %q: %w", s.Role.other(), key, err)
		}
	}
}

// GetUint is Get of a number.
func (s *Session) GetUint(ctx context.Context, key string) (uint32, error) {
	v, err := s.Get(ctx, key)
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(v, 10, 32)
	if err != nil {
		return 0, fmt.Errorf("the %v's %q is no number: %w", s.Role.other(), key, err)
	}
	return uint32(n), nil
}

// Step puts key and waits for the other side's key of the same name: both are there.
func (s *Session) Step(ctx context.Context, key string) error {
	if err := s.Put(ctx, key, "here"); err != nil {
		return err
	}
	_, err := s.Get(ctx, key)
	return err
}

// PutRefs and GetRefs pass grant references.
func (s *Session) PutRefs(ctx context.Context, key string, refs []xen.GrantRef) error {
	var b []byte
	for i, r := range refs {
		if i > 0 {
			b = append(b, ' ')
		}
		b = strconv.AppendUint(b, uint64(r), 10)
	}
	return s.Put(ctx, key, string(b))
}

// GetRefs waits for what PutRefs put.
func (s *Session) GetRefs(ctx context.Context, key string) ([]xen.GrantRef, error) {
	v, err := s.Get(ctx, key)
	if err != nil {
		return nil, err
	}
	var refs []xen.GrantRef
	for f := range fieldsSeq(v) {
		n, err := strconv.ParseUint(f, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("the %v's %q holds no grant reference: %w", s.Role.other(), key, err)
		}
		refs = append(refs, xen.GrantRef(n))
	}
	return refs, nil
}

// Share shares pages with the peer until the case is over.
func (s *Session) Share(pages int, access xen.Access) (xen.Grant, error) {
	g, err := s.Dom.Share(s.Peer, pages, access)
	if err == nil {
		s.Defer(func() { _ = g.Close() })
	}
	return g, err
}

// Map maps the peer's pages until the case is over.
func (s *Session) Map(refs []xen.GrantRef, access xen.Access) (xen.Mapping, error) {
	m, err := s.Dom.Map(s.Peer, refs, access)
	if err == nil {
		s.Defer(func() { _ = m.Close() })
	}
	return m, err
}

// Listen makes a port for the peer until the case is over.
func (s *Session) Listen() (xen.Event, error) {
	ev, err := s.Dom.Listen(s.Peer)
	if err == nil {
		s.Defer(func() { _ = ev.Close() })
	}
	return ev, err
}

// Connect binds to a port of the peer until the case is over.
func (s *Session) Connect(port xen.Port) (xen.Event, error) {
	ev, err := s.Dom.Connect(s.Peer, port)
	if err == nil {
		s.Defer(func() { _ = ev.Close() })
	}
	return ev, err
}

// Figure reports something measured.
func (s *Session) Figure(name string, value float64, unit string) {
	s.figures = append(s.figures, Figure{Name: name, Value: value, Unit: unit})
}
