package look

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"morgana/cmd/stubdom/internal/host/model"
	"morgana/lvm/remote"
	"morgana/metrics"
	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore"
)

// Machine is what a Looker needs beyond xenstore. Safe for concurrent use.
type Machine interface {
	// Domains lists the host's domains in the order of their numbers. Names and consoles may be left out.
	Domains(ctx context.Context) ([]model.Domain, error)
	// Console counts what a domain wrote to its console.
	Console(ctx context.Context, d *model.Domain) (model.Console, error)
	// Output is the end of that, and how many bytes there were in all.
	Output(ctx context.Context, d *model.Domain) (end []byte, bytes uint64, err error)
}

// Looker looks at a host. It implements model.Source. Safe for concurrent use.
type Looker struct {
	Store   *xenstore.Client // dom0's
	Machine Machine
	Host    string // what the host is, for people

	mu      sync.Mutex
	volumes map[int]*volumes // by the domain that serves them
	figures metrics.Set      // of the last look, as the parts told them
}

// volumes are what a domain told of its volumes.
type volumes struct {
	groups []model.Group
	due    time.Time // when to ask again
}

const (
	partTime    = 3 * time.Second // how long a part may take to answer
	volumesTime = 5 * time.Second // how old a map of volumes may be
	outputMax   = 1 << 20         // bytes of a command's output
	domainsMax  = 64              // domains whose rings are looked at one by one
)

var _ model.Source = (*Looker)(nil)

// Changed says that volumes changed: the next look asks for them.
func (l *Looker) Changed() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.volumes)
}

// Look implements model.Source.
func (l *Looker) Look(ctx context.Context) (*model.Snapshot, error) {
	s := &model.Snapshot{At: time.Now(), Host: l.Host, Domains: []model.Domain{}, Rings: []model.Ring{}, Groups: []model.Group{}}
	problem := func(what string, err error) {
		s.Problems = append(s.Problems, model.Clean(what+": "+err.Error(), model.LineMax))
	}
	var err error
	if s.Domains, err = l.Machine.Domains(ctx); err != nil {
		return nil, err
	}
	roles := l.roles(ctx)
	var figures metrics.Set
	for i := range s.Domains {
		d := &s.Domains[i]
		if err := l.domain(ctx, d, roles); err != nil {
			problem("domain "+strconv.Itoa(d.ID), err)
		}
	}
	if err := l.store(ctx, s, &figures); err != nil {
		problem("xenstore", err)
	}
	for i := range s.Domains {
		if i == domainsMax {
			problem("rings", fmt.Errorf("only those of the first %d domains are shown", domainsMax))
			break
		}
		if err := l.rings(ctx, s, &s.Domains[i], roles, &figures); err != nil {
			problem("domain "+strconv.Itoa(s.Domains[i].ID), err)
		}
	}
	users(s)
	slices.SortFunc(s.Rings, func(a, b model.Ring) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Front, b.Front), cmp.Compare(a.Device, b.Device))
	})
	l.mu.Lock()
	l.figures = figures
	l.mu.Unlock()
	return s, nil
}

// roles are the domains that xenstore names as services; -1 where none is.
type roles struct{ xenstore, consoles int }

func (l *Looker) roles(ctx context.Context) roles {
	read := func(path string) int {
		n, err := l.Store.ReadUint(ctx, path, 15)
		if err != nil {
			return -1
		}
		return int(n)
	}
	return roles{read("/tool/xenstored/domid"), read("/tool/xenconsoled/domid")}
}

// domain fills in what xenstore knows of a domain.
func (l *Looker) domain(ctx context.Context, d *model.Domain, r roles) error {
	home := xs.DomainPath(xen.DomID(d.ID))
	if d.Name == "" {
		name, err := l.Store.Read(ctx, home+"/name")
		if err != nil && !errors.Is(err, xenstore.ErrNotExist) {
			return err
		}
		d.Name = model.Clean(name, model.NameMax)
	}
	serving, err := l.Store.Exists(ctx, home+"/"+remote.Dir+"/serving")
	if err != nil {
		return err
	}
	switch {
	case d.ID == 0:
		d.Role = model.Dom0
	case d.ID == r.xenstore || r.xenstore < 0 && d.Name == "Xenstore": // what init-xenstore-domain calls it
		d.Role = model.Xenstore
	case d.ID == r.consoles:
		d.Role = model.Consoles
	case serving || d.Role == model.Storage:
		d.Role = model.Storage
	default:
		d.Role = model.Guest
	}
	d.Console, err = l.Machine.Console(ctx, d)
	return err
}

// store asks xenstore for its counters.
func (l *Looker) store(ctx context.Context, s *model.Snapshot, figures *metrics.Set) error {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	text, err := l.Store.Control(ctx, "stats")
	if errors.Is(err, xenstore.ErrInvalid) {
		return nil // Xen's own daemon
	}
	if err != nil {
		return err
	}
	if s.Store, err = model.ParseStats(text); err != nil {
		return err
	}
	CollectStore(figures, &s.Store)
	return nil
}

