package xentest

import (
	"context"
	"errors"
	"fmt"

	"morgana/xen"
)

// The steps of a session at which the responder dies. At each it has done all of the earlier ones.
var deathSteps = []string{"idle", "shared", "mapped", "listening", "bound", "talking"}

func deathCases() []Case {
	var all []Case
	for i, step := range deathSteps {
		all = append(all, Case{
			Name:      "death/" + step,
			Kills:     true,
			Initiator: func(ctx context.Context, s *Session) error { return deathI(ctx, s, i) },
			Responder: func(ctx context.Context, s *Session) error { return deathR(ctx, s, i) },
		})
	}
	return all
}

// deathR does its steps and waits for its end.
func deathR(ctx context.Context, s *Session, step int) error {
	if step >= 1 {
		g, err := s.Share(2, xen.ReadWrite)
		if err != nil {
			return err
		}
		pattern(g.Bytes(), 30)
		if err := s.PutRefs(ctx, "refs", g.Refs()); err != nil {
			return err
		}
	}
	if step >= 2 {
		refs, err := s.GetRefs(ctx, "refs")
		if err != nil {
			return err
		}
		if _, err := s.Map(refs, xen.ReadWrite); err != nil {
			return err
		}
	}
	var ev xen.Event
	if step >= 3 {
		var err error
		if ev, err = s.Listen(); err != nil {
			return err
		}
		if err := s.Put(ctx, "port", ev.Port()); err != nil {
			return err
		}
	}
	if step >= 4 {
		if err := s.Step(ctx, "bound"); err != nil {
			return err
		}
	}
	if err := s.Put(ctx, "ready", step); err != nil {
		return err
	}
	for step >= 5 {
		if err := ev.Notify(); err != nil {
			return err
		}
		if err := ev.Wait(ctx); err != nil {
			return err
		}
	}
	<-ctx.Done() // the end comes from outside
	return context.Cause(ctx)
}

// deathI goes along, kills the peer, and then uses and closes everything that it had with it: errors are right,
// faults and hangs are not, and its own domain is as good as before.
func deathI(ctx context.Context, s *Session, step int) error {
	var (
		g    xen.Grant
		m    xen.Mapping
		ev   xen.Event
		refs []xen.GrantRef
		port uint32
		err  error
	)
	if step >= 1 {
		if refs, err = s.GetRefs(ctx, "refs"); err != nil {
			return err
		}
		if m, err = s.Map(refs, xen.ReadWrite); err != nil {
			return err
		}
	}
	if step >= 2 {
		if g, err = s.Share(2, xen.ReadWrite); err != nil {
			return err
		}
		if err := s.PutRefs(ctx, "refs", g.Refs()); err != nil {
			return err
		}
	}
	if step >= 3 {
		if port, err = s.GetUint(ctx, "port"); err != nil {
			return err
		}
	}
	if step >= 4 {
		if ev, err = s.Connect(xen.Port(port)); err != nil {
			return err
		}
		if err := s.Step(ctx, "bound"); err != nil {
			return err
		}
	}
	if _, err := s.Get(ctx, "ready"); err != nil {
		return err
	}
	dead := s.Peer
	if err := s.kill(ctx); err != nil {
		return err
	}
	if m != nil {
		if err := samePattern("mapped page of a dead peer", m.Bytes(), 30); err != nil {
			return err
		}
		m.Bytes()[0]++
		if err := m.Close(); err != nil {
			return fmt.Errorf("unmap of a dead peer's page: %w", err)
		}
	}
	if refs != nil && dead != s.Peer {
		_, err := s.Dom.Map(dead, refs, xen.ReadWrite)
		if err := expect("map of a dead peer's pages", err, xen.ErrPeerGone, xen.ErrBadGrant); err != nil {
			return err
		}
	}
	if step >= 3 && dead != s.Peer {
		_, err := s.Dom.Connect(dead, xen.Port(port))
		if err := refused("connect to a dead peer", err); err != nil {
			return err
		}
	}
	if g != nil {
		// The dead peer maps nothing any more: the pages are ours again, perhaps a little later.
		if err := g.Close(); err != nil && !errors.Is(err, xen.ErrInUse) {
			return fmt.Errorf("close of pages that a dead peer mapped: %w", err)
		}
	}
	if ev != nil {
		if err := ev.Notify(); err != nil && !errors.Is(err, xen.ErrPeerGone) {
			return fmt.Errorf("notify of a dead peer: %w", err)
		}
		if err := ev.Close(); err != nil {
			return fmt.Errorf("close of a channel to a dead peer: %w", err)
		}
	}
	return nil
}
