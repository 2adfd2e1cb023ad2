package xentest

import (
	"context"
	"errors"
	"fmt"
	"time"

	"morgana/xen"
	"morgana/xen/ring"
)

func eventCases() []Case {
	return []Case{
		{Name: "event/bind", Initiator: bindI, Responder: bindR},
		{Name: "event/late-bind", Initiator: lateBindI, Responder: lateBindR},
		{Name: "event/coalesce", Initiator: coalesceI, Responder: coalesceR},
		{Name: "event/close", Initiator: closeI, Responder: closeR},
		{Name: "event/wrong-domain", Initiator: wrongDomainI, Responder: wrongDomainR},
		{Name: "event/context", Initiator: contextI, Responder: contextR},
	}
}

// bound makes a channel between the sides; when it returns on both, both are bound and the pending bit that
// binding sets is taken.
func bound(ctx context.Context, s *Session) (xen.Event, error) {
	if s.Role == Initiator {
		ev, err := s.Listen()
		if err != nil {
			return nil, err
		}
		if err := s.Put(ctx, "port", ev.Port()); err != nil {
			return nil, err
		}
		return ev, s.Step(ctx, "bound")
	}
	port, err := s.GetUint(ctx, "port")
	if err != nil {
		return nil, err
	}
	ev, err := s.Connect(xen.Port(port))
	if err != nil {
		return nil, err
	}
	if err := waitEvent(ctx, ev, "binding"); err != nil {
		return nil, err
	}
	return ev, s.Step(ctx, "bound")
}

func waitEvent(ctx context.Context, ev xen.Event, what string) error {
	if err := ev.Wait(ctx); err != nil {
		return fmt.Errorf("event after %s did not come: %w", what, err)
	}
	return nil
}

// bindI and bindR: each notification arrives, both ways. The rounds are counted in a shared page, as a driver's
// are in its ring: an event alone only says "look again", and may be spurious.
func bindI(ctx context.Context, s *Session) error {
	g, err := s.Share(1, xen.ReadWrite)
	if err != nil {
		return err
	}
	if err := s.PutRefs(ctx, "refs", g.Refs()); err != nil {
		return err
	}
	ev, err := bound(ctx, s)
	if err != nil {
		return err
	}
	if ev.Port() == 0 {
		return errors.New("port 0, which is never valid")
	}
	return pingPong(ctx, s, ev, g.Bytes(), 100)
}

func bindR(ctx context.Context, s *Session) error {
	refs, err := s.GetRefs(ctx, "refs")
	if err != nil {
		return err
	}
	m, err := s.Map(refs, xen.ReadWrite)
	if err != nil {
		return err
	}
	ev, err := bound(ctx, s)
	if err != nil {
		return err
	}
	return pingPong(ctx, s, ev, m.Bytes(), 100)
}

// pingPong passes the turn to and fro: the initiator counts in word 0, the responder in word 1.
func pingPong(ctx context.Context, s *Session, ev xen.Event, page []byte, rounds int) error {
	ping, err := ring.Word(page, 0)
	if err != nil {
		return err
	}
	pong, err := ring.Word(page, 64)
	if err != nil {
		return err
	}
	mine, theirs := ping, pong
	if s.Role == Responder {
		mine, theirs = pong, ping
	}
	for i := range uint32(rounds) {
		if s.Role == Initiator {
			mine.Store(i + 1)
			if err := ev.Notify(); err != nil {
				return err
			}
		}
		for theirs.Load() < i+1 {
			if err := waitEvent(ctx, ev, fmt.Sprintf("round %d", i)); err != nil {
				return err
			}
		}
		if s.Role == Responder {
			mine.Store(i + 1)
			if err := ev.Notify(); err != nil {
				return err
			}
		}
	}
	return nil
}

// lateBindI notifies before anyone is bound: no error, and the notification is lost; the binder finds its port
// pending all the same, because binding does that.
func lateBindI(ctx context.Context, s *Session) error {
	ev, err := s.Listen()
	if err != nil {
		return err
	}
	for range 3 {
		if err := ev.Notify(); err != nil {
			return fmt.Errorf("notify before the peer is bound: %w", err)
		}
	}
	if err := s.Put(ctx, "port", ev.Port()); err != nil {
		return err
	}
	if err := s.Step(ctx, "bound"); err != nil {
		return err
	}
	if err := ev.Notify(); err != nil {
		return err
	}
	return s.Step(ctx, "seen")
}

func lateBindR(ctx context.Context, s *Session) error {
	port, err := s.GetUint(ctx, "port")
	if err != nil {
		return err
	}
	ev, err := s.Connect(xen.Port(port))
	if err != nil {
		return err
	}
	if err := waitEvent(ctx, ev, "binding"); err != nil {
		return err
	}
	if _, err := s.Dom.Connect(s.Peer, xen.Port(port)); err == nil {
		return errors.New("a port could be bound twice")
	}
	if err := s.Step(ctx, "bound"); err != nil {
		return err
	}
	if err := waitEvent(ctx, ev, "notify"); err != nil {
		return err
	}
	return s.Step(ctx, "seen")
}

