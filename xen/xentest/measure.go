package xentest

import (
	"context"
	"time"

	"morgana/xen"
)

func measureCases() []Case {
	return []Case{
		{Name: "measure/events", Initiator: measureEventsI, Responder: measureEventsR},
		{Name: "measure/grants", Initiator: measureGrantsI, Responder: measureGrantsR},
		{Name: "measure/store", Initiator: measureStoreI, Responder: followR},
	}
}

// perOp reports what one of n operations took since start.
func (s *Session) perOp(name string, start time.Time, n int) {
	s.Figure(name, float64(time.Since(start).Nanoseconds())/float64(n)/1e3, "µs")
}

func measureEventsI(ctx context.Context, s *Session) error {
	g, err := s.Share(1, xen.ReadWrite)
	if err != nil {
		return err
	}
	if err := s.PutRefs(ctx, "refs", g.Refs()); err != nil {
		return err
	}
	if err := s.Put(ctx, "rounds", s.rounds()); err != nil {
		return err
	}
	ev, err := bound(ctx, s)
	if err != nil {
		return err
	}
	start := time.Now()
	if err := pingPong(ctx, s, ev, g.Bytes(), s.rounds()); err != nil {
		return err
	}
	s.perOp("event round trip", start, s.rounds())
	return nil
}

func measureEventsR(ctx context.Context, s *Session) error {
	refs, err := s.GetRefs(ctx, "refs")
	if err != nil {
		return err
	}
	m, err := s.Map(refs, xen.ReadWrite)
	if err != nil {
		return err
	}
	rounds, err := s.GetUint(ctx, "rounds")
	if err != nil {
		return err
	}
	ev, err := bound(ctx, s)
	if err != nil {
		return err
	}
	return pingPong(ctx, s, ev, m.Bytes(), int(rounds))
}

const measurePages = 32

func measureGrantsI(ctx context.Context, s *Session) error {
	g, err := s.Share(measurePages, xen.ReadWrite)
	if err != nil {
		return err
	}
	if err := s.Put(ctx, "rounds", s.rounds()); err != nil {
		return err
	}
	if err := s.PutRefs(ctx, "refs", g.Refs()); err != nil {
		return err
	}
	for _, x := range []struct{ key, name string }{
		{keyMap1, "map and unmap 1 page"},
		{keyMapAll, "map and unmap 32 pages"},
		{keyCopy1, "copy 1 page"},
		{keyCopyAll, "copy 32 pages in a batch"},
	} {
		ns, err := s.GetUint(ctx, x.key)
		if err != nil {
			return err
		}
		s.Figure(x.name, float64(ns)/1e3, "µs")
	}
	return nil
}

func measureGrantsR(ctx context.Context, s *Session) error {
	refs, err := s.GetRefs(ctx, "refs")
	if err != nil {
		return err
	}
	rounds, err := s.GetUint(ctx, "rounds")
	if err != nil {
		return err
	}
	n := max(int(rounds)/10, 1)
	page := make([]byte, measurePages*xen.PageSize)
	var ops []xen.CopyOp
	for i, r := range refs {
		ops = append(ops, xen.CopyOp{Peer: s.Peer, Ref: r, Local: page[i*xen.PageSize:][:xen.PageSize]})
	}
	mapping := func(refs []xen.GrantRef) func() error {
		return func() error {
			m, err := s.Dom.Map(s.Peer, refs, xen.ReadWrite)
			if err != nil {
				return err
			}
			return m.Close()
		}
	}
	for _, x := range []struct {
		key string
		do  func() error
	}{
		{keyMap1, mapping(refs[:1])},
		{keyMapAll, mapping(refs)},
		{keyCopy1, func() error { return s.Dom.Copy(ops[:1]) }},
		{keyCopyAll, func() error { return s.Dom.Copy(ops) }},
	} {
		start := time.Now()
		for range n {
			if err := x.do(); err != nil {
				return err
			}
		}
		if err := s.Put(ctx, x.key, time.Since(start).Nanoseconds()/int64(n)); err != nil {
			return err
		}
	}
	_, err = s.Get(ctx, keyDone)
	return err
}

// Keys under which the responder tells what it measured, in nanoseconds.
const (
	keyMap1    = "map-one"
	keyMapAll  = "map-all"
	keyCopy1   = "copy-one"
	keyCopyAll = "copy-all"
)

func measureStoreI(ctx context.Context, s *Session) error {
	at := s.Dir + "/i/measured"
	n := s.rounds()
	start := time.Now()
	for range n {
		if err := s.Store.Write(ctx, at, "some value"); err != nil {
			return err
		}
	}
	s.perOp("xenstore write", start, n)
	start = time.Now()
	for range n {
		if _, err := s.Store.Read(ctx, at); err != nil {
			return err
		}
	}
	s.perOp("xenstore read", start, n)
	return nil
}
