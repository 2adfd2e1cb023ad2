package server

import (
	"fmt"
	"strings"

	"morgana/xen/wire/xs"
	"morgana/xenstore/store"
)

// quota is a limit that CONTROL shows and sets.
type quota struct {
	name, text string
	of         func(*store.Limits) *int
}

var hard = []quota{
	{"nodes", "Nodes per domain", func(l *store.Limits) *int { return &l.Nodes }},
	{"watches", "Watches per domain", func(l *store.Limits) *int { return &l.Watches }},
	{"transactions", "Transactions per domain", func(l *store.Limits) *int { return &l.Tx }},
	{"outstanding", "Outstanding requests per domain", func(l *store.Limits) *int { return &l.Outstanding }},
	{"transaction-nodes", "Max. number of accessed nodes per transaction", func(l *store.Limits) *int { return &l.TxNodes }},
	{"memory", "Total Xenstore memory per domain (error level)", func(l *store.Limits) *int { return &l.Memory }},
	{"node-size", "Max. size of a node", func(l *store.Limits) *int { return &l.NodeSize }},
	{"path-max", "Max. length of a node path", func(l *store.Limits) *int { return &l.PathMax }},
	{"permissions", "Max. number of permissions per node", func(l *store.Limits) *int { return &l.Perms }},
}

var soft = []quota{
	{"memory", "Total Xenstore memory per domain (warning level)", func(l *store.Limits) *int { return &l.SoftMemory }},
}

// helpText is what "help" answers, as xenstored: its commands.
const helpText = "check\t\n" +
	"log\ton|off\n" +
	"live-update\t[-c <cmdline>] [-F] [-t <timeout>] <file>\n    Default timeout is 60 seconds.\n" +
	"logfile\t<file>\n" +
	"memreport\t[<file>]\n" +
	"print\t<string>\n" +
	"quota\t[set <name> <val>|<domid>]\n" +
	"quota-soft\t[set <name> <val>]\n" +
	"help\t\n"

// control carries out a CONTROL command: what concerns limits and the store here, the rest by the host.
func (c *Core) control(conn *Conn, h xs.Header, b []byte) answer {
	args, n := split(b, 16)
	if n == 0 {
		return fails(xs.EINVAL)
	}
	args = args[:min(n, len(args))]
	switch cmd, args := args[0], args[1:]; cmd {
	case "help":
		if len(args) > 0 {
			return fails(xs.EINVAL)
		}
		return answer{payload: helpText + "\x00"}
	case "check":
		if len(args) > 0 {
			return fails(xs.EINVAL)
		}
		return done(0) // the tree cannot be inconsistent
	case "quota":
		return c.quota(args, hard)
	case "quota-soft":
		return c.quota(args, soft)
	case "stats":
		switch len(args) {
		case 0:
			return answer{payload: c.statsText() + "\x00"}
		case 1:
			return c.statsOf(args[0])
		}
		return fails(xs.EINVAL)
	case "log", "logfile", "live-update", "memreport", "print":
	default:
		if !controlCrash || cmd != "crash" {
			return fails(xs.EINVAL)
		}
	}
	s, e, deferred := c.cfg.Host.Control(conn, h, args)
	if deferred {
		return answer{later: true}
	}
	return answer{payload: s, errno: e}
}

func (c *Core) quota(args []string, of []quota) answer {
	var b strings.Builder
	l := &c.store.Limits
	switch {
	case len(args) == 0:
		b.WriteString("Quota settings:\n")
		for _, q := range of {
			fmt.Fprintf(&b, "%-17s: %8d %s\n", q.name, *q.of(l), q.text)
		}
	case args[0] == "set":
		if len(args) != 3 {
			return fails(xs.EINVAL)
		}
		val := number(args[2])
		for _, q := range of {
			if q.name == args[1] && val >= 1 && val <= 1<<31-1 {
				*q.of(l) = int(val)
				c.logLimits()
				return done(0)
			}
		}
		return fails(xs.EINVAL)
	default:
		if len(args) != 1 || &of[0] != &hard[0] {
			return fails(xs.EINVAL)
		}
		id, valid := domID(args[0])
		d := c.domains[id]
		if d == nil || !valid {
			return fails(xs.ENOENT)
		}
		txs := 0
		if d.conn != nil {
			txs = len(d.conn.txs)
		}
		u := c.store.Usage(id)
		fmt.Fprintf(&b, "Domain %d:\n", id)
		for _, v := range []struct {
			name string
			n    int
		}{
			{"nodes", u.Nodes},
			{"watches", d.watches},
			{"transactions", txs},
			{"outstanding", d.outstanding},
			{"memory", u.Bytes + d.memory},
		} {
			fmt.Fprintf(&b, "%-16s: %8d\n", v.name, v.n)
		}
	}
	return answer{payload: b.String() + "\x00"}
}

// statsOf is what "stats" answers for a domain: its connection's counters, and what it has.
func (c *Core) statsOf(number string) answer {
	id, valid := domID(number)
	if !valid {
		return fails(xs.EINVAL)
	}
	d := c.introduced(id)
	if d == nil {
		return fails(xs.ENOENT)
	}
	u, s := c.store.Usage(id), d.conn.stats
	var b strings.Builder
	for _, v := range []struct {
		name string
		n    uint64
	}{
		{"requests", s.Requests},
		{"errors", s.Errors},
		{"events", s.Events},
		{"events-dropped", s.Dropped},
		{"nodes", uint64(u.Nodes)},
		{"watches", uint64(d.watches)},
		{"transactions", uint64(len(d.conn.txs))},
		{"memory", uint64(u.Bytes + d.memory)},
	} {
		fmt.Fprintf(&b, "%s %d\n", v.name, v.n)
	}
	return answer{payload: b.String() + "\x00"}
}

// statsText is what "stats" answers: a name and a number a line.
func (c *Core) statsText() string {
	var b strings.Builder
	s := &c.stats
	watches := 0
	for _, conn := range c.conns {
		watches += len(conn.watches)
	}
	for _, v := range []struct {
		name string
		n    uint64
	}{
		{"requests", s.Requests},
		{"errors", s.Errors},
		{"events", s.Events},
		{"events-dropped", s.Dropped},
		{"commits", s.Commits},
		{"merges", s.Merges},
		{"conflicts", s.Conflicts},
		{"penalties", s.Penalties},
		{"connections", uint64(len(c.conns))},
		{"domains", uint64(len(c.domains))},
		{"nodes", uint64(c.store.Nodes())},
		{"watches", uint64(watches)},
		{"transactions", uint64(c.open)},
	} {
		fmt.Fprintf(&b, "%s %d\n", v.name, v.n)
	}
	for op, n := range s.ByOp {
		if n > 0 {
			fmt.Fprintf(&b, "op-%s %d\n", strings.ToLower(xs.Op(op).String()), n)
		}
	}
	if c.cfg.Stats != nil {
		b.Write(c.cfg.Stats(nil))
	}
	return b.String()
}
