package simulated

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"morgana/cmd/stubdom/internal/host/model"
	"morgana/xen"
	"morgana/xenconsoled"
)

// machine is the host as package look sees it.
type machine Host

// all lists the domains by number.
func (h *Host) all() []*domain {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.SortedFunc(maps.Values(h.domains), func(a, b *domain) int { return cmp.Compare(a.ID(), b.ID()) })
}

// Domains implements look.Machine. A domain of the simulator has no memory but the pages that it shares.
func (m *machine) Domains(context.Context) ([]model.Domain, error) {
	h := (*Host)(m)
	var all []model.Domain
	for _, d := range h.all() {
		all = append(all, model.Domain{
			ID: int(d.ID()), Name: d.name, Role: d.role, State: model.Running, Generation: d.entered,
			MemoryKiB: uint64(d.Usage().Shared) * xen.PageSize / 1024,
		})
	}
	return all, nil
}

func (m *machine) console(d *model.Domain) *xenconsoled.Console {
	h := (*Host)(m)
	if h.consoles == nil {
		return nil
	}
	for _, c := range h.consoles.served.Service().Consoles() {
		if int(c.Dom()) == d.ID {
			return c
		}
	}
	return nil
}

// Console implements look.Machine.
func (m *machine) Console(_ context.Context, d *model.Domain) (model.Console, error) {
	c := m.console(d)
	if c == nil {
		return model.Console{}, nil
	}
	s := c.Stats()
	return model.Console{Served: true, Bytes: s.Bytes, Lines: s.Lines}, nil
}

// tailMax is how much of a console is looked at.
const tailMax = 64 << 10

// Output implements look.Machine.
func (m *machine) Output(_ context.Context, d *model.Domain) ([]byte, uint64, error) {
	c := m.console(d)
	if c == nil {
		return nil, 0, fmt.Errorf("domain %d has no console here", d.ID)
	}
	s := c.Stream()
	r := s.NewReader(s.Screen(model.LinesMax+1, tailMax), xenconsoled.Newest, 0)
	defer r.Close()
	var out []byte
	b := make([]byte, 8192)
	for r.Pending() > 0 && len(out) < 2*tailMax {
		n, _ := r.Read(b)
		out = append(out, b[:n]...)
	}
	return out, r.Position(), nil
}
