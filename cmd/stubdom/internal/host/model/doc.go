// Package model is a host as people look at it: its domains, the rings between them and what goes over those, volumes and
// where their extents are, xenstore and its tree, the ends of consoles. It is values and what is computed of them:
// snapshots, what changed a second between two of them, JSON. Pure.
//
//	now, err := source.Look(ctx)
//	now.Since(before)                    // fills in what happens a second
//	b, err := json.Marshal(now)
//
// A Source looks at a host. Package look has one for every host with a xenstore, which asks the machine for the rest: dom0
// of a real host, or the simulator.
//
// What guests wrote is hostile: names of domains, nodes, values, console output. All of it goes through Clean or Lines,
// which leave nothing that a terminal or a reader's eye would obey, and everything has a bound. Who shows it on a page
// shows it as text.
package model
