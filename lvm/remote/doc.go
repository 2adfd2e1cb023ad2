// Package remote has a volume manager in another domain carry out commands, over xenstore: mlvm in dom0 manages the
// volumes of a storage domain that has no network, no console to type into and no disk of dom0's.
//
//	code, err := remote.Run(ctx, store, domain, []string{"lvcreate", "-L1g", "-nweb1", "vg0"}, os.Stdout, os.Stderr)
//
// # The nodes
//
// All are below data/mlvm in the home of the domain that serves (Dir). dom0 may write there, and so may the domain
// itself; no guest may.
//
//	serving           there while somebody serves
//	request/ID        the caller's: a command line as a JSON array of strings, of at most CommandMax bytes
//	reply/ID/running  the command was begun; the request is gone
//	reply/ID/0, 1, …  a piece of output: '1' or '2', as file descriptors are numbered, and up to PieceMax bytes of it
//	reply/ID/code     it is over: the exit code and the number of pieces
//
// ID is the caller's choice, 1 to 32 characters of 0-9 and a-f: numbers drawn at random keep any number of callers
// apart. A request becomes a reply in one transaction, so that each is carried out once at most, whatever becomes of
// the domain. They are carried out one at a time.
//
// The caller removes each piece that it has read, and at the end reply/ID. At most Window pieces wait to be read; then
// the command waits too, but not for ever: output that nobody takes for a while is dropped. A caller that gives up
// removes request/ID and reply/ID, which interrupts the command. A domain that starts again tells the callers of
// commands that it had begun, with exit code Interrupted.
//
// The server has one watch, whatever the number of callers, and a dozen nodes for each of them: a domain has few of
// either.
package remote
