package sim_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"morgana/xen"
	"morgana/xen/sim"
	"morgana/xen/wire/xs"
	"morgana/xen/xentest"
)

const rendezvous = "/test/conformance"

// conform runs both sides of the suite between two new domains of the host.
func conform(t *testing.T, h *sim.Host, edit func(*xentest.Env)) *xentest.Report {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	newDomain := func() *sim.Domain {
		d, err := h.NewDomain()
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	leader, follower := newDomain(), newDomain()
	store := h.Dom0().Store()
	open := func() error {
		return store.SetPerms(ctx, rendezvous, xs.Perm{Access: xs.AccessNone},
			xs.Perm{Access: xs.AccessBoth, Dom: leader.ID()}, xs.Perm{Access: xs.AccessBoth, Dom: follower.ID()})
	}
	if err := store.Mkdir(ctx, rendezvous); err != nil {
		t.Fatal(err)
	}
	if err := open(); err != nil {
		t.Fatal(err)
	}
	env := &xentest.Env{
		Dom: leader, Store: leader.Store(), Peer: follower.ID(), Path: rendezvous, Role: xentest.Initiator,
		Stranger: 0x7000, Rounds: 100,
	}
	if edit != nil {
		edit(env)
	}
	respond := func() {
		e := *env
		e.Dom, e.Store, e.Peer, e.Role = follower, follower.Store(), leader.ID(), xentest.Responder
		wg.Go(func() { _, _ = xentest.Run(ctx, &e, nil) })
	}
	env.KillPeer = func(context.Context) (xen.DomID, error) {
		follower.Destroy()
		follower = newDomain()
		if err := open(); err != nil {
			return 0, err
		}
		respond()
		return follower.ID(), nil
	}
	respond()
	rep, err := xentest.Run(ctx, env, nil)
	if err != nil {
		t.Errorf("run: %v", err)
	}
	return rep
}

func TestConformance(t *testing.T) {
	h := sim.New(1)
	defer h.Close()
	rep := conform(t, h, nil)
	rep.WriteText(t.Output())
	if err := rep.Err(); err != nil {
		t.Error(err)
	}
	if got, want := len(rep.Results), len(xentest.Cases()); got != want {
		t.Errorf("%d of %d cases were run", got, want)
	}
}

// Late, reordered and spurious events are nothing that a correct user of the layer may notice.
func TestConformanceUnderFaults(t *testing.T) {
	for seed := range uint64(3) {
		h := sim.New(seed, sim.WithFaults(sim.Faults{EventDelay: 300 * time.Microsecond, Spurious: 0.05}))
		rep := conform(t, h, nil)
		if err := rep.Err(); err != nil {
			t.Errorf("seed %d: %v", seed, err)
		}
		h.Close()
	}
}

// Each deliberate defect is caught by the suite.
func TestDefectsAreCaught(t *testing.T) {
	for _, d := range sim.Defects() {
		t.Run(d.String(), func(t *testing.T) {
			t.Parallel()
			h := sim.New(uint64(d), sim.WithDefects(d))
			defer h.Close()
			rep := conform(t, h, func(e *xentest.Env) {
				e.Timeout = time.Second
				e.Only = func(name string) bool { return !strings.HasPrefix(name, "measure/") }
			})
			failed := rep.Failed()
			if len(failed) == 0 {
				t.Fatalf("the suite passed a host that is wrong by %v", d)
			}
			for _, f := range failed {
				t.Logf("%s: %s", f.Case, f.Err)
			}
		})
	}
}

func TestRevokeWhileMappedParksThePage(t *testing.T) {
	h := sim.New(1, sim.WithLimits(sim.Limits{Grants: 16, Pages: 8}))
	defer h.Close()
	a, _ := h.NewDomain()
	b, _ := h.NewDomain()
	g, err := a.Share(b.ID(), 8, xen.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	m, err := b.Map(a.ID(), g.Refs()[:3], xen.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.Close(); !errors.Is(err, xen.ErrInUse) {
		t.Fatalf("close while 3 of 8 pages are mapped: %v, want %v", err, xen.ErrInUse)
	}
	if _, err := a.Share(b.ID(), 6, xen.ReadWrite); !errors.Is(err, xen.ErrNoGrants) && !errors.Is(err, xen.ErrNoMemory) {
		t.Fatalf("share of 6 with 5 free: %v", err)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	g, err = a.Share(b.ID(), 8, xen.ReadWrite)
	if err != nil {
		t.Fatalf("share of all after unmap: %v", err)
	}
	for i, x := range g.Bytes() {
		if x != 0 {
			t.Fatalf("byte %d of new pages is %d", i, x)
		}
	}
}

func TestPortsRunOut(t *testing.T) {
	h := sim.New(1)
	defer h.Close()
	a, _ := h.NewDomain()
	for i := 1; i < 4096; i++ {
		if _, err := a.Listen(0); err != nil {
			t.Fatalf("port %d: %v", i, err)
		}
	}
	if _, err := a.Listen(0); !errors.Is(err, xen.ErrNoPorts) {
		t.Fatalf("port 4096: %v, want %v", err, xen.ErrNoPorts)
	}
}

// A domain dies at its nth operation, for every n: the survivor never hangs, and can go on with others.
func TestDeathAtEveryStep(t *testing.T) {
	for n := range 12 {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			h := sim.New(uint64(n))
			defer h.Close()
			a, _ := h.NewDomain()
			b, _ := h.NewDomain()
			b.KillAfter(n)
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			w, err := a.Store().Watch(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if err := h.Dom0().Store().SetPerms(ctx, xs.ReleaseDomain, xs.Perm{Access: xs.AccessNone}, xs.Perm{Access: xs.AccessRead, Dom: a.ID()}); err != nil {
				t.Fatal(err)
			}
			if err := w.Add(ctx, xs.ReleaseDomain); err != nil {
				t.Fatal(err)
			}
			if _, err := w.Next(ctx); err != nil {
				t.Fatal(err)
			}
			ev, _ := a.Listen(b.ID())
			g, _ := a.Share(b.ID(), 2, xen.ReadWrite)
			for range 6 { // two operations each, and the first round has two more
				bev, err := b.Connect(a.ID(), ev.Port())
				if err != nil {
					break
				}
				m, err := b.Map(a.ID(), g.Refs(), xen.ReadWrite)
				if err != nil {
					break
				}
				if bev.Notify() != nil {
					break
				}
				m.Close()
				bev.Close()
			}
			b.Destroy()
			if _, err := w.Next(ctx); err != nil {
				t.Fatalf("@releaseDomain: %v", err)
			}
			if err := ev.Notify(); err != nil {
				t.Errorf("notify: %v", err)
			}
			if err := g.Close(); err != nil {
				t.Errorf("close of pages whose peer is dead: %v", err)
			}
		})
	}
}
