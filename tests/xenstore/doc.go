// Package xenstore tests the xenstore daemon as a whole, beside Debian's xenstored (C) and oxenstored (OCaml), which run
// unmodified on a host that is a directory (package peers): the same requests to all of them, the programs of Xen's
// tools, kill -9, live updates, hostile guests, and benchmarks.
package xenstore
