// Package duplex is a connection between two domains in memory that one of them shares: a ring of bytes each way and an
// event channel. It is what a pipe is between processes: an io.ReadWriteCloser that knows nothing of what it carries.
//
//	domain A: conn, offer, err := duplex.Listen(dom, peer, duplex.Sizes{In: 4, Out: 16})
//	          … offer.String() into a node of xenstore that the peer reads …
//	domain B: offer, err := duplex.ParseOffer(value); conn, err := duplex.Connect(dom, peer, offer)
//
// The one who listens shares the pages, so that its end, by whatever cause, leaves the other with a mapping and nothing
// else; and the other may connect again after it lost its own end, but then both have to begin anew: a Conn has no way to
// tell the bytes of one connection from those of another.
//
// # The pages
//
// The first page holds indexes, each in a cache line of its own: at 0 and 64 those of the ring from the listener to the
// other (what was written, what was read), at 128 and 192 those of the ring back. At 256 are two words: how many pages
// each ring has, a power of two. The pages of the rings follow, in the same order.
//
// The peer is not trusted: see package ring. A bad index is an error of Read or Write, and of every later one.
package duplex
