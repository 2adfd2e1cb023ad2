// Package store is the tree of a xenstore service as a value: nodes that never change, permissions, transactions that
// are roots, and their merging. It is pure: no goroutine, no clock, no file. Package xenstore/server makes a service
// of it.
//
// # The tree
//
// A Node never changes. A change makes new nodes from the changed one up to the root and shares everything else, so a
// root is a snapshot that costs nothing, and whoever holds one reads it without a lock for as long as he likes. The
// children of a node are a persistent B+tree by name; they are listed in the order of their creation, which some
// kernels expect.
//
// # Transactions
//
// A transaction (Tx) is a root of its own, and the requests that were made of it with what each of them learned. To
// commit is
//
//   - to put its root in the store's place, if the store did not change meanwhile;
//   - nothing, if it only read: what it saw was one state of the store, that of its beginning;
//   - else to make its requests again of the present root. If each learns what it learned before, they were as good
//     as made now, and that is the new root. If one learns something else, the transaction conflicts: EAGAIN.
//
// So commits are serialisable by construction, and two transactions that make different children of one directory do
// not conflict. What a request learns is its reply; and for those that write, whether the node was there; and for a
// removal, that nothing below the node changed.
//
// Rules of permissions, limits and errors are those of xenstored 4.17 (docs/misc/xenstore.txt in Xen's source, and
// where it is silent, what the daemon does); where this package differs, Differences of package server says why.
package store
