// Package ring is the mechanics of rings in memory shared with a peer that is not trusted.
//
// Two kinds exist. A byte ring (Producer, Consumer) carries a stream: xenstore, consoles, vchan. A slot ring
// (Front, Back) carries requests one way and responses the other in slots of one size, and avoids notifications:
// block, network and most device protocols.
//
// Every side keeps its own index to itself and never reads it back from shared memory. The peer's index is read
// once for each call and validated: one that is further away than the ring is large is an error that ends the
// session, and every later call returns it again. Data is published before the index that covers it, and an index
// is read before the data, by sequentially consistent atomics.
//
// Nothing here blocks, allocates on the hot path or starts a goroutine. A side of a ring is for one goroutine at a
// time; a Producer and a Consumer of two rings in one page may be used at once.
//
// Sources: xen/include/public/io/ring.h, docs/misc/xenstore-ring.txt.
package ring