// coalesceI sends many notifications while nobody waits; the peer sees at least one and few. Spurious events are
// allowed, a hundred are not.
func coalesceI(ctx context.Context, s *Session) error {
	ev, err := bound(ctx, s)
	if err != nil {
		return err
	}
	for range 100 {
		if err := ev.Notify(); err != nil {
			return err
		}
	}
	if err := s.Step(ctx, "sent"); err != nil {
		return err
	}
	if err := s.Step(ctx, "counted"); err != nil {
		return err
	}
	// One more, sent after the port was read: the pending bit must have been cleared and not be stuck.
	if err := ev.Notify(); err != nil {
		return err
	}
	return s.Step(ctx, "last")
}

func coalesceR(ctx context.Context, s *Session) error {
	ev, err := bound(ctx, s)
	if err != nil {
		return err
	}
	if err := s.Step(ctx, "sent"); err != nil {
		return err
	}
	if err := waitEvent(ctx, ev, "100 notifications"); err != nil {
		return err
	}
	n := 1
	for n < 50 && !quiet(ctx, ev) {
		n++
	}
	if n == 50 {
		return errors.New("100 notifications before a wait gave 50 events: they do not coalesce")
	}
	if err := s.Step(ctx, "counted"); err != nil {
		return err
	}
	if err := waitEvent(ctx, ev, "a notification after the burst"); err != nil {
		return err
	}
	return s.Step(ctx, "last")
}

// quiet reports that no event comes for a moment.
func quiet(ctx context.Context, ev xen.Event) bool {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
	defer cancel()
	return ev.Wait(ctx) != nil
}

// closeI: the peer closes its end; our port stays, unbound, notifies into the void without error, and can be bound
// again by the same domain.
func closeI(ctx context.Context, s *Session) error {
	ev, err := bound(ctx, s)
	if err != nil {
		return err
	}
	if err := s.Step(ctx, "closed"); err != nil {
		return err
	}
	if err := ev.Notify(); err != nil {
		return fmt.Errorf("notify after the peer closed: %w", err)
	}
	if err := s.Step(ctx, "notified"); err != nil {
		return err
	}
	if err := s.Step(ctx, "rebound"); err != nil {
		return err
	}
	if err := waitEvent(ctx, ev, "notify by the peer that bound again"); err != nil {
		return err
	}
	if err := ev.Close(); err != nil {
		return err
	}
	if err := ev.Close(); err != nil {
		return fmt.Errorf("second close: %w", err)
	}
	if err := expect("wait after close", ev.Wait(ctx), xen.ErrClosed); err != nil {
		return err
	}
	return expect("notify after close", ev.Notify(), xen.ErrClosed)
}

func closeR(ctx context.Context, s *Session) error {
	ev, err := bound(ctx, s)
	if err != nil {
		return err
	}
	port, err := s.GetUint(ctx, "port")
	if err != nil {
		return err
	}
	waiting := make(chan error, 1)
	go func() { waiting <- ev.Wait(ctx) }()
	if err := ev.Close(); err != nil {
		return err
	}
	if err := expect("wait under way at close", <-waiting, xen.ErrClosed); err != nil {
		return err
	}
	if err := s.Step(ctx, "closed"); err != nil {
		return err
	}
	if err := s.Step(ctx, "notified"); err != nil {
		return err
	}
	again, err := s.Connect(xen.Port(port))
	if err != nil {
		return fmt.Errorf("bind again to the port that the peer kept: %w", err)
	}
	if err := again.Notify(); err != nil {
		return err
	}
	return s.Step(ctx, "rebound")
}

// wrongDomainI makes a port for a stranger; the peer must not get it, nor one that does not exist.
func wrongDomainI(ctx context.Context, s *Session) error {
	ev, err := s.Dom.Listen(s.stranger())
	if err != nil {
		return err
	}
	s.Defer(func() { _ = ev.Close() })
	if err := s.Put(ctx, "port", ev.Port()); err != nil {
		return err
	}
	return s.Step(ctx, "tried")
}

func wrongDomainR(ctx context.Context, s *Session) error {
	port, err := s.GetUint(ctx, "port")
	if err != nil {
		return err
	}
	_, err = s.Connect(xen.Port(port))
	if err := refused("connect to a port that is for another domain", err); err != nil {
		return err
	}
	for _, p := range []xen.Port{0, 4095, 1 << 20} {
		_, err = s.Connect(p)
		if err := refused(fmt.Sprintf("connect to port %d, which does not exist", p), err); err != nil {
			return err
		}
	}
	return s.Step(ctx, "tried")
}

// contextI: a wait ends with its context, and the event that comes later is not lost.
func contextI(ctx context.Context, s *Session) error {
	ev, err := bound(ctx, s)
	if err != nil {
		return err
	}
	short, cancel := context.WithCancel(ctx)
	defer cancel()
	result := make(chan error, 1)
	go func() {
		for {
			if err := ev.Wait(short); err != nil { // nil: spurious
				result <- err
				return
			}
		}
	}()
	cancel()
	if err := <-result; !errors.Is(err, context.Canceled) {
		return fmt.Errorf("wait whose context ended: %v, want %v", err, context.Canceled)
	}
	if err := s.Step(ctx, "given-up"); err != nil {
		return err
	}
	if err := s.Step(ctx, "sent"); err != nil {
		return err
	}
	return waitEvent(ctx, ev, "notify after a wait was given up")
}

func contextR(ctx context.Context, s *Session) error {
	ev, err := bound(ctx, s)
	if err != nil {
		return err
	}
	if err := s.Step(ctx, "given-up"); err != nil {
		return err
	}
	if err := ev.Notify(); err != nil {
		return err
	}
	return s.Step(ctx, "sent")
}
