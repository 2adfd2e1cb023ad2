// Package xs is the xenstore protocol as values: messages, payloads, errors, permissions, paths and the layout of
// a domain's ring. It is pure: no goroutine, no clock, no file.
//
// A message is a 16-byte header and at most 4096 bytes of payload, both ways. A request's payload is strings that
// each end in NUL, but for WRITE, whose value is whatever follows the path. Replies to READ and DIRECTORY carry no
// terminator of their own.
//
// Functions come in pairs: AppendX appends the encoding to a slice and returns it, ParseX decodes a copy of what a
// peer sent and refuses everything that the real daemons refuse. Slices that ParseX returns alias its argument;
// strings are copies.
//
// Sources: xen/include/public/io/xs_wire.h, docs/misc/xenstore.txt and docs/misc/xenstore-ring.txt of Xen 4.17,
// and what xenstored and oxenstored 4.17 answer where the text is silent (testdata holds their bytes).
package xs
