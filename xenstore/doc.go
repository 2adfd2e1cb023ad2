// Package xenstore is the client of xenstore, the small tree of names and values through which the domains of a
// Xen host find each other.
//
// A Client speaks over any stream: the daemon's unix socket, the character device /dev/xen/xenbus (Linux and
// Morgana's own kernel), or a page shared with the service (NewRing). Many goroutines may use one Client: their
// requests are in flight together, each waits for its own reply. Every call takes a context and gives up when that
// ends; the connection is not harmed by it.
//
//	c, err := xenstore.Dial(ctx)
//	…
//	name, err := c.Read(ctx, "name") // relative paths start at the domain's home
//
// # Transactions
//
// Transact runs a function until its changes went in without a conflict:
//
//	err := c.Transact(ctx, func(tx *xenstore.Tx) error {
//		return tx.Write(ctx, "state", "4")
//	})
//
// # Watches
//
// A Watch delivers each event exactly once, in the order of the service, however late its reader is. The first
// event of every watched path comes at once, whether or not the node exists: so "read, then wait for an event, then
// read again" never misses a change.
//
// # When the service dies
//
// A client made by Dial or NewClient is over then. One made by Open may fail or wait and connect again by itself, set its
// watches again and say so (Event.Lost):
//
//	c, err := xenstore.Open(ctx, xenstore.Options{Lost: xenstore.Wait})
//
// # Trust
//
// The service is trusted with the contents but not with the form: a reply that is malformed, too long or answers
// nothing ends the connection with an error matching ErrProtocol, and every call under way returns it.
//
// Sources: docs/misc/xenstore.txt of Xen 4.17; package morgana/xen/wire/xs.
package xenstore
