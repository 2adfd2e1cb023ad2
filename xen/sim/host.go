package sim

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"morgana/xen"
)

// Limits are what Xen and the tool stack allow a domain; zero fields stand for the defaults.
type Limits struct {
	Grants int // entries of a grant table; 4096, at most 32768
	Pages  int // pages that a domain may share at once; 4096
	Ports  int // event channel ports; 4096, which is the two-level ABI's
	Nodes  int // xenstore nodes of an unprivileged domain; 1000
	Watch  int // its watches; 128
	Tx     int // its open transactions; 10
}

// Faults are what may happen to an honest driver on a real host. All are drawn from the seed.
type Faults struct {
	EventDelay time.Duration // each event is delivered after up to this time, and so out of order between ports
	Spurious   float64       // chance that a notification wakes some other port too
	Fail       float64       // chance that Share, Map, Listen or Connect fails for want of memory
}

// Option configures a Host.
type Option func(*Host)

// WithLimits sets limits for all domains.
func WithLimits(l Limits) Option { return func(h *Host) { h.limits = l } }

// WithFaults injects faults.
func WithFaults(f Faults) Option { return func(h *Host) { h.faults = f } }

// WithDefects makes the host wrong on purpose.
func WithDefects(defects ...Defect) Option {
	return func(h *Host) {
		for _, d := range defects {
			h.defects[d] = true
		}
	}
}

// Host is a machine with a hypervisor, dom0 and a xenstore. Safe for concurrent use.
type Host struct {
	seed    uint64
	limits  Limits
	faults  Faults
	defects map[Defect]bool
	store   *store
	late    sync.WaitGroup // delayed events

	mu      sync.Mutex
	rng     *rand.Rand
	mem     *memory
	domains map[xen.DomID]*Domain
	nextDom xen.DomID
	closed  bool
	counts  map[Defect]int // for defects that strike now and then
}

// New makes a host with dom0. The seed decides the faults; print it with a test that fails. New panics if the
// machine has no memory file for it, which no caller can mend.
func New(seed uint64, opts ...Option) *Host {
	mem, err := newMemory()
	if err != nil {
		panic(err)
	}
	h := &Host{
		seed:    seed,
		defects: make(map[Defect]bool),
		rng:     rand.New(rand.NewPCG(seed, 0x6d6f7267616e61)),
		mem:     mem,
		domains: make(map[xen.DomID]*Domain),
		counts:  make(map[Defect]int),
	}
	for _, o := range opts {
		o(h)
	}
	setDefault(&h.limits.Grants, 4096)
	setDefault(&h.limits.Pages, 4096)
	setDefault(&h.limits.Ports, 4096)
	setDefault(&h.limits.Nodes, 1000)
	setDefault(&h.limits.Watch, 128)
	setDefault(&h.limits.Tx, 10)
	h.store = newStore(h)
	if _, err := h.NewDomain(); err != nil {
		panic(err)
	}
	return h
}

func setDefault(p *int, v int) {
	if *p == 0 {
		*p = v
	}
}

// Seed is what New was given.
func (h *Host) Seed() uint64 { return h.seed }

// Dom0 is the domain that may do everything.
func (h *Host) Dom0() *Domain {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.domains[0]
}

// NewDomain makes a domain, with a home in xenstore as xl would make it.
func (h *Host) NewDomain() (*Domain, error) {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return nil, &xen.Error{Op: "create", Object: "domain", Err: xen.ErrClosed}
	}
	d := &Domain{host: h, id: h.nextDom, ports: make(map[xen.Port]*channel), killAt: -1}
	h.nextDom++
	h.domains[d.id] = d
	h.mu.Unlock()
	h.store.addDomain(d.id)
	return d, nil
}

// Close ends everything: all domains die. Idempotent.
func (h *Host) Close() {
	h.mu.Lock()
	if h.closed {
		h.mu.Unlock()
		return
	}
	h.closed = true
	var all []*Domain
	for _, d := range h.domains {
		all = append(all, d)
	}
	h.mu.Unlock()
	for _, d := range all {
		d.Destroy()
	}
	h.late.Wait()
	h.store.close()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.mem.close()
}

// strikesLocked reports whether a defect that strikes every seventh time strikes now.
func (h *Host) strikesLocked(d Defect) bool {
	if !h.defects[d] {
		return false
	}
	h.counts[d]++
	return h.counts[d]%7 == 0
}

func domainName(d xen.DomID) string { return fmt.Sprintf("domain %d", d) }
