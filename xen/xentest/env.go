package xentest

import (
	"context"
	"time"

	"morgana/xen"
	"morgana/xenstore"
)

// Role says which side of the cases a program plays.
type Role int

const (
	// Initiator leads: it decides which cases run and reports them.
	Initiator Role = iota
	// Responder follows until the Initiator is done.
	Responder
)

func (r Role) String() string {
	if r == Responder {
		return "responder"
	}
	return "initiator"
}

// Env is what a side of the suite works with.
type Env struct {
	Dom   xen.Domain
	Store *xenstore.Client
	Peer  xen.DomID // the other side
	Path  string    // rendezvous: an absolute path in xenstore that both sides may read and write; it exists and is empty
	Role  Role

	// Stranger is a domain that is neither side and need not exist; 0 stands for Peer+1. A grant and a port for it
	// must be refused to the peer.
	Stranger xen.DomID
	// KillPeer, if the harness can, destroys the responder's domain, as a crash would, starts a new one that runs
	// the responder again, gives it access to Path, and returns its number. The Initiator alone uses it. Without
	// it the cases of peer death are not run, and the report says so.
	KillPeer func(ctx context.Context) (xen.DomID, error)

	// Timeout bounds a case; 0 stands for 30 s. Emulated hosts want more.
	Timeout time.Duration
	// MaxGrants bounds how many pages the exhaustion case takes before it gives up on seeing the limit; 0 stands
	// for 40000, more than the largest default grant table holds.
	MaxGrants int
	// Rounds is how often the measurements repeat what they measure; 0 stands for 1000.
	Rounds int
	// Only, if set, chooses cases by name (the Initiator's choice alone counts).
	Only func(name string) bool
}

func (e *Env) timeout() time.Duration { return or(e.Timeout, 30*time.Second) }
func (e *Env) maxGrants() int         { return or(e.MaxGrants, 40000) }
func (e *Env) rounds() int            { return or(e.Rounds, 1000) }
func (e *Env) stranger() xen.DomID    { return or(e.Stranger, e.Peer+1) }

func or[T comparable](v, otherwise T) T {
	var zero T
	if v == zero {
		return otherwise
	}
	return v
}

// Case is one thing that an implementation must do. Each function is one side's part.
type Case struct {
	Name      string // "grant/map"
	Initiator func(ctx context.Context, s *Session) error
	Responder func(ctx context.Context, s *Session) error
	Kills     bool // the initiator kills the responder in it; needs Env.KillPeer
}

// Cases returns the suite in the order in which it runs.
func Cases() []Case {
	var all []Case
	for _, group := range [][]Case{grantCases(), eventCases(), storeCases(), deathCases(), measureCases()} {
		all = append(all, group...)
	}
	return all
}
