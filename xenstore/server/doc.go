// Package server is a xenstore service without its connections to the world: a deterministic state machine. Requests
// of connections go in (Core.Input); replies and events wait in each connection's output (Conn.Output, Core.Sent); what
// concerns rings is asked of a Host. It has no goroutine and no clock and does no I/O: a transport (package
// xenstore/daemon, a unikernel, a test) does, and tells it the time.
//
// The rules are xenstored 4.17's: permissions, limits, errors, and the order of events. Where they are not, it is for
// one of these reasons.
//
// # Differences
//
//   - Transactions conflict less: one that only read commits always, and one that wrote commits if what it learned is
//     what it would learn now (package store). With xenstored each node that was looked at must be the very same
//     version. So these commit here and are EAGAIN there: two creations in one directory; a value written back to what
//     it was; a node written that another one wrote, without having read it; a node read and nothing written.
//   - Who pays for conflicts is the guest that caused one, not each that writes while a transaction is open.
//   - The memory of a transaction counts for its connection, as its requests, not as copies of nodes.
//   - A permission entry that is not a letter and a decimal number of a domain is EINVAL; xenstored takes "b-1" and "b0x5".
//   - A request without its string is EINVAL; xenstored answers with whatever error came last.
//   - A guest out of memory gets ENOMEM; xenstored may answer EIO.
//   - The ring's features say RECONNECTION and ERROR, and a guest that sets the connection field gets its fresh start;
//     xenstored 4.17 says 0 and does it in INTRODUCE alone.
//   - CONTROL has "stats", and "stats N" for a domain, which "help" does not list: programs compare what it says.
package server
