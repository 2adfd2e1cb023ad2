package simulated

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"morgana/blkback"
	"morgana/block"
	"morgana/cmd/mlvm/serving"
	"morgana/cmd/stubdom/internal/host/look"
	"morgana/cmd/stubdom/internal/host/model"
	"morgana/lvm/remote"
	"morgana/xen"
	"morgana/xen/sim"
	"morgana/xen/wire/xs"
	"morgana/xen/xenbus/xenbustest"
	"morgana/xenstore"
)

// Names and sizes of what the host has.
const (
	GroupName = "vg0"
	diskBytes = 1 << 30 // of the disk that the storage domain gets; memory only where it was written
	diskNode  = 51712   // xvda
)

// Host is a host in the simulator. Safe for concurrent use, but for Close.
type Host struct {
	*look.Looker

	ctx    context.Context // ends with the host
	cancel context.CancelFunc
	last   context.Context // xenstore's: it ends after all others
	silent context.CancelFunc
	xen    *sim.Host
	tools  xenbustest.ToolStack
	disk   *block.Mem
	say    func(string)
	begun  time.Time
	parts  sync.WaitGroup

	store    *storeDomain
	storage  *storage
	consoles *consoles
	lower    xenbustest.Device // the storage domain's disk

	mu      sync.Mutex
	domains map[xen.DomID]*domain
	guests  []*Guest
}

// domain is a domain as the tool stack knows it.
type domain struct {
	*sim.Domain
	name    string
	role    model.Role
	store   *xenstore.Client // over its ring
	ring    xen.Grant        // with xenstore, nil for the domain that serves it
	port    xen.Port
	front   *consoleFront // nil for dom0
	entered int           // how often its program was started
}

// Start makes a host whose xenstore is served by a domain of its own. say takes what happens, a line a call, and may be
// nil.
func Start(ctx context.Context, say func(string)) (*Host, error) {
	if say == nil {
		say = func(string) {}
	}
	h := &Host{xen: sim.New(1), disk: block.NewMem(diskBytes, 512), say: say, begun: time.Now(), domains: make(map[xen.DomID]*domain)}
	h.ctx, h.cancel = context.WithCancel(context.WithoutCancel(ctx))
	h.last, h.silent = context.WithCancel(context.WithoutCancel(ctx))
	h.Looker = &look.Looker{Machine: (*machine)(h), Host: "Xen simulator"}
	if err := h.boot(ctx); err != nil {
		return nil, errors.Join(err, h.Close())
	}
	return h, nil
}

// boot does what dom0's init does: xenstore first.
func (h *Host) boot(ctx context.Context) error {
	dom0 := &domain{Domain: h.xen.Dom0(), name: "Domain-0", role: model.Dom0, entered: 1}
	h.add(dom0)
	serving, err := h.xen.NewDomain()
	if err != nil {
		return err
	}
	own := &domain{Domain: serving, name: "Xenstore", role: model.Xenstore}
	h.add(own)
	if err := h.shareStore(dom0, own.ID()); err != nil {
		return err
	}
	if h.store, err = startStore(h, own); err != nil {
		return err
	}
	h.tools.Store, h.Store = dom0.store, dom0.store
	for path, value := range map[string]string{
		"/tool/xenstored/domid": strconv.Itoa(int(own.ID())), "/local/domain": "", "/vm": "", "/tool/xenconsoled": "",
	} {
		if err := dom0.store.Write(ctx, path, value); err != nil {
			return err
		}
	}
	for _, d := range []*domain{dom0, own} {
		if err := h.makeHome(ctx, d); err != nil {
			return err
		}
	}
	return h.serveDisk(ctx, dom0)
}

func (h *Host) add(d *domain) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.domains[d.ID()] = d
}

func (h *Host) find(d xen.DomID) *domain {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.domains[d]
}

// serveDisk has dom0's backend serve the disk.
func (h *Host) serveDisk(ctx context.Context, dom0 *domain) error {
	server, err := blkback.New(blkback.Config{
		Store: dom0.store, Domain: dom0,
		Open: func(context.Context, *blkback.Attachment) (blkback.Disk, error) {
			return blkback.Disk{Device: h.disk}, nil
		},
	})
	if err != nil {
		return err
	}
	h.part("dom0's backend", func() error { return server.Serve(h.ctx) })
	h.part("dom0's commands", func() error {
		return remote.Serve(h.ctx, dom0.store, 0, serving.Commands(nil, server))
	})
	return nil
}

