// Package console tests the console daemon as a whole, beside Xen's own xenconsoled, which runs unmodified on a host that
// is a directory (package peers), with Xen's xenstored: the same output to both, xenconsole as the client of both, floods,
// hostile guests, kill -9, and benchmarks.
package console
