// Package daemon serves package xenstore/server to the world on Linux: clients of a unix socket, and domains on their
// rings. What it needs of Xen is a Machine; package xenstore/daemon/dom0 is the real one, tests have another.
//
// One goroutine does everything: it waits (epoll) until somebody has something to say, lets the core handle what there
// is, writes the records of what changed to the journal, and only then lets anybody see an answer: reply, event, or the
// index of a ring that says that a request was taken. So the process may end at any instruction: the next one finds in
// the journal and in the rings where to go on. A request is either handled, with its reply kept until it was read, or
// still in the ring.
//
// A live update (CONTROL live-update) executes another program, ours or xenstored, which takes all connections over.
package daemon