// part runs a part of the host until its end; one that ends by itself is told of.
func (h *Host) part(what string, f func() error) {
	h.parts.Go(func() {
		if err := f(); err != nil && h.ctx.Err() == nil {
			h.say(fmt.Sprintf("%s: %v", what, err))
		}
	})
}

// newDomain makes a domain as the tool stack does: with a ring to xenstore, a home there, and a console.
func (h *Host) newDomain(ctx context.Context, name string, role model.Role) (*domain, error) {
	s, err := h.xen.NewDomain()
	if err != nil {
		return nil, err
	}
	d := &domain{Domain: s, name: name, role: role}
	if err := h.shareStore(d, h.store.dom.ID()); err != nil {
		return nil, err
	}
	h.add(d)
	if err := h.makeHome(ctx, d); err != nil {
		return nil, err
	}
	if err := h.tools.Store.Introduce(ctx, d.ID(), 0, d.port); err != nil {
		return nil, err
	}
	return d, h.makeConsole(ctx, d)
}

// shareStore makes a domain's side of its ring to xenstore.
func (h *Host) shareStore(d *domain, with xen.DomID) error {
	g, err := d.Share(with, 1, xen.ReadWrite)
	if err != nil {
		return err
	}
	ev, err := d.Listen(with)
	if err != nil {
		return err
	}
	ring, err := xenstore.NewRing(g.Bytes(), ev)
	if err != nil {
		return err
	}
	d.ring, d.port, d.store = g, ev.Port(), xenstore.NewClient(ring)
	return nil
}

// makeHome makes a domain's directory: readable to it, with some places of its own (libxl__domain_make).
func (h *Host) makeHome(ctx context.Context, d *domain) error {
	home, id := xs.DomainPath(d.ID()), d.ID()
	readable := []xs.Perm{{Access: xs.AccessNone, Dom: 0}, {Access: xs.AccessRead, Dom: id}}
	own := []xs.Perm{{Access: xs.AccessNone, Dom: id}}
	return h.tools.Store.Transact(ctx, func(tx *xenstore.Tx) error {
		for _, n := range []struct {
			path, value string
			perms       []xs.Perm
		}{
			{"", "", readable}, {"/name", d.name, readable}, {"/domid", strconv.Itoa(int(id)), readable}, {"/control", "", readable},
			{"/device", "", readable}, {"/memory", "", readable}, {"/data", "", own}, {"/drivers", "", own}, {"/attr", "", own},
			{"/error", "", own}, {"/feature", "", own}, {"/backend", "", own}, {"/control/shutdown", "", own},
		} {
			if err := tx.Write(ctx, home+n.path, n.value); err != nil {
				return err
			}
			if err := tx.SetPerms(ctx, home+n.path, n.perms...); err != nil {
				return err
			}
		}
		return nil
	})
}

// destroy ends a domain as xl does.
func (h *Host) destroy(ctx context.Context, d *domain) error {
	if d.front != nil {
		d.front.close()
	}
	d.store.Close()
	d.Destroy()
	h.mu.Lock()
	delete(h.domains, d.ID())
	h.mu.Unlock()
	h.xen.RaiseVIRQ(xen.VIRQDomExc)
	err := h.tools.Store.Remove(ctx, xs.DomainPath(d.ID()))
	if errors.Is(err, xenstore.ErrNotExist) {
		return nil
	}
	return err
}

// Close ends everything. Idempotent.
func (h *Host) Close() error {
	h.cancel()
	h.mu.Lock()
	guests := h.guests
	h.guests = nil
	h.mu.Unlock()
	for _, g := range guests {
		g.stop()
	}
	if h.storage != nil {
		h.storage.stop()
	}
	if h.consoles != nil {
		h.consoles.stop()
	}
	h.parts.Wait()
	h.silent()
	var err error
	if h.store != nil {
		err = h.store.close()
	}
	h.mu.Lock()
	for _, d := range h.domains {
		if d.front != nil {
			d.front.close()
		}
		if d.store != nil {
			d.store.Close()
		}
	}
	h.mu.Unlock()
	h.xen.Close()
	return err
}
