// Package xenbus connects the two halves of a split driver through xenstore: it carries out what package handshake
// decides, from the tool stack's first nodes to the last one that is removed.
//
// A driver implements Backend or Frontend and is called in order, never by two goroutines at once. Backends serves a
// whole class of devices ("vbd") below this domain's backend directory; RunFrontend runs one frontend. Both read and
// write xenstore only: rings and event channels are the driver's.
//
// # What is held to
//
// A state is written in a transaction that first reads all that it was decided on, and nothing is written if that has
// changed. So a directory that the tool stack removed is never made again by a late write, and a state that it wrote is
// not overwritten. What Connect opened for a frontend that went meanwhile is closed again.
//
// One watch serves all devices of a class, and one more each its frontend's state: a domain has about a hundred.
//
// A backend that ends leaves the states as they are, and so does one that is killed: its devices are still Connected. The
// next one finds them so and connects to the same rings, which it must take up where the last left them (ring.NewBack),
// and no frontend notices. That loses no request if responses are given in the order of the requests, or if what was
// under way is known from elsewhere: a response lies where a request was.
//
// Sources: xen/include/public/io/xenbus.h; docs/misc/xenstore-paths.pandoc; libxl and Linux's xenbus for what the peers
// do.
package xenbus
