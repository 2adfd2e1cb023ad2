// Package history keeps the commits of a xenstore service as a Git repository that plain git can clone, log and diff: who
// changed what, and when. It writes packs itself, and needs no git.
//
// A node is a directory with its value in the file .value (none if it is empty) and its permissions in .perms, an entry a
// line; names of nodes have no dot, so nothing clashes. The author of a commit is the domain that made it, its message
// says by which request and connection.
//
// It is off the way of replies: Record only puts a root, which is a value, into a queue. What comes faster than it can be
// written is joined: then one commit stands for several, and says so. What is older than a number of commits goes.
package history