// rings looks at the rings of a domain: those to xenstore and to who has its console, and those of disks that it serves.
func (l *Looker) rings(ctx context.Context, s *model.Snapshot, d *model.Domain, r roles, figures *metrics.Set) error {
	ctx, cancel := context.WithTimeout(ctx, partTime)
	defer cancel()
	var errs []error
	if s.Store.Served && d.Role != model.Xenstore {
		if t, ok, err := l.storeRing(ctx, d); err != nil {
			errs = append(errs, err)
		} else if ok {
			s.Rings = append(s.Rings, model.Ring{Kind: model.StoreRing, Front: d.ID, Back: xenstoreOf(s, r), Total: t})
		}
	}
	if d.Console.Served {
		s.Rings = append(s.Rings, model.Ring{
			Kind: model.ConsoleRing, Front: d.ID, Back: max(r.consoles, 0), Total: model.Traffic{Written: d.Console.Bytes, Requests: d.Console.Lines},
		})
	}
	serving, err := l.Store.Exists(ctx, xs.DomainPath(xen.DomID(d.ID))+"/"+remote.Dir+"/serving")
	if err == nil && serving {
		err = l.served(ctx, s, d, figures)
	}
	return errors.Join(append(errs, err)...)
}

// xenstoreOf is the domain that serves xenstore: dom0 if it is a daemon.
func xenstoreOf(s *model.Snapshot, r roles) int {
	for _, d := range s.Domains {
		if d.Role == model.Xenstore {
			return d.ID
		}
	}
	return max(r.xenstore, 0)
}

func (l *Looker) storeRing(ctx context.Context, d *model.Domain) (t model.Traffic, ok bool, err error) {
	text, err := l.Store.Control(ctx, "stats", strconv.Itoa(d.ID))
	switch {
	case errors.Is(err, xenstore.ErrNotExist) || errors.Is(err, xenstore.ErrInvalid): // not introduced, or not ours
		return t, false, nil
	case err != nil:
		return t, false, err
	}
	c, err := model.ParseStats(text)
	return model.Traffic{Requests: c.Requests, Events: c.Events, Failed: c.Errors}, err == nil, err
}

// served asks a domain that serves disks for its figures, and now and then for its volumes.
func (l *Looker) served(ctx context.Context, s *model.Snapshot, d *model.Domain, figures *metrics.Set) error {
	out, code, err := l.Command(ctx, d.ID, "metrics")
	if err != nil || code != 0 {
		return err
	}
	set, err := metrics.Parse(out)
	if err != nil {
		return err
	}
	figures.Merge(set, "domain", d.Name)
	s.Rings = append(s.Rings, model.Disks(set, d.ID)...)
	groups, err := l.groups(ctx, d.ID)
	s.Groups = append(s.Groups, groups...)
	return err
}

func (l *Looker) groups(ctx context.Context, domain int) ([]model.Group, error) {
	l.mu.Lock()
	v := l.volumes[domain]
	l.mu.Unlock()
	if v == nil || time.Now().After(v.due) {
		out, code, err := l.Command(ctx, domain, model.ReportArgs...)
		if err != nil {
			return nil, err
		}
		v = &volumes{due: time.Now().Add(volumesTime)}
		if code == 0 {
			if v.groups, err = model.ParseReport(out); err != nil {
				return nil, err
			}
		}
		l.mu.Lock()
		if l.volumes == nil {
			l.volumes = make(map[int]*volumes)
		}
		l.volumes[domain] = v
		l.mu.Unlock()
	}
	groups := slices.Clone(v.groups)
	for i := range groups {
		groups[i].Owner = domain
		groups[i].Volumes = slices.Clone(groups[i].Volumes)
	}
	return groups, nil
}

// Command has a domain carry out a command, as mlvm --domain does, and returns what it printed.
func (l *Looker) Command(ctx context.Context, domain int, args ...string) (out []byte, code int, err error) {
	w, errs := &limited{}, &limited{}
	code, err = remote.Run(ctx, l.Store, xen.DomID(domain), args, w, errs)
	if err == nil && w.over {
		err = fmt.Errorf("domain %d answers %s with more than %d bytes", domain, args[0], outputMax)
	}
	if err == nil && code != 0 {
		return append(w.Bytes(), errs.Bytes()...), code, nil
	}
	return w.Bytes(), code, err
}

// limited is a buffer that takes no more than outputMax bytes.
type limited struct {
	bytes.Buffer
	over bool
}

func (w *limited) Write(b []byte) (int, error) {
	if w.Len()+len(b) > outputMax {
		w.over = true
		return len(b), nil
	}
	return w.Buffer.Write(b)
}

// users says of each volume whose disk it is.
func users(s *model.Snapshot) {
	for _, r := range s.Rings {
		group, volume, ok := strings.Cut(strings.TrimPrefix(r.Target, "/dev/"), "/")
		if r.Kind != model.BlockRing || !ok {
			continue
		}
		for i := range s.Groups {
			g := &s.Groups[i]
			if g.Owner != r.Back || g.Name != group {
				continue
			}
			for j := range g.Volumes {
				if g.Volumes[j].Name == volume {
					g.Volumes[j].User = r.Front
				}
			}
		}
	}
}

// Tail implements model.Source.
func (l *Looker) Tail(ctx context.Context, domain int) (model.Tail, error) {
	all, err := l.Machine.Domains(ctx)
	if err != nil {
		return model.Tail{}, err
	}
	i := slices.IndexFunc(all, func(d model.Domain) bool { return d.ID == domain })
	if i < 0 {
		return model.Tail{}, fmt.Errorf("domain %d: %w", domain, xenstore.ErrNotExist)
	}
	d := all[i]
	if d.Name == "" {
		name, _ := l.Store.Read(ctx, xs.DomainPath(xen.DomID(domain))+"/name") // one without a name has none
		d.Name = model.Clean(name, model.NameMax)
	}
	out, n, err := l.Machine.Output(ctx, &d)
	if err != nil {
		return model.Tail{}, err
	}
	return model.Tail{Domain: domain, Next: n, Lines: model.Lines(out, model.LinesMax)}, nil
}
