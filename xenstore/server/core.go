package server

import (
	"morgana/xen"
	"morgana/xen/wire/xs"
	"morgana/xenstore/store"
)

// Host is what the core needs of the machine. Calls come from within the core's methods, never at the same time.
type Host interface {
	// State is what Xen says of a domain.
	State(d xen.DomID) DomainState
	// Connect maps a domain's ring and binds its event channel; port is the domain's. An error is an errno of the
	// protocol, or counts as EINVAL.
	Connect(c *Conn, port xen.Port) error
	// Rebind binds another event channel in place of the one before.
	Rebind(c *Conn, port xen.Port) error
	// Reset sets the indexes of the ring to 0, drops what was not sent, and answers a domain that waits for a
	// connection.
	Reset(c *Conn)
	// Disconnect unmaps the ring and unbinds the event channel.
	Disconnect(c *Conn)
	// Failed tells the domain, in its ring, why it is not served any more (xs.RingError…), or hangs up on a client of
	// the socket.
	Failed(c *Conn, reason uint32)
	// Control carries out a command of the tool stack that is not the core's own. Deferred says that the answer comes
	// later, by Core.Answer.
	Control(c *Conn, h xs.Header, args []string) (answer string, errno xs.Errno, deferred bool)
}

// DomainState is what Xen says of a domain.
type DomainState uint8

// The states that matter.
const (
	Gone DomainState = iota // no such domain, or it is dying
	Running
	Shutdown // or crashed, but there
)

// Commit is a change of the tree, for whoever keeps a history.
type Commit struct {
	Root *store.Node
	Dom  xen.DomID
	Conn uint32
	Tx   uint32 // 0 outside of a transaction
	Op   xs.Op
	Path string
	Ops  int // how many requests
}

// Config is how a core is to be.
type Config struct {
	Limits store.Limits
	// EventTimeout is how long an event may wait for a guest to read it, in milliseconds; 0 for ever.
	EventTimeout int64
	// KeepOrphans gives what a dead domain owned to dom0.
	KeepOrphans bool
	Host        Host
	Journal     bool         // keep records of what changes for TakeLog
	History     func(Commit) // may be nil; must not block
	// Stats adds to what CONTROL stats answers: a name, a blank and a number a line. It may be nil.
	Stats func(b []byte) []byte
}

// EventTimeout is xenstored's, in milliseconds.
const EventTimeout = 20_000

// Core is a xenstore service without its connections to the world: requests in; replies, events and calls of Host
// out. Not safe for concurrent use, but for Root's result.
type Core struct {
	cfg     Config
	store   *store.Store
	domains map[xen.DomID]*domain
	conns   []*Conn // in the order of their making
	nextID  uint32
	watches trie
	special map[string]*store.Perms
	now     int64 // milliseconds, of whatever clock
	due     int64 // when Tick has something to do; 0 for never
	open    int   // transactions
	credit  pool
	stats   Stats
	matches []match // scratch
	ready   []*Conn // have output since Ready was called
	log     journal
}

// Stats counts what happened.
type Stats struct {
	Requests, Errors, Events, Dropped     uint64
	Commits, Merges, Conflicts, Penalties uint64
	ByOp                                  [32]uint64
}

// New makes a core with the nodes that a fresh store has.
func New(cfg Config) *Core {
	c := newCore(cfg)
	dom0 := &store.Actor{Privileged: true}
	if _, _, e := c.store.Mkdir(dom0, nil, "/tool/xenstored"); e != 0 {
		panic("the first nodes cannot be made: " + e.Error())
	}
	c.startLog()
	return c
}

func newCore(cfg Config) *Core {
	c := &Core{cfg: cfg, domains: make(map[xen.DomID]*domain), special: make(map[string]*store.Perms)}
	c.store = store.New(cfg.Limits, (*residents)(c))
	for _, p := range []string{xs.IntroduceDomain, xs.ReleaseDomain} {
		c.special[p] = store.NewPerms(0, store.Entry{Perm: xs.Perm{Access: xs.AccessNone}})
	}
	return c
}

// Root is the tree as it is now: a value that anybody may read at any time.
func (c *Core) Root() *store.Node { return c.store.Root() }

// Nodes is how many nodes there are.
func (c *Core) Nodes() int { return c.store.Nodes() }

// Limits are the limits as they are now.
func (c *Core) Limits() store.Limits { return c.store.Limits }

// Stats are the counters.
func (c *Core) Stats() Stats { return c.stats }

// Transactions is how many are open.
func (c *Core) Transactions() int { return c.open }

// SetNow tells the core the time, in milliseconds.
func (c *Core) SetNow(now int64) { c.now = now }

// residents is the core as its store sees it.
type residents Core

func (r *residents) Exists(d xen.DomID) bool { return (*Core)(r).find(d) != nil }

func (r *residents) Full(d xen.DomID, bytes int) bool {
	c := (*Core)(r)
	dom := c.domains[d]
	limit := c.store.Limits.Memory
	return dom != nil && d != 0 && limit > 0 && dom.memory+c.store.Usage(d).Bytes+bytes >= limit
}

func (c *Core) commit(conn *Conn, op xs.Op, tx uint32, path string, ops int) {
	c.stats.Commits++
	if c.cfg.History != nil {
		k := Commit{Root: c.store.Root(), Op: op, Tx: tx, Path: path, Ops: ops}
		if conn != nil {
			k.Dom, k.Conn = conn.actor.Dom, conn.id
		}
		c.cfg.History(k)
	}
}
