// Package handshake is how the two halves of a split driver come together and part: which state each writes next, and
// when it is time to offer features, to open a connection, to give it up. It knows states and time and nothing else;
// package xenbus carries out what it says.
//
// A half looks at the whole (View) and is told the one next step (Step); it carries that out, says so (Done), and looks
// again until there is nothing to do. What was decided a moment ago is never assumed: states change between any two
// looks, peers skip states, are restarted, vanish, or write what they like.
//
// # Backend
//
//	tool stack            backend                            frontend
//	1, online=1           1 → Offer → 2                      1
//	                      2                                  → 3 with rings
//	                      Connect → 4                        3
//	                      4                                  → 4
//	online=0, 5           5                                  → 5 → 6
//	                      Disconnect → 6, Remove             6
//
// Scenarios are in testdata: they are tests, and the best description there is.
//
// Sources: xen/include/public/io/xenbus.h and the state diagrams of io/blkif.h; for what the header leaves open, libxl's
// device code, Linux's xenbus and block drivers, and qemu's.
package handshake
