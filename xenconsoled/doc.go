// Package xenconsoled serves the consoles of guests: each is a stream of bytes that comes out of a ring in a page which
// the guest shares, with a scrollback, and everything else reads the stream at a pace of its own.
//
//	guest ──ring──▶ Console ──▶ Stream ─┬─▶ Sink      a log: every byte, once
//	      ◀─ring──  Write      (memory) ├─▶ Terminal  a pty, for xl console
//	          ▲                         └─▶ Session   whoever attached: many readers, one or more writers
//	          └────────────── typed ────────┘
//
// Service finds the guests in xenstore and runs a Console for each.
//
// # What is promised
//
// A guest does not wait for those who read: a terminal or session that lags loses what is in the middle (a terminal:
// the oldest and the newest bytes stay, as with Xen's own daemon) or is told of a gap. It waits for its log, because a
// log has no gaps, but not for one that cannot be written: what is lost then is counted, and the log says so.
//
// A guest is not trusted. Its indexes are read once and checked; impossible ones are ignored until they make sense
// again, as they do after the page was built anew, and harm nobody else. What a guest may write in a second is bounded
// (Config.Rate), and it costs a bounded amount of memory.
//
// The process may end at any instruction, by kill -9 too. A stream lies in memory that outlives it (a file of a tmpfs,
// an arena), together with how far the log got; the indexes are in the ring. The next process goes on where this one
// ended: each byte that a guest wrote is in the log once.
//
// Sources: xen/include/public/io/console.h; docs/misc/console.txt; the behaviour of Xen 4.17's tools/console/daemon.
package xenconsoled
