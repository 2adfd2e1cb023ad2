// Package attack makes the requests of a hostile block frontend, to show that a backend bears them: in tests beside
// package blkback, and on a Xen host by stubdoms/badfront.
//
// A Way is one kind of misbehaviour. Its Slot fills a slot of the ring; what the backend may answer is told by Verdict:
// many slots are wrong in a way that no backend may take for good. Everything is drawn from a seed.
//
// Sources: xen/include/public/io/blkif.h; XSA-155, XSA-391, XSA-396 and XSA-403 for what has gone wrong before.
package attack
