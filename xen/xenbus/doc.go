// Package xenbus connects the two halves of a split driver: it runs the states that a frontend and a backend write into
// xenstore, from the tool stack's first nodes to the last one that is removed.
//
// A driver implements Backend or Frontend and is called in order, never by two goroutines at once. Backends watches a
// whole class of devices ("vbd") below this domain's backend directory; RunFrontend runs one frontend.
//
// Sources: xen/include/public/io/xenbus.h and the state diagrams in io/blkif.h; libxl and Linux's xenbus for what the
// peers do.
package xenbus
