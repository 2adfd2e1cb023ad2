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
	"morgana/xenstore"
)

const rendezvous = "/test/conformance"

// conform runs both sides of the suite between two new domains of the host.
func conform(t *testing.T, h *sim.Host, edit func(*xentest.Env), report func(xentest.Result)) *xentest.Report {
	t.Helper()
	d, err := h.NewDomain()
	if err != nil {
		t.Fatal(err)
	}
	return conformWith(t, h, d, edit, report)
}

// conformWith runs the suite with a given leader and a new follower.
func conformWith(t *testing.T, h *sim.Host, leader *sim.Domain, edit func(*xentest.Env), report func(xentest.Result)) *xentest.Report {
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
	follower := newDomain()
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
	rep, err := xentest.Run(ctx, env, report)
	if err != nil {
		t.Errorf("run: %v", err)
	}
	return rep
}

func TestConformance(t *testing.T) {
	h := sim.New(1)
	defer h.Close()
	rep := conform(t, h, nil, nil)
	rep.WriteText(t.Output())
	if err := rep.Err(); err != nil {
		t.Error(err)
	}
	if got, want := len(rep.Results), len(xentest.Cases()); got != want {
		t.Errorf("%d of %d cases were run", got, want)
	}
}

// On a real host one side is often dom0, which may do everything in xenstore.
func TestConformanceWithDom0(t *testing.T) {
	h := sim.New(1)
	defer h.Close()
	if err := conformWith(t, h, h.Dom0(), nil, nil).Err(); err != nil {
		t.Error(err)
	}
}

// Late, reordered and spurious events are nothing that a correct user of the layer may notice.
func TestConformanceUnderFaults(t *testing.T) {
	for seed := range uint64(3) {
		h := sim.New(seed, sim.WithFaults(sim.Faults{EventDelay: 300 * time.Microsecond, Spurious: 0.05}))
		rep := conform(t, h, nil, nil)
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
			caught := ""
			conform(t, h, func(e *xentest.Env) {
				e.Timeout = 2 * time.Second
				e.Only = func(name string) bool { return caught == "" && !strings.HasPrefix(name, "measure/") }
			}, func(r xentest.Result) {
				if r.Err != "" {
					caught = r.Case + ": " + r.Err
				}
			})
			if caught == "" {
				t.Fatalf("the suite passed a host that is wrong by %v", d)
			}
			t.Log(caught)
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

func TestInjectedFailuresSayWhat(t *testing.T) {
	h := sim.New(7, sim.WithFaults(sim.Faults{Fail: 0.5}))
	defer h.Close()
	a, _ := h.NewDomain()
	failed := 0
	for range 100 {
		g, err := a.Share(0, 1, xen.ReadWrite)
		if err == nil {
			g.Close()
			continue
		}
		failed++
		if !errors.Is(err, xen.ErrNoMemory) {
			t.Fatalf("injected failure is %v, want it to match %v", err, xen.ErrNoMemory)
		}
	}
	if failed < 20 || failed > 80 {
		t.Errorf("%d of 100 calls failed, want about half", failed)
	}
}

// A dead domain's goroutines run on in memory of their own: what they store, nobody sees.
func TestDeadDomainWritesNowhere(t *testing.T) {
	h := sim.New(1)
	defer h.Close()
	a, _ := h.NewDomain()
	b, _ := h.NewDomain()
	g, err := a.Share(b.ID(), 1, xen.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	m, err := b.Map(a.ID(), g.Refs(), xen.ReadWrite)
	if err != nil {
		t.Fatal(err)
	}
	m.Bytes()[0] = 1
	b.Destroy()
	m.Bytes()[0] = 2
	if got := g.Bytes()[0]; got != 1 {
		t.Errorf("the page shows %d, which a dead domain stored", got)
	}
	if _, err := a.Map(b.ID(), []xen.GrantRef{8}, xen.ReadOnly); !errors.Is(err, xen.ErrPeerGone) {
		t.Errorf("map of a dead domain's page: %v, want %v", err, xen.ErrPeerGone)
	}
	if err := g.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
}

// An unprivileged domain's quotas are xenstored's.
func TestStoreQuotas(t *testing.T) {
	h := sim.New(1, sim.WithLimits(sim.Limits{Nodes: 50, Watch: 5, Tx: 3}))
	defer h.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	d, _ := h.NewDomain()
	c := d.Store()
	var err error
	for i := 0; err == nil; i++ {
		if err = c.Mkdir(ctx, fmt.Sprintf("data/%d", i)); i > 50 {
			t.Fatal("51 nodes with a quota of 50")
		}
	}
	if !errors.Is(err, xenstore.ErrQuota) {
		t.Errorf("too many nodes: %v", err)
	}
	for i := range 4 {
		if _, err = c.Begin(ctx); (err != nil) != (i == 3) {
			t.Errorf("transaction %d: %v", i, err)
		}
	}
	for i := range 6 {
		if _, err = c.Watch(ctx, fmt.Sprintf("w%d", i)); (err != nil) != (i == 5) {
			t.Errorf("watch %d: %v", i, err)
		}
	}
	if !errors.Is(err, xenstore.ErrQuota) {
		t.Errorf("too many watches: %v", err)
	}
	if err := c.Write(ctx, "/tool/x", ""); !errors.Is(err, xenstore.ErrPermission) {
		t.Errorf("write to dom0's node: %v", err)
	}
	if err := c.Write(ctx, "data", string(make([]byte, 2100))); !errors.Is(err, xenstore.ErrQuota) {
		t.Errorf("large value: %v", err)
	}
}

// The console's page has the reserved reference, once at a time, and ordinary ones do not meet it.
func TestShareConsole(t *testing.T) {
	h := sim.New(1)
	defer h.Close()
	d, err := h.NewDomain()
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		g, err := d.ShareConsole(0)
		if err != nil || g.Refs()[0] != xen.GrantConsole {
			t.Fatal(g, err)
		}
		if _, err := d.ShareConsole(0); !errors.Is(err, xen.ErrInUse) {
			t.Errorf("twice: %v", err)
		}
		m, err := h.Dom0().Map(d.ID(), []xen.GrantRef{xen.GrantConsole}, xen.ReadWrite)
		if err != nil {
			t.Fatal(err)
		}
		copy(g.Bytes(), "hello")
		if string(m.Bytes()[:5]) != "hello" {
			t.Error("another page is mapped")
		}
		if err := errors.Join(m.Close(), g.Close()); err != nil {
			t.Fatal(err)
		}
		other, err := d.Share(0, 1, xen.ReadWrite)
		if err != nil || other.Refs()[0] < 8 {
			t.Errorf("%v, %v", other.Refs(), err)
		}
	}
}
