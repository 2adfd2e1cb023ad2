// Package agent is what the console domain (package domain) has in dom0: it tells the domain of guests, connects people to
// it, and makes what only dom0 can have, a terminal for xl console and a copy of the logs.
//
// It may end at any moment: guests' consoles and their logs go on without it, what it told stays in xenstore, and the next
// one goes on. What guests that start meanwhile write waits in their rings.
package agent
