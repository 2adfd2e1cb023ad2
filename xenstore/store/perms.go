package store

import (
	"slices"

	"morgana/xen"
	"morgana/xen/wire/xs"
)

// Entry is an entry of a node's permissions.
type Entry struct {
	xs.Perm
	// Ignored says that the entry is about a domain that was not there when it was made, or is gone: a later domain of
	// the same number does not inherit it. The first entry, the owner's, never is.
	Ignored bool
}

// Perms are the permissions of a node. They never change; nodes share them.
type Perms struct {
	entries []Entry // the owner first
	gen     uint64  // when they were set: entries about domains that came later do not count
}

// NewPerms makes permissions that were set at a generation; it owns the entries, of which there is at least one.
func NewPerms(gen uint64, entries ...Entry) *Perms { return &Perms{entries: entries, gen: gen} }

// Entries are the entries, the owner's first. Read-only.
func (p *Perms) Entries() []Entry { return p.entries }

// Owner owns the node.
func (p *Perms) Owner() xen.DomID { return p.entries[0].Dom }

// Generation is when the permissions were set.
func (p *Perms) Generation() uint64 { return p.gen }

// Append appends the payload of GET_PERMS.
func (p *Perms) Append(dst []byte) []byte {
	for _, e := range p.entries {
		dst = append(xs.AppendPerm(dst, e.Perm), 0)
	}
	return dst
}

func (p *Perms) equal(q *Perms) bool { return p == q || slices.Equal(p.entries, q.entries) }

// ownedBy is p for a node that a guest makes below one with p: the guest owns it.
func (p *Perms) ownedBy(d xen.DomID) *Perms {
	if p.entries[0].Dom == d {
		return p
	}
	e := slices.Clone(p.entries)
	e[0].Dom = d
	return &Perms{entries: e, gen: p.gen}
}

// Without is p without the entries about a domain; what it owns goes to dom0.
func (p *Perms) Without(d xen.DomID) *Perms {
	about := func(e Entry) bool { return e.Dom == d }
	if !slices.ContainsFunc(p.entries, about) {
		return p
	}
	first := p.entries[0]
	if first.Dom == d {
		first.Dom = 0
	}
	return &Perms{entries: append([]Entry{first}, slices.DeleteFunc(slices.Clone(p.entries[1:]), about)...), gen: p.gen}
}

// Actor is who asks: a domain, and the one that it acts for if it is a device model's.
type Actor struct {
	Privileged bool // dom0, or a client of the socket: may do everything
	Dom        xen.DomID
	Born       uint64 // when the store heard of Dom; permissions set before are about another one of that number
	HasTarget  bool
	Target     xen.DomID
	TargetBorn uint64
}

// access is a set of rights.
type access uint8

const (
	mayRead access = 1 << iota
	mayWrite
	mayOwn
)

func rights(a xs.Access) (m access) {
	if a.CanRead() {
		m |= mayRead
	}
	if a.CanWrite() {
		m |= mayWrite
	}
	return m
}

// of is what an actor may do.
func (p *Perms) of(a *Actor) access {
	const all = mayRead | mayWrite | mayOwn
	owner := p.entries[0].Dom
	if a.Privileged || owner == a.Dom || a.HasTarget && owner == a.Target {
		return all
	}
	for i := 1; i < len(p.entries); i++ {
		e := &p.entries[i]
		if !e.Ignored && (e.Dom == a.Dom && a.Born <= p.gen || a.HasTarget && e.Dom == a.Target && a.TargetBorn <= p.gen) {
			return rights(e.Access)
		}
	}
	return rights(p.entries[0].Access)
}

// CanRead reports whether an actor may read.
func (p *Perms) CanRead(a *Actor) bool { return p.of(a)&mayRead != 0 }

// CanSet reports whether an actor may write and set permissions.
func (p *Perms) CanSet(a *Actor) bool { return p.of(a)&(mayWrite|mayOwn) == mayWrite|mayOwn }
