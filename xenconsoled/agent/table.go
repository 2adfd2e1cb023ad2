package agent

import (
	"context"
	"errors"
	"fmt"

	"morgana/xen"
	"morgana/xenconsoled"
	"morgana/xenconsoled/domain"
	"morgana/xenstore"
)

// table is what the domain is told of guests. For one goroutine.
type table struct {
	agent *Agent
	store *xenstore.Client
	dom   xen.DomID
	has   map[xen.DomID]string // the nodes that are there
}

// load finds what an agent before this one told.
func (t *table) load(ctx context.Context) error {
	names, err := t.store.List(ctx, domain.Path(t.dom, domain.NodeGuests))
	if err != nil && !errors.Is(err, xenstore.ErrNotExist) {
		return err
	}
	for _, name := range names {
		d, err := domain.ParseGuestNode(name)
		if err != nil {
			continue
		}
		v, err := t.store.Read(ctx, domain.Path(t.dom, domain.GuestNode(d)))
		if err != nil && !errors.Is(err, xenstore.ErrNotExist) {
			return err
		}
		t.has[d] = v
	}
	return t.bury(ctx)
}

// found tells of a guest, if the domain does not know it as it is.
func (t *table) found(ctx context.Context, f xenconsoled.Found) error {
	if f.Dom == t.dom || !t.agent.cfg.Alive(f.Dom) {
		return nil
	}
	if v := domain.AppendGuest(f); v != t.has[f.Dom] {
		if err := t.store.Write(ctx, domain.Path(t.dom, domain.GuestNode(f.Dom)), v); err != nil {
			return err
		}
		t.has[f.Dom] = v
	}
	g := t.agent.serve(ctx, f)
	if g.terminal == nil {
		return nil
	}
	told, err := xenconsoled.Publish(ctx, t.store, f.Dom, g.terminal.Name(), g.told)
	g.told = told
	if errors.Is(err, xenconsoled.ErrUnwritable) {
		t.agent.cfg.Warn(err.Error())
		return nil
	}
	return err
}

// remove says that a guest is gone, or is not the domain's.
func (t *table) remove(ctx context.Context, d xen.DomID) error {
	if _, ok := t.has[d]; !ok {
		return nil
	}
	err := t.store.Remove(ctx, domain.Path(t.dom, domain.GuestNode(d)))
	if err != nil && !errors.Is(err, xenstore.ErrNotExist) {
		return err
	}
	delete(t.has, d)
	t.agent.drop(d, xenconsoled.ErrGone)
	return nil
}

// bury removes guests that are gone.
func (t *table) bury(ctx context.Context) error {
	for d := range t.has {
		if !t.agent.cfg.Alive(d) {
			if err := t.remove(ctx, d); err != nil {
				return err
			}
		}
	}
	return nil
}

// serve has a guest have what it has here.
func (a *Agent) serve(ctx context.Context, f xenconsoled.Found) *Guest {
	if g := a.guests[f.Dom]; g != nil {
		if g.VM == f.VM && g.Port == f.Port && g.Ref == f.Ref {
			return g
		}
		cause := error(context.Canceled)
		if g.VM != f.VM {
			cause = xenconsoled.ErrGone
		}
		a.drop(f.Dom, cause)
	}
	g := &Guest{Found: f, agent: a}
	a.guests[f.Dom] = g
	run, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	g.cancel = cancel
	if a.cfg.Terminal != nil {
		var err error
		if g.terminal, err = a.cfg.Terminal(g); err != nil {
			a.cfg.Warn(fmt.Sprintf("domain %d (%s): no terminal: %v", f.Dom, f.Name, err))
			g.terminal = nil
		}
	}
	if g.terminal != nil {
		g.parts.Go(func() { g.terminal.Run(run) })
	}
	if a.cfg.Copy != nil {
		g.parts.Go(func() { a.cfg.Copy(run, g) })
	}
	return g
}

// drop ends what a guest has here: for xenconsoled.ErrGone, when it is gone.
func (a *Agent) drop(d xen.DomID, cause error) {
	if g := a.guests[d]; g != nil {
		delete(a.guests, d)
		g.cancel(cause)
		g.parts.Wait()
	}
}

func (a *Agent) dropAll(cause error) {
	for d := range a.guests {
		a.drop(d, cause)
	}
}
